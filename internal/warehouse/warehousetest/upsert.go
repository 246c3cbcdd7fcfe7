package warehousetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// RunUpserts runs the suite of schemas.ModeUpsert, for a warehouse that has it:
// every case as it is, and some again with the process dying in every load and its
// successor going on.
func RunUpserts(t *testing.T, open func(t *testing.T) *Harness) {
	dying := []string{"ByPosition", "ColumnsChange", "NextGeneration", "RandomHistories"}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Harness)
	}{
		{"ByPosition", upsertByPosition},
		{"MarksTouchNothing", upsertMarks},
		{"SnapshotEndRemovesNothing", upsertSnapshot},
		{"WholeRowsOnly", upsertWhole},
		{"TruncateIsRefused", upsertTruncate},
		{"ColumnsChange", upsertColumns},
		{"EnsureRefuses", upsertRefuses},
		{"NextGeneration", upsertGeneration},
		{"OddNames", upsertOddNames},
		{"EveryTypeAndItsExtremes", func(t *testing.T, h *Harness) { everyTypeOf(t, h, schemas.ModeUpsert) }},
		{"RandomHistories", func(t *testing.T, h *Harness) { randomHistoriesOf(t, h, schemas.ModeUpsert) }},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
		if testing.Short() || !slices.Contains(dying, c.name) {
			continue
		}
		t.Run(c.name+"/Dying", func(t *testing.T) {
			h := open(t)
			h.dying = true
			c.run(t, h)
		})
	}
}

// checkUpserts compares a table in ModeUpsert with the model: it holds what is
// live, and no markers.
func (m *model) checkUpserts(t *testing.T, h *Harness, table warehouse.CoreTable) {
	t.Helper()
	var got, want, live []string
	for _, r := range h.Rows(t, table) {
		got = append(got, fmt.Sprintf("%s at %s", text(r.V), r.Pos))
		if r.Load <= 0 {
			t.Fatalf("row %s of load %d", text(r.V), r.Load)
		}
	}
	for k, row := range m.rows {
		if !row.Deleted {
			whole := text(m.whole(table, k, row))
			want, live = append(want, fmt.Sprintf("%s at %s", whole, row.Pos)), append(live, whole)
		}
	}
	equalSets(t, "rows", got, want)
	equalSets(t, "view", texts(h.View(t, table)), live)
}

// upserted checks the event of a load in ModeUpsert, and that the log has it.
func (w *writer) upserted(t *testing.T, wb *warehouse.Batch, done schemas.LoadComplete) {
	t.Helper()
	staged := int64(len(wb.Rows.(*staged).folds))
	want := wb.Counts
	want.Applied = staged
	if done.Rows != want || want.Read != want.Applied+want.Folded+want.Quarantined {
		t.Fatalf("counts %+v, want %+v", done.Rows, want)
	}
	if done.Load != wb.Load || done.Epoch != wb.Epoch || done.Table != w.table.Name || done.Mode != schemas.ModeUpsert || done.PosMax != wb.PosMax {
		t.Fatalf("event %+v", done)
	}
	if done.All != (staged > 0) || len(done.Touched) > 0 || len(done.Covers.Changes) > 0 || staged > 0 && len(done.Covers.EventTimes) > 0 {
		t.Fatalf("%d rows, all %v, touched %+v, covers %+v", staged, done.All, done.Touched, done.Covers)
	}
	events, err := w.h.Loader().Loads(t.Context(), w.table.Name, wb.Load-1, 10)
	must(t, err)
	if len(events) != 1 || events[0].Load != wb.Load || events[0].Rows != done.Rows || events[0].All != done.All || events[0].Snapshot != done.Snapshot {
		t.Fatalf("the log says %+v", events)
	}
}

// accounts is payments by key, with nothing that may lack.
func accounts() warehouse.CoreTable {
	table := payments()
	table.Name, table.Mode = "core.accounts", schemas.ModeUpsert
	for i := range table.Columns {
		table.Columns[i].Unsettable = false
	}
	return table
}

func upsertByPosition(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	must(t, h.Loader().SetNeeds(t.Context(), w.table.Name, "spec", warehouse.Kept{EventTimes: []string{"at"}, Changes: []string{"name"}})) // in vain
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "b", 1)), change(schemas.Update, 3, payment(1, "c", 2)))
	w.put(t, change(schemas.Delete, 5, payment(2, "", 0)), change(schemas.Update, 6, payment(1, "d", 3)))
	w.put(t, change(schemas.Update, 3, payment(1, "c", 2)), change(schemas.Read, 4, payment(2, "late", 1)), change(schemas.Delete, 9, payment(3, "", 0)))
	w.put(t, change(schemas.Create, 7, payment(2, "again", 1)), change(schemas.Read, 8, payment(3, "too late", 1)))
	if live := len(h.View(t, w.table)); live != 2 {
		t.Fatalf("readers see %d rows", live)
	}
	// Everything again, from the beginning.
	must(t, h.Loader().Rewind(t.Context(), w.table.Name, w.head.Epoch, map[int32]int64{0: 0, 1: 0}))
	w.acquire(t)
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "b", 1)))
	w.put(t, change(schemas.Delete, 5, payment(2, "", 0)), change(schemas.Update, 6, payment(1, "d", 3)))
}

