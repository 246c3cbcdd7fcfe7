package batch

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

var wide = Limits{Rows: 1 << 20, Bytes: 1 << 30, Age: time.Second}

// world encodes changes of one table as its producer does.
type world struct {
	t      *testing.T
	table  *schemas.Table
	enc    *avro.Encoder
	schema *Schema
	keys   *avro.KeyDecoder
	next   map[int32]int64
	reread bool // of what is added
}

func newWorld(t *testing.T, columns ...schemas.Column) *world {
	t.Helper()
	w := &world{t: t, next: map[int32]int64{}, table: &schemas.Table{
		Source: "s", Schema: "public", Name: "things", Topic: "t", Key: []int{0}, Generation: 1,
		Columns: append([]schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}, columns...),
	}}
	var err error
	if w.enc, err = avro.NewEncoder(w.table, "test", 1, 2); err != nil {
		t.Fatal(err)
	}
	dec, err := avro.NewDecoder(avro.ValueSchema(w.table))
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = avro.NewKeyDecoder(avro.KeySchema(w.table)); err != nil {
		t.Fatal(err)
	}
	w.schema = &Schema{ID: 2, Decoder: dec, Columns: dec.Columns()}
	return w
}

// add puts the change into the batch as a consumer does, through bytes that are
// overwritten afterwards.
func (w *world) add(b *Batch, partition int32, c schemas.Change) {
	w.t.Helper()
	polled := w.record(partition, c)
	rec := b.Keep(polled, false)
	clear(polled.Key)
	clear(polled.Value)
	b.Saw(partition, rec.Offset, time.Unix(100, 0))
	in := w.decoded(rec)
	b.Add(&in)
	clear(in.Canonical)
}

// record is the change as it is on its topic.
func (w *world) record(partition int32, c schemas.Change) Record {
	w.t.Helper()
	c.Table = w.table
	keyed := c.After
	if c.Op == schemas.Delete {
		keyed = c.Before
	}
	rec := Record{Partition: partition, Offset: w.next[partition]}
	w.next[partition]++
	var err error
	if rec.Key, err = w.enc.AppendKey(nil, keyed); err != nil {
		w.t.Fatal(err)
	}
	if rec.Value, err = w.enc.AppendValue(nil, &c); err != nil {
		w.t.Fatal(err)
	}
	return rec
}

