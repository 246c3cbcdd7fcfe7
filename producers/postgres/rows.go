package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"millrace/producers"
	"millrace/schemas"
)

// handle takes one message of the log in. It reports true if the message
// belongs to a new version of a table and the batch already holds changes: the
// message is then held for the next batch.
func (s *Source) handle(ctx context.Context, start uint64, data []byte) (cut bool, err error) {
	if err := s.msg.parse(data); err != nil {
		return false, err
	}
	m := &s.msg
	switch m.kind {
	case msgBegin:
		s.tx = transaction{
			open: true, commit: m.commitLSN, timeUs: m.timeUs + postgresEpochUs,
			id: strconv.FormatUint(uint64(m.xid), 10), token: schemas.Token(pglogrepl.LSN(m.commitLSN).String()),
		}
	case msgCommit:
		s.tx.open = false
	case msgRelation:
		s.relate(m)
		return false, nil
	case msgInsert, msgUpdate, msgDelete:
		rel := s.relations[m.relation]
		if rel == nil {
			return false, fmt.Errorf("read the log at %s: a change of relation %d, which it has not described", pglogrepl.LSN(start), m.relation)
		}
		if rel.table == nil || rel.table.halted {
			return false, nil
		}
		if cut, err := s.check(ctx, rel, start, data); err != nil || cut {
			return cut, err
		}
		if rel.table.halted {
			return false, nil
		}
		return false, s.change(rel, start)
	case msgTruncate:
		for _, oid := range m.relations {
			if rel := s.relations[oid]; rel != nil && rel.table != nil && !rel.table.halted {
				if cut, err := s.check(ctx, rel, start, data); err != nil || cut {
					return cut, err
				}
			}
		}
		return false, s.truncate(start)
	}
	return false, nil
}

// relate takes a relation message in. By its name, not by its oid: the name is
// the one that the table had at this place in the log.
func (s *Source) relate(m *message) {
	rel := &relation{
		oid: m.relation, schema: string(m.schema), name: string(m.name), identity: m.identity,
		table: s.tables[string(m.schema)+"."+string(m.name)], unchecked: true,
	}
	for _, c := range m.columns {
		rel.columns = append(rel.columns, described{string(c.name), c.typeOID, c.typmod})
		rel.inKey = append(rel.inKey, c.identity)
	}
	s.relations[m.relation] = rel
}

// check settles the version of a table before the first change behind a
// relation message.
func (s *Source) check(ctx context.Context, rel *relation, start uint64, data []byte) (cut bool, err error) {
	if !rel.unchecked {
		return false, nil
	}
	before := len(s.pending)
	if err := s.settle(ctx, rel, s.peek(start)); err != nil {
		return false, err
	}
	rel.unchecked = false
	if len(s.pending) == before {
		return false, nil
	}
	if len(s.batch.Changes) > 0 {
		s.held, s.heldAt = bytes.Clone(data), start
		return true, nil
	}
	s.batch.Tables = append(s.batch.Tables, s.pending...)
	s.pending = s.pending[:0]
	return false, nil
}

// peek is the position that the next change at start gets.
func (s *Source) peek(start uint64) schemas.Position {
	seq := uint32(1)
	if start == s.tx.minor {
		seq = s.tx.seq + 1
	}
	return schemas.Position{Epoch: s.epoch, Major: s.tx.commit, Minor: start, Seq: seq}
}

// advance is the position of the next change at start.
func (s *Source) advance(start uint64) (schemas.Position, error) {
	if !s.tx.open || start < s.tx.minor {
		return schemas.Position{}, fmt.Errorf("read the log at %s: a change outside its transaction's order", pglogrepl.LSN(start))
	}
	p := s.peek(start)
	s.tx.minor, s.tx.seq = start, p.Seq
	s.tx.order++
	return p, nil
}

// change appends the changes of one row.
func (s *Source) change(rel *relation, start uint64) error {
	m, t := &s.msg, rel.table
	before, column, err := s.row(rel, m.old, m.oldKind == 'K')
	if err != nil {
		return s.refuse(rel, m.old, column, start, err)
	}
	after, column, err := s.row(rel, m.new, false)
	if err != nil {
		return s.refuse(rel, m.new, column, start, err)
	}
	unset := false
	for i := range after {
		if after[i].Kind == schemas.Unset {
			if before != nil && before[i].Kind != schemas.Unset {
				after[i] = before[i] // an unchanged TOASTed value stands in the old tuple, if that is logged
			} else if unset = true; !t.version.table.Columns[i].Unsettable {
				return s.refuse(rel, m.new, -1, start, fmt.Errorf("does not carry column %q, which it always should", t.version.table.Columns[i].Name))
			}
		}
	}
	moved := false
	if m.kind == msgUpdate && before != nil && len(t.version.table.Key) > 0 {
		if moved, err = s.moved(t.version.table, before, after); err != nil {
			return s.refuse(rel, m.new, -1, start, err)
		}
	}
	c := schemas.Change{Table: t.version.table, TsUs: s.tx.timeUs, Token: s.tx.token, TxID: s.tx.id}
	switch {
	case moved:
		del, ins := c, c
		del.Op, del.Before, del.OtherKey = schemas.Delete, before, after
		if err := s.emit(del, start); err != nil {
			return err
		}
		ins.Op, ins.After, ins.OtherKey = schemas.Create, after, before
		return s.emitFrom(ins, start, t, unset)
	case m.kind == msgUpdate:
		c.Op, c.Before, c.After = schemas.Update, before, after
		return s.emitFrom(c, start, t, true)
	case m.kind == msgInsert:
		c.Op, c.After = schemas.Create, after
		return s.emitFrom(c, start, t, unset)
	default:
		c.Op, c.Before = schemas.Delete, before
		return s.emit(c, start)
	}
}