func upsertMarks(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	mark := func(n int) warehouse.Mark { return warehouse.Mark{Complete: schemas.Progress{Pos: pos(n)}} }
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	done := w.load(t, batch{marks: map[int32]warehouse.Mark{0: mark(5), 1: mark(4)}})
	if done.All || done.CompleteThrough.Pos != pos(4) || len(done.Covers.EventTimes) != 2 {
		t.Fatalf("event %+v", done)
	}
}

// The end of a snapshot is known, and removes nothing; what is replayed of it does
// not make it run again.
func upsertSnapshot(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	w.put(t, change(schemas.Create, 1, payment(1, "vanished without a change", 1)))
	reads := batch{changes: []schemas.Change{change(schemas.Read, 10, payment(2, "read", 1))}}
	if done := w.load(t, reads); !done.Snapshot.Running || done.Snapshot.Done {
		t.Fatalf("while it runs: %+v", done.Snapshot)
	}
	end := warehouse.Mark{SnapshotDone: pos(10)}
	for _, marks := range []map[int32]warehouse.Mark{{0: end}, {1: end}} {
		done := w.load(t, batch{marks: marks})
		if over := marks[1] == end; done.Snapshot.Done != over || done.Snapshot.Running == over {
			t.Fatalf("after %v: %+v", marks, done.Snapshot)
		}
	}
	if done := w.load(t, reads); done.Snapshot.Running || !done.Snapshot.Done {
		t.Fatalf("a repetition: %+v", done.Snapshot)
	}
	if live := len(h.View(t, w.table)); live != 2 {
		t.Fatalf("readers see %d rows", live)
	}
}

// A change without a value is refused, also if an older one of its batch carried
// it: that may have been overwritten in between, in an earlier batch.
func upsertWhole(t *testing.T, h *Harness) {
	table := accounts()
	table.Columns[colBig].Unsettable, table.Columns[colDoc].Unsettable = true, true
	w := newWriter(t, h, table)
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Update, 4, payment(1, "b", 1)))
	partial := change(schemas.Update, 5, without(payment(1, "c", 1), colBig, colDoc))
	for _, changes := range [][]schemas.Change{
		{partial},
		{change(schemas.Read, 2, payment(1, "a late row of a snapshot", 1)), partial},
		{partial, change(schemas.Update, 4, payment(1, "b", 1)), change(schemas.Create, 6, payment(7, "good", 1))},
	} {
		_, err := h.Loader().Load(t.Context(), w.make(t, batch{changes: changes}))
		var refused *warehouse.RowsError
		if !errors.As(err, &refused) || len(refused.Rows) != 2 {
			t.Fatalf("got %v", err)
		}
		for i, r := range refused.Rows {
			if r.Pos != pos(5) || r.Column != []string{"big", "doc"}[i] || !strings.Contains(r.Reason, "REPLICA IDENTITY FULL") || !strings.Contains(r.Reason, "mode: merge") {
				t.Fatalf("refused %+v", r)
			}
		}
		w.acquire(t)
		if w.head.Load != 1 {
			t.Fatalf("head %+v", w.head)
		}
	}
	for _, op := range []schemas.Op{schemas.Create, schemas.Delete} {
		none := payment(1, "x", 1)
		none[colID] = schemas.NullCell()
		_, err := h.Loader().Load(t.Context(), w.make(t, batch{changes: []schemas.Change{change(op, 6, none)}}))
		var refused *warehouse.RowsError
		if !errors.As(err, &refused) || len(refused.Rows) != 1 || refused.Rows[0].Column != "id" || !strings.Contains(refused.Rows[0].Reason, "null") {
			t.Fatalf("a key that is null: %v", err)
		}
	}
	w.put(t, change(schemas.Update, 7, payment(1, "whole", 1)), change(schemas.Create, 6, payment(7, "good", 1)))
}

func upsertTruncate(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	wb := w.make(t, batch{truncate: pos(2), changes: []schemas.Change{change(schemas.Create, 3, payment(2, "b", 1))}})
	if _, err := h.Loader().Load(t.Context(), wb); err == nil || !strings.Contains(err.Error(), "cannot be truncated") {
		t.Fatalf("got %v", err)
	}
	w.model.check(t, h, w.table)
	w.put(t, change(schemas.Create, 3, payment(2, "b", 1)))
}

