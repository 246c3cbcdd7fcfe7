package warehousetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// keyed is a table of which dirty keys own rows.
func (h *RunnerHarness) keyed(t *testing.T) *owner {
	t.Helper()
	return h.own(t, warehouse.DerivedTable{Name: "analytics.customers", Columns: h.columns("customer int, name text, n int"), Key: []string{"customer"}, Owning: []string{"customer"}})
}

// byKeys is the step of the run that owns the dirty keys, after keys were marked.
func (o *owner) byKeys(mark int64, marked []string, rows ...string) *warehouse.Step {
	keys := &owner{h: o.h}
	for _, name := range o.table.Owning {
		c := o.table.Columns[slices.IndexFunc(o.table.Columns, func(c warehouse.ResultColumn) bool { return c.Name == name })]
		c.Name = "of_" + name // what a query calls them is its own
		keys.table.Columns = append(keys.table.Columns, c)
	}
	s := o.step(warehouse.Part{Query: o.restricted(rows...)})
	s.ByKeys, s.KeyMark, s.Mode = true, mark, schemas.ModeMerge
	if len(marked) > 0 {
		s.MarkKeys = []string{keys.query(marked...), keys.query(marked[:1]...)}
	}
	return s
}

// restricted are the rows whose keys are dirty, as the deriver's rewrite says it.
func (o *owner) restricted(rows ...string) string {
	var list string
	for i, name := range o.table.Owning {
		if i > 0 {
			list += ", "
		}
		list += o.h.Spelling.Ident(name)
	}
	return fmt.Sprintf("SELECT * FROM (%s\n) AS q WHERE (%s) IN %s", o.query(rows...), list, o.h.Spelling.DirtyKeyList(o.table.Owning))
}

func runnerKeys(t *testing.T, h *RunnerHarness) {
	o := h.keyed(t)
	all := []string{"1 ann 5", "2 bob 6", "3 cid 7"}
	done := o.commit(t, o.byKeys(1, []string{"1", "2", "null"}, all...))
	if done.Load != 1 || done.Rows.Inserted != 2 {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "1 ann 5", "2 bob 6")
	if _, keys := o.dirt(t); keys.Keys != 0 {
		t.Fatalf("dirt %+v", keys)
	}
	// An owned key without a row goes; one that is not dirty stays.
	all = []string{"1 ann 9", "3 cid 7"}
	done = o.commit(t, o.byKeys(2, []string{"2", "3"}, all...))
	if done.Rows.Inserted != 1 || done.Rows.Deleted != 1 {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "1 ann 5", "3 cid 7")
	// Keys are marked now, and owned by a later run.
	s := o.byKeys(3, []string{"1"})
	s.Parts, s.ByKeys = nil, false
	if done := o.commit(t, s); done.Load != 0 {
		t.Fatalf("event %+v", done)
	}
	if _, keys := o.dirt(t); keys.Keys != 1 || keys.Mark != 3 || !keys.RetryAt.IsZero() || keys.Since.IsZero() {
		t.Fatalf("dirt %+v", keys)
	}
	o.commit(t, o.byKeys(4, nil, all...))
	o.want(t, "1 ann 9", "3 cid 7")
	// Nothing is dirty: a run owns nothing.
	if done := o.commit(t, o.byKeys(5, nil, "1 x 1", "2 y 1")); done.Load != 0 {
		t.Fatalf("event %+v", done)
	}
	// A result without what the query was restricted to is outside.
	s = o.byKeys(6, []string{"1"})
	s.Parts[0].Query = o.query("1 ann 9", "3 cid 8")
	o.failing(t, s, violates(warehouse.CheckOwned, 0, 1))
	// The same by replacing what is owned.
	s = o.byKeys(7, []string{"1", "3"}, "3 cid 8")
	s.Mode = schemas.ModeReplace
	o.commit(t, s)
	o.want(t, "3 cid 8")
}

func runnerTwoKeys(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{
		Name: "analytics.pairs", Columns: h.columns("a int, b text, c int, n int"), Key: []string{"a", "b", "c"}, Owning: []string{"a", "b"},
	})
	o.commit(t, o.byKeys(1, []string{"1 x", "2 it"}, "1 x 1 1", "1 x 2 2", "2 it 1 3"))
	o.want(t, "1 x 1 1", "1 x 2 2", "2 it 1 3")
	o.commit(t, o.byKeys(2, []string{"1 x"}, "1 x 2 5", "2 it 1 9"))
	o.want(t, "1 x 2 5", "2 it 1 3")
}

