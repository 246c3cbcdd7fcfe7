package avro

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"millrace/schemas"
)

// Decoder reads the change events that were written with one schema. It holds
// no state between calls and may be used by many goroutines.
//
// Every error of its methods is about the bytes: they are no value of the
// schema, or no change, and belong into the dead-letter topic (G12).
type Decoder struct {
	description string
	columns     []schemas.Column
	row         program
	ordinals    map[string]int // of the columns that can be unset
	source      []plain
	transaction []plain
}

// NewDecoder compiles the schema that the writer used.
func NewDecoder(schema string) (*Decoder, error) {
	e, err := parseEnvelope(schema)
	if err != nil {
		return nil, err
	}
	d := &Decoder{description: e.description, columns: e.columns, source: e.source, transaction: e.transaction, ordinals: make(map[string]int)}
	if d.row, err = compile(e.columns); err != nil {
		return nil, err
	}
	for i, c := range e.columns {
		if c.Unsettable {
			d.ordinals[c.Name] = i
		}
	}
	return d, nil
}

// Description is the source's comment on the table; empty if it has none.
func (d *Decoder) Description() string { return d.description }

// Columns returns the columns of a row, by ordinal. They are shared.
func (d *Decoder) Columns() []schemas.Column { return d.columns }

// Envelope is a change event whose rows are still bytes. What it points to lies
// in the event's body, except Unset, which the next Envelope call overwrites.
type Envelope struct {
	Op    schemas.Op
	Pos   schemas.Position
	TsUs  int64
	Unset []int // ordinals of the columns whose value in After is not known
	Since schemas.Position
	After []byte // nil if there is none
	// AfterAt is where After begins in the event's body.
	AfterAt int

	rest []byte // from before on
}

// Envelope reads an event, without its wire header, up to the end of its after
// row. All of that is checked, so Row cannot fail on After. What follows is not
// looked at: see Before, Origin and Validate.
func (d *Decoder) Envelope(body []byte, e *Envelope) error {
	e.After, e.rest, e.Unset, e.Since = nil, nil, e.Unset[:0], schemas.Position{}
	// op and its length are two bytes whatever it is, and those of pos follow.
	const posAt = 3
	if len(body) < posAt || body[0] != 2 {
		return errors.New("op: want one letter")
	}
	var ok bool
	if e.Op, ok = schemas.ParseOp(body[1:2]); !ok {
		return fmt.Errorf("op: %q is none", body[1:2])
	}
	begin, i := span(body, posAt-1)
	if i < 0 {
		return fmt.Errorf("pos: %w", spanError(begin))
	}
	var err error
	if e.Pos, err = schemas.ParsePosition(body[begin:i]); err != nil {
		return fmt.Errorf("pos: %w", err)
	}
	if e.Pos.IsZero() {
		return errors.New("pos: is empty")
	}
	if e.TsUs, i = long(body, i); i < 0 {
		return fmt.Errorf("ts_us: %w", longError(i))
	}
	if i < len(body) && body[i] == 0 {
		i++
	} else if i, err = d.unset(body, i, e); err != nil {
		return fmt.Errorf("unset: %w", err)
	}
	if i, err = since(body, i, e); err != nil {
		return fmt.Errorf("since: %w", err)
	}
	after, end, err := d.image(body, i, e.Unset)
	if err != nil {
		return fmt.Errorf("after: %w", err)
	}
	if wantsAfter := e.Op == schemas.Create || e.Op == schemas.Update || e.Op == schemas.Read; wantsAfter != (after != nil) {
		if wantsAfter {
			return fmt.Errorf("after: is null beside op %s", e.Op)
		}
		return fmt.Errorf("after: is not null beside op %s", e.Op)
	}
	if after == nil && len(e.Unset) > 0 {
		return fmt.Errorf("unset: names columns beside op %s", e.Op)
	}
	e.After, e.AfterAt, e.rest = after, end-len(after), body[end:]
	return nil
}

// unset reads the array of column names. An Avro array is blocks of items; a
// negative count is followed by the block's size.
func (d *Decoder) unset(b []byte, i int, e *Envelope) (int, error) {
	for {
		n, next := long(b, i)
		if next < 0 {
			return 0, longError(next)
		}
		i = next
		if n == 0 {
			return i, nil
		}
		blockEnd := -1
		if n < 0 {
			var size int64
			if size, i = long(b, i); i < 0 {
				return 0, longError(i)
			}
			if size < 0 || size > int64(len(b)-i) {
				return 0, errLength
			}
			n, blockEnd = -n, i+int(size)
		}
		if n < 0 || n > int64(len(d.row)-len(e.Unset)) {
			return 0, errors.New("has more names than the row has columns")
		}
		for range n {
			begin, end := span(b, i)
			if end < 0 {
				return 0, spanError(begin)
			}
			ord, ok := d.ordinals[string(b[begin:end])]
			if !ok || slices.Contains(e.Unset, ord) {
				return 0, fmt.Errorf("names %q, which cannot be unset or is named before", clip(b[begin:end]))
			}
			e.Unset = append(e.Unset, ord)
			i = end
		}
		if blockEnd >= 0 && i != blockEnd {
			return 0, errLength
		}
	}
}

func since(b []byte, i int, e *Envelope) (int, error) {
	if i >= len(b) {
		return 0, errShort
	}
	switch b[i] {
	case branchNull:
		return i + 1, nil
	case branchValue:
		begin, end := span(b, i+1)
		if end < 0 {
			return 0, spanError(begin)
		}
		var err error
		e.Since, err = schemas.ParsePosition(b[begin:end])
		return end, err
	}
	return 0, errUnion
}

