package avro

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"

	"millrace/schemas"
)

// The event of the benchmarks: twelve nullable columns, six in ten an update
// with both images, so about 31 scalars with those of the envelope.
func benchTable() *schemas.Table {
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	amount := schemas.Type{Kind: schemas.Decimal, Precision: 18, Scale: 4}
	return &schemas.Table{
		Source: "shop-eu1", DB: "shop", Schema: "public", Name: "orders", Topic: "shop.eu1.public.orders", Generation: 1, Key: []int{0},
		Columns: []schemas.Column{
			{Name: "id", Type: kind(schemas.Int)},
			{Name: "customer_id", Type: kind(schemas.Int)},
			{Name: "status", Type: kind(schemas.String)},
			{Name: "email", Type: kind(schemas.String)},
			{Name: "note", Type: kind(schemas.String), Unsettable: true},
			{Name: "amount", Type: amount},
			{Name: "tax", Type: amount},
			{Name: "created_at", Type: kind(schemas.Timestamp)},
			{Name: "updated_at", Type: kind(schemas.Timestamp)},
			{Name: "is_paid", Type: kind(schemas.Bool)},
			{Name: "score", Type: kind(schemas.Float)},
			{Name: "quantity", Type: kind(schemas.Int)},
		},
	}
}

func benchChanges(n int) (*schemas.Table, []*schemas.Change) {
	t, r := benchTable(), rand.New(rand.NewPCG(42, 42))
	text := func(s string) schemas.Cell { return schemas.BytesCell([]byte(s)) }
	statuses := strings.Fields("PENDING PAID SHIPPED DELIVERED CANCELLED")
	words := strings.Fields("express gift fragile leave at door call before arrival warehouse north rush")
	or := func(c schemas.Cell, nulls int) schemas.Cell {
		if r.IntN(12) < nulls {
			return schemas.NullCell()
		}
		return c
	}
	row := func() schemas.Row {
		var note []string
		for range 3 + r.IntN(5) {
			note = append(note, words[r.IntN(len(words))])
		}
		created := 1767225600000000 + r.Int64N(200*86400e6)
		return schemas.Row{
			schemas.IntCell(r.Int64N(1e9)), schemas.IntCell(r.Int64N(1e7)), text(statuses[r.IntN(5)]),
			text(fmt.Sprintf("user%07d@example.com", r.IntN(1e7))), or(text(strings.Join(note, " ")), 4),
			schemas.BytesCell(schemas.AppendTwos(nil, r.Int64N(1e9)-1e7)), schemas.BytesCell(schemas.AppendTwos(nil, r.Int64N(1e8))),
			schemas.IntCell(created), or(schemas.IntCell(created+r.Int64N(1e12)), 1), schemas.IntCell(int64(r.IntN(2))),
			or(schemas.FloatCell(r.Float64()*100), 3), schemas.IntCell(r.Int64N(1000)),
		}
	}
	out := make([]*schemas.Change, n)
	for i := range out {
		c := &schemas.Change{
			Table: t, TsUs: 1767225600000000 + r.Int64N(200*86400e6),
			Position: schemas.Position{Epoch: 1, Major: r.Uint64N(1e13), Minor: r.Uint64N(1e13), Seq: uint32(i)}, //nolint:gosec // small
			TxID:     fmt.Sprint(r.IntN(1e9)), TxOrder: 1 + r.Int64N(100),
		}
		switch k := r.IntN(10); {
		case k < 6:
			c.Op, c.Before, c.After = schemas.Update, row(), row()
		case k < 9:
			c.Op, c.After = schemas.Create, row()
		default:
			c.Op, c.Before = schemas.Delete, row()
		}
		out[i] = c
	}
	return t, out
}

func benchValues(b *testing.B) (*schemas.Table, []*schemas.Change, [][]byte) {
	b.Helper()
	t, changes := benchChanges(1000)
	e, _ := newCodec(b, t)
	bodies, total := make([][]byte, len(changes)), 0
	for i, c := range changes {
		v, err := e.AppendValue(nil, c)
		if err != nil {
			b.Fatal(err)
		}
		bodies[i] = v[HeaderLen:]
		total += len(v)
	}
	b.SetBytes(int64(total / len(changes)))
	return t, changes, bodies
}

