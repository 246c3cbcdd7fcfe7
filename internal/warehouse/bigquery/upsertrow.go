package bigquery

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// What BigQuery reads beside a row's columns, where it takes changes by key.
const (
	changeType     = "_CHANGE_TYPE"
	changeSequence = "_CHANGE_SEQUENCE_NUMBER"
	changeUpsert   = "UPSERT"
	changeDelete   = "DELETE"
)

// encoderOf makes the encoder of the batch's rows: for the staging table, or, of a
// table in ModeUpsert, for the table itself.
func encoderOf(c *sqlgen.Core, b *warehouse.Batch, batch string, stagedAtUs int64) (*encoder, *descriptorpb.DescriptorProto, error) {
	if c.Mode == schemas.ModeUpsert {
		return newUpsertEncoder(c, b.Table, b.Load, stagedAtUs)
	}
	return newEncoder(c, b.Table, batch, stagedAtUs)
}

// newUpsertEncoder makes the encoder of a load's rows and the descriptor of its
// messages, which has every column of the table: one that the batch does not have
// is null.
func newUpsertEncoder(c *sqlgen.Core, table warehouse.CoreTable, load, loadedAtUs int64) (*encoder, *descriptorpb.DescriptorProto, error) {
	e := &encoder{table: table, merge: true, upsert: true}
	desc := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	add := func(name string, t schemas.Type) int {
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(int32(len(desc.GetField()) + 1)), //nolint:gosec // a column's ordinal
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: protoType(c.Held(t).Kind).Enum(),
		}
		desc.Field = append(desc.Field, f)
		return len(desc.GetField())
	}
	names := fieldNames(c.Columns)
	for i, col := range c.Columns {
		add(names[i], col.Type)
		if names[i] != col.Name {
			options := &descriptorpb.FieldOptions{}
			proto.SetExtension(options, storagepb.E_ColumnName, col.Name)
			desc.Field[i].Options = options
		}
	}
	e.sink.cols = make([]rowColumn, len(table.Columns))
	for i, col := range table.Columns {
		at := coretable.ColumnIndex(c.Columns, col.Name)
		if at < 0 {
			return nil, nil, fmt.Errorf("column %q is not in the table", col.Name)
		}
		have := c.Columns[at]
		e.sink.cols[i] = newRowColumn(i, col.Name, have.Key, col.Type, c.Held(have.Type).Kind, at+1)
		if have.Key {
			e.keys++
		} else {
			e.values = append(e.values, i)
		}
	}
	text, integer := schemas.Type{Kind: schemas.String}, schemas.Type{Kind: schemas.Int}
	e.pos = newField(add(sqlgen.ColPos, text), wireBytes)
	loads := newField(add(sqlgen.ColLoad, integer), wireVarint)
	loadedAt := newField(add(sqlgen.ColLoadedAt, schemas.Type{Kind: schemas.Timestamp}), wireVarint)
	e.change = newField(add(changeType, text), wireBytes)
	e.sequence = newField(add(changeSequence, text), wireBytes)
	var tail rowSink
	tail.varint(&loads, uint64(load))          //nolint:gosec // positive
	tail.varint(&loadedAt, uint64(loadedAtUs)) //nolint:gosec // its bits
	e.tail = tail.buf
	return e, desc, nil
}

// identifier is what protobuf takes as a field's name.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// fieldNames are the columns' own names where they can be those of fields, and
// others, that no column has, where they cannot.
func fieldNames(columns []sqlgen.Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
		if identifier.MatchString(c.Name) {
			continue
		}
		names[i] = fmt.Sprintf("column_%d", i)
		for slices.ContainsFunc(columns, func(c sqlgen.Column) bool { return strings.EqualFold(c.Name, names[i]) }) {
			names[i] += "_"
		}
	}
	return names
}

const (
	unwhole = "the change does not carry it, and a table of mode upsert takes whole rows only: " +
		"set REPLICA IDENTITY FULL at the source, or mode: merge and another name with as:"
	nullKey = "it is null, and a table of mode upsert finds its rows by their keys: take another key with key:, or mode: merge and another name with as:"
)

// whole reports whether the row at hand can replace the one of its key. It can if
// its newest change alone says all of it: what an older change of the batch
// carried may have been changed in between, by a change that was loaded before.
func (e *encoder) whole(f *warehouse.Folded) bool {
	known := len(e.found)
	note := func(col int, reason string) {
		e.found = append(e.found, warehouse.RefusedRow{Row: e.row - 1, Pos: f.Pos, Column: e.table.Columns[col].Name, Reason: reason})
	}
	if len(e.sink.keys) < e.keys {
		for i := range e.sink.cols {
			if c := &e.sink.cols[i]; c.key && !e.sink.hasKey(c) {
				note(i, nullKey)
			}
		}
	}
	if f.At != nil && f.Op != schemas.Delete {
		for _, i := range e.values {
			if f.At[i] != f.Pos {
				note(i, unwhole)
			}
		}
	}
	return len(e.found) == known
}

// hasKey reports whether the current row has a value in the key's column.
func (s *rowSink) hasKey(c *rowColumn) bool {
	return slices.ContainsFunc(s.keys, func(k span) bool { return bytes.HasPrefix(s.buf[k.from:k.to], c.tag.bytes[:c.tag.n]) })
}

// finishUpsert writes what the row is: its position orders it among those of its
// key (G2).
func (e *encoder) finishUpsert(f *warehouse.Folded) {
	s := &e.sink
	kind := changeUpsert
	if f.Op == schemas.Delete {
		kind = changeDelete
	}
	e.text = append(e.text[:0], kind...)
	s.raw(&e.change, e.text)
	s.position(&e.sequence, f.Pos)
	s.position(&e.pos, f.Pos)
}

// columnSaid is the column of the batch whose name, or whose field's, the service
// says, or -1. Of two, the longer name is meant.
func (e *encoder) columnSaid(said string) int {
	found, most := -1, 0
	for i, c := range e.sink.cols {
		for _, name := range []string{c.name, fmt.Sprintf("column_%d", c.number-1)} {
			if len(name) > most && strings.Contains(said, name) {
				found, most = i, len(name)
			}
		}
	}
	return found
}
