package bigquery

import (
	"fmt"
	"io"
	"testing"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// scalars is a table of n columns, and an event of it as it lies on Kafka.
func scalars(b *testing.B, n int) (*sqlgen.Core, warehouse.CoreTable, *avro.Decoder, []byte) {
	b.Helper()
	d := sqlgen.BigQuery()
	source := &schemas.Table{Source: "shop", DB: "shop", Schema: "public", Name: "wide", Topic: "shop.public.wide", Generation: 1, Key: []int{0}}
	var row schemas.Row
	kinds := []schemas.Type{
		kindOf(schemas.Int), kindOf(schemas.String), kindOf(schemas.Timestamp), kindOf(schemas.Bool), kindOf(schemas.Float), decimal(12, 2), kindOf(schemas.Date),
	}
	c := &sqlgen.Core{Dialect: d, Name: sqlgen.Name{Dataset: "core", Table: "wide"}, Mode: schemas.ModeMerge}
	table := warehouse.CoreTable{Name: "core.wide", Mode: schemas.ModeMerge, Key: []string{"c0"}}
	for i := range n {
		col := schemas.Column{Name: fmt.Sprintf("c%d", i), Type: kinds[i%len(kinds)]}
		source.Columns = append(source.Columns, col)
		table.Columns = append(table.Columns, col)
		c.Columns = append(c.Columns, sqlgen.Column{Name: col.Name, Type: d.Held(col.Type), Key: i == 0, Staged: true})
		switch col.Type.Kind {
		case schemas.String:
			row = append(row, schemas.BytesCell([]byte("customer 0017")))
		case schemas.Decimal:
			row = append(row, schemas.BytesCell(schemas.AppendTwos(nil, 1_234_567)))
		case schemas.Float:
			row = append(row, schemas.FloatCell(0.25))
		case schemas.Timestamp:
			row = append(row, schemas.IntCell(1_767_225_600_000_000+int64(i)))
		default:
			row = append(row, schemas.IntCell(int64(i%2)))
		}
	}
	enc, err := avro.NewEncoder(source, "bench", 1, 2)
	if err != nil {
		b.Fatal(err)
	}
	value, err := enc.AppendValue(nil, &schemas.Change{Table: source, Op: schemas.Create, After: row, Position: at(1), TsUs: 1})
	if err != nil {
		b.Fatal(err)
	}
	dec, err := avro.NewDecoder(avro.ValueSchema(source))
	if err != nil {
		b.Fatal(err)
	}
	return c, table, dec, value[avro.HeaderLen:]
}

// decoding hands out one event for ever, or as often as left says.
type decoding struct {
	dec      *avro.Decoder
	body     []byte
	cols     []int
	envelope avro.Envelope
	fold     warehouse.Folded
	left     int // zero: for ever; else one more than there are
}

func (d *decoding) Reset() {}

func (d *decoding) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	switch d.left {
	case 0:
	case 1:
		return nil, io.EOF
	default:
		d.left--
	}
	if err := d.dec.Envelope(d.body, &d.envelope); err != nil {
		return nil, err
	}
	return &d.fold, d.dec.Row(d.envelope.After, d.cols, sink)
}

// BenchmarkRow goes from an event's Avro bytes to the row of a request. The aim
// is half a microsecond for the event of 12 columns, which has 31 scalars with
// those of the envelope, and no allocation.
func BenchmarkRow(b *testing.B) {
	for _, columns := range []int{12, 31} {
		c, table, dec, body := scalars(b, columns)
		e, _, err := newEncoder(c, table, "core.wide-1-1", 1_767_225_600_000_000)
		if err != nil {
			b.Fatal(err)
		}
		rows := newDecoding(dec, body, columns)
		e.sink.buf = make([]byte, 0, 64<<10)
		run := func(name string, next func() error) {
			b.Run(fmt.Sprintf("columns=%d/%s", columns, name), func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if cap(e.sink.buf)-len(e.sink.buf) < 4<<10 {
						e.sink.buf = e.sink.buf[:0]
					}
					if err := next(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("avro to proto", func() error { _, err := e.next(rows); return err })
		run("avro alone", func() error { _, err := rows.Next(nowhere{}); return err })
	}
}

func newDecoding(dec *avro.Decoder, body []byte, columns int) *decoding {
	d := &decoding{dec: dec, body: body, cols: make([]int, columns), fold: warehouse.Folded{Op: schemas.Create, Pos: at(1), Born: at(1)}}
	for i := range d.cols {
		d.cols[i] = i
	}
	return d
}

type nowhere struct{}

func (nowhere) Null(int)           {}
func (nowhere) Int(int, int64)     {}
func (nowhere) Float(int, float64) {}
func (nowhere) Bytes(int, []byte)  {}
