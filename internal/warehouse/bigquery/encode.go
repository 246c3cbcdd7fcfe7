package bigquery

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// encoder writes the rows of a batch as messages of the staging table.
type encoder struct {
	sink   rowSink
	table  warehouse.CoreTable
	merge  bool
	upsert bool
	at     []atField // columns that may be unset
	always []int     // batch ordinals of columns that are never unset
	values []int     // batch ordinals of columns that a delete does not carry

	keys     int
	nullKeys bool // a key column was null in some row

	op, pos, born, ts, unset field
	change, sequence         field  // of an upsert
	tail                     []byte // the fields that name the batch

	found []warehouse.RefusedRow // in the rows so far; their Row is the row's
	row   int64                  // how many there were
	fold  *warehouse.Folded      // of the row at hand
	text  []byte
}

type atField struct {
	batch int
	field field
}

// newEncoder makes the encoder of a batch and the descriptor of its messages.
// The fields are those of the whole staging table, in its order: another batch
// of the layout has the same descriptor.
func newEncoder(c *sqlgen.Core, table warehouse.CoreTable, batch string, stagedAtUs int64) (*encoder, *descriptorpb.DescriptorProto, error) {
	e := &encoder{table: table, merge: c.Mode != schemas.ModeAppend}
	names, types := c.AllStaged().StageColumns()
	names = append(names, sqlgen.ColBatch, sqlgen.ColStagedAt)
	types = append(types, schemas.Type{Kind: schemas.String}, schemas.Type{Kind: schemas.Timestamp})
	number := make(map[string]int, len(names))
	desc := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i, name := range names {
		number[name] = i + 1
		desc.Field = append(desc.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(int32(i + 1)), //nolint:gosec // a column's ordinal
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: protoType(c.Held(types[i]).Kind).Enum(),
		})
	}
	e.sink.cols = make([]rowColumn, len(table.Columns))
	for i, col := range table.Columns {
		at := coretable.ColumnIndex(c.Columns, col.Name)
		if at < 0 {
			return nil, nil, fmt.Errorf("column %q is not in the table", col.Name)
		}
		have := c.Columns[at]
		e.sink.cols[i] = newRowColumn(i, col.Name, have.Key, col.Type, c.Held(have.Type).Kind, number[fmt.Sprintf("v%d", at)])
		if have.Key {
			e.keys++
			continue
		}
		e.values = append(e.values, i)
		switch {
		case !have.Unsettable:
			e.always = append(e.always, i)
		case e.merge:
			e.at = append(e.at, atField{i, newField(number[fmt.Sprintf("at%d", at)], wireBytes)})
		}
	}
	text := func(name string) field { return newField(number[name], wireBytes) }
	e.op, e.pos, e.born, e.unset = text("op"), text("pos"), text("born"), text("unset")
	e.ts = newField(number["ts"], wireVarint)
	named, stagedAt := text(sqlgen.ColBatch), newField(number[sqlgen.ColStagedAt], wireVarint)
	var tail rowSink
	tail.raw(&named, []byte(batch))
	tail.varint(&stagedAt, uint64(stagedAtUs)) //nolint:gosec // its bits
	e.tail = tail.buf
	return e, desc, nil
}

func protoType(k schemas.Kind) descriptorpb.FieldDescriptorProto_Type {
	switch k {
	case schemas.Bool:
		return descriptorpb.FieldDescriptorProto_TYPE_BOOL
	case schemas.Int, schemas.Timestamp:
		return descriptorpb.FieldDescriptorProto_TYPE_INT64
	case schemas.Date:
		return descriptorpb.FieldDescriptorProto_TYPE_INT32
	case schemas.Float:
		return descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	case schemas.Bytes:
		return descriptorpb.FieldDescriptorProto_TYPE_BYTES
	}
	return descriptorpb.FieldDescriptorProto_TYPE_STRING
}