// image checks a nullable row and returns its bytes, not nil if it is there,
// and its end.
func (d *Decoder) image(b []byte, i int, unset []int) (row []byte, end int, err error) {
	if i >= len(b) {
		return nil, 0, errShort
	}
	switch b[i] {
	case branchNull:
		return nil, i + 1, nil
	case branchValue:
		if end, err = d.row.check(b, i+1, unset); err != nil {
			return nil, 0, err
		}
		return b[i+1 : end : end], end, nil
	}
	return nil, 0, errUnion
}

// Before checks and returns the before row of an event that Envelope has read,
// or nil if there is none. Row cannot fail on it.
func (d *Decoder) Before(e *Envelope) ([]byte, error) {
	row, _, err := d.before(e)
	return row, err
}

func (d *Decoder) before(e *Envelope) ([]byte, int, error) {
	row, end, err := d.image(e.rest, 0, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("before: %w", err)
	}
	if row != nil && e.Op.IsControl() {
		return nil, 0, fmt.Errorf("before: is not null beside op %s", e.Op)
	}
	return row, end, nil
}

// Row writes a row of Envelope or Before to sink: the column with ordinal k as
// column cols[k] of the sink, or not at all if that is negative. There is one
// entry in cols per column. Of other bytes the structure alone is checked.
func (d *Decoder) Row(span []byte, cols []int, sink Sink) error {
	if len(cols) != len(d.row) {
		return fmt.Errorf("write row: %d columns are mapped, the row has %d", len(cols), len(d.row))
	}
	end, err := d.row.row(span, cols, sink)
	if err != nil {
		return fmt.Errorf("write row: %w", err)
	}
	if end != len(span) {
		return fmt.Errorf("write row: %w", errTrailing)
	}
	return nil
}

// Cells appends the values of a row of Envelope or Before. They lie in span.
// Columns that were not carried are null: see Envelope.Unset.
func (d *Decoder) Cells(dst []schemas.Cell, span []byte) ([]schemas.Cell, error) {
	return d.row.appendCells(dst, span)
}

func (p program) appendCells(dst []schemas.Cell, b []byte) ([]schemas.Cell, error) {
	end, err := p.check(b, 0, nil)
	if err != nil {
		return dst, err
	}
	if end != len(b) {
		return dst, errTrailing
	}
	return p.cells(dst, b), nil
}

// Validate checks all of an event, without its wire header, to its last byte.
func (d *Decoder) Validate(body []byte) error {
	var e Envelope
	if err := d.Envelope(body, &e); err != nil {
		return err
	}
	var o Origin
	return d.Origin(&e, &o)
}

// Origin is what an event says about where it comes from. The texts lie in the
// event's body.
type Origin struct {
	Connector, Name, DB, Schema, Table []byte
	Snapshot                           bool
	Token, TxID                        []byte // nil if not given
	TxOrder                            int64  // 0 if not given
}

// Origin reads the rest of an event that Envelope has read: it checks before,
// and nothing may follow.
func (d *Decoder) Origin(e *Envelope, o *Origin) error {
	*o = Origin{}
	_, i, err := d.before(e)
	if err != nil {
		return err
	}
	b := e.rest
	if i, err = plainRecord(d.source, b, i, o.source); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if i >= len(b) {
		return fmt.Errorf("transaction: %w", errShort)
	}
	branch := b[i]
	i++
	switch branch {
	case branchNull:
	case branchValue:
		if i, err = plainRecord(d.transaction, b, i, o.transaction); err != nil {
			return fmt.Errorf("transaction: %w", err)
		}
	default:
		return fmt.Errorf("transaction: %w", errUnion)
	}
	if i != len(b) {
		return errTrailing
	}
	return nil
}

func (o *Origin) source(name string, text []byte, _ int64) {
	switch name {
	case "connector":
		o.Connector = text
	case "name":
		o.Name = text
	case "db":
		o.DB = text
	case "schema":
		o.Schema = text
	case "table":
		o.Table = text
	case "snapshot":
		o.Snapshot = string(text) == "true"
	case "token":
		o.Token = text
	case "txid":
		o.TxID = text
	}
}

func (o *Origin) transaction(name string, _ []byte, v int64) {
	if name == "total_order" {
		o.TxOrder = v
	}
}

func plainRecord(fields []plain, b []byte, i int, set func(name string, text []byte, v int64)) (int, error) {
	for k := range fields {
		f := &fields[k]
		if f.nullable {
			if i >= len(b) {
				return 0, fmt.Errorf("%s: %w", f.name, errShort)
			}
			branch := b[i]
			i++
			if branch == branchNull {
				continue
			}
			if branch != branchValue {
				return 0, fmt.Errorf("%s: %w", f.name, errUnion)
			}
		}
		if !f.text {
			var v int64
			if v, i = long(b, i); i < 0 {
				return 0, fmt.Errorf("%s: %w", f.name, longError(i))
			}
			set(f.name, nil, v)
			continue
		}
		begin, end := span(b, i)
		if end < 0 {
			return 0, fmt.Errorf("%s: %w", f.name, spanError(begin))
		}
		if !utf8.Valid(b[begin:end]) {
			return 0, fmt.Errorf("%s: %w", f.name, errUTF8)
		}
		set(f.name, b[begin:end], 0)
		i = end
	}
	return i, nil
}

// clip keeps an error short.
func clip(b []byte) []byte { return b[:min(len(b), 80)] }