func upsertColumns(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 1, payment(2, "b", 1)))
	old := w.table
	w.table.Columns = append(append([]schemas.Column{}, old.Columns...), schemas.Column{Name: "n", Type: schemas.Type{Kind: schemas.Int}})
	w.model.widen()
	must(t, h.Loader().Ensure(t.Context(), w.table))
	w.put(t, change(schemas.Update, 2, append(payment(1, "wide", 1), schemas.IntCell(7))))
	// A batch under the old version: what it does not have is null.
	narrow := *w
	narrow.table = old
	wb := narrow.make(t, batch{changes: []schemas.Change{change(schemas.Update, 3, payment(1, "narrow", 1))}})
	_, err := h.Loader().Load(t.Context(), wb)
	must(t, err)
	w.acquire(t)
	for _, f := range wb.Rows.(*staged).folds {
		f.V, f.At = append(f.V, schemas.NullCell()), append(f.At, f.Pos)
		w.model.apply(w.table, wb.Load, schemas.Position{}, []register.Change{f})
	}
	w.model.check(t, h, w.table)
	// The type widens.
	w.table.Columns = append([]schemas.Column{}, w.table.Columns...)
	w.table.Columns[len(old.Columns)].Type = decimal(25, 0)
	must(t, h.Loader().Ensure(t.Context(), w.table))
	big := schemas.BytesCell([]byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	w.put(t, change(schemas.Update, 4, append(payment(1, "wider", 1), big)))
}

// widen gives every row a column that is null.
func (m *model) widen() {
	for k, row := range m.rows {
		row.V = append(append(schemas.Row{}, row.V...), schemas.NullCell())
		m.rows[k] = row
	}
}

func upsertRefuses(t *testing.T, h *Harness) {
	wide := func(columns, keys int, kind schemas.Kind) warehouse.CoreTable {
		table := warehouse.CoreTable{Name: "core.wide", Mode: schemas.ModeUpsert}
		for i := range columns {
			table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprintf("c%d", i), Type: schemas.Type{Kind: kind}})
		}
		for i := range keys {
			table.Key = append(table.Key, table.Columns[i].Name)
		}
		return table
	}
	for say, table := range map[string]warehouse.CoreTable{
		"a key of 17 columns": wide(17, 17, schemas.Int), "1998 columns": wide(1998, 1, schemas.Int),
		"no FLOAT64 in the key": wide(2, 1, schemas.Float), "without a key": wide(2, 0, schemas.Int),
	} {
		if err := h.Loader().Ensure(t.Context(), table); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("got %v, want %s", err, say)
		}
	}
	must(t, h.Loader().Ensure(t.Context(), wide(16, 16, schemas.Int)))
	other := wide(16, 16, schemas.Int)
	other.Mode = schemas.ModeMerge
	if err := h.Loader().Ensure(t.Context(), other); err == nil || !strings.Contains(err.Error(), "mode is upsert and cannot become merge") {
		t.Errorf("another mode: %v", err)
	}
}

// The next generation has the same columns and another key: what comes after it
// goes into its own rows.
func upsertGeneration(t *testing.T, h *Harness) {
	w := newWriter(t, h, accounts())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "gone", 1)))
	for generation := 2; generation <= 3; generation++ {
		table := accounts()
		if generation == 2 {
			table.Key = []string{"id", "name"}
		}
		staged := table
		staged.Name = schemas.GenerationName(table.Name, generation)
		base := 10 * generation
		next := newWriter(t, h, staged)
		end := warehouse.Mark{Complete: schemas.Progress{Pos: pos(base)}, SnapshotDone: pos(base)}
		next.put(t, change(schemas.Read, base, payment(1, "b", 2)), change(schemas.Read, base, payment(3, "c", 3)))
		next.put(t, change(schemas.Update, base+1, payment(3, "c", 4)))
		next.load(t, batch{marks: map[int32]warehouse.Mark{0: end, 1: end}})
		w.check(t, h) // readers of the table see what they saw
		w.succeed(t, h, table, next, generation)
		w.check(t, h)
		w.put(t, change(schemas.Update, base+3, payment(3, "c", 5)), change(schemas.Create, base+4, payment(6, "y", 2)))
		h.Crash(t)
		w.acquire(t)
		w.put(t, change(schemas.Delete, base+5, payment(1, "b", 2)))
	}
}

func upsertOddNames(t *testing.T, h *Harness) {
	odd := append([]string{"column_0", "COLUMN_1", "v3"}, h.Limits.OddColumns...)
	table := warehouse.CoreTable{Name: h.Limits.OddTable, Mode: schemas.ModeUpsert, Key: []string{odd[3], odd[5]}}
	for _, name := range odd {
		table.Columns = append(table.Columns, schemas.Column{Name: name, Type: schemas.Type{Kind: schemas.String}})
	}
	w := newWriter(t, h, table)
	row := func(key, value string) (out schemas.Row) {
		for i, name := range odd {
			out = append(out, schemas.BytesCell([]byte(value+name)))
			if i == 3 || i == 5 {
				out[i] = schemas.BytesCell([]byte(key))
			}
		}
		return out
	}
	w.put(t, change(schemas.Create, 1, row("k", "x")), change(schemas.Create, 2, row("l'", "y")))
	w.put(t, change(schemas.Update, 3, row("k", "z")), change(schemas.Delete, 4, row("l'", "")))
	bad := row("k", "w")
	bad[6].Bytes = []byte("\xff")
	_, err := h.Loader().Load(t.Context(), w.make(t, batch{changes: []schemas.Change{change(schemas.Update, 5, bad)}}))
	var refused *warehouse.RowsError
	if !errors.As(err, &refused) || refused.Rows[0].Column != odd[6] {
		t.Fatalf("got %v", err)
	}
}
