package postgres

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pglogrepl"

	"millrace/producers"
	"millrace/schemas"
)

// settle decides which version of its table a relation message stands for,
// before the change at pos. The message is the truth about columns and types.
// The catalog is read for the rest, and is believed only while it agrees with
// the message: it may be ahead of the log by other DDL.
func (s *Source) settle(ctx context.Context, rel *relation, pos schemas.Position) error {
	t, prev := rel.table, rel.table.version
	conn, err := s.side.get(ctx)
	if err != nil {
		return err
	}
	cats, err := readCatalog(ctx, conn, s.publication, []TableConfig{t.config})
	if err != nil {
		return err
	}
	now, err := walEnd(ctx, conn)
	if err != nil {
		return err
	}
	cat := cats[t.config.Name]
	var next *version
	reason, raise := "more DDL may have come in between", pos.Major < prev.state.Unsettled
	if cat != nil && cat.OID == rel.oid && cat.Identity == string(rel.identity) && slices.Equal(cat.described(), rel.columns) {
		key, err := cat.check(t.config)
		if err == nil {
			next, err = s.types.build(ctx, conn, s.who, t.config, rel.columns, key, cat, prev)
		}
		if err != nil {
			return s.refused(ctx, t, cat, err)
		}
		next.at = now
		why, differ := s.differ(ctx, cat, prev, next)
		if differ {
			reason, raise, next.state.Unsettled = why, true, now
		}
	} else {
		key, err := rel.key(prev)
		if err == nil {
			next, err = s.types.build(ctx, conn, s.who, t.config, rel.columns, key, nil, prev)
		}
		if err != nil {
			return s.refused(ctx, t, nil, err)
		}
		next.state.OID = rel.oid
		next.state.Full = rel.identity == 'f'
		if prev.state.Full && !next.state.Full { // what was always logged no longer is
			for i := range next.table.Columns {
				next.table.Columns[i].Unsettable = next.types[i].mayBeStoredApart() && !slices.Contains(next.table.Key, i)
			}
		}
		next.at = prev.at
		if why, differ := next.rowsMayDiffer(prev, func(uint32) bool { return true }); differ {
			reason, raise = why, true
		} else if len(next.state.Columns) != len(prev.state.Columns) {
			reason, raise = "a column was added", true // with which default, the catalog no longer says
		} else if !prev.untouched(cat, rel.oid) {
			reason, raise = "the catalog is ahead of the log", true // this message may stand behind the DDL that it shows
		}
		if raise {
			next.state.Unsettled = max(next.state.Unsettled, now)
		}
	}
	since := schemas.Position{}
	if raise {
		since = pos
	}
	return s.adopt(t, next, since, reason)
}

// differ is rowsMayDiffer, with what only the catalog knows.
func (s *Source) differ(ctx context.Context, cat *catalogTable, prev, next *version) (string, bool) {
	if why, ok := next.rowsMayDiffer(prev, func(oid uint32) bool { return s.empty(ctx, oid) }); ok {
		return why, true
	}
	return cat.filled(prev)
}

// empty reports whether a relation has no block at all. One that is locked is
// not known to be empty.
func (s *Source) empty(ctx context.Context, oid uint32) bool {
	conn, err := s.side.get(ctx)
	if err != nil {
		return false
	}
	var size int64
	err = conn.QueryRow(ctx, `SELECT coalesce(pg_relation_size($1::oid), 1)`, oid).Scan(&size)
	return err == nil && size == 0
}

// key is the key of the version before, if the relation message says that its
// columns are logged with every change.
func (r *relation) key(prev *version) ([]string, error) {
	var key []string
	for _, col := range prev.table.KeyColumns() {
		i := slices.IndexFunc(r.columns, func(c described) bool { return c.name == col.Name })
		if i < 0 || r.identity != 'f' && !r.inKey[i] {
			return nil, halt(prev.table.ID(), "restart millrace: the table is snapshotted",
				"key column %q was not logged with every change for a while", col.Name)
		}
		key = append(key, col.Name)
	}
	return key, nil
}

// adopt makes next the version of t. A since that is not zero says that values
// from below it no longer hold, and raises the table's.
func (s *Source) adopt(t *captured, next *version, since schemas.Position, why string) error {
	if !since.IsZero() {
		s.env.Log.Info("table is snapshotted again", "source", s.env.Source, "table", t.config.Name, "reason", why)
	}
	next.state.Since = schemas.MaxPosition(t.version.state.Since, since)
	silent := since.IsZero() && next.same(t.version)
	if reflect.DeepEqual(next.table, t.version.table) {
		next.table = t.version.table
	}
	t.version = next
	if silent {
		return nil
	}
	v, err := next.announce(since)
	if err != nil {
		return err
	}
	s.pending = append(s.pending, v)
	return nil
}

// halt leaves out the changes of one table from here on. That they were left
// out becomes part of its state: once it is cured, it is snapshotted again.
func (s *Source) halt(t *captured, h *producers.HaltError) error {
	if t.halted {
		return nil
	}
	t.halted = true
	next := *t.version
	next.state.Halted = h.Err.Error()
	t.version = &next
	v, err := next.announce(schemas.Position{})
	if err != nil {
		return err
	}
	s.pending = append(s.pending, v)
	if s.env.Halt != nil {
		s.env.Halt(h)
	}
	return nil
}

// walEnd is the end of the log, read after what was read before it: whatever
// that saw lies below.
func walEnd(ctx context.Context, q querier) (uint64, error) {
	rows, err := q.Query(ctx, `SELECT pg_current_wal_insert_lsn()::text`)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	defer rows.Close()
	var text string
	for rows.Next() {
		if err := rows.Scan(&text); err != nil {
			return 0, fmt.Errorf("read the end of the log: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	lsn, err := pglogrepl.ParseLSN(text)
	if err != nil {
		return 0, fmt.Errorf("read the end of the log: %w", err)
	}
	return uint64(lsn), nil
}