// next writes the next row into the sink's buffer and returns it. The row is
// valid as long as the buffer is. It returns what Rows returns at the end.
func (e *encoder) next(rows warehouse.Rows) ([]byte, error) {
	s := &e.sink
	s.begin()
	f, err := rows.Next(s)
	if err != nil {
		return nil, err
	}
	e.fold = f
	e.row++
	if e.merge && f.Op == schemas.Delete {
		s.dropValues()
	}
	if len(s.refused) > 0 && !s.search {
		return nil, errRefused
	}
	for _, r := range s.refused {
		e.refuse(r.col, r.reason)
	}
	if e.upsert && s.err == nil && len(s.refused) == 0 && !e.whole(f) && !s.search {
		return nil, errRefused
	}
	if err := e.finish(f); err != nil {
		return nil, fmt.Errorf("row at %s: %w", f.Pos, err)
	}
	e.nullKeys = e.nullKeys || len(s.keys) < e.keys
	s.tail(e.tail)
	return s.buf[s.row:len(s.buf):len(s.buf)], nil
}

// finish writes what the row is, and checks that it keeps what its columns
// promise.
func (e *encoder) finish(f *warehouse.Folded) error {
	s := &e.sink
	if s.err != nil {
		return s.err
	}
	if e.upsert {
		e.finishUpsert(f)
		return nil
	}
	e.text = append(e.text[:0], byte(f.Op))
	s.raw(&e.op, e.text)
	s.position(&e.pos, f.Pos)
	if !e.merge {
		s.varint(&e.ts, uint64(f.TsUs)) //nolint:gosec // its bits
		e.text = e.unsetText(e.text[:0], f)
		s.raw(&e.unset, e.text)
		return nil
	}
	s.position(&e.born, f.Born)
	if err := e.carried(f); err != nil {
		return err
	}
	for i := range e.at {
		a := &e.at[i]
		switch {
		case f.Op == schemas.Delete:
			s.position(&a.field, schemas.Position{})
		case f.At == nil || f.At[a.batch] == f.Pos:
			// Null: its own position, which need not be written twice.
		default:
			s.position(&a.field, f.At[a.batch])
		}
	}
	return nil
}

// carried checks that the row has what its columns promise.
func (e *encoder) carried(f *warehouse.Folded) error {
	if !e.merge || f.At == nil || f.Op == schemas.Delete {
		return nil
	}
	for _, i := range e.always {
		if f.At[i] != f.Pos {
			return fmt.Errorf("column %q was not carried, and the table says that it always is", e.table.Columns[i].Name)
		}
	}
	return nil
}

// unsetText appends the text of _unset of a single change.
func (e *encoder) unsetText(dst []byte, f *warehouse.Folded) []byte {
	for _, i := range e.values {
		if f.At == nil && f.Op != schemas.Delete || f.At != nil && !f.At[i].IsZero() {
			continue
		}
		if len(dst) == 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, sqlgen.UnsetName(e.table.Columns[i].Name)...), ',')
	}
	return dst
}

// bounds are the least and the greatest staged values of key columns, as
// literals of the dialect.
func (e *encoder) bounds(c *sqlgen.Core) map[int][2]string {
	out := map[int][2]string{}
	if e.nullKeys {
		return out
	}
	for i := range e.sink.cols {
		col := &e.sink.cols[i]
		if !col.bounded || !col.seen {
			continue
		}
		at := coretable.ColumnIndex(c.Columns, col.name)
		switch col.held {
		case schemas.Int:
			out[at] = [2]string{string(appendInt(nil, col.least)), string(appendInt(nil, col.most))}
		case schemas.Date:
			day := func(v int64) string { return "DATE '" + string(appendDate(nil, v)) + "'" }
			out[at] = [2]string{day(col.least), day(col.most)}
		case schemas.Timestamp:
			instant := func(v int64) string { return "TIMESTAMP '" + string(appendDateTime(nil, v)) + "+00'" }
			out[at] = [2]string{instant(col.least), instant(col.most)}
		case schemas.String:
			if len(col.minTxt) <= maxBoundText && len(col.maxTxt) <= maxBoundText {
				out[at] = [2]string{c.Text(string(col.minTxt)), c.Text(string(col.maxTxt))}
			}
		}
	}
	return out
}

// maxBoundText keeps long keys out of the query's text.
const maxBoundText = 1024
