package warehousetest

import (
	"errors"
	"testing"
	"time"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// succeed takes the step, with a death at every point before it counts, and is
// the successor's writer then. next may be nil: the rows stay.
func (w *writer) succeed(t *testing.T, h *Harness, table warehouse.CoreTable, next *writer, generation int) {
	t.Helper()
	before := w.head
	step := func() error {
		s := &warehouse.Succession{
			Table: table, Epoch: w.head.Epoch, Load: before.Load + 1, Generation: generation,
			Topic: "topic." + table.Name + ".g", TopicID: "id-g", StartedAt: time.Now(),
		}
		if next != nil {
			s.From, s.FromEpoch, s.Topic, s.TopicID = next.table.Name, next.head.Epoch, "", ""
		}
		_, err := h.Loader().Succeed(t.Context(), s)
		return err
	}
	for i, point := range h.Succession {
		h.Faults.Fail(point, 1)
		err := step()
		if !errors.Is(err, fault.ErrInjected) {
			t.Fatalf("a succession with a fault at %s: %v", point, err)
		}
		h.Crash(t)
		w.acquire(t)
		committed := i == len(h.Succession)-1
		if (w.head.Load == before.Load+1) != committed {
			t.Fatalf("after %s: head %+v", point, w.head)
		}
		if !committed {
			w.check(t, h)
			if next != nil {
				next.acquire(t)
				next.check(t, h)
			}
		}
	}
	events, err := h.Loader().Loads(t.Context(), w.table.Name, before.Load, 10)
	must(t, err)
	if len(events) != 1 {
		t.Fatalf("the log has %d events of the succession", len(events))
	}
	done := events[0]
	if len(done.Covers.EventTimes)+len(done.Covers.Changes) > 0 || !done.All || done.Load != before.Load+1 || done.Table != table.Name || done.Mode != w.table.Mode && next == nil {
		t.Fatalf("event %+v", done)
	}
	wantFenced(t, step())
	w.table = table
	if next == nil {
		return
	}
	if _, err := h.Loader().Acquire(t.Context(), next.table.Name, "t", "i"); !errors.Is(err, warehouse.ErrNoTable) {
		t.Fatalf("what was taken in is still there: %v", err)
	}
	w.model, w.ended = next.model, next.ended
	if w.head.Topic != next.head.Topic || w.head.TopicID != next.head.TopicID || len(w.head.Offsets) != len(next.offset) {
		t.Fatalf("head %+v, want that of %+v", w.head, next.head)
	}
}

func (w *writer) check(t *testing.T, h *Harness) {
	t.Helper()
	if w.table.Mode != schemas.ModeAppend {
		w.model.check(t, h, w.table)
	}
}

// twin is the table with the key (id, name), and another type where the old one
// cannot become it.
func twin(table warehouse.CoreTable) warehouse.CoreTable {
	table.Columns = append([]schemas.Column{}, table.Columns...)
	table.Key = []string{"id", "name"}
	table.Columns[colBig].Type = schemas.Type{Kind: schemas.Int}
	table.Columns[colBig].Unsettable = false
	return table
}

func twinRow(id int, name string, hour int, big int64) schemas.Row {
	row := payment(id, name, hour)
	row[colBig] = schemas.IntCell(big)
	return row
}

func nextCopy(t *testing.T, h *Harness) {
	must(t, h.Loader().SetNeeds(t.Context(), payments().Name, "spec", warehouse.Kept{EventTimes: []string{"day"}, Changes: []string{"at"}}))
	w := newWriter(t, h, payments())
	w.needs = []string{"at"}
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "gone", 1)))
	w.put(t, change(schemas.Update, 3, payment(1, "b", 2)))
	for generation := 2; generation <= 3; generation++ {
		table := twin(payments())
		if generation == 3 {
			table = payments()
		}
		staged := table
		staged.Name = schemas.GenerationName(table.Name, generation)
		row := func(id int, name string, hour int) schemas.Row {
			if generation == 3 {
				return payment(id, name, hour)
			}
			return twinRow(id, name, hour, int64(hour))
		}
		base := 10 * generation
		next := newWriter(t, h, staged)
		end := warehouse.Mark{Complete: schemas.Progress{Pos: pos(base)}, SnapshotDone: pos(base)}
		next.put(t, change(schemas.Read, base, row(1, "b", 2)), change(schemas.Read, base, row(3, "c", 3)))
		next.put(t, change(schemas.Update, base+1, row(3, "c", 4)), change(schemas.Delete, base+2, row(5, "x", 1)))
		next.load(t, batch{marks: map[int32]warehouse.Mark{0: end, 1: end}})
		w.check(t, h) // readers of the table see what they saw
		w.succeed(t, h, table, next, generation)
		w.check(t, h)
		if !w.head.Snapshot.Done || w.head.Complete.Pos != pos(base) {
			t.Fatalf("head %+v", w.head)
		}
		if live := len(h.View(t, table)); live != 2 {
			t.Fatalf("readers see %d rows", live)
		}
		// It goes on like any other table, and keeps what specs need.
		h.Crash(t)
		w.acquire(t)
		w.put(t, change(schemas.Update, base+3, row(3, "c", 5)), change(schemas.Create, base+4, row(6, "y", 2)))
		w.put(t, change(schemas.Delete, base+5, row(1, "b", 2)))
	}
}

