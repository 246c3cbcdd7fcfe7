package avro

import (
	"fmt"

	"millrace/schemas"
)

// KeyDecoder reads the record keys that were written with one schema. It may be
// used by many goroutines.
type KeyDecoder struct {
	columns []schemas.Column
	types   []schemas.Type
	key     program
}

// NewKeyDecoder compiles the schema that the writer used.
func NewKeyDecoder(schema string) (*KeyDecoder, error) {
	columns, err := ParseKeySchema(schema)
	if err != nil {
		return nil, err
	}
	d := &KeyDecoder{columns: columns, types: make([]schemas.Type, len(columns))}
	for i, c := range columns {
		d.types[i] = c.Type
	}
	if d.key, err = compile(columns); err != nil {
		return nil, err
	}
	return d, nil
}

// Columns returns the key's columns, in key order. They are shared.
func (d *KeyDecoder) Columns() []schemas.Column { return d.columns }

// Types returns the types of the key's columns, in key order, as
// schemas.AppendKeyValues wants them. They are shared.
func (d *KeyDecoder) Types() []schemas.Type { return d.types }

// Cells appends the values of a key, without its wire header, in key order.
// They lie in body. All of body is checked.
func (d *KeyDecoder) Cells(dst []schemas.Cell, body []byte) ([]schemas.Cell, error) {
	dst, err := d.key.appendCells(dst, body)
	if err != nil {
		return dst, fmt.Errorf("read key: %w", err)
	}
	return dst, nil
}