// moved reports whether an update changed the canonical key. 1.0 to 1.00 does
// not.
func (s *Source) moved(t *schemas.Table, before, after schemas.Row) (bool, error) {
	equal := true
	for _, i := range t.Key {
		a, b := before[i], after[i]
		if a.Kind != b.Kind || a.Int != b.Int || !bytes.Equal(a.Bytes, b.Bytes) {
			equal = false
			break
		}
	}
	if equal && before[t.Key[0]].Kind != schemas.Unset {
		return false, nil
	}
	a, err := schemas.AppendKey(s.keyA[:0], t, before)
	if err != nil {
		return false, err
	}
	b, err := schemas.AppendKey(s.keyB[:0], t, after)
	if err != nil {
		return false, err
	}
	s.keyA, s.keyB = a, b
	return !bytes.Equal(a, b), nil
}

func (s *Source) emit(c schemas.Change, start uint64) (err error) {
	if c.Position, err = s.advance(start); err != nil {
		return err
	}
	c.TxOrder = s.tx.order
	s.batch.Changes = append(s.batch.Changes, c)
	return nil
}

// emitFrom emits a change whose missing values may come from an older one:
// none from below since.
func (s *Source) emitFrom(c schemas.Change, start uint64, t *captured, since bool) error {
	if err := s.emit(c, start); err != nil || !since {
		return err
	}
	last := &s.batch.Changes[len(s.batch.Changes)-1]
	last.Since = t.version.state.sinceAt(last.Position)
	return nil
}

// truncate appends one t for each captured table of the message, in its order.
func (s *Source) truncate(start uint64) error {
	for _, oid := range s.msg.relations {
		p, err := s.advance(start)
		if err != nil {
			return err
		}
		rel := s.relations[oid]
		if rel == nil || rel.table == nil || rel.table.halted {
			continue
		}
		s.batch.Changes = append(s.batch.Changes, schemas.Change{
			Table: rel.table.version.table, Op: schemas.Truncate, Position: p, TsUs: s.tx.timeUs,
			Token: s.tx.token, TxID: s.tx.id, TxOrder: s.tx.order,
		})
	}
	return nil
}

// row decodes a tuple. Of an old tuple that holds the identity alone, the
// other columns are not carried. On a fault it names the column.
func (s *Source) row(rel *relation, fields []field, identity bool) (schemas.Row, int, error) {
	if len(fields) == 0 {
		return nil, 0, nil
	}
	types := rel.table.version.types
	if len(fields) != len(types) || len(fields) != len(rel.inKey) {
		return nil, -1, fmt.Errorf("has %d columns in the log, %d in its relation message", len(fields), len(types))
	}
	row := s.arena.row(len(fields))
	for i, f := range fields {
		switch {
		case identity && !rel.inKey[i], f.kind == fieldUnchanged:
		case f.kind == fieldNull:
			row[i] = schemas.NullCell()
		default:
			c, err := types[i].cell(f.data, &s.arena)
			if err != nil {
				return nil, i, err
			}
			row[i] = c
		}
	}
	return row, 0, nil
}

// refuse halts a table because of a value that its column's type cannot hold:
// neither clamped nor nulled (G12).
func (s *Source) refuse(rel *relation, fields []field, column int, start uint64, err error) error {
	t := rel.table.version.table
	if column < 0 {
		return s.halt(rel.table, halt(t.ID(), "report it", "its log %w", err))
	}
	var key []string
	for _, k := range t.Key {
		if k < len(fields) {
			key = append(key, t.Columns[k].Name+"="+string(fields[k].data))
		}
	}
	h := badValue(t, column, strings.Join(key, ", "), fields[column].data, err)
	if s.tx.commit <= s.opened {
		return s.overtake(rel.table, h, start)
	}
	return s.halt(rel.table, h)
}

// overtake leaves a change out that the log had before Open: whoever started us
// may have cured its row since, and what the log holds of it comes all the same.
// In its place all rows are read from above that point. If one still has such a
// value, the snapshot halts the table.
func (s *Source) overtake(t *captured, h *producers.HaltError, start uint64) error {
	if _, err := s.advance(start); err != nil { // what follows keeps its position, whether this is read or not (G3)
		return err
	}
	if t.renewed {
		return nil
	}
	t.renewed = true
	next := *t.version
	return s.adopt(t, &next, schemas.Position{Epoch: s.epoch, Major: s.opened}, "a change from before the start cannot be carried: "+h.Err.Error())
}

// badValue says which value cannot be carried, and the two cures.
func badValue(t *schemas.Table, column int, key string, value []byte, err error) *producers.HaltError {
	name := t.Columns[column].Name
	return halt(t.ID(), fmt.Sprintf("change the row, or capture the column as text (text: [%s]), then restart millrace", name),
		"row (%s): column %s holds %q, which %w", key, name, clip(value), err)
}

func clip(b []byte) []byte {
	if len(b) > 80 {
		return b[:80]
	}
	return b
}
