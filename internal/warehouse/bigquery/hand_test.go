package bigquery

import (
	"errors"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// What holds nothing that counts is made again without a word, by a process that
// begins and by one that runs. What would lose something is in the runbook.
func TestTableChangedByHand(t *testing.T) {
	for name, change := range map[string]string{
		"stage dropped":    "DROP TABLE millrace.",
		"view dropped":     "DROP VIEW core.`all`",
		"column added too": "ALTER TABLE core__base.`all` ADD COLUMN mine STRING",
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newProject(t)
				c := newConsumer(t, p)
				if err := c.load(t, time.Minute); err != nil {
					t.Fatal(err)
				}
				statement := change
				if name == "stage dropped" {
					core, _ := fixture(c.table.Mode)
					statement += core.Staging()
				}
				c.define(t, statement)
				if restarted {
					p.crash(t)
				}
				for tries := 0; c.head.Load < 2; tries++ {
					if err := c.work(t); err != nil && tries > 3 {
						t.Fatal(err)
					}
				}
				c.check(t, 2)
				if rows := p.view(t, c.table); len(rows) != 2*perLoad {
					t.Errorf("readers see %d rows", len(rows))
				}
			})
		}
	}
}

// An Ensure that was held up, and whose table another process has taken over and
// changed since, does not put its old view in place of the new one.
func TestOldViewIsFenced(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	old := c.table
	def, head, _, err := p.w.readTable(t.Context(), p.name(t, old))
	if err != nil {
		t.Fatal(err)
	}
	other := &project{fake: p.fake}
	other.open(t)
	c.table.Columns = append(c.table.Columns[:len(c.table.Columns):len(c.table.Columns)], schemas.Column{Name: "added", Type: kindOf(schemas.Date)})
	if err := other.w.Ensure(t.Context(), c.table); err != nil {
		t.Fatal(err)
	}
	if _, err := other.w.Acquire(t.Context(), c.table.Name, "topic", "id"); err != nil {
		t.Fatal(err)
	}
	if err := other.w.Close(); err != nil {
		t.Fatal(err)
	}
	view := def.Defined(p.w.dialect, p.name(t, old)).CreateView()
	if err := p.w.ddl(t.Context(), p.name(t, old), p.w.dialect.Owner(p.name(t, old), head.Epoch), view); classOf(err) != fenced {
		t.Errorf("the old view was made: %v", err)
	}
	// If it was held up between the assertion and the view, whoever ensures the
	// table or takes it over next mends it.
	for name, mend := range map[string]func() error{
		"ensure":  func() error { return p.w.Ensure(t.Context(), c.table) },
		"acquire": func() error { _, err := p.w.Acquire(t.Context(), c.table.Name, "topic", "id"); return err },
	} {
		c.define(t, view)
		if err := mend(); err != nil {
			t.Fatal(err)
		}
		if rows := p.view(t, c.table); len(rows) != perLoad {
			t.Errorf("%s: readers see %d rows", name, len(rows))
		}
	}
}

// A derived table is not made anew, empty, behind the back of its head.
func TestDerivedTableChangedByHand(t *testing.T) {
	quotes := runbook(t)
	for change, want := range map[string]string{
		"DROP TABLE millrace.analytics__days__head":             quotes["The head of a derived table is gone"],
		"DELETE FROM millrace.analytics__days__head WHERE TRUE": "… the head of analytics.days has 0 rows …",
	} {
		p := newProject(t)
		d := newDeriver(t, p, days())
		if err := d.commit(t.Context(), t, 1); err != nil {
			t.Fatal(err)
		}
		if err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "analytics", Table: "days"}, change); err != nil {
			t.Fatal(err)
		}
		p.crash(t)
		var changed *warehouse.ChangedError
		if _, err := p.w.Runner().Acquire(t.Context(), d.table, 1); !errors.As(err, &changed) || !matches(err, want) {
			t.Errorf("%s\ngot  %v\nwant %s", change, err, want)
		}
	}
	// A log cannot be computed again.
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	p.drop(t, "analytics.days")
	d.table.Append = true
	var changed *warehouse.ChangedError
	if _, err := d.runner.Acquire(t.Context(), d.table, 1); !errors.As(err, &changed) || !matches(err, quotes["A derived table is gone"]) {
		t.Errorf("got  %v\nwant %s", err, quotes["A derived table is gone"])
	}
}

// Images that were dropped by hand are gone: who has not read them is told, and
// nobody sweeps before that.
func TestImagesDroppedByHand(t *testing.T) {
	slow(t)
	p := newProject(t)
	c := newConsumer(t, p)
	runner := p.w.Runner()
	if err := runner.SetNeeds(t.Context(), c.table.Name, "analytics.days", warehouse.Kept{Changes: []string{"note"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	d := newDeriver(t, p, days())
	step := d.step(1)
	step.Head.Absorbed = map[string]int64{c.table.Name: 1}
	if _, err := d.runner.Commit(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	swept := func() int64 {
		t.Helper()
		inputs, err := runner.Inputs(t.Context(), []string{c.table.Name})
		if err != nil {
			t.Fatal(err)
		}
		return inputs[c.table.Name].Swept
	}
	if got := swept(); got != 0 {
		t.Fatalf("swept up to load %d", got)
	}
	c.define(t, "DROP TABLE millrace.core__all__changes")
	for tries := 0; c.head.Load < 3; tries++ {
		if err := c.work(t); err != nil && tries > 3 {
			t.Fatal(err)
		}
	}
	c.check(t, 3)
	if err := runner.Sweep(t.Context(), c.table.Name); err != nil {
		t.Fatal(err)
	}
	if got := swept(); got != 2 {
		t.Errorf("swept up to load %d, and the images of 2 are gone", got)
	}
	if images := p.images(t, c.table, []string{"note"}); len(images) != perLoad || images[0].Load != 3 {
		t.Errorf("images %+v", images)
	}
}