func (w *world) decoded(rec Record) Change {
	w.t.Helper()
	_, body, err := avro.SplitHeader(rec.Value)
	if err != nil {
		w.t.Fatal(err)
	}
	in := Change{Record: rec, Schema: w.schema, Keys: w.keys, Reread: w.reread}
	if err := w.schema.Decoder.Envelope(body, &in.Envelope); err != nil {
		w.t.Fatal(err)
	}
	if in.Before, err = w.schema.Decoder.Before(&in.Envelope); err != nil {
		w.t.Fatal(err)
	}
	_, key, err := avro.SplitHeader(rec.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	cells, err := w.keys.Cells(nil, key)
	if err != nil {
		w.t.Fatal(err)
	}
	in.Canonical = schemas.AppendKeyValues(nil, w.keys.Types(), cells)
	return in
}

func (w *world) core(mode schemas.Mode) warehouse.CoreTable {
	return warehouse.CoreTable{Name: "core.things", Mode: mode, Columns: w.schema.Columns, Key: []string{"id"}}
}

// sink keeps a row.
type sink struct{ row schemas.Row }

func (s *sink) Null(col int)             { s.row[col] = schemas.NullCell() }
func (s *sink) Int(col int, v int64)     { s.row[col] = schemas.IntCell(v) }
func (s *sink) Float(col int, v float64) { s.row[col] = schemas.FloatCell(v) }
func (s *sink) Bytes(col int, b []byte)  { s.row[col] = schemas.BytesCell(slices.Clone(b)) }

type staged struct {
	warehouse.Folded
	row schemas.Row
}

func read(t *testing.T, rows warehouse.Rows, columns int) []staged {
	t.Helper()
	var out []staged
	for {
		s := sink{row: make(schemas.Row, columns)}
		f, err := rows.Next(&s)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		row := staged{*f, s.row}
		row.At = slices.Clone(f.At)
		out = append(out, row)
	}
}

func pos(n int) schemas.Position { return schemas.Position{Epoch: 1, Major: uint64(n)} }

func load(t *testing.T, b *Batch, table warehouse.CoreTable, have map[int32]int64) *Load {
	t.Helper()
	l, err := b.Load("t", table, have)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What is staged for a key is the fold of its changes, for any changes, in any
// order of arrival.
func TestStageIsTheFold(t *testing.T) {
	text := schemas.Type{Kind: schemas.String}
	w := newWorld(t, schemas.Column{Name: "a", Type: text, Unsettable: true},
		schemas.Column{Name: "b", Type: text, Unsettable: true}, schemas.Column{Name: "c", Type: schemas.Type{Kind: schemas.Int}})
	b := New(wide)
	for seed := range uint64(1500) {
		rng := rand.New(rand.NewPCG(seed, 5))
		b.Reset()
		w.next = map[int32]int64{}
		want := map[int64]register.Change{}
		read64, since, used := int64(0), map[int64]int{}, map[schemas.Position]bool{}
		for n := 1; n < 2+rng.IntN(25); n++ {
			id := int64(rng.IntN(4))
			c := schemas.Change{Op: []schemas.Op{schemas.Create, schemas.Update, schemas.Update, schemas.Update, schemas.Delete, schemas.Read}[rng.IntN(6)], Position: pos(1 + rng.IntN(40))}
			row := schemas.Row{
				schemas.IntCell(id), schemas.BytesCell(fmt.Appendf(nil, "a%v", c.Position.Major)),
				schemas.BytesCell(fmt.Appendf(nil, "b%v", c.Position.Major)), schemas.IntCell(int64(c.Position.Major)),
			}
			switch c.Op {
			case schemas.Delete:
				c.Before = schemas.Row{schemas.IntCell(id), {}, {}, {}}
			case schemas.Update, schemas.Create:
				for col := 1; col < 3; col++ {
					if rng.IntN(2) == 0 {
						row[col] = schemas.Cell{}
					}
				}
				if c.Op == schemas.Update && rng.IntN(4) == 0 {
					since[id] = int(c.Position.Major)
				}
				if c.Op == schemas.Update && (row[1].Kind == schemas.Unset || row[2].Kind == schemas.Unset) && since[id] <= int(c.Position.Major) {
					c.Since = pos(since[id])
				}
				c.After = row
			default:
				c.After = row
			}
			if used[c.Position] {
				continue // one position is one change
			}
			used[c.Position] = true
			w.add(b, int32(rng.IntN(2)), c)
			read64++
			f := register.FromChange(&c, 4)
			if prior, ok := want[id]; ok {
				f = register.Fold(prior, f)
			}
			want[id] = f
		}
		l := load(t, b, w.core(schemas.ModeMerge), nil)
		got := read(t, l.Rows, 4)
		if l.Counts.Read != read64 || l.Counts.Folded != read64-int64(len(want)) || len(got) != len(want) {
			t.Fatalf("seed %d: counts %+v, %d staged, want %d read, %d keys", seed, l.Counts, len(got), read64, len(want))
		}
		for _, g := range got {
			f := want[g.row[0].Int]
			if g.Op != f.Op || g.Pos != f.Pos || g.Born != f.Born {
				t.Fatalf("seed %d: key %d is %+v, want %+v", seed, g.row[0].Int, g.Folded, f)
			}
			for col := 1; col < 4 && f.Op != schemas.Delete; col++ {
				at := g.Pos
				if g.At != nil {
					at = g.At[col]
				}
				if at != f.At[col] || !at.IsZero() && !reflect.DeepEqual(g.row[col], f.V[col]) {
					t.Fatalf("seed %d: key %d column %d is %+v at %s, want %+v at %s", seed, g.row[0].Int, col, g.row[col], at, f.V[col], f.At[col])
				}
			}
		}
		l.Rows.Reset()
		if again := read(t, l.Rows, 4); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: after Reset %+v, before %+v", seed, again, got)
		}
	}
}

func change(op schemas.Op, n int, id int64, text string) schemas.Change {
	row := schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte(text))}
	c := schemas.Change{Op: op, Position: pos(n), TsUs: int64(n)}
	if op == schemas.Delete {
		c.Before = row
	} else {
		c.After = row
	}
	return c
}

func textWorld(t *testing.T) *world {
	return newWorld(t, schemas.Column{Name: "x", Type: schemas.Type{Kind: schemas.String}})
}

