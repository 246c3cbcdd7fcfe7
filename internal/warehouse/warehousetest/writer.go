package warehousetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// writer is a table's owner, and the model beside it. Every load is checked.
type writer struct {
	h      *Harness
	table  warehouse.CoreTable
	head   warehouse.Head
	offset map[int32]int64
	model  *model
	ended  schemas.Position // the end of a snapshot in effect
	needs  []string
}

const partitions = 2

func newWriter(t *testing.T, h *Harness, table warehouse.CoreTable) *writer {
	t.Helper()
	w := &writer{h: h, table: table, model: newModel(), offset: map[int32]int64{}}
	must(t, h.Loader().Ensure(t.Context(), table))
	w.acquire(t)
	return w
}

func (w *writer) acquire(t *testing.T) {
	t.Helper()
	head, err := w.h.Loader().Acquire(t.Context(), w.table.Name, "topic."+w.table.Name, "id-1")
	must(t, err)
	w.head = head
	w.offset = map[int32]int64{}
	for p, o := range head.Offsets {
		w.offset[p] = o
	}
}

// batch is what a test says of a load beyond its changes.
type batch struct {
	changes   []schemas.Change
	truncate  schemas.Position
	marks     map[int32]warehouse.Mark
	blocked   bool
	partition int32
}

// make makes the Batch that a consumer would make.
func (w *writer) make(t *testing.T, b batch) *warehouse.Batch {
	t.Helper()
	folds, folded := fold(t, w.table, b.changes)
	from := w.offset[b.partition]
	out := &warehouse.Batch{
		Table: w.table, Epoch: w.head.Epoch, Load: w.head.Load + 1, Partitions: partitions,
		Ranges:   []schemas.Range{{Topic: w.head.Topic, Partition: b.partition, From: from, To: from + int64(len(b.changes)) + 1}},
		Marks:    b.marks,
		Rows:     &staged{table: w.table, folds: folds},
		Counts:   schemas.RowCounts{Read: int64(len(b.changes)), Folded: folded},
		Truncate: b.truncate, Blocked: b.blocked, SchemaVersion: 1, StartedAt: time.Now(),
	}
	for _, c := range b.changes {
		out.PosMax = schemas.MaxPosition(out.PosMax, c.Position)
		if out.PosMin.IsZero() || c.Position.Less(out.PosMin) {
			out.PosMin = c.Position
		}
		out.Snapshotting = out.Snapshotting || c.Op == schemas.Read
	}
	return out
}

// load loads and checks everything that the model knows.
func (w *writer) load(t *testing.T, b batch) schemas.LoadComplete {
	t.Helper()
	if w.h.dying {
		if done, committed := w.die(t, b); committed {
			return done
		}
	}
	wb := w.make(t, b)
	done, err := w.h.Loader().Load(t.Context(), wb)
	must(t, err)
	w.loaded(t, b, wb, done)
	return done
}

// die lets the process die in the load, at the next of the points, and goes on
// as its successor: it acquires and compares.
func (w *writer) die(t *testing.T, b batch) (done schemas.LoadComplete, committed bool) {
	t.Helper()
	point := w.h.Points[w.h.dies%len(w.h.Points)]
	w.h.dies++
	wb := w.make(t, b)
	before := w.head
	w.h.Faults.Fail(point, 1)
	if _, err := w.h.Loader().Load(t.Context(), wb); !errors.Is(err, fault.ErrInjected) {
		t.Fatalf("a load with a fault at %s: %v", point, err)
	}
	w.h.Crash(t)
	w.acquire(t)
	committed = point == w.h.Committed
	if w.head.Epoch != before.Epoch+1 || (w.head.Load == before.Load+1) != committed {
		t.Fatalf("after %s: head %+v", point, w.head)
	}
	events, err := w.h.Loader().Loads(t.Context(), w.table.Name, before.Load, 10)
	must(t, err)
	if !committed {
		if len(events) > 0 {
			t.Fatalf("after %s: %d events of a load that was not committed", point, len(events))
		}
		if w.table.Mode != schemas.ModeUpsert { // whose rows may be there before the head is
			w.model.check(t, w.h, w.table)
		}
		return done, false
	}
	if len(events) != 1 {
		t.Fatalf("after %s: %d events", point, len(events))
	}
	w.loaded(t, b, wb, events[0])
	return events[0], true
}

