package bigquery

import (
	"errors"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
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
