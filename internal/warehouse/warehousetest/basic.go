package warehousetest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

const (
	colID = iota
	colName
	colBig
	colAt
	colDoc
	colDay
)

// payments is the table of most tests.
func payments() warehouse.CoreTable {
	return warehouse.CoreTable{
		Name: "core.payments", Mode: schemas.ModeMerge, Key: []string{"id"}, EventTimes: []string{"at", "day"},
		Columns: []schemas.Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
			{Name: "name", Type: schemas.Type{Kind: schemas.String}},
			{Name: "big", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
			{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}},
			{Name: "doc", Type: schemas.Type{Kind: schemas.JSON}, Unsettable: true},
			{Name: "day", Type: schemas.Type{Kind: schemas.Date}},
		},
	}
}

const hourUs = 3_600_000_000

// payment is a row; its event times are hour and day number.
func payment(id int, name string, hour int) schemas.Row {
	return schemas.Row{
		schemas.IntCell(int64(id)), schemas.BytesCell([]byte(name)), schemas.BytesCell([]byte("big " + name)),
		schemas.IntCell(int64(hour)*hourUs + 17), schemas.BytesCell([]byte(`{"n":"` + name + `"}`)), schemas.IntCell(int64(hour) / 24),
	}
}

// without leaves a column out.
func without(row schemas.Row, cols ...int) schemas.Row {
	for _, c := range cols {
		row[c] = schemas.Cell{}
	}
	return row
}

func freshLoad(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	if w.head.Epoch != 1 || w.head.Load != 0 || w.head.Topic != "topic.core.payments" || w.head.TopicID != "id-1" {
		t.Fatalf("first head %+v", w.head)
	}
	done := w.put(t, change(schemas.Create, 1, payment(1, "a", 5)), change(schemas.Create, 2, payment(2, "b", 6)),
		change(schemas.Update, 3, payment(1, "c", 5)), change(schemas.Delete, 4, payment(3, "", 0)))
	if done.Rows.Inserted != 2 || done.Rows.Applied != 3 || done.Rows.Folded != 1 || done.PosMin != pos(1) || done.PosMax != pos(4) {
		t.Fatalf("event %+v", done)
	}
	w.put(t, change(schemas.Delete, 5, payment(1, "", 0)), change(schemas.Create, 6, payment(3, "d", 30)))
	again, err := h.Loader().Acquire(t.Context(), w.table.Name, "another", "id-2")
	must(t, err)
	if again.Epoch != w.head.Epoch+1 || again.Load != 2 || again.Topic != "topic.core.payments" || again.TopicID != "id-1" ||
		!reflect.DeepEqual(again.Offsets, w.offset) {
		t.Fatalf("head %+v, want offsets %v", again, w.offset)
	}
	events, err := h.Loader().Loads(t.Context(), w.table.Name, 0, 1)
	must(t, err)
	if len(events) != 1 || events[0].Load != 1 {
		t.Fatalf("at most one load: %+v", events)
	}
}

func marksOnly(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	clock := time.Date(2024, 5, 1, 10, 0, 0, 123456000, time.UTC)
	mark := func(n, seconds int) warehouse.Mark {
		return warehouse.Mark{Complete: schemas.Progress{Pos: pos(n), Time: clock.Add(time.Duration(seconds) * time.Second)}}
	}
	for _, step := range []struct {
		marks map[int32]warehouse.Mark
		want  schemas.Progress
	}{
		{map[int32]warehouse.Mark{0: mark(5, 5)}, schemas.Progress{}}, // the other partition has said nothing
		{map[int32]warehouse.Mark{1: mark(3, 7)}, schemas.Progress{Pos: pos(3), Time: clock.Add(5 * time.Second)}},
		{map[int32]warehouse.Mark{1: mark(2, 2)}, schemas.Progress{Pos: pos(3), Time: clock.Add(5 * time.Second)}}, // a repeat
		{map[int32]warehouse.Mark{0: mark(9, 9), 1: mark(8, 9)}, schemas.Progress{Pos: pos(8), Time: clock.Add(9 * time.Second)}},
	} {
		done := w.load(t, batch{marks: step.marks})
		if done.CompleteThrough != step.want {
			t.Fatalf("after %v: complete through %v, want %v", step.marks, done.CompleteThrough, step.want)
		}
		h.Crash(t)
		w.acquire(t)
		if w.head.Complete != step.want {
			t.Fatalf("head complete through %v, want %v", w.head.Complete, step.want)
		}
	}
}