func runnerKeyTypes(t *testing.T, h *RunnerHarness) {
	for name, key := range map[string]string{
		"date": "2024-03-01", "text": "o\u00e9", "ts": "2024-03-01T10:00:00", "civil": "2024-03-01T10:00:00", "decimal": "1.50", "int": "-7",
	} {
		o := h.own(t, warehouse.DerivedTable{Name: "analytics.by_" + name, Columns: h.columns("k " + name + ", n int"), Key: []string{"k"}, Owning: []string{"k"}})
		o.commit(t, o.byKeys(1, []string{key}, key+" 1", "null 2"))
		o.want(t, key+" 1")
		o.commit(t, o.byKeys(2, []string{key}, key+" 3"))
		o.want(t, key+" 3")
		o.commit(t, o.byKeys(3, []string{key}))
		o.want(t)
	}
}

func runnerHeldKeys(t *testing.T, h *RunnerHarness) {
	o := h.keyed(t)
	s := o.byKeys(1, []string{"1", "2"})
	s.Parts, s.ByKeys = nil, false
	retry := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	s.HoldKeys = &warehouse.Dirt{Error: "it's no", Failures: 2, RetryAt: retry}
	o.commit(t, s)
	_, keys := o.dirt(t)
	if keys.Keys != 2 || keys.Error != "it's no" || !keys.RetryAt.Equal(retry) {
		t.Fatalf("dirt %+v, want a retry at %v", keys, retry)
	}
	// Held keys are not owned, but one that is marked anew is due.
	o.commit(t, o.byKeys(2, []string{"2"}, "1 ann 1", "2 bob 2"))
	o.want(t, "2 bob 2")
	if _, keys := o.dirt(t); keys.Keys != 1 || !keys.RetryAt.Equal(retry) {
		t.Fatalf("dirt %+v", keys)
	}
}

func runnerDirt(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	since := day0.Add(time.Hour + 7*time.Microsecond)
	marks := []warehouse.Dirt{
		{Window: day0, Mark: 3, Since: since, Cause: []schemas.Cause{{Table: "core.it's", Load: 4}}},
		{Window: day0.AddDate(0, 0, 1), Mark: 4, Since: since, Backfill: true, Error: `it's "no"` + "\n", Failures: 2, RetryAt: since.Add(time.Minute)},
		{Mark: 5, Since: since}, // the whole table
	}
	for n := range 600 { // beyond a statement
		marks = append(marks, warehouse.Dirt{Window: day0.AddDate(1, 0, n), Mark: 1, Since: since})
	}
	s := o.step()
	s.Mark = marks
	if done := o.commit(t, s); done.Load != 0 {
		t.Fatalf("event %+v", done)
	}
	dirt, _ := o.dirt(t)
	if len(dirt) != len(marks) || !dirt[0].Window.IsZero() {
		t.Fatalf("%d windows are dirty, the first %+v", len(dirt), dirt[0])
	}
	for i, got := range dirt[1:3] {
		want := marks[i]
		if !got.Window.Equal(want.Window) || got.Mark != want.Mark || !got.Since.Equal(since) || got.Backfill != want.Backfill || got.Error != want.Error ||
			got.Failures != want.Failures || !got.RetryAt.Equal(want.RetryAt) || fmt.Sprint(got.Cause) != fmt.Sprint(append([]schemas.Cause{}, want.Cause...)) {
			t.Errorf("dirt %+v, want %+v", got, want)
		}
	}
	// New code forgets it and marks anew.
	s = o.step()
	s.Forget, s.Mark = true, []warehouse.Dirt{{Window: day0, Mark: 9, Since: since}}
	o.commit(t, s)
	if dirt, _ := o.dirt(t); len(dirt) != 1 || dirt[0].Mark != 9 || dirt[0].Error != "" {
		t.Fatalf("dirt %+v", dirt)
	}
}

