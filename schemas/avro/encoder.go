package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"millrace/schemas"
)

// Encoder writes the change events of one version of a table. It holds no state
// between calls and may be used by many goroutines.
type Encoder struct {
	table      *schemas.Table
	row        program
	key        program
	unsettable []int
	keyHeader  []byte
	header     []byte
	stream     []byte // the constant part of source, for a change of the log
	snapshot   []byte // and for a row that the snapshot read
}

// NewEncoder compiles the table for the named connector. The ids are those of
// KeySchema and ValueSchema in the registry. It refuses a table whose schema
// could not be written or read back.
func NewEncoder(t *schemas.Table, connector string, keyID, valueID uint32) (*Encoder, error) {
	e := &Encoder{table: t, keyHeader: AppendHeader(nil, keyID), header: AppendHeader(nil, valueID)}
	var err error
	if e.row, err = compile(t.Columns); err != nil {
		return nil, fmt.Errorf("compile table %s: %w", t.ID(), err)
	}
	seen := make(map[string]bool, len(t.Columns))
	for i, c := range t.Columns {
		if c.Name == "" || !utf8.ValidString(c.Name) || seen[c.Name] {
			return nil, fmt.Errorf("compile table %s: column %q: the name is empty, not UTF-8 or not the only one", t.ID(), c.Name)
		}
		seen[c.Name] = true
		if c.Unsettable {
			e.unsettable = append(e.unsettable, i)
		}
	}
	for _, ord := range t.Key {
		if ord < 0 || ord >= len(e.row) {
			return nil, fmt.Errorf("compile table %s: key column %d of %d", t.ID(), ord, len(e.row))
		}
		e.key = append(e.key, e.row[ord])
	}
	var source []byte
	for _, s := range []string{connector, t.Source, t.DB, t.Schema, t.Name} {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("compile table %s: %q is not UTF-8", t.ID(), s)
		}
		source = appendString(source, s)
	}
	e.stream = appendString(slices.Clip(source), "false")
	e.snapshot = appendString(slices.Clip(source), "true")
	return e, nil
}

// AppendKey appends the record key of a row, with its wire header. For a table
// without a key it appends nothing. On an error dst is as it was.
func (e *Encoder) AppendKey(dst []byte, row schemas.Row) ([]byte, error) {
	if len(e.key) == 0 {
		return dst, nil
	}
	if len(row) != len(e.row) {
		return dst, e.fail(errCells(len(row), len(e.row)))
	}
	out := append(dst, e.keyHeader...)
	for k, ord := range e.table.Key {
		if row[ord].Kind == schemas.Unset {
			return dst, e.fail(e.key[k].errAt(errors.New("the key is not carried")))
		}
		var err error
		if out, err = e.key[k].append(out, &row[ord]); err != nil {
			return dst, e.fail(err)
		}
	}
	return out, nil
}

// AppendValue appends the change event, with its wire header. The names of the
// columns that are Unset in After go into unset, and Since beside them: without
// unset columns nothing older can fill in, and Since is left out. Unset columns
// of Before are null there, and nothing names them. On an error dst is as it
// was: a cell that is no value of its column never becomes bytes.
func (e *Encoder) AppendValue(dst []byte, c *schemas.Change) ([]byte, error) {
	if err := e.accepts(c); err != nil {
		return dst, e.fail(err)
	}
	out := append(dst, e.header...)
	out = append(out, 2, byte(c.Op), 2*schemas.PositionLen)
	out, _ = c.Position.AppendText(out) // never fails
	out = appendLong(out, c.TsUs)
	out = e.appendUnset(out, c)
	var err error
	if out, err = e.appendRow(out, c.After, true); err != nil {
		return dst, e.fail(fmt.Errorf("after: %w", err))
	}
	if out, err = e.appendRow(out, c.Before, false); err != nil {
		return dst, e.fail(fmt.Errorf("before: %w", err))
	}
	if c.Op == schemas.Read {
		out = append(out, e.snapshot...)
	} else {
		out = append(out, e.stream...)
	}
	out = appendOptional(out, string(c.Token))
	out = appendOptional(out, c.TxID)
	return appendTransaction(out, c), nil
}

func (e *Encoder) fail(err error) error { return fmt.Errorf("encode %s: %w", e.table.ID(), err) }

func errCells(got, want int) error { return fmt.Errorf("row has %d cells, want %d", got, want) }

