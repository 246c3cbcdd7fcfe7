package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"millrace/producers"
	"millrace/schemas"
)

// emitRows and emitBytes bound what is handed to emit at once.
const (
	emitRows  = 1024
	emitBytes = 1 << 20
)

// ReadChunk reads the next rows in the order of the key, in one consistent
// snapshot. While it runs, DDL on the table waits for it.
func (s *source) ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	if len(t.Key) == 0 {
		chunk, err := s.readRows(ctx, t, func([]keyColumn) string { return "" }, 0, emit)
		chunk.Last = nil
		return chunk, err
	}
	return s.readRows(ctx, t, func(keys []keyColumn) string {
		where := ""
		if after != nil {
			where = " WHERE " + above(keys, after)
		}
		return where + " ORDER BY " + orderBy(keys) + " LIMIT " + strconv.Itoa(limit)
	}, limit, emit)
}

// ReadKeys reads the rows of the given keys, like a chunk.
func (s *source) ReadKeys(ctx context.Context, t *schemas.Table, keys [][]schemas.Cell, emit func([]schemas.Change) error) (producers.Chunk, error) {
	if len(keys) == 0 || len(t.Key) == 0 {
		return producers.Chunk{}, fmt.Errorf("read keys of %s: there is no key to read", t.ID())
	}
	return s.readRows(ctx, t, func(cols []keyColumn) string {
		return " WHERE " + among(cols, keys) + " ORDER BY " + orderBy(cols)
	}, 0, emit)
}

// readRows reads the rows that a clause selects at one read point: at most limit,
// of which emit may have enough before, or all of them if that is 0.
func (s *source) readRows(ctx context.Context, t *schemas.Table, clause func([]keyColumn) string, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return producers.Chunk{}, fmt.Errorf("read %s: %w", t.ID(), err)
	}
	defer conn.Close()
	at, err := s.kind.snapshot(ctx, s.db, conn, quoteTable(t.Schema, t.Name))
	if err != nil {
		return producers.Chunk{}, fmt.Errorf("read %s: %w", t.ID(), err)
	}
	defer rollback(conn)
	if s.readPointTaken != nil {
		s.readPointTaken()
	}
	r := reader{table: t, at: at, point: at.after(s.epoch), emit: emit}
	r.values.zeroNull = slices.ContainsFunc(s.cfg.Tables, func(cfg Table) bool { return cfg.Name == t.ID() && cfg.ZeroDates == "null" })
	if r.columns, err = s.presentColumns(ctx, conn, t); err == nil {
		names := make([]string, len(t.Columns))
		for i, col := range t.Columns {
			names[i] = quoteName(col.Name)
		}
		err = r.read(ctx, conn, "SELECT "+strings.Join(names, ", ")+" FROM "+quoteTable(t.Schema, t.Name)+clause(keyColumns(t, r.columns)))
	}
	enough := limit > 0 && errors.Is(err, producers.ErrEnough)
	if err != nil && !enough {
		return producers.Chunk{}, readError(t, err)
	}
	return producers.Chunk{ReadPoint: r.point, Last: r.last, End: limit == 0 || !enough && r.rows < limit}, nil
}

// rollback ends the snapshot, also when the caller's context is done: a
// connection goes back to the pool without a transaction.
func rollback(conn *sql.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, `ROLLBACK`); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool throws it away
	}
}

// readError makes ErrRewritten of what the server says when the table's
// definition is no longer that of the snapshot, or of t.
func readError(t *schemas.Table, err error) error {
	err = fmt.Errorf("read %s: %w", t.ID(), err)
	switch codeOf(err) {
	case gomysql.ER_TABLE_DEF_CHANGED, gomysql.ER_NO_SUCH_TABLE, gomysql.ER_BAD_FIELD_ERROR:
		return errors.Join(producers.ErrRewritten, err)
	}
	if errors.Is(err, errNoTable) {
		return errors.Join(producers.ErrRewritten, err)
	}
	return err
}

// presentColumns are the columns of t as the server describes them now. First
// it opens the table, so that no DDL can come between the description and the
// rows. If t is of another shape, the stream has not yet reached the change or
// t is old: the chunk cannot be read as t.
func (s *source) presentColumns(ctx context.Context, conn *sql.Conn, t *schemas.Table) ([]column, error) {
	if _, err := conn.ExecContext(ctx, `DO (SELECT 1 FROM `+quoteTable(t.Schema, t.Name)+` LIMIT 0)`); err != nil {
		return nil, err
	}
	def, err := s.catalog.define(ctx, conn, t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	out := make([]column, len(t.Columns))
	for i, want := range t.Columns {
		n := slices.IndexFunc(def.columns, func(c column) bool { return c.name == want.Name })
		if n < 0 || def.columns[n].typ != want.Type {
			return nil, fmt.Errorf("%w: column %q is no longer a %s", producers.ErrRewritten, want.Name, want.Type)
		}
		out[i] = def.columns[n]
	}
	return out, nil
}

// reader turns the rows of a query into changes.
type reader struct {
	table   *schemas.Table
	columns []column
	at      place
	point   schemas.Position
	emit    func([]schemas.Change) error

	values converter
	batch  []schemas.Change
	rows   int
	last   []schemas.Cell
}

// read runs a query in the binary protocol, because text would round floats.
func (r *reader) read(ctx context.Context, conn *sql.Conn, query string) error {
	var now int64
	if err := conn.QueryRowContext(ctx, `SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)`).Scan(&now); err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	return conn.Raw(func(c any) error {
		stmt, err := c.(driver.ConnPrepareContext).PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }() // what was read is read
		rows, err := stmt.(driver.StmtQueryContext).QueryContext(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		values := make([]driver.Value, len(r.columns))
		for {
			switch err := rows.Next(values); {
			case errors.Is(err, io.EOF):
				return r.flush()
			case err != nil:
				return err
			}
			if err := r.row(values, now); err != nil {
				cut() // else Close reads all rows that are left
				return err
			}
		}
	})
}

func (r *reader) row(values []driver.Value, now int64) error {
	row := r.values.row(len(values))
	for i, value := range values {
		cell, err := r.values.queried(&r.columns[i], value)
		if err != nil {
			return rowFault(r.table, row, r.at, &valueError{r.columns[i].name, err})
		}
		row[i] = cell
	}
	r.batch = append(r.batch, schemas.Change{Table: r.table, Op: schemas.Read, Position: r.point, TsUs: now, After: row})
	r.rows++
	if len(r.batch) >= emitRows || len(r.values.bytes) >= emitBytes {
		return r.flush()
	}
	return nil
}

// flush hands over what was read, and keeps the last key for the chunk.
func (r *reader) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	row := r.batch[len(r.batch)-1].After
	r.last = r.last[:0]
	for _, ord := range r.table.Key {
		cell := row[ord]
		cell.Bytes = slices.Clone(cell.Bytes)
		r.last = append(r.last, cell)
	}
	if err := r.emit(r.batch); err != nil {
		return err
	}
	r.batch = r.batch[:0]
	r.values.reset()
	return nil
}