func runnerRisenMark(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	s := o.step()
	for n := 1; n <= 3; n++ {
		_, at := o.day(n)
		s.Mark = append(s.Mark, warehouse.Dirt{Window: at, Mark: int64(n), Since: at})
	}
	o.commit(t, s)
	parts := []warehouse.Part{o.window(1, "2024-03-01 tea 1"), o.window(2, "2024-03-02 tea 1")} // both captured at mark 1
	o.commit(t, o.step(parts...))
	dirt, _ := o.dirt(t)
	if len(dirt) != 2 || dirt[0].Mark != 2 || dirt[1].Mark != 3 {
		t.Fatalf("dirt %+v", dirt)
	}
}

func runnerScope(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.customers", Columns: h.columns("customer int, name text, n int")})
	s := o.step()
	s.Mark = []warehouse.Dirt{{Mark: 1, Since: day0}}
	o.commit(t, s)
	keyed := h.keyed(t)
	if _, keys := keyed.dirt(t); keys.Keys != 0 {
		t.Fatalf("dirt %+v", keys)
	}
	keyed.commit(t, keyed.byKeys(1, []string{"1"}, "1 ann 1"))
	keyed.want(t, "1 ann 1")
	o.acquire(t)
	if dirt, _ := o.dirt(t); len(dirt) != 0 {
		t.Fatalf("dirt %+v", dirt)
	}
}

// runnerOrphans: new code under which another column owns rows leaves nothing of
// the old rows, and says so once.
func runnerOrphans(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1"), o.window(2, "2024-03-02 cup 2")))
	forget := func(want bool) {
		t.Helper()
		s := o.step()
		s.Forget = true
		done := o.commit(t, s)
		if (done.Load > 0) != want || done.All != want || len(done.Covers.EventTimes)+len(done.Touched) > 0 {
			t.Fatalf("event %+v", done)
		}
		o.acquire(t)
	}
	forget(false)
	o.want(t, "2024-03-01 tea 1", "2024-03-02 cup 2")
	o.table.Columns = h.columns("at date, name text, n int")
	o.table.Window, o.table.EventTimes = "at", []string{"at"}
	o.acquire(t)
	o.acquire(t)
	forget(true)
	o.want(t)
	forget(false)
	if events := o.logged(t); len(events) != 2 || !events[1].All {
		t.Fatalf("log %+v", events)
	}
	// Of keys, and with a part beside it.
	keyed := h.keyed(t)
	keyed.commit(t, keyed.byKeys(1, []string{"1", "2"}, "1 ann 1", "2 bob 2"))
	keyed.table.Columns, keyed.table.Key, keyed.table.Owning = h.columns("who text, name text, n int"), []string{"who"}, []string{"who"}
	keyed.acquire(t)
	s := keyed.byKeys(2, []string{"x"}, "x ann 1")
	s.Forget = true
	if done := keyed.commit(t, s); !done.All || done.Rows.Inserted != 1 {
		t.Fatalf("event %+v", done)
	}
	keyed.want(t, "x ann 1")
}

func runnerImages(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.days", Columns: h.columns("day date, name text, n int"), Key: []string{"name"}, Window: "day", EventTimes: []string{"day"}})
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
	must(t, h.Runner().SetNeeds(t.Context(), o.table.Name, "analytics.reader", warehouse.Kept{Changes: []string{"n", "gone"}, EventTimes: []string{"day"}}))
	done := o.commit(t, o.step(o.window(1, "2024-03-01 tea 2", "2024-03-01 cup 3")))
	if fmt.Sprint(done.Covers.Changes) != "[name n]" || fmt.Sprint(done.Covers.EventTimes) != "[day]" {
		t.Fatalf("covers %+v", done.Covers)
	}
	table := warehouse.CoreTable{Name: o.table.Name}
	for _, c := range o.table.Columns {
		table.Columns = append(table.Columns, schemas.Column{Name: c.Name, Type: c.Type})
	}
	images := func() (out []string) {
		for _, i := range h.Images(t, table, []string{"name", "n"}) {
			out = append(out, fmt.Sprintf("%d %t %s", i.Load, i.New, showCells([]schemas.Column{{Type: schemas.Type{Kind: schemas.String}}, {Type: schemas.Type{Kind: schemas.Int}}}, i.V)))
		}
		return out
	}
	want := []string{"2 false tea 1", "2 true tea 2", "2 true cup 3"}
	equalSets(t, "images", images(), want)
	// As another spec's query reads them.
	reader := &owner{h: h, table: warehouse.DerivedTable{Name: "analytics.read", Columns: h.columns("name text, n int")}}
	reader.acquire(t)
	reader.commit(t, reader.step(warehouse.Part{Query: "SELECT name, n FROM " + h.Spelling.Changes(o.table.Name, 1, 2) + " AS c", Owned: "TRUE"}))
	reader.want(t, "tea 1", "tea 2", "cup 3")
	must(t, h.Runner().SetNeeds(t.Context(), o.table.Name, "analytics.reader", warehouse.Kept{}))
	o.commit(t, o.step(o.window(1)))
	equalSets(t, "images", images(), want)
}

