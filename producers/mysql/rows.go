package mysql

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"millrace/producers"
	"millrace/schemas"
)

// rowsReader walks over the row images of one event.
type rowsReader struct {
	op            schemas.Op
	first, second []byte // which columns the images carry; second of updates alone
	full          bool   // they carry all
	data          []byte
	token         schemas.Token
}

// openRows reads the head of a rows event. An event of MariaDB's is numbered
// table, flags, columns, and one bit per column and image; the images may be
// compressed.
func (s *source) openRows(e *replication.BinlogEvent, l *layout) (*rowsReader, error) {
	r := &rowsReader{token: schemas.Token(s.log.at.String())}
	compressed, extra := false, false
	switch e.Header.EventType {
	case replication.WRITE_ROWS_EVENTv1:
		r.op = schemas.Create
	case replication.UPDATE_ROWS_EVENTv1:
		r.op = schemas.Update
	case replication.DELETE_ROWS_EVENTv1:
		r.op = schemas.Delete
	case replication.WRITE_ROWS_EVENTv2:
		r.op, extra = schemas.Create, true
	case replication.UPDATE_ROWS_EVENTv2:
		r.op, extra = schemas.Update, true
	case replication.DELETE_ROWS_EVENTv2:
		r.op, extra = schemas.Delete, true
	case replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		r.op, compressed = schemas.Create, true
	case replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		r.op, compressed = schemas.Update, true
	case replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		r.op, compressed = schemas.Delete, true
	default:
		return nil, fmt.Errorf("event of type %s is not known", e.Header.EventType)
	}
	body := s.body(e)
	const head = 6 + 2 // table and flags
	if len(body) < head+2 {
		return nil, errShortRow
	}
	body = body[head:]
	if extra {
		size := int(binary.LittleEndian.Uint16(body)) // counts itself
		if size < 2 || len(body) < size {
			return nil, errShortRow
		}
		body = body[size:]
	}
	columns, _, n := gomysql.LengthEncodedInt(body)
	body = body[n:]
	if columns != uint64(len(l.columns)) {
		return nil, fmt.Errorf("it has %d columns, its table %d", columns, len(l.columns))
	}
	width := (len(l.columns) + 7) / 8
	cut := func() (bits []byte) {
		if len(body) < width {
			return nil
		}
		bits, body = body[:width], body[width:]
		return bits
	}
	r.first = cut()
	r.full = allSet(r.first, len(l.columns))
	if r.op == schemas.Update {
		r.second = cut()
		r.full = r.full && allSet(r.second, len(l.columns))
	}
	if !compressed {
		r.data = body
		return r, nil
	}
	var err error
	if len(body) < 2 {
		return nil, errShortRow
	}
	if r.data, err = gomysql.DecompressMariadbData(body); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return r, nil
}

func allSet(bits []byte, n int) bool {
	for i := range n {
		if !bitSet(bits, i) {
			return false
		}
	}
	return bits != nil
}

// row appends the changes of the next row.
func (s *source) row(t *tracked, r *rowsReader) error {
	table := t.table
	s.values.zeroNull = t.cfg.ZeroDates == "null"
	var before, after schemas.Row
	var err error
	if r.op != schemas.Create {
		if before, r.data, err = s.values.image(t.layout, r.data, r.first, table.Key, true); err != nil {
			return rowFault(table, before, s.log.at, err)
		}
	}
	if r.op != schemas.Delete {
		present := r.second
		if r.op == schemas.Create {
			present = r.first
		}
		if after, r.data, err = s.values.image(t.layout, r.data, present, table.Key, false); err != nil {
			return rowFault(table, after, s.log.at, err)
		}
	}
	if r.op != schemas.Update {
		s.change(r, schemas.Change{Table: table, Op: r.op, Before: before, After: after})
		return nil
	}
	same, err := s.sameKey(table, before, after)
	if err != nil {
		return err
	}
	if same {
		s.change(r, schemas.Change{Table: table, Op: schemas.Update, Before: before, After: after})
		return nil
	}
	s.change(r, schemas.Change{Table: table, Op: schemas.Delete, Before: before, OtherKey: after})
	s.change(r, schemas.Change{Table: table, Op: schemas.Create, After: after, OtherKey: before})
	return nil
}

// change gives c its place and appends it. Changes that end at one position of
// the log are numbered from 1, whichever events they come from: events inside a
// compressed transaction may share it.
func (s *source) change(r *rowsReader, c schemas.Change) {
	if s.seqAt != s.log.at {
		s.seqAt, s.seq = s.log.at, 0
	}
	s.seq++
	s.group.order++
	c.Position = s.log.at.position(s.epoch, s.seq)
	c.TsUs, c.Token, c.TxID, c.TxOrder = s.group.tsUs, r.token, s.group.id, s.group.order
	s.out.Changes = append(s.out.Changes, c)
}

func (s *source) sameKey(t *schemas.Table, a, b schemas.Row) (bool, error) {
	if len(t.Key) == 0 {
		return true, nil
	}
	var err error
	if s.keyA, err = schemas.AppendKey(s.keyA[:0], t, a); err != nil {
		return false, err
	}
	if s.keyB, err = schemas.AppendKey(s.keyB[:0], t, b); err != nil {
		return false, err
	}
	return bytes.Equal(s.keyA, s.keyB), nil
}

// rowFault adds to a value that has no place in its column's type where it is,
// the key of its row as far as it was read, and the cure.
func rowFault(t *schemas.Table, row schemas.Row, at place, err error) error {
	var bad *valueError
	if !errors.As(err, &bad) {
		return err
	}
	var key []string
	for _, ord := range t.Key {
		value := "?"
		if ord < len(row) && row[ord].Kind != schemas.Unset {
			value = sqlLiteral(t.Columns[ord].Type, row[ord])
		}
		key = append(key, t.Columns[ord].Name+"="+value)
	}
	hint := "correct the value, then restart millrace: the table is then snapshotted again"
	if errors.Is(bad, errZeroDate) {
		hint = "UPDATE it to a real date, or configure zero_dates: null for the table; then restart millrace: the table is then snapshotted again"
	}
	return &producers.HaltError{Table: t.ID(), Err: fmt.Errorf("row (%s) at %s: %w", strings.Join(key, ", "), at, bad), Hint: hint}
}