func nextHistory(t *testing.T, h *Harness) {
	table := warehouse.CoreTable{
		Name: "core.payments_history", Mode: schemas.ModeAppend, Key: []string{"id"}, EventTimes: []string{"at"}, Columns: payments().Columns[:4],
	}
	w := newWriter(t, h, table)
	w.appendLoad(t, batch{changes: []schemas.Change{change(schemas.Create, 1, payment(1, "a", 1)[:4]), change(schemas.Create, 2, payment(2, "b", 2)[:4])}})
	next := twin(payments())
	next.Name, next.Mode, next.EventTimes, next.Columns = table.Name, table.Mode, table.EventTimes, next.Columns[:4]
	w.succeed(t, h, next, nil, 2)
	if len(w.head.Offsets) > 0 || w.head.Topic != "topic."+table.Name+".g" || w.head.TopicID != "id-g" {
		t.Fatalf("head %+v", w.head)
	}
	row := func(id int, name string, hour int, big int64) schemas.Row { return twinRow(id, name, hour, big)[:4] }
	again := []schemas.Change{change(schemas.Read, 3, row(1, "a", 1, 7)), change(schemas.Read, 3, row(1, "z", 1, 8))}
	w.appendLoad(t, batch{changes: again})
	if done := w.appendLoad(t, batch{changes: again}); done.Rows.Stale != 2 {
		t.Fatalf("a repetition: %+v", done.Rows)
	}
	w.wantHistory(t,
		`c 1 1 1 "a" - 3600000017 []`, `c 2 1 2 "b" - 7200000017 []`,
		`r 3 3 1 "a" 7 3600000017 []`, `r 3 3 1 "z" 8 3600000017 []`)
	old := next
	old.Columns = append([]schemas.Column{}, old.Columns...)
	old.Columns[colBig] = schemas.Column{Name: schemas.GenerationName("big", 1), Type: schemas.Type{Kind: schemas.String}}
	kept := 0
	for _, r := range h.View(t, old) {
		if string(r[colBig].Bytes) == "big a" || string(r[colBig].Bytes) == "big b" {
			kept++
		}
	}
	if kept != 2 {
		t.Fatalf("%d values of the column before are kept, want 2", kept)
	}
}

func nextFenced(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	staged := twin(payments())
	staged.Name = schemas.GenerationName(staged.Name, 2)
	next := newWriter(t, h, staged)
	next.put(t, change(schemas.Read, 2, twinRow(1, "a", 1, 1)))
	good := warehouse.Succession{
		Table: twin(payments()), Epoch: w.head.Epoch, Load: 2, Generation: 2, From: staged.Name, FromEpoch: next.head.Epoch, StartedAt: time.Now(),
	}
	for _, wrong := range []func(*warehouse.Succession){
		func(s *warehouse.Succession) { s.Epoch-- },
		func(s *warehouse.Succession) { s.Load++ },
		func(s *warehouse.Succession) { s.FromEpoch-- },
	} {
		s := good
		wrong(&s)
		_, err := h.Loader().Succeed(t.Context(), &s)
		wantFenced(t, err)
		w.check(t, h)
		next.check(t, h)
	}
	late := next.make(t, batch{changes: []schemas.Change{change(schemas.Read, 2, twinRow(2, "late", 1, 1))}})
	before := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 3, payment(9, "late", 1))}})
	_, err := h.Loader().Succeed(t.Context(), &good)
	must(t, err)
	if _, err := h.Loader().Load(t.Context(), late); err == nil {
		t.Fatal("a load of what was taken in was committed")
	}
	if _, err := h.Loader().Load(t.Context(), before); err == nil {
		t.Fatal("a load of the generation before was committed")
	}
	if live := len(h.View(t, good.Table)); live != 1 {
		t.Fatalf("readers see %d rows", live)
	}
}