func replay(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	changes := []schemas.Change{
		change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Delete, 2, payment(2, "", 0)),
		change(schemas.Update, 3, without(payment(3, "c", 2), colBig)),
	}
	first := w.make(t, batch{changes: changes})
	done, err := h.Loader().Load(t.Context(), first)
	must(t, err)
	w.loaded(t, batch{changes: changes}, first, done)
	_, err = h.Loader().Load(t.Context(), first)
	wantFenced(t, err)
	w.model.check(t, h, w.table)

	w.acquire(t)
	done = w.put(t, changes...)
	if done.Rows.Stale != 3 || done.Rows.Applied != 0 || len(done.Touched) != 0 {
		t.Fatalf("a replay is stale: %+v", done)
	}
}

func offsets(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	b := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 2, payment(2, "b", 1))}})
	b.Ranges[0].From = 0
	if _, err := h.Loader().Load(t.Context(), b); err == nil || errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("offsets that are loaded: %v", err)
	}
	w.model.check(t, h, w.table)
	b = w.make(t, batch{})
	b.Partitions = 0
	if _, err := h.Loader().Load(t.Context(), b); err == nil {
		t.Fatal("a batch must say how many partitions there are")
	}
}

func rewind(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	old := w.head.Epoch
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	w.load(t, batch{partition: 1})
	w.acquire(t)
	wantFenced(t, h.Loader().Rewind(t.Context(), w.table.Name, old, map[int32]int64{0: 0}))
	must(t, h.Loader().Rewind(t.Context(), w.table.Name, w.head.Epoch, map[int32]int64{0: 0}))
	was := w.offset[1]
	h.Crash(t)
	w.acquire(t)
	if w.offset[0] != 0 || w.offset[1] != was || w.head.Load != 2 {
		t.Fatalf("offsets %v, load %d", w.offset, w.head.Load)
	}
	if done := w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "b", 1))); done.Rows.Stale != 1 {
		t.Fatalf("counts %+v", done.Rows)
	}
}

func duplicates(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	for _, found := range []bool{false, true} { // whether the table has the key
		b := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 5, payment(1, "a", 1))}})
		s := b.Rows.(*staged)
		s.folds = append(s.folds, fromChangePtr(w.table, change(schemas.Update, 6, payment(1, "b", 1))))
		b.Counts.Read = 2
		if _, err := h.Loader().Load(t.Context(), b); err == nil || errors.Is(err, warehouse.ErrFenced) {
			t.Fatalf("two staged rows of one key, row in the table %v: %v", found, err)
		}
		w.model.check(t, h, w.table)
		w.put(t, change(schemas.Create, 1, payment(1, "z", 1)))
	}
}

func countsAddUp(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	b := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 1, payment(1, "a", 1))}})
	b.Counts.Quarantined = 1
	if _, err := h.Loader().Load(t.Context(), b); err == nil {
		t.Fatal("1 read, 1 staged and 1 quarantined do not add up")
	}
	w.model.check(t, h, w.table)
	b.Counts.Read = 2
	done, err := h.Loader().Load(t.Context(), b)
	must(t, err)
	if done.Rows != (schemas.RowCounts{Read: 2, Applied: 1, Inserted: 1, Quarantined: 1}) {
		t.Fatalf("counts %+v", done.Rows)
	}
}

func uncarried(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	b := w.make(t, batch{changes: []schemas.Change{change(schemas.Update, 1, without(payment(1, "a", 1), colName))}})
	if _, err := h.Loader().Load(t.Context(), b); err == nil || !strings.Contains(err.Error(), `"name"`) {
		t.Fatalf("a value that cannot be missing is missing: %v", err)
	}
	w.model.check(t, h, w.table)
}

