package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"

	dk "github.com/duckdb/duckdb-go/v2"
)

// readConnector makes connections on which a statement can only read. It does
// not own the database: the writers' pool closes it.
type readConnector struct {
	inner *dk.Connector
	gate  *gate
}

func (c *readConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &readConn{inner: conn.(*dk.Conn), gate: c.gate}, nil
}

func (c *readConnector) Driver() driver.Driver { return c.inner.Driver() }

// errReadsOnly is the reason when something else than a single query is asked
// of a reading connection.
var errReadsOnly = errors.New("only a single SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN can be run here")

type readConn struct {
	inner  *dk.Conn
	gate   *gate
	spoilt bool // a transaction may be open on it
}

// IsValid keeps a spoilt connection out of the pool.
func (c *readConn) IsValid() bool { return !c.spoilt }

func (c *readConn) Prepare(string) (driver.Stmt, error) { return nil, errReadsOnly }
func (c *readConn) Begin() (driver.Tx, error)           { return nil, errReadsOnly }
func (c *readConn) Close() error                        { return c.inner.Close() }

// CheckNamedValue leaves conversions to the driver.
func (c *readConn) CheckNamedValue(v *driver.NamedValue) error { return c.inner.CheckNamedValue(v) }

// QueryContext runs the query in a read-only transaction, which it ends: the
// driver's rows are a complete copy of the result.
func (c *readConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.gate.enterRead(ctx); err != nil {
		return nil, fmt.Errorf("wait for a checkpoint: %w", err)
	}
	defer c.gate.leaveRead()
	// Neither end may be cut short: the connection would go back with the
	// transaction open.
	steady := context.WithoutCancel(ctx)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("begin to read: %w", context.Cause(ctx))
	}
	if _, err := c.inner.ExecContext(steady, "BEGIN TRANSACTION READ ONLY", nil); err != nil {
		c.spoilt = true
		return nil, fmt.Errorf("begin to read: %w", err)
	}
	rows, err := c.query(ctx, query, args)
	if _, end := c.inner.ExecContext(steady, "ROLLBACK", nil); end != nil {
		c.spoilt = true
		if err == nil {
			err = rows.Close()
		}
		return nil, errors.Join(err, fmt.Errorf("end of read: %w", end))
	}
	return rows, err
}

func (c *readConn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	prepared, err := c.inner.Prepare(query)
	if err != nil {
		return nil, readsOnly(err)
	}
	stmt := prepared.(*dk.Stmt)
	kind, err := stmt.StatementType()
	if err == nil && kind != dk.STATEMENT_TYPE_SELECT && kind != dk.STATEMENT_TYPE_EXPLAIN {
		err = errReadsOnly
	}
	if err != nil {
		return nil, errors.Join(err, stmt.Close())
	}
	rows, err := stmt.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, stmt.Close())
	}
	return &readRows{queryRows: rows.(queryRows), stmt: stmt}, nil
}

// readsOnly says of what is refused before its kind is known that it would not have
// been run anyhow: several statements, and writes to the views that readers see.
func readsOnly(err error) error {
	if refused.MatchString(err.Error()) {
		return errReadsOnly
	}
	return err
}

var refused = regexp.MustCompile(`(?m)^(missing context for multi-statement query|Binder Error: Can only (delete from|update|merge into) base table|Catalog Error: .* is not an table$)`)

// queryRows is what the driver's rows can do.
type queryRows interface {
	driver.Rows
	driver.RowsColumnTypeScanType
	driver.RowsColumnTypeDatabaseTypeName
}

type readRows struct {
	queryRows
	stmt *dk.Stmt
}

func (r *readRows) Close() error { return errors.Join(r.queryRows.Close(), r.stmt.Close()) }
