package bigquery

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"millrace/internal/testkit"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// scalars is a table of n columns of every common kind, and events of it as they
// lie on Kafka: of ten, six update and carry both images, four create.
type scalars struct {
	core   *sqlgen.Core
	table  warehouse.CoreTable
	dec    *avro.Decoder
	bodies [][]byte
	cols   []int
}

func newScalars(b *testing.B, n int) *scalars {
	b.Helper()
	d, r := sqlgen.BigQuery(), rand.New(rand.NewPCG(42, 42))
	source := &schemas.Table{Source: "shop", DB: "shop", Schema: "public", Name: "wide", Topic: "shop.public.wide", Generation: 1, Key: []int{0}}
	kinds := []schemas.Type{
		kindOf(schemas.Int), kindOf(schemas.String), kindOf(schemas.Timestamp), kindOf(schemas.Bool), kindOf(schemas.Float), decimal(18, 4), kindOf(schemas.String),
	}
	s := &scalars{
		core:  &sqlgen.Core{Dialect: d, Name: sqlgen.Name{Dataset: "core", Table: "wide"}, Mode: schemas.ModeMerge},
		table: warehouse.CoreTable{Name: "core.wide", Mode: schemas.ModeMerge, Key: []string{"c0"}},
	}
	for i := range n {
		col := schemas.Column{Name: fmt.Sprintf("c%d", i), Type: kinds[i%len(kinds)]}
		source.Columns = append(source.Columns, col)
		s.table.Columns = append(s.table.Columns, col)
		s.core.Columns = append(s.core.Columns, sqlgen.Column{Name: col.Name, Type: d.Held(col.Type), Key: i == 0, Staged: true})
		s.cols = append(s.cols, i)
	}
	row := func() (row schemas.Row) {
		for i, col := range source.Columns {
			cell := schemas.IntCell(r.Int64N(1e9))
			switch col.Type.Kind {
			case schemas.String:
				cell = schemas.BytesCell([]byte(fmt.Sprintf("user%07d@example.com", r.IntN(1e7))[:4+r.IntN(20)]))
			case schemas.Decimal:
				cell = schemas.BytesCell(schemas.AppendTwos(nil, r.Int64N(1e9)-1e7))
			case schemas.Float:
				cell = schemas.FloatCell(r.Float64() * 100)
			case schemas.Timestamp:
				cell = schemas.IntCell(1767225600000000 + r.Int64N(200*86400e6))
			case schemas.Bool:
				cell = schemas.IntCell(r.Int64N(2))
			}
			if i > 0 && r.IntN(12) == 0 {
				cell = schemas.NullCell()
			}
			row = append(row, cell)
		}
		return row
	}
	enc, err := avro.NewEncoder(source, "bench", 1, 2)
	if err != nil {
		b.Fatal(err)
	}
	for i := range uint64(1000) {
		c := &schemas.Change{
			Table: source, Op: schemas.Create, After: row(), TsUs: 1767225600000000 + r.Int64N(200*86400e6),
			Position: schemas.Position{Epoch: 1, Major: r.Uint64N(1e13), Minor: r.Uint64N(1e13), Seq: uint32(i)}, //nolint:gosec // small
		}
		if r.IntN(10) < 6 {
			c.Op, c.Before = schemas.Update, row()
		}
		value, err := enc.AppendValue(nil, c)
		if err != nil {
			b.Fatal(err)
		}
		s.bodies = append(s.bodies, value[avro.HeaderLen:])
	}
	if s.dec, err = avro.NewDecoder(avro.ValueSchema(source)); err != nil {
		b.Fatal(err)
	}
	return s
}

// rows hands the events out, n of them, or for ever if that is negative.
func (s *scalars) rows(n int) *decoding { return &decoding{of: s, n: n, left: n} }

// decoding is the rows of events, from their bytes.
type decoding struct {
	of       *scalars
	n, left  int
	at       int
	envelope avro.Envelope
	fold     warehouse.Folded
}

func (d *decoding) Reset() { d.left = d.n }

func (d *decoding) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if d.left == 0 {
		return nil, io.EOF
	}
	d.left--
	e := &d.envelope
	if err := d.of.dec.Envelope(d.of.bodies[d.at%len(d.of.bodies)], e); err != nil {
		return nil, err
	}
	d.at++
	d.fold = warehouse.Folded{Op: e.Op, Pos: e.Pos}
	if e.Op == schemas.Create {
		d.fold.Born = e.Pos
	}
	return &d.fold, d.of.dec.Row(e.After, d.of.cols, sink)
}

// BenchmarkRow goes from an event's Avro bytes to the row of a request. The aim
// is half a microsecond for the event of 12 columns, which has some 31 scalars
// with those of the envelope and of the old row, and no allocation. Beside it
// stand the decoding alone, and copying the event's bytes.
func BenchmarkRow(b *testing.B) {
	for _, columns := range []int{12, 31} {
		s := newScalars(b, columns)
		e, _, err := newEncoder(s.core, s.table, "core.wide-1-1", 1_767_225_600_000_000)
		if err != nil {
			b.Fatal(err)
		}
		rows := s.rows(-1)
		buffer := make([]byte, 0, bufferSize)
		e.sink.more = func(int) []byte { return buffer }
		for _, c := range []struct {
			name string
			next func() error
		}{
			{"avro to proto", func() error { _, err := e.next(rows); return err }},
			{"avro alone", func() error { _, err := rows.Next(nowhere{}); return err }},
			{"copy", func() error {
				if len(buffer) > bufferSize/2 {
					buffer = buffer[:0]
				}
				buffer = append(buffer, s.bodies[rows.at%len(s.bodies)]...)
				rows.at++
				return nil
			}},
		} {
			b.Run(fmt.Sprintf("columns=%d/%s", columns, c.name), func(b *testing.B) {
				b.ReportAllocs()
				began := testkit.CPUTime()
				for b.Loop() {
					if err := c.next(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(testkit.CPUTime()-began)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

type nowhere struct{}

func (nowhere) Null(int)           {}
func (nowhere) Int(int, int64)     {}
func (nowhere) Float(int, float64) {}
func (nowhere) Bytes(int, []byte)  {}
