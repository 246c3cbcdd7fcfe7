package warehousetest

import (
	"fmt"
	"testing"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// appendLoad loads changes as they are into a history.
func (w *writer) appendLoad(t *testing.T, b batch) schemas.LoadComplete {
	t.Helper()
	s := &staged{table: w.table}
	for i := range b.changes {
		c := &b.changes[i]
		f := register.FromChange(c, len(w.table.Columns))
		f.V = c.After
		s.folds, s.ts = append(s.folds, f), append(s.ts, c.TsUs)
	}
	wb := w.make(t, batch{marks: b.marks, truncate: b.truncate, partition: b.partition})
	wb.Rows, wb.Counts.Read = s, int64(len(s.folds))
	done, err := w.h.Loader().Load(t.Context(), wb)
	must(t, err)
	w.head.Load = wb.Load
	w.offset[b.partition] = wb.Ranges[0].To
	return done
}

func (w *writer) wantHistory(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, r := range w.h.Rows(t, w.table) {
		got = append(got, fmt.Sprintf("%s %d %d %s %q", r.Op, r.Pos.Major, r.Load, text(r.V), r.Unset))
	}
	equalSets(t, "history", got, want)
}

func history(t *testing.T, h *Harness) {
	w := newWriter(t, h, warehouse.CoreTable{
		Name: "core.payments_history", Mode: schemas.ModeAppend, Key: []string{"id"}, EventTimes: []string{"at"},
		Columns: payments().Columns[:4],
	})
	row := func(id int, name string, hour int) schemas.Row { return payment(id, name, hour)[:4] }
	first := []schemas.Change{
		change(schemas.Create, 1, row(1, "a", 1)),
		change(schemas.Update, 2, without(row(1, "b", 2), colBig)),
		change(schemas.Create, 2, row(2, "same position, another key", 2)),
		change(schemas.Delete, 3, row(1, "b", 2)),
	}
	done := w.appendLoad(t, batch{changes: first})
	if done.Rows != (schemas.RowCounts{Read: 4, Applied: 4, Inserted: 4}) || len(done.Touched) != 1 || len(done.Touched[0].Ranges) != 1 {
		t.Fatalf("event %+v", done)
	}
	all := []string{
		`c 1 1 1 "a" "big a" 3600000017 []`,
		`u 2 1 1 "b" - 7200000017 ["big"]`,
		`c 2 1 2 "same position, another key" "big same position, another key" 7200000017 []`,
		`d 3 1 1 "b" "big b" 7200000017 []`,
	}
	w.wantHistory(t, all...)
	// Repetitions are stale, whatever came with them; a truncate of the source
	// does not unmake what was.
	end := warehouse.Mark{SnapshotDone: pos(9)}
	done = w.appendLoad(t, batch{
		changes:  append([]schemas.Change{change(schemas.Read, 4, row(3, "c", 5))}, first[1:]...),
		truncate: pos(8), marks: map[int32]warehouse.Mark{0: end, 1: end},
	})
	if done.Rows != (schemas.RowCounts{Read: 4, Applied: 1, Inserted: 1, Stale: 3}) || !done.Snapshot.Done {
		t.Fatalf("event %+v", done)
	}
	w.wantHistory(t, append(all, `r 4 2 3 "c" "big c" 18000000017 []`)...)
	h.Crash(t)
	w.acquire(t)
	if done := w.appendLoad(t, batch{changes: first}); done.Rows.Stale != 4 {
		t.Fatalf("event %+v", done)
	}
	if len(h.View(t, w.table)) != 5 {
		t.Fatal("the view shows the history")
	}
}

func keyless(t *testing.T, h *Harness) {
	table := warehouse.CoreTable{Name: "core.events", Mode: schemas.ModeAppend, EventTimes: []string{"at"}, Columns: payments().Columns[:4]}
	w := newWriter(t, h, table)
	must(t, h.Loader().SetNeeds(t.Context(), table.Name, "s", warehouse.Kept{Changes: []string{"name"}}))
	row := func(name string) schemas.Row { return payment(1, name, 1)[:4] }
	w.appendLoad(t, batch{changes: []schemas.Change{change(schemas.Create, 1, row("a")), change(schemas.Create, 2, row("a")), change(schemas.Create, 7, row("b"))}})
	if done := w.appendLoad(t, batch{changes: []schemas.Change{change(schemas.Create, 2, row("a")), change(schemas.Create, 8, row("c"))}}); done.Rows.Stale != 1 || done.Rows.Inserted != 1 {
		t.Fatalf("a repetition is stale by its position: %+v", done.Rows)
	}
	// It is a copy of its source's table: what a truncate or a new snapshot
	// leaves behind goes, and nothing comes back from below.
	done := w.appendLoad(t, batch{truncate: pos(7), changes: []schemas.Change{change(schemas.Create, 6, row("below"))}})
	if done.Rows.Stale != 1 || len(done.Touched) != 1 {
		t.Fatalf("event %+v", done)
	}
	w.wantHistory(t, `c 7 1 1 "b" "big b" 3600000017 []`, `c 8 2 1 "c" "big c" 3600000017 []`)
	if got := h.Images(t, table, []string{"name"}); len(got) != 6 || got[len(got)-1].New {
		t.Fatalf("images %+v", got)
	}
}