func runnerSweep(t *testing.T, h *RunnerHarness) {
	w := newWriter(t, h.Harness, payments())
	must(t, h.Runner().SetNeeds(t.Context(), w.table.Name, "analytics.days", warehouse.Kept{Changes: []string{"at"}}))
	w.needs = []string{"at"}
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	w.put(t, change(schemas.Create, 2, payment(2, "b", 1)))
	kept := func() (loads []int64) {
		for _, i := range h.Images(t, w.table, []string{"id"}) {
			loads = append(loads, i.Load)
		}
		return loads
	}
	all := kept()
	must(t, h.Runner().Sweep(t.Context(), w.table.Name)) // the spec has no head: all is kept
	if got := kept(); len(all) != 2 || len(got) != len(all) {
		t.Fatalf("images of loads %v, then %v", all, got)
	}
	o := h.windows(t)
	s := o.step()
	s.Head.Absorbed = map[string]int64{w.table.Name: 1}
	o.commit(t, s)
	must(t, h.Runner().Sweep(t.Context(), w.table.Name))
	if got := kept(); fmt.Sprint(got) != "[2]" {
		t.Fatalf("images of loads %v, want those of 2", got)
	}
	inputs, err := h.Runner().Inputs(t.Context(), []string{w.table.Name})
	must(t, err)
	if inputs[w.table.Name].Swept != 1 {
		t.Fatalf("inputs %+v", inputs)
	}
	must(t, h.Runner().Sweep(t.Context(), "core.nowhere"))
}

func runnerInputs(t *testing.T, h *RunnerHarness) {
	names := []string{"core.payments", "analytics.days", "core.nowhere"}
	inputs, err := h.Runner().Inputs(t.Context(), names)
	must(t, err)
	if len(inputs) != 0 {
		t.Fatalf("inputs %+v", inputs)
	}
	w := newWriter(t, h.Harness, payments())
	end := warehouse.Mark{Complete: schemas.Progress{Pos: pos(2), Time: day0.Add(time.Hour)}, SnapshotDone: pos(1)}
	w.put(t, change(schemas.Create, 3, payment(1, "a", 1)))
	w.load(t, batch{marks: map[int32]warehouse.Mark{0: end, 1: end}})
	o := h.windows(t)
	s := o.step(o.window(1, "2024-03-01 tea 1"))
	s.Head.Complete, s.Head.Ready = day0, true
	o.commit(t, s)
	inputs, err = h.Runner().Inputs(t.Context(), names)
	must(t, err)
	core, derived := inputs["core.payments"], inputs["analytics.days"]
	if len(inputs) != 2 || core.Load != 2 || !core.Ready || !core.Complete.Equal(day0.Add(time.Hour)) || derived.Load != 1 || !derived.Ready || !derived.Complete.Equal(day0) {
		t.Fatalf("inputs %+v", inputs)
	}
	// What a run reads is what was loaded before it began.
	count := h.own(t, warehouse.DerivedTable{Name: "analytics.counts", Columns: h.columns("name text, n int")})
	count.commit(t, count.step(warehouse.Part{Query: fmt.Sprintf("SELECT name, CAST(count(*) AS %s) AS n FROM core.payments GROUP BY name", h.SQLType(schemas.Type{Kind: schemas.Int})), Owned: "TRUE"}))
	count.want(t, "a 1")
}