// columnsSink keeps values as a warehouse's vectors do.
type columnsSink struct {
	row   int
	ints  [][]int64
	bytes [][]byte
	null  [][]bool
}

func newColumnsSink(cols int) *columnsSink {
	s := &columnsSink{}
	for range cols {
		s.ints = append(s.ints, make([]int64, 1000))
		s.bytes = append(s.bytes, make([]byte, 0, 100_000))
		s.null = append(s.null, make([]bool, 1000))
	}
	return s
}

func (s *columnsSink) reset() {
	s.row = 0
	for i := range s.bytes {
		s.bytes[i] = s.bytes[i][:0]
	}
}
func (s *columnsSink) Null(col int)             { s.null[col][s.row] = true }
func (s *columnsSink) Int(col int, v int64)     { s.ints[col][s.row] = v }
func (s *columnsSink) Float(col int, v float64) { s.ints[col][s.row] = int64(v) }
func (s *columnsSink) Bytes(col int, b []byte) {
	s.bytes[col] = append(s.bytes[col], b...)
	s.ints[col][s.row] = int64(len(s.bytes[col]))
}

// BenchmarkDecode31 reads an event whole: envelope, every row into columns, and
// all the rest checked.
func BenchmarkDecode31(b *testing.B) {
	table, _, bodies := benchValues(b)
	_, d := newCodec(b, table)
	cols := identity(len(table.Columns))
	sink := newColumnsSink(len(cols))
	var e Envelope
	row := func(row []byte) {
		if row == nil {
			return
		}
		if err := d.Row(row, cols, sink); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("loader", func(b *testing.B) { // what a load needs: up to the end of after
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if sink.row = i % len(bodies); sink.row == 0 {
				sink.reset()
			}
			if err := d.Envelope(bodies[sink.row], &e); err != nil {
				b.Fatal(err)
			}
			row(e.After)
		}
	})
	b.Run("both images", func(b *testing.B) {
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if sink.row = i % len(bodies); sink.row == 0 {
				sink.reset()
			}
			if err := d.Envelope(bodies[sink.row], &e); err != nil {
				b.Fatal(err)
			}
			row(e.After)
			before, err := d.Before(&e)
			if err != nil {
				b.Fatal(err)
			}
			row(before)
		}
	})
	b.Run("validate", func(b *testing.B) {
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := d.Validate(bodies[i%len(bodies)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("envelope", func(b *testing.B) {
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := d.Envelope(bodies[i%len(bodies)], &e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("goavro", func(b *testing.B) {
		codec, err := goavro.NewCodec(ValueSchema(table))
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, _, err := codec.NativeFromBinary(bodies[i%len(bodies)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncode31(b *testing.B) {
	table, changes, bodies := benchValues(b)
	enc, _ := newCodec(b, table)
	b.Run("value", func(b *testing.B) {
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		dst := make([]byte, 0, 4096)
		for i := 0; b.Loop(); i++ {
			if _, err := enc.AppendValue(dst, changes[i%len(changes)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("goavro", func(b *testing.B) {
		codec, err := goavro.NewCodec(ValueSchema(table))
		if err != nil {
			b.Fatal(err)
		}
		natives := make([]map[string]any, len(changes))
		for i, c := range changes {
			natives[i] = nativeEvent(table, c)
		}
		b.SetBytes(meanLen(bodies))
		b.ReportAllocs()
		dst := make([]byte, 0, 4096)
		for i := 0; b.Loop(); i++ {
			if _, err := codec.BinaryFromNative(dst, natives[i%len(natives)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func meanLen(bodies [][]byte) int64 {
	total := 0
	for _, b := range bodies {
		total += len(b)
	}
	return int64(total / len(bodies))
}

func identity(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