func (w *writer) put(t *testing.T, changes ...schemas.Change) schemas.LoadComplete {
	t.Helper()
	return w.load(t, batch{changes: changes})
}

// loaded brings the model up and compares.
func (w *writer) loaded(t *testing.T, b batch, wb *warehouse.Batch, done schemas.LoadComplete) {
	t.Helper()
	want := w.advance(b, wb)
	w.model.check(t, w.h, w.table)
	if w.table.Mode == schemas.ModeUpsert {
		w.upserted(t, wb, done)
		return
	}
	c := want.counts
	c.Read, c.Folded = wb.Counts.Read, wb.Counts.Folded
	if done.Rows != c {
		t.Fatalf("counts %+v, want %+v", done.Rows, c)
	}
	if c.Read != c.Applied+c.Folded+c.Stale+c.Quarantined {
		t.Fatalf("counts do not add up: %+v", c)
	}
	if done.Load != wb.Load || done.Epoch != wb.Epoch || done.Table != w.table.Name || done.Mode != w.table.Mode {
		t.Fatalf("event of %s load %d epoch %d mode %s", done.Table, done.Load, done.Epoch, done.Mode)
	}
	for _, name := range w.table.EventTimes {
		got := schemas.Touched{Column: name}
		for _, tt := range done.Touched {
			if tt.Column == name {
				got = tt
			}
		}
		if want := want.touchedBy(w.table, name); got.Null != want.Null || !slices.Equal(got.Ranges, want.Ranges) {
			t.Fatalf("touched %+v, want %+v", got, want)
		}
		if !slices.Contains(done.Covers.EventTimes, name) {
			t.Fatalf("event time %s is not covered: %+v", name, done.Covers)
		}
	}
	if len(w.needs) > 0 {
		w.checkImages(t, wb.Load, want)
	}
	events, err := w.h.Loader().Loads(t.Context(), w.table.Name, wb.Load-1, 10)
	must(t, err)
	if len(events) != 1 || events[0].Load != wb.Load || events[0].Rows != done.Rows {
		t.Fatalf("the log says %+v", events)
	}
}

func (w *writer) advance(b batch, wb *warehouse.Batch) effect {
	w.head.Load = wb.Load
	for _, r := range wb.Ranges {
		w.offset[r.Partition] = r.To
	}
	if w.head.Marks == nil {
		w.head.Marks = map[int32]warehouse.Mark{}
	}
	for p, m := range b.marks {
		have := w.head.Marks[p]
		have.SnapshotDone = schemas.MaxPosition(have.SnapshotDone, m.SnapshotDone)
		w.head.Marks[p] = have
	}
	least := w.head.Marks[0].SnapshotDone
	for p := range int32(partitions) {
		if m := w.head.Marks[p].SnapshotDone; m.Less(least) {
			least = m
		}
	}
	if !b.blocked {
		w.ended = schemas.MaxPosition(w.ended, least)
	}
	folds := wb.Rows.(*staged).folds
	horizon := schemas.MaxPosition(b.truncate, w.ended)
	if w.table.Mode == schemas.ModeUpsert {
		horizon = schemas.Position{} // the end of a snapshot removes nothing
	}
	return w.model.apply(w.table, wb.Load, horizon, folds)
}

func (w *writer) checkImages(t *testing.T, load int64, e effect) {
	t.Helper()
	columns := append(slices.Clone(w.table.Key), w.needs...)
	project := func(row schemas.Row) string {
		var out schemas.Row
		for _, name := range columns {
			out = append(out, row[slices.IndexFunc(w.table.Columns, func(c schemas.Column) bool { return c.Name == name })])
		}
		return text(out)
	}
	var got, want []string
	for _, i := range w.h.Images(t, w.table, columns) {
		if i.Load == load {
			got = append(got, image(i.New, text(i.V)))
		}
	}
	for _, r := range e.old {
		want = append(want, image(false, project(r)))
	}
	for _, r := range e.new {
		want = append(want, image(true, project(r)))
	}
	equalSets(t, "images", got, want)
}

func image(isNew bool, row string) string {
	if isNew {
		return "new " + row
	}
	return "old " + row
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantFenced(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("got %v, want ErrFenced", err)
	}
}