func truncate(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "b", 2)), change(schemas.Delete, 3, payment(3, "", 0)))
	w.put(t, change(schemas.Create, 7, payment(4, "above", 9)))
	// The truncate at 5 comes through partition 1; partition 0 still holds a
	// create below it, and one of its own rows is above it.
	done := w.load(t, batch{truncate: pos(5), partition: 1, changes: []schemas.Change{change(schemas.Create, 6, payment(1, "again", 30))}})
	if done.Rows.Inserted != 1 || done.Rows.Deleted != 0 {
		t.Fatalf("counts %+v", done.Rows)
	}
	late := w.put(t, change(schemas.Create, 4, payment(5, "below", 3)), change(schemas.Read, 4, payment(2, "b", 2)))
	if late.Rows.Stale != 2 {
		t.Fatalf("rows below a truncate are stale: %+v", late.Rows)
	}
	w.acquire(t)
	if w.head.Horizon != pos(5) {
		t.Fatalf("horizon %s", w.head.Horizon)
	}
	if done := w.load(t, batch{truncate: pos(5)}); len(done.Touched) != 0 {
		t.Fatalf("a truncate that comes twice touches nothing: %+v", done)
	}
}

func snapshotEnd(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	state := func(done schemas.LoadComplete, running, ended bool) {
		t.Helper()
		if done.Snapshot != (schemas.SnapshotState{Running: running, Done: ended}) {
			t.Fatalf("snapshot %+v", done.Snapshot)
		}
	}
	end := func(n int) warehouse.Mark { return warehouse.Mark{SnapshotDone: pos(n)} }
	vanished := change(schemas.Create, 2, payment(9, "vanished in a gap", 9))
	state(w.put(t, vanished), false, false)
	first := []schemas.Change{change(schemas.Read, 10, payment(1, "a", 1)), change(schemas.Read, 12, payment(2, "b", 2))}
	state(w.put(t, first...), true, false)
	state(w.load(t, batch{marks: map[int32]warehouse.Mark{0: end(10)}}), true, false)
	w.acquire(t) // the mark is in the head
	done := w.load(t, batch{partition: 1, marks: map[int32]warehouse.Mark{1: end(11)}, changes: []schemas.Change{change(schemas.Read, 11, payment(3, "c", 3))}})
	state(done, false, true)
	if len(w.model.rows) != 3 {
		t.Fatalf("%d rows", len(w.model.rows))
	}
	// What comes late from below is stale, and a replayed row starts nothing.
	done = w.put(t, append(first, vanished)...)
	state(done, false, true)
	if done.Rows.Stale != 3 {
		t.Fatalf("counts %+v", done.Rows)
	}
	// A second snapshot.
	state(w.put(t, change(schemas.Read, 20, payment(1, "a2", 1))), true, true)
	state(w.load(t, batch{marks: map[int32]warehouse.Mark{0: end(20), 1: end(20)}}), false, true)
	w.acquire(t)
	if w.head.Horizon != pos(20) || !w.head.Snapshot.Done || w.head.Snapshot.Running {
		t.Fatalf("head %+v", w.head)
	}
}

func blocked(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 9, payment(2, "b", 1)))
	mark := warehouse.Mark{Complete: schemas.Progress{Pos: pos(8)}, SnapshotDone: pos(5)}
	marks := map[int32]warehouse.Mark{0: mark, 1: mark}
	done := w.load(t, batch{blocked: true, marks: marks})
	if !done.CompleteThrough.Pos.IsZero() || !done.Snapshot.Done || len(done.Touched) != 0 {
		t.Fatalf("a blocked table went on: %+v", done)
	}
	// Tables that wait for the snapshot may begin; what vanished is removed, though
	// nothing rises any more, when the dead letter is resolved.
	done = w.load(t, batch{})
	if done.CompleteThrough.Pos != pos(8) || !done.Snapshot.Done || len(done.Touched) == 0 {
		t.Fatalf("the table stayed blocked: %+v", done)
	}
}
