package duckdb

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// synthetic makes rows of ten columns without allocating, so that what is
// measured is the loader.
type synthetic struct {
	first, n, at int
	among        int // not zero: keys lie scattered among so many
	pos          uint64
	out          warehouse.Folded
	name         []byte
	amount       []byte
}

func (r *synthetic) Reset() { r.at = 0 }

func (r *synthetic) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if r.at == r.n {
		return nil, io.EOF
	}
	id := int64(r.first + r.at)
	if r.among > 0 {
		id = id * 7_368_787 % int64(r.among) // a prime: no key comes twice
	}
	r.name = fmt.Appendf(r.name[:0], "customer number %d", id%1000)
	r.amount = schemas.AppendTwos(r.amount[:0], id*7)
	sink.Int(0, id)
	sink.Bytes(1, r.name)
	sink.Bytes(2, r.amount)
	sink.Int(3, 1_700_000_000_000_000+id*1_000_000)
	sink.Int(4, id%20000)
	sink.Int(5, id%2)
	sink.Float(6, float64(id)/3)
	sink.Bytes(7, []byte(`{"a": 1}`))
	sink.Bytes(8, r.name)
	sink.Null(9)
	r.at++
	r.out = warehouse.Folded{Op: schemas.Update, Pos: schemas.Position{Epoch: 1, Major: r.pos, Seq: uint32(r.at)}} //nolint:gosec // small
	return &r.out, nil
}

func syntheticTable(unsettable bool) warehouse.CoreTable {
	k := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	t := warehouse.CoreTable{Name: "core.bench", Mode: schemas.ModeMerge, Key: []string{"id"}, EventTimes: []string{"at"}, Columns: []schemas.Column{
		{Name: "id", Type: k(schemas.Int)},
		{Name: "name", Type: k(schemas.String), Unsettable: unsettable},
		{Name: "amount", Type: schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}},
		{Name: "at", Type: k(schemas.Timestamp)},
		{Name: "day", Type: k(schemas.Date)},
		{Name: "ok", Type: k(schemas.Bool)},
		{Name: "ratio", Type: k(schemas.Float)},
		{Name: "doc", Type: k(schemas.JSON), Unsettable: unsettable},
		{Name: "note", Type: k(schemas.String), Unsettable: unsettable},
		{Name: "extra", Type: k(schemas.String), Unsettable: unsettable},
	}}
	return t
}

// BenchmarkLoad measures whole loads of ten columns, committed: of new rows, and
// of as many updates of a table of a million.
func BenchmarkLoad(b *testing.B) {
	for _, unsettable := range []bool{false, true} {
		for _, rows := range []int{1, 1000, 100_000} {
			for _, update := range []bool{false, true} {
				b.Run(fmt.Sprintf("unsettable=%v/update=%v/rows=%d", unsettable, update, rows), func(b *testing.B) {
					benchmarkLoad(b, syntheticTable(unsettable), rows, update)
				})
			}
		}
	}
}

// BenchmarkScatteredUpdates measures small loads into tables that are large: a few
// keys of all. What they cost besides the time is the CPU of all threads, and the
// checkpoints to come.
func BenchmarkScatteredUpdates(b *testing.B) {
	for _, table := range []int{300_000, 3_000_000} {
		for _, rows := range []int{20, 500} {
			b.Run(fmt.Sprintf("table=%d/rows=%d", table, rows), func(b *testing.B) {
				benchmarkUpdates(b, table, rows)
			})
		}
	}
}

func benchmarkUpdates(b *testing.B, size, rows int) {
	table := syntheticTable(false)
	load := loadsInto(b, table)
	load(&synthetic{n: size})
	begun := testkit.CPUTime()
	for i := 0; b.Loop(); i++ {
		load(&synthetic{first: i * rows, n: rows, among: size})
	}
	b.ReportMetric(float64((testkit.CPUTime()-begun).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func benchmarkLoad(b *testing.B, table warehouse.CoreTable, rows int, update bool) {
	load := loadsInto(b, table)
	const million = 1_000_000
	if update {
		load(&synthetic{n: million})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ { // the million is made once
		if first := i * rows; update {
			load(&synthetic{first: first * 17 % (million - rows), n: rows})
		} else {
			load(&synthetic{first: first, n: rows})
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// loadsInto makes a warehouse with the table, and gives what loads rows into it.
func loadsInto(b *testing.B, table warehouse.CoreTable) func(*synthetic) {
	w, err := Open(b.Context(), filepath.Join(b.TempDir(), FileName), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.Close() })
	if err := w.Ensure(b.Context(), table); err != nil {
		b.Fatal(err)
	}
	head, err := w.Acquire(b.Context(), table.Name, "t", "i")
	if err != nil {
		b.Fatal(err)
	}
	return func(rows *synthetic) {
		head.Load++
		rows.pos = uint64(head.Load) //nolint:gosec // small
		batch := &warehouse.Batch{
			Table: table, Epoch: head.Epoch, Load: head.Load, Partitions: 1, StartedAt: time.Now(),
			Rows: rows, Counts: schemas.RowCounts{Read: int64(rows.n)},
		}
		if _, err := w.Load(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