// accepts checks what a change is, apart from its cells.
func (e *Encoder) accepts(c *schemas.Change) error {
	switch {
	case c.Table != e.table && (c.Table == nil || !sameVersion(c.Table, e.table)):
		return errors.New("the change is of another version of the table")
	case c.Position.IsZero():
		return fmt.Errorf("op %s has no position", c.Op)
	case c.Op == schemas.Delete:
		if c.After != nil {
			return errors.New("a delete has an after row")
		}
	case c.Op.IsControl():
		if c.After != nil || c.Before != nil {
			return fmt.Errorf("control record %s has a row", c.Op)
		}
	case !c.Op.IsData():
		return fmt.Errorf("%q is no op", byte(c.Op))
	case c.After == nil:
		return fmt.Errorf("op %s has no after row", c.Op)
	}
	if !utf8.ValidString(string(c.Token)) || !utf8.ValidString(c.TxID) {
		return errors.New("token and transaction id are UTF-8")
	}
	return nil
}

func sameVersion(a, b *schemas.Table) bool {
	return a.ID() == b.ID() && a.Generation == b.Generation && slices.Equal(a.Columns, b.Columns) && slices.Equal(a.Key, b.Key)
}

func (e *Encoder) appendUnset(dst []byte, c *schemas.Change) []byte {
	n := 0
	for _, ord := range e.unsettable {
		if ord < len(c.After) && c.After[ord].Kind == schemas.Unset {
			n++
		}
	}
	if n == 0 {
		return append(dst, 0, branchNull)
	}
	dst = appendLong(dst, int64(n))
	for _, ord := range e.unsettable {
		if ord < len(c.After) && c.After[ord].Kind == schemas.Unset {
			dst = appendString(dst, e.row[ord].name)
		}
	}
	dst = append(dst, 0)
	if c.Since.IsZero() {
		return append(dst, branchNull)
	}
	dst = append(dst, branchValue, 2*schemas.PositionLen)
	dst, _ = c.Since.AppendText(dst) // never fails
	return dst
}

// appendRow appends a nullable row. Null stands for a cell that is Unset: in
// after the column must be one that can be, in before any may be.
func (e *Encoder) appendRow(dst []byte, row schemas.Row, after bool) ([]byte, error) {
	if row == nil {
		return append(dst, branchNull), nil
	}
	if len(row) != len(e.row) {
		return dst, errCells(len(row), len(e.row))
	}
	dst = append(dst, branchValue)
	for k := range row {
		s, c := &e.row[k], &row[k]
		if c.Kind == schemas.Unset && after && !s.unsettable {
			return dst, s.errAt(errNotCarried)
		}
		var err error
		if dst, err = s.append(dst, c); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func appendTransaction(dst []byte, c *schemas.Change) []byte {
	if c.TxID == "" {
		return append(dst, branchNull)
	}
	dst = appendString(append(dst, branchValue), c.TxID)
	if c.TxOrder == 0 {
		dst = append(dst, branchNull)
	} else {
		dst = appendLong(append(dst, branchValue), c.TxOrder)
	}
	return append(dst, branchNull) // no source knows the order within one table
}

var (
	errNotCarried = errors.New("the value is not carried, and the column is not one that can be unset")
	errBytesCell  = errors.New("the cell holds a number, the column wants bytes")
	errIntCell    = errors.New("the cell holds bytes, the column wants a number")
)

// append appends a nullable value. Unset is written as null.
func (s *step) append(dst []byte, c *schemas.Cell) ([]byte, error) {
	if c.Kind != schemas.Present {
		return append(dst, branchNull), nil
	}
	if s.kind.InBytes() {
		return s.appendBytes(dst, c)
	}
	if c.Bytes != nil {
		return dst, s.errAt(errIntCell)
	}
	switch s.kind {
	case schemas.Bool:
		if c.Int&^1 != 0 {
			return dst, s.errAt(errBool)
		}
		return append(dst, branchValue, byte(c.Int)), nil
	case schemas.Float:
		return binary.LittleEndian.AppendUint64(append(dst, branchValue), uint64(c.Int)), nil //nolint:gosec // bits
	case schemas.Date, schemas.Time:
		if !s.inRange(c.Int) {
			return dst, s.errAt(errRange)
		}
	}
	return appendLong(append(dst, branchValue), c.Int), nil
}

func (s *step) appendBytes(dst []byte, c *schemas.Cell) ([]byte, error) {
	if c.Int != 0 {
		return dst, s.errAt(errBytesCell)
	}
	b := c.Bytes
	switch s.kind {
	case schemas.Decimal:
		if b = schemas.MinimalTwos(b); !s.fits(b) {
			return dst, s.errAt(schemas.ErrDecimalRange)
		}
	case schemas.String, schemas.JSON:
		if !utf8.Valid(b) {
			return dst, s.errAt(errUTF8)
		}
	}
	return appendBytes(append(dst, branchValue), b), nil
}
