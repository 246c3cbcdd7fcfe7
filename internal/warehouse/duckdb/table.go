package duckdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"millrace/internal/warehouse"
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
	def  definition
}

// definition is a core table as it is in the file.
type definition struct {
	mode       schemas.Mode
	generation int
	columns    []sqlgen.Column // Staged is not set
	needs      []need
	images     []string // the columns of the table of images, nil if there is none
	unsettable []string
}

// need is one row of the table of needs.
type need struct{ spec, kind, column string }

const (
	needEventTime = "event_time"
	needChange    = "change"
)

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
	if len(t.def.columns) > 0 {
		return t, t.mu.RUnlock, nil
	}
	t.mu.RUnlock()
	t.mu.Lock()
	def, err := w.readDefinition(ctx, conn, t.name)
	if err == nil && len(def.columns) == 0 {
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
	out.Mode, out.Key = head.mode, head.key
	for _, c := range t.def.columns {
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
func (w *Warehouse) readDefinition(ctx context.Context, conn *sql.Conn, n sqlgen.Name) (definition, error) {
	var def definition
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
	n.Generation = head.generation
	names, types, err := columnsOf(ctx, conn, n.BaseDataset(), n.BaseTable())
	if err != nil {
		return def, err
	}
	if head.name != n.String() {
		return def, fmt.Errorf("the warehouse does not tell its name from that of %s", head.name)
	}
	def.mode, def.unsettable, def.generation = head.mode, head.unsettable, head.generation
	for i, name := range names {
		if sqlgen.IsReserved(name) {
			continue
		}
		t, ok := w.dialect.ParseType(types[i])
		if !ok {
			return def, fmt.Errorf("column %q has type %s, which no load writes", name, types[i])
		}
		def.columns = append(def.columns, sqlgen.Column{
			Name: name, Type: t, Key: slices.Contains(head.key, name), Unsettable: slices.Contains(head.unsettable, name),
		})
	}
	def.images, _, err = columnsOf(ctx, conn, sqlgen.Schema, n.Own("changes"))
	return def, err
}

// readNeeds reads what specs need of the table, which may not be there yet.
func (w *Warehouse) readNeeds(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *definition) error {
	made, _, err := columnsOf(ctx, conn, sqlgen.Schema, n.Own("needs"))
	if err != nil || len(made) == 0 {
		return err
	}
	return each(ctx, conn, "SELECT spec, kind, column_name FROM "+w.dialect.Needs(n)+" ORDER BY ALL", func(rows *sql.Rows) error {
		var d need
		err := rows.Scan(&d.spec, &d.kind, &d.column)
		def.needs = append(def.needs, d)
		return err
	})
}

// columnsOf lists a table's columns in order; none if it does not exist.
func columnsOf(ctx context.Context, conn *sql.Conn, schema, table string) (names, types []string, err error) {
	const query = `SELECT column_name, data_type FROM duckdb_columns()
WHERE database_name = current_database() AND lower(schema_name) = lower($1) AND lower(table_name) = lower($2) ORDER BY column_index`
	err = each(ctx, conn, query, func(rows *sql.Rows) error {
		var name, typ string
		err := rows.Scan(&name, &typ)
		names, types = append(names, name), append(types, typ)
		return err
	}, schema, table)
	return names, types, err
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

// core is the table for the generator of SQL, with the columns that a batch
// brings marked.
func (w *Warehouse) core(t *table, batch warehouse.CoreTable) (*sqlgen.Core, warehouse.Kept, error) {
	c := w.defined(t.name, t.def)
	c.Columns = slices.Clone(c.Columns)
	for _, want := range batch.Columns {
		i := columnIndex(c.Columns, want.Name)
		if i < 0 {
			return nil, warehouse.Kept{}, fmt.Errorf("column %q is not in the table: ensure it before the load", want.Name)
		}
		have := &c.Columns[i]
		if to, ok := w.dialect.Fit(have.Type, want.Type); !ok || to != have.Type {
			return nil, warehouse.Kept{}, fmt.Errorf("column %q has type %s and cannot take %s: ensure it before the load", want.Name, have.Type, want.Type)
		}
		have.Staged = true
		have.Unsettable = have.Unsettable || want.Unsettable && !have.Key
	}
	for _, col := range c.Columns {
		if col.Key && !col.Staged {
			return nil, warehouse.Kept{}, fmt.Errorf("key column %q is not in the batch", col.Name)
		}
	}
	return c, t.keep(c, batch.EventTimes), nil
}

// keep marks the columns that the load speaks for and says which they are.
func (t *table) keep(c *sqlgen.Core, eventTimes []string) (kept warehouse.Kept) {
	add := func(ords *[]int, names *[]string, i int) {
		if !slices.Contains(*names, c.Columns[i].Name) {
			*ords, *names = append(*ords, i), append(*names, c.Columns[i].Name)
		}
	}
	for _, name := range eventTimes {
		if i := columnIndex(c.Columns, name); i >= 0 {
			add(&c.EventTimes, &kept.EventTimes, i)
		}
	}
	var keys []int
	for _, d := range t.def.needs {
		i := columnIndex(c.Columns, d.column)
		if i < 0 {
			continue // it is taken up when the column comes
		}
		switch {
		case d.kind == needEventTime && c.Columns[i].Type.Kind.IsEventTime():
			add(&c.EventTimes, &kept.EventTimes, i)
		case d.kind == needChange && slices.Contains(t.def.images, c.Columns[i].Name):
			c.KeepImages = true
			if c.Columns[i].Key {
				continue
			}
			add(&c.Changed, &kept.Changes, i)
		}
	}
	if c.KeepImages {
		for i, col := range c.Columns {
			if col.Key {
				add(&keys, &kept.Changes, i)
			}
		}
	}
	return kept
}

// columnIndex finds a column by its exact name.
func columnIndex(columns []sqlgen.Column, name string) int {
	return slices.IndexFunc(columns, func(c sqlgen.Column) bool { return c.Name == name })
}

// checkNames refuses names that the table cannot have side by side: DuckDB
// does not tell upper case from lower case in ASCII.
func checkNames(columns []schemas.Column) error {
	if len(columns) == 0 {
		return errors.New("a table needs a column")
	}
	seen := map[string]string{}
	var errs []error
	for _, c := range columns {
		lower := asciiLower(c.Name)
		switch {
		case c.Name == "" || strings.ContainsRune(c.Name, 0):
			errs = append(errs, fmt.Errorf("column %q: a name cannot be empty or hold a zero byte", c.Name))
		case sqlgen.IsReserved(c.Name):
			errs = append(errs, fmt.Errorf("column %q: the name is one of Millrace's own", c.Name))
		case seen[lower] != "":
			errs = append(errs, fmt.Errorf("columns %q and %q: the warehouse does not tell their names apart", seen[lower], c.Name))
		}
		seen[lower] = c.Name
	}
	return errors.Join(errs...)
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
