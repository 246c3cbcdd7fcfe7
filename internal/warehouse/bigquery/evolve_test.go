package bigquery

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// The write path takes a new column of a table only after a while. A load does
// not wait for it: rows of another layout go to another staging table.
func TestNewColumnIsLoadedAtOnce(t *testing.T) {
	p := newProjectWith(t, bigqueryfake.Options{SchemaDelay: time.Hour})
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.table.Columns = append(c.table.Columns, schemas.Column{Name: "added", Type: kindOf(schemas.Date), Description: "it's new"})
	if err := p.w.Ensure(t.Context(), c.table); err != nil {
		t.Fatal(err)
	}
	if err := c.load(t, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	c.check(t, 2)
	if calls := p.fake.Calls()["CreateWriteStream"]; calls != 2 {
		t.Errorf("%d streams were made for two layouts", calls)
	}
}

// An Ensure that dies between two of its statements is completed by the next.
func TestEnsureDiesOnTheWay(t *testing.T) {
	slow(t)
	for nth := 1; ; nth++ {
		p := newProject(t)
		p.w.opts.Attempts = 1
		_, table := fixture(schemas.ModeMerge)
		p.fake.On("statement CREATE", nth, bigqueryfake.Refuse(400, "invalid", "no"))
		err := p.w.Ensure(t.Context(), table)
		if len(p.fake.Fired()) == 0 {
			if err != nil || nth < 8 {
				t.Fatalf("after %d statements: %v", nth-1, err)
			}
			return
		}
		if err == nil {
			t.Fatalf("statement %d failed, and Ensure did not", nth)
		}
		p.crash(t)
		c := newConsumer(t, p)
		if err := c.load(t, time.Minute); err != nil {
			t.Fatalf("after statement %d: %v", nth, err)
		}
		if err := p.w.SetNeeds(t.Context(), table.Name, "spec", warehouse.Kept{Changes: []string{"note"}}); err != nil {
			t.Fatal(err)
		}
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
		c.check(t, 2)
		if images := p.images(t, table, []string{"note"}); len(images) != perLoad {
			t.Errorf("%d images, want %d", len(images), perLoad)
		}
	}
}

func TestCoreIsTheTableAsItIs(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	p.crash(t)
	got, err := p.w.Core(t.Context(), c.table.Name)
	if err != nil || got.Mode != c.table.Mode || len(got.Columns) != len(c.table.Columns) || len(got.Key) != 1 || got.Key[0] != "id" {
		t.Fatalf("%+v %v", got, err)
	}
	for i, col := range got.Columns {
		want := c.table.Columns[i]
		if col.Name != want.Name || col.Type != p.w.dialect.Held(want.Type) || col.Unsettable != want.Unsettable {
			t.Errorf("column %+v, want %+v", col, want)
		}
	}
	if _, err := p.w.Core(t.Context(), "core.nowhere"); !errors.Is(err, warehouse.ErrNoTable) {
		t.Errorf("a table that is not there: %v", err)
	}
}

// A process that derives alone sees the columns that the loading one has added,
// each time that it looks, and changes nothing by that.
func TestCoreSeesWhatOthersChange(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	derive, err := Open(t.Context(), fakeOptions(p.fake))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = derive.Close() }()
	if err := derive.SetNeeds(t.Context(), c.table.Name, "spec", warehouse.Kept{Changes: []string{"note"}}); err != nil {
		t.Fatal(err)
	}
	columns := func() int {
		t.Helper()
		core, err := derive.Core(t.Context(), c.table.Name)
		if err != nil {
			t.Fatal(err)
		}
		return len(core.Columns)
	}
	before := columns()
	n := p.name(t, c.table)
	if _, made, err := derive.metadata(t.Context(), sqlgen.Schema, n.Own("changes")); made || err != nil {
		t.Errorf("a table of images was made by reading columns: %v", err)
	}
	c.table.Columns = append(c.table.Columns, schemas.Column{Name: "added", Type: kindOf(schemas.Date)})
	if err := p.w.Ensure(t.Context(), c.table); err != nil {
		t.Fatal(err)
	}
	if after := columns(); after != before+1 {
		t.Errorf("%d columns before, %d after", before, after)
	}
	known, err := p.w.entry(c.table.Name)
	if err != nil {
		t.Fatal(err)
	}
	def := known.def
	if _, err := p.w.Core(t.Context(), c.table.Name); err != nil || !reflect.DeepEqual(known.def, def) || !known.imaged {
		t.Errorf("what the loading process knows was changed: %+v %v", known.def, err)
	}
}

// What a spec needs in another process is taken up, and kept from the load after
// the one that saw it on.
func TestNeedsOfAnotherProcess(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	other := &project{fake: p.fake}
	other.open(t)
	if err := other.w.SetNeeds(t.Context(), c.table.Name, "spec", warehouse.Kept{Changes: []string{"note"}}); err != nil {
		t.Fatal(err)
	}
	if err := other.w.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	images := p.images(t, c.table, []string{"note"})
	if len(images) != perLoad || images[0].Load != 3 {
		t.Errorf("images %+v", images)
	}
	events, err := p.w.Loads(t.Context(), c.table.Name, 1, 10)
	if err != nil || len(events) != 2 || len(events[0].Covers.Changes) != 0 || len(events[1].Covers.Changes) != 2 {
		t.Errorf("%+v %v", events, err)
	}
}

// What the source says of its table and columns stands where people look.
func TestSourceCommentsAreDescriptions(t *testing.T) {
	p := newProject(t)
	_, table := fixture(schemas.ModeMerge)
	described := func(dataset string) (string, string) {
		t.Helper()
		_, name, _ := strings.Cut(table.Name, ".")
		md, found, err := p.w.metadata(t.Context(), dataset, name)
		if err != nil || !found {
			t.Fatalf("%v %v", found, err)
		}
		return md.Description, md.Schema.Fields[0].Description
	}
	for _, c := range []struct{ said, of, want, wantOf string }{
		{"", "", "", ""},
		{"orders, it's so", "the key", "orders, it's so", "the key"},
		{"", "", "orders, it's so", "the key"},
		{"all orders", strings.Repeat("k", 2000), "all orders", strings.Repeat("k", 1024)},
	} {
		table.Description, table.Columns[0].Description = c.said, c.of
		if err := p.w.Ensure(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		if base, column := described("core__base"); base != c.want || column != c.wantOf {
			t.Errorf("said %q and %.9q: described as %q and %.9q", c.said, c.of, base, column)
		}
		if view, _ := described("core"); c.said != "" && view != c.want {
			t.Errorf("said %q: the view is described as %q", c.said, view)
		}
		calls := p.fake.Calls()["jobs.insert"]
		if err := p.w.Ensure(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		if more := p.fake.Calls()["jobs.insert"] - calls; more > 2 {
			t.Errorf("said %q: ensured again, %d jobs", c.said, more)
		}
	}
}
