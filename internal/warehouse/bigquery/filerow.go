package bigquery

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// fileEncoder writes the rows of a batch as the records of an Avro file, whose
// fields are the staging table's columns.
type fileEncoder struct {
	*encoder // what it knows of the batch; its messages are not written
	sink     fileSink
	schema   []byte
	tail     []byte // the fields that name the batch
}

func newFileEncoder(c *sqlgen.Core, table warehouse.CoreTable, batch string, stagedAtUs int64) (*fileEncoder, error) {
	of, _, err := newEncoder(c, table, batch, stagedAtUs)
	if err != nil {
		return nil, err
	}
	e := &fileEncoder{encoder: of}
	e.sink.at = make([]fileSpan, len(table.Columns))
	var fields []avroField
	add := func(name string, t schemas.Type) {
		fields = append(fields, avroField{Name: name, Type: [2]any{"null", avroType(t)}})
	}
	for i, col := range table.Columns {
		at := coretable.ColumnIndex(c.Columns, col.Name)
		have := c.Held(c.Columns[at].Type)
		e.sink.cols = append(e.sink.cols, newFileColumn(&of.sink.cols[i], have))
		add(fmt.Sprintf("v%d", at), have)
	}
	text := schemas.Type{Kind: schemas.String}
	for _, a := range of.at {
		add(fmt.Sprintf("at%d", coretable.ColumnIndex(c.Columns, table.Columns[a.batch].Name)), text)
	}
	add("op", text)
	add("pos", text)
	if of.merge {
		add("born", text)
	} else {
		add("ts", schemas.Type{Kind: schemas.Timestamp})
		add("unset", text)
	}
	add(sqlgen.ColBatch, text)
	add(sqlgen.ColStagedAt, schemas.Type{Kind: schemas.Timestamp})
	e.tail = appendAvroText(nil, batch)
	e.tail = binary.AppendVarint(append(e.tail, avroValue), stagedAtUs)
	e.schema, err = json.Marshal(map[string]any{"type": "record", "name": "Row", "fields": fields})
	if err != nil {
		return nil, fmt.Errorf("encode the file's schema: %w", err)
	}
	return e, nil
}

// avroField is a field of a file's records. All are unions, of which null is
// the first branch: so are the table's columns.
type avroField struct {
	Name string `json:"name"`
	Type [2]any `json:"type"`
}

// avroType is the Avro type that a load job makes a column's of.
func avroType(t schemas.Type) any {
	type annotated struct {
		Type      string `json:"type"`
		Logical   string `json:"logicalType,omitempty"`
		SQL       string `json:"sqlType,omitempty"`
		Precision int    `json:"precision,omitempty"`
		Scale     int    `json:"scale,omitempty"`
	}
	switch t.Kind {
	case schemas.Bool:
		return "boolean"
	case schemas.Int:
		return "long"
	case schemas.Float:
		return "double"
	case schemas.Bytes:
		return "bytes"
	case schemas.Date:
		return annotated{Type: "int", Logical: "date"}
	case schemas.Time:
		return annotated{Type: "long", Logical: "time-micros"}
	case schemas.Timestamp:
		return annotated{Type: "long", Logical: "timestamp-micros"}
	case schemas.DateTime:
		return annotated{Type: "long", Logical: "local-timestamp-micros"}
	case schemas.Decimal:
		return annotated{Type: "bytes", Logical: "decimal", Precision: t.Precision, Scale: t.Scale}
	case schemas.JSON:
		return annotated{Type: "string", SQL: "JSON"}
	}
	return "string"
}

// append appends the next row. It returns what Rows returns at the end, and
// errRefused for a row that is not for a file.
func (e *fileEncoder) append(dst []byte, rows warehouse.Rows) ([]byte, error) {
	e.sink.begin()
	f, err := rows.Next(&e.sink)
	if err != nil {
		return dst, err
	}
	if e.sink.unfit {
		return dst, errRefused
	}
	onlyKey := e.merge && f.Op == schemas.Delete
	for i := range e.sink.at {
		span := e.sink.at[i]
		key := e.sink.cols[i].key
		switch {
		case span.to == 0:
			e.nullKeys = e.nullKeys || key
			dst = append(dst, 0)
		case onlyKey && !key:
			dst = append(dst, 0)
		default:
			dst = append(dst, e.sink.buf[span.from:span.to]...)
		}
	}
	if dst, err = e.finish(dst, f); err != nil {
		return dst, fmt.Errorf("row at %s: %w", f.Pos, err)
	}
	return append(dst, e.tail...), nil
}

// finish writes what the row is, as encoder.finish does.
func (e *fileEncoder) finish(dst []byte, f *warehouse.Folded) ([]byte, error) {
	if err := e.carried(f); err != nil {
		return dst, err
	}
	for _, a := range e.at {
		switch {
		case f.Op == schemas.Delete:
			dst = append(dst, avroValue, 0)
		case f.At == nil || f.At[a.batch] == f.Pos:
			dst = append(dst, 0)
		default:
			dst = appendAvroPosition(dst, f.At[a.batch])
		}
	}
	dst = append(dst, avroValue, 2, byte(f.Op))
	dst = appendAvroPosition(dst, f.Pos)
	if e.merge {
		return appendAvroPosition(dst, f.Born), nil
	}
	dst = binary.AppendVarint(append(dst, avroValue), f.TsUs)
	e.text = e.unsetText(e.text[:0], f)
	return appendAvroText(dst, e.text), nil
}

func appendAvroPosition(dst []byte, p schemas.Position) []byte {
	at := len(dst) + 2
	dst, _ = p.AppendText(append(dst, avroValue, 0)) // it never fails
	dst[at-1] = byte(2 * (len(dst) - at))            // at most 51: one byte as a varint
	return dst
}