func TestHistoryKeepsEveryChangeOnce(t *testing.T) {
	w := textWorld(t)
	b := New(wide)
	w.add(b, 0, change(schemas.Create, 1, 7, "one"))
	w.add(b, 0, change(schemas.Update, 2, 7, "two"))
	w.add(b, 0, change(schemas.Create, 1, 7, "one"))
	w.add(b, 0, change(schemas.Delete, 3, 7, "two"))
	l := load(t, b, w.core(schemas.ModeAppend), nil)
	var got []string
	for _, s := range read(t, l.Rows, 2) {
		got = append(got, fmt.Sprintf("%s@%d %s ts=%d", s.Op, s.Pos.Major, s.row[1].Bytes, s.TsUs))
	}
	if want := []string{"c@1 one ts=1", "u@2 two ts=2", "d@3 two ts=3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if l.Counts.Read != 4 || l.Counts.Folded != 1 {
		t.Errorf("counts %+v", l.Counts)
	}
}

// What the log left out of an update is not known in a history either (G10), and
// null is.
func TestHistoryTellsWhatWasLeftOut(t *testing.T) {
	text := schemas.Type{Kind: schemas.String}
	w := newWorld(t, schemas.Column{Name: "x", Type: text, Unsettable: true}, schemas.Column{Name: "y", Type: text, Unsettable: true})
	row := func(x, y schemas.Cell) schemas.Row { return schemas.Row{schemas.IntCell(7), x, y} }
	b, known := New(wide), schemas.BytesCell([]byte("known"))
	w.add(b, 0, schemas.Change{Op: schemas.Create, Position: pos(1), After: row(known, schemas.NullCell())})
	w.add(b, 0, schemas.Change{Op: schemas.Update, Position: pos(2), After: row(schemas.Cell{}, schemas.NullCell()), Since: pos(1)})
	w.add(b, 0, schemas.Change{Op: schemas.Update, Position: pos(3), After: row(known, schemas.Cell{}), Since: pos(1)})
	w.add(b, 0, schemas.Change{Op: schemas.Delete, Position: pos(4), Before: row(known, schemas.Cell{})})
	var got []string
	for _, s := range read(t, load(t, b, w.core(schemas.ModeAppend), nil).Rows, 3) {
		left := ""
		for col, at := range s.At {
			if at.IsZero() {
				left += w.schema.Columns[col].Name
			} else if at != s.Pos {
				t.Errorf("column %d of the change at %v was carried at %v", col, s.Pos, at)
			}
		}
		got = append(got, fmt.Sprintf("%s@%d left out %q", s.Op, s.Pos.Major, left))
	}
	if want := []string{`c@1 left out ""`, `u@2 left out "x"`, `u@3 left out "y"`, `d@4 left out ""`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A table that has some of the batch already takes the rest alone (G11).
func TestLoadSkipsWhatTheTableHas(t *testing.T) {
	w := textWorld(t)
	b := New(wide)
	for n := range 6 {
		w.add(b, int32(n%2), change(schemas.Create, n+1, int64(n), "v"))
	}
	l := load(t, b, w.core(schemas.ModeMerge), map[int32]int64{0: 2, 1: 3})
	if got := read(t, l.Rows, 2); len(got) != 1 || got[0].row[0].Int != 4 {
		t.Errorf("staged %+v", got)
	}
	want := []schemas.Range{{Topic: "t", Partition: 0, From: 2, To: 3}}
	if !slices.Equal(l.Ranges, want) || l.Counts.Read != 1 || l.PosMin != pos(5) || l.PosMax != pos(5) {
		t.Errorf("ranges %+v, counts %+v, %s to %s", l.Ranges, l.Counts, l.PosMin, l.PosMax)
	}
}

func TestControlRecords(t *testing.T) {
	b := New(wide)
	mark := func(op schemas.Op, n int) {
		b.Saw(0, int64(n), time.Unix(100, 0))
		b.Mark(0, &avro.Envelope{Op: op, Pos: pos(n), TsUs: int64(n)}, false)
	}
	mark(schemas.Watermark, 5)
	mark(schemas.Watermark, 3) // a repeat
	if !b.ProgressOnly() || b.Empty() {
		t.Error("watermarks alone are more than progress")
	}
	if m := b.Marks()[0]; m.Complete.Pos != pos(5) || m.Complete.Time.UnixMicro() != 5 {
		t.Errorf("mark %+v", m)
	}
	b.Wait()
	if !b.Due().IsZero() {
		t.Error("progress alone is due")
	}
	mark(schemas.SnapshotDone, 4)
	mark(schemas.SnapshotDone, 2)
	mark(schemas.Truncate, 6)
	l := load(t, b, textWorld(t).core(schemas.ModeMerge), nil)
	if b.ProgressOnly() || l.Marks[0].SnapshotDone != pos(4) || l.Truncate != pos(6) || l.Counts.Read != 0 {
		t.Errorf("load %+v", l)
	}
}

// A source that has never been at the end of its log knows no time; 1970 would
// open windows.
func TestAWatermarkWithoutATime(t *testing.T) {
	b := New(Limits{})
	b.Mark(0, &avro.Envelope{Op: schemas.Watermark, Pos: pos(3)}, false)
	if m := b.Marks()[0]; m.Complete.Pos != pos(3) || !m.Complete.Time.IsZero() {
		t.Errorf("got %+v", m)
	}
	b.Mark(0, &avro.Envelope{Op: schemas.Watermark, Pos: pos(4), TsUs: 7}, false)
	b.Mark(0, &avro.Envelope{Op: schemas.Watermark, Pos: pos(5)}, false)
	if m := b.Marks()[0]; m.Complete.Pos != pos(5) || !m.Complete.Time.Equal(time.UnixMicro(7)) {
		t.Errorf("got %+v", m)
	}
}

// A row that was read again for its key's sake is no sign of a snapshot: none
// would ever end.
func TestARereadIsNoSnapshot(t *testing.T) {
	for _, reread := range []bool{false, true} {
		w, b := textWorld(t), New(Limits{})
		w.reread = reread
		w.add(b, 0, change(schemas.Read, 1, 1, "a"))
		if l := load(t, b, w.core(schemas.ModeMerge), nil); l.Snapshotting == reread {
			t.Errorf("reread %v: a snapshot runs: %v", reread, l.Snapshotting)
		}
	}
}

func TestLimits(t *testing.T) {
	w := textWorld(t)
	b := New(Limits{Rows: 2, Bytes: 1 << 20, Age: time.Second})
	w.add(b, 0, change(schemas.Create, 1, 1, "v"))
	if b.Full() || !b.Due().Equal(time.Unix(101, 0)) {
		t.Errorf("full %v, due %v", b.Full(), b.Due())
	}
	w.add(b, 0, change(schemas.Create, 2, 1, "v"))
	if !b.Full() {
		t.Error("not full at its rows")
	}
	b = New(Limits{Rows: 1000, Bytes: 5000, Age: time.Second})
	w.add(b, 0, change(schemas.Create, 1, 1, string(make([]byte, 6000))))
	if !b.Full() {
		t.Error("not full at its bytes")
	}
	b.Reset()
	if b.Full() || !b.Empty() || !b.Due().IsZero() || b.Size() != 0 {
		t.Error("not empty after Reset")
	}
}

// A table that nobody changes sends watermarks for ever, and an hour of many
// changes passes: neither may keep memory (G13).
func TestQuietTableHoldsNoMemory(t *testing.T) {
	w := textWorld(t)
	b := New(Limits{Rows: 1 << 20, Bytes: 1 << 30, Age: time.Second})
	for n := range 5000 {
		w.add(b, 0, change(schemas.Create, n+1, int64(n), "some text of some length, so that it takes more than one chunk of the arena"))
	}
	b.Reset()
	for n := range 5000 {
		b.Keep(Record{Value: make([]byte, 100)}, n%2 == 0)
		b.Saw(0, int64(5000+n), time.Now())
		b.Mark(0, &avro.Envelope{Op: schemas.Watermark, Pos: pos(6000 + n)}, false)
		if n%5 == 4 {
			b.Wait()
		}
	}
	if b.Size() > 0 || len(b.arena.chunks) > 1 || len(b.entries.chunks) > 0 || len(b.index.slots) > leastSlots {
		t.Errorf("it holds %d bytes, %d chunks and %d entries", b.Size(), len(b.arena.chunks), len(b.entries.chunks)*chunkEntries)
	}
	if got := load(t, b, w.core(schemas.ModeMerge), nil); len(got.Ranges) != 1 || got.Ranges[0].To != 10_000 || got.Marks[0].Complete.Pos != pos(10_999) {
		t.Errorf("ranges %v, marks %v", got.Ranges, got.Marks)
	}
}

func TestColumnsOfOlderSchemasAreNull(t *testing.T) {
	w := textWorld(t)
	table := w.core(schemas.ModeMerge)
	table.Columns = append(slices.Clone(table.Columns), schemas.Column{Name: "new", Type: schemas.Type{Kind: schemas.Int}})
	b := New(wide)
	w.add(b, 0, change(schemas.Create, 1, 1, "v"))
	got := read(t, load(t, b, table, nil).Rows, 3)
	if len(got) != 1 || got[0].At != nil || got[0].row[2].Kind == schemas.Present {
		t.Errorf("staged %+v", got)
	}
}

func TestUnionWidens(t *testing.T) {
	dec := func(p, s int) schemas.Type {
		return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s}
	}
	integer, text := schemas.Type{Kind: schemas.Int}, schemas.Type{Kind: schemas.String}
	for _, c := range []struct{ x, y, want schemas.Type }{
		{integer, integer, integer},
		{integer, dec(10, 2), dec(21, 2)},
		{dec(10, 2), integer, dec(21, 2)},
		{dec(10, 2), dec(8, 4), dec(12, 4)},
		{integer, text, schemas.Type{}},
		{text, dec(3, 1), schemas.Type{}},
	} {
		got, err := Union([]schemas.Column{{Name: "c", Type: c.x}}, &Schema{Columns: []schemas.Column{{Name: "c", Type: c.y}, {Name: "d", Type: text}}})
		if c.want == (schemas.Type{}) {
			if err == nil {
				t.Errorf("%s and %s became %v", c.x, c.y, got)
			}
			continue
		}
		if err != nil || len(got) != 2 || got[0].Type != c.want {
			t.Errorf("%s and %s: %v, %v, want %s", c.x, c.y, got, err, c.want)
		}
	}
}

func TestWidenedValues(t *testing.T) {
	w := newWorld(t, schemas.Column{Name: "n", Type: schemas.Type{Kind: schemas.Int}},
		schemas.Column{Name: "d", Type: schemas.Type{Kind: schemas.Decimal, Precision: 6, Scale: 2}})
	table := w.core(schemas.ModeMerge)
	table.Columns = slices.Clone(table.Columns)
	wideType := schemas.Type{Kind: schemas.Decimal, Precision: 25, Scale: 4}
	table.Columns[0].Type, table.Columns[1].Type, table.Columns[2].Type = wideType, wideType, wideType
	b := New(wide)
	twos := schemas.AppendTwos(nil, -1250)
	w.add(b, 0, schemas.Change{Op: schemas.Create, Position: pos(1), After: schemas.Row{schemas.IntCell(3), schemas.IntCell(-7), schemas.BytesCell(twos)}})
	w.add(b, 0, schemas.Change{Op: schemas.Delete, Position: pos(2), Before: schemas.Row{schemas.IntCell(4), schemas.NullCell(), schemas.NullCell()}})
	got := read(t, load(t, b, table, nil).Rows, 3)
	text := func(c schemas.Cell) string { return string(schemas.AppendDecimalText(nil, c.Bytes, 4)) }
	if len(got) != 2 || text(got[0].row[0]) != "3.0000" || text(got[0].row[1]) != "-7.0000" || text(got[0].row[2]) != "-12.5000" || text(got[1].row[0]) != "4.0000" {
		t.Errorf("staged %+v", got)
	}
}

func BenchmarkFold(b *testing.B) {
	t := &testing.T{}
	w := textWorld(t)
	in := New(wide)
	discard := discardSink{}
	b.ReportAllocs()
	for b.Loop() {
		in.Reset()
		for n := range 1000 {
			w.add(in, 0, change(schemas.Update, n+1, int64(n%500), "some text of a usual length"))
		}
		l, _ := in.Load("t", w.core(schemas.ModeMerge), nil)
		for {
			if _, err := l.Rows.Next(discard); err != nil {
				break
			}
		}
	}
}

// BenchmarkFoldLarge folds a batch of the usual size, of changes that were decoded
// before, and reads its rows.
func BenchmarkFoldLarge(b *testing.B) {
	const size = 70_000
	w := textWorld(&testing.T{})
	changes := make([]Change, size)
	for n := range changes {
		id := int64(n*7919%size) / 2                                                                                  // of two changes each, far apart
		changes[n] = w.decoded(w.record(int32(id%4), change(schemas.Update, n+1, id, "some text of a usual length"))) //nolint:gosec // small
		changes[n].Before = nil
	}
	in := New(wide)
	for b.Loop() {
		in.Reset()
		for i := range changes {
			c := &changes[i]
			in.Keep(c.Record, true)
			in.Saw(c.Partition, c.Offset, time.Unix(100, 0))
			in.Add(c)
		}
		l, _ := in.Load("t", w.core(schemas.ModeMerge), nil)
		for {
			if _, err := l.Rows.Next(discardSink{}); err != nil {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/change")
}

type discardSink struct{}

func (discardSink) Null(int)           {}
func (discardSink) Int(int, int64)     {}
func (discardSink) Float(int, float64) {}
func (discardSink) Bytes(int, []byte)  {}
