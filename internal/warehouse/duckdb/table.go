package duckdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	dk "github.com/duckdb/duckdb-go/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// table is what this process knows of a core table's definition. The file has
// one writing process, so nobody else changes it.
type table struct {
	// mu is held for reading by loads and for writing by what changes the
	// definition: DuckDB fails a write whose table was altered meanwhile.
	mu   sync.RWMutex
	name sqlgen.Name
	def  coretable.Definition // without columns: not read
}

// entry is the state of the named table, read or not.
func (w *Warehouse) entry(name string) (*table, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tables[name]; t != nil {
		return t, nil
	}
	n, err := w.dialect.ParseName(name)
	if err != nil {
		return nil, err
	}
	t := &table{name: n}
	w.tables[name] = t
	return t, nil
}

// hold returns the state of the named table, which Ensure has made, with its
// definition held until release.
func (w *Warehouse) hold(ctx context.Context, conn *sql.Conn, name string) (t *table, release func(), err error) {
	if t, err = w.entry(name); err != nil {
		return nil, nil, err
	}
	t.mu.RLock()
	if len(t.def.Columns) > 0 {
		return t, t.mu.RUnlock, nil
	}
	t.mu.RUnlock()
	t.mu.Lock()
	def, err := w.readDefinition(ctx, conn, t.name)
	if err == nil && len(def.Columns) == 0 {
		err = warehouse.ErrNoTable
	}
	if err != nil {
		t.mu.Unlock()
		return nil, nil, fmt.Errorf("read the definition of %s: %w", name, err)
	}
	t.def = def
	t.mu.Unlock()
	t.mu.RLock()
	return t, t.mu.RUnlock, nil
}

// Core returns a core table as it is: its columns in their order, or ErrNoTable.
// It knows no descriptions and no event times.
func (w *Warehouse) Core(ctx context.Context, name string) (warehouse.CoreTable, error) {
	out := warehouse.CoreTable{Name: name}
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return out, err
	}
	defer leave()
	t, release, err := w.hold(ctx, conn, name)
	if err != nil {
		return out, err
	}
	defer release()
	head, err := w.readHead(ctx, conn, t.name)
	if err != nil {
		return out, err
	}
	out.Mode, out.Key = head.Mode, head.Key
	for _, c := range t.def.Columns {
		out.Columns = append(out.Columns, schemas.Column{Name: c.Name, Type: c.Type, Unsettable: c.Unsettable})
	}
	return out, nil
}

// writer enters the gate and takes a connection; leave gives both back.
func (w *Warehouse) writer(ctx context.Context) (conn *sql.Conn, leave func(), err error) {
	if err := w.gate.enterLoad(ctx); err != nil {
		return nil, nil, fmt.Errorf("wait for a checkpoint: %w", err)
	}
	conn, err = w.db.Conn(ctx)
	if err != nil {
		w.gate.leaveLoad()
		return nil, nil, fmt.Errorf("take a connection: %w", err)
	}
	return conn, func() {
		_ = conn.Close() // back to the pool, or gone if it was discarded
		w.gate.leaveLoad()
	}, nil
}

// readDefinition reads the table's definition; without columns, there is none.
func (w *Warehouse) readDefinition(ctx context.Context, conn *sql.Conn, n sqlgen.Name) (coretable.Definition, error) {
	var def coretable.Definition
	if err := w.readNeeds(ctx, conn, n, &def); err != nil {
		return def, err
	}
	made, _, err := columnsOf(ctx, conn, sqlgen.Schema, n.Own("head"))
	if err != nil || len(made) == 0 || slices.Contains(made, "ready") { // a derived table has another head
		return def, err
	}
	head, err := w.readHead(ctx, conn, n)
	if err != nil {
		return def, err
	}
	n.Generation = head.Generation
	names, types, err := columnsOf(ctx, conn, n.BaseDataset(), n.BaseTable())
	if err != nil {
		return def, err
	}
	if head.Name != n.String() {
		return def, fmt.Errorf("the warehouse does not tell its name from that of %s", head.Name)
	}
	def.Mode, def.Unsettable, def.Generation, def.Key = head.Mode, head.Unsettable, head.Generation, head.Key
	for i, name := range names {
		if sqlgen.IsReserved(name) {
			continue
		}
		t, ok := w.dialect.ParseType(types[i])
		if !ok {
			return def, fmt.Errorf("column %q has type %s, which no load writes", name, types[i])
		}
		def.Columns = append(def.Columns, sqlgen.Column{
			Name: name, Type: t, Key: slices.Contains(head.Key, name), Unsettable: slices.Contains(head.Unsettable, name),
		})
	}
	def.Images, _, err = columnsOf(ctx, conn, sqlgen.Schema, n.Own("changes"))
	return def, err
}

// readNeeds reads what specs need of the table, which may not be there yet.
func (w *Warehouse) readNeeds(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
	made, _, err := columnsOf(ctx, conn, sqlgen.Schema, n.Own("needs"))
	if err != nil || len(made) == 0 {
		return err
	}
	return each(ctx, conn, "SELECT spec, kind, column_name FROM "+w.dialect.Needs(n)+" ORDER BY ALL", func(rows *sql.Rows) error {
		var d coretable.Need
		err := rows.Scan(&d.Spec, &d.Kind, &d.Column)
		def.Needs = append(def.Needs, d)
		return err
	})
}

// columnsOf lists a table's columns in order; none if it does not exist. It asks
// for the one table: duckdb_columns() goes through the columns of all tables, and a
// thousand derived tables have four each.
func columnsOf(ctx context.Context, conn querier, schema, table string) (names, types []string, err error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+quoteName(schema)+"."+quoteName(table)+")")
	if err != nil {
		var e *dk.Error
		if errors.As(err, &e) && e.Type == dk.ErrorTypeCatalog { // which leaves a transaction as it is
			err = nil
		}
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return nil, nil, err
		}
		names, types = append(names, name), append(types, typ)
	}
	return names, types, rows.Err()
}

// querier is a connection, for writing or for reading.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each runs a query and calls do for every row.
func each(ctx context.Context, conn *sql.Conn, query string, do func(*sql.Rows) error, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
