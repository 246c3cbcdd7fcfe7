package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Ensure makes what is missing of a core table, in one transaction, and recreates
// the reader's view if its columns changed.
func (w *Warehouse) Ensure(ctx context.Context, want warehouse.CoreTable) error {
	if err := checkTable(want); err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	err := w.define(ctx, want.Name, func(conn *sql.Conn, n sqlgen.Name, def *definition) error {
		if len(def.columns) == 0 {
			return w.create(ctx, conn, n, want, def)
		}
		if err := sameKey(want.Key, def.columns); err != nil {
			return err
		}
		return w.evolve(ctx, conn, n, want, def)
	})
	if err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	return nil
}

func checkTable(want warehouse.CoreTable) error {
	errs := []error{checkNames(want.Columns)}
	if want.Mode != schemas.ModeMerge && want.Mode != schemas.ModeAppend {
		errs = append(errs, fmt.Errorf("mode %q: a core table is merge or append", want.Mode))
	}
	if want.Mode == schemas.ModeMerge && len(want.Key) == 0 {
		errs = append(errs, errors.New("a table without a key cannot be merged"))
	}
	has := func(name string) bool {
		return slices.ContainsFunc(want.Columns, func(c schemas.Column) bool { return c.Name == name })
	}
	for _, k := range want.Key {
		if !has(k) {
			errs = append(errs, fmt.Errorf("key column %q is not a column", k))
		}
	}
	for _, name := range want.EventTimes {
		i := slices.IndexFunc(want.Columns, func(c schemas.Column) bool { return c.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("event time %q is not a column", name))
		} else if t := want.Columns[i].Type; !t.Kind.IsEventTime() {
			errs = append(errs, fmt.Errorf("event time %q has type %s: want DATE, TIMESTAMP or DATETIME", name, t))
		}
	}
	return errors.Join(errs...)
}

// define runs change on the table's definition, alone and in one transaction.
// What change writes into the definition is kept once it is committed.
func (w *Warehouse) define(ctx context.Context, name string, change func(*sql.Conn, sqlgen.Name, *definition) error) error {
	t, err := w.entry(name)
	if err != nil {
		return err
	}
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t.mu.Lock()
	defer t.mu.Unlock()
	w.ddl.Lock()
	defer w.ddl.Unlock()
	// What is known is read again if the outcome of the commit is not known.
	t.def = definition{}
	var def definition
	err = tx(ctx, conn, func() error {
		if def, err = w.readDefinition(ctx, conn, t.name); err != nil {
			return err
		}
		if err := change(conn, t.name, &def); err != nil {
			return err
		}
		return w.opts.Fault.At(ctx, PointDefineCommit)
	})
	if err == nil {
		t.def = def
	}
	return err
}

func (w *Warehouse) create(ctx context.Context, conn *sql.Conn, n sqlgen.Name, want warehouse.CoreTable, def *definition) error {
	def.mode, def.generation = want.Mode, 1
	for _, col := range want.Columns {
		key := slices.Contains(want.Key, col.Name)
		def.columns = append(def.columns, sqlgen.Column{
			Name: col.Name, Type: w.dialect.Held(col.Type), Key: key, Unsettable: col.Unsettable && !key,
		})
		if col.Unsettable && !key {
			def.unsettable = append(def.unsettable, col.Name)
		}
	}
	c := w.defined(n, *def)
	statements := []string{
		"CREATE SCHEMA IF NOT EXISTS " + w.dialect.Ident(n.Dataset),
		"CREATE SCHEMA IF NOT EXISTS " + w.dialect.Ident(n.BaseDataset()),
		c.CreateBase(), c.CreateView(), w.dialect.CreateHead(n), w.dialect.CreateLoads(n), w.dialect.CreateNeeds(n),
	}
	if err := execAll(ctx, conn, statements...); err != nil {
		return err
	}
	key, err := encode(want.Key)
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	if _, err := conn.ExecContext(ctx, w.dialect.InsertHead(n), n.String(), string(want.Mode), key); err != nil {
		return fmt.Errorf("make the head: %w", err)
	}
	if err := w.rememberUnsettable(ctx, conn, n, def); err != nil {
		return err
	}
	return w.keepImages(ctx, conn, n, def)
}

// evolve adds and widens columns. All of it is DDL on tables that no load has
// open: an UPDATE and an ALTER of one table in one transaction fail.
func (w *Warehouse) evolve(ctx context.Context, conn *sql.Conn, n sqlgen.Name, want warehouse.CoreTable, def *definition) error {
	if want.Mode != def.mode {
		return fmt.Errorf("its mode is %s and cannot become %s", def.mode, want.Mode)
	}
	changed, unsettable := false, len(def.unsettable)
	for _, col := range want.Columns {
		i := columnIndex(def.columns, col.Name)
		var statements []string
		if i < 0 {
			i = len(def.columns)
			def.columns = append(def.columns, sqlgen.Column{Name: col.Name, Type: w.dialect.Held(col.Type)})
			if err := checkNames(names(def.columns)); err != nil {
				return err
			}
			statements = append(statements, w.defined(n, *def).AddColumn(i))
		} else {
			to, ok := w.dialect.Fit(def.columns[i].Type, col.Type)
			if !ok {
				return fmt.Errorf("column %q has type %s, which cannot take %s without loss", col.Name, def.columns[i].Type, col.Type)
			}
			if to != def.columns[i].Type {
				def.columns[i].Type = to
				c := w.defined(n, *def)
				statements = append(statements, c.AlterType(c.Base(c.Name), i))
				if slices.Contains(def.images, col.Name) {
					statements = append(statements, c.AlterType(w.dialect.Changes(n), i))
				}
			}
		}
		if col.Unsettable && !def.columns[i].Key && !def.columns[i].Unsettable {
			def.columns[i].Unsettable = true
			def.unsettable = append(def.unsettable, col.Name)
		}
		changed = changed || len(statements) > 0
		if err := execAll(ctx, conn, statements...); err != nil {
			return fmt.Errorf("column %q: %w", col.Name, err)
		}
	}
	if changed {
		if err := execAll(ctx, conn, w.defined(n, *def).CreateView()); err != nil {
			return err
		}
		if err := w.keepImages(ctx, conn, n, def); err != nil {
			return err
		}
	}
	if len(def.unsettable) > unsettable {
		return w.rememberUnsettable(ctx, conn, n, def)
	}
	return nil
}

// rememberUnsettable writes down that rows may lack a column: once one does, it
// stays so, whatever a later version of the source's table promises.
func (w *Warehouse) rememberUnsettable(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *definition) error {
	text, err := encode(append([]string{}, def.unsettable...))
	if err == nil {
		err = exactlyOne(conn.ExecContext(ctx, w.dialect.SetUnsettable(n), text))
	}
	if err != nil {
		return fmt.Errorf("write down which columns can be unset: %w", err)
	}
	return nil
}

// defined is the definition for the generator of SQL.
func (w *Warehouse) defined(n sqlgen.Name, def definition) *sqlgen.Core {
	n.Generation = def.generation
	return &sqlgen.Core{Dialect: w.dialect, Name: n, Mode: def.mode, Columns: def.columns}
}

func names(columns []sqlgen.Column) []schemas.Column {
	out := make([]schemas.Column, len(columns))
	for i, c := range columns {
		out[i].Name = c.Name
	}
	return out
}

func sameKey(want []string, columns []sqlgen.Column) error {
	var have []string
	for _, c := range columns {
		if c.Key {
			have = append(have, c.Name)
		}
	}
	a, b := slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(have))
	if !slices.Equal(a, b) {
		return fmt.Errorf("its key is %q and cannot become %q: a changed key is a new generation", have, want)
	}
	return nil
}

func execAll(ctx context.Context, conn *sql.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("execute %.60q: %w", s, err)
		}
	}
	return nil
}

// SetNeeds replaces what the spec needs kept of the table. An empty Kept takes
// its needs back. Loads keep it from their next one on. The table need not be
// there yet.
func (w *Warehouse) SetNeeds(ctx context.Context, table, spec string, k warehouse.Kept) error {
	err := w.define(ctx, table, func(conn *sql.Conn, n sqlgen.Name, def *definition) error {
		if err := execAll(ctx, conn, w.dialect.CreateNeeds(n)); err != nil {
			return err
		}
		def.needs = slices.DeleteFunc(def.needs, func(d need) bool { return d.spec == spec })
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+w.dialect.Needs(n)+" WHERE spec = $1", spec); err != nil {
			return fmt.Errorf("take back the needs: %w", err)
		}
		insert := "INSERT INTO " + w.dialect.Needs(n) + " VALUES ($1, $2, $3, now())"
		for kind, columns := range map[string][]string{needEventTime: k.EventTimes, needChange: k.Changes} {
			for _, col := range columns {
				d := need{spec, kind, col}
				if slices.Contains(def.needs, d) {
					continue
				}
				def.needs = append(def.needs, d)
				if _, err := conn.ExecContext(ctx, insert, spec, kind, col); err != nil {
					return fmt.Errorf("write the need of %q: %w", col, err)
				}
			}
		}
		return w.keepImages(ctx, conn, n, def)
	})
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, table, err)
	}
	return nil
}

// keepImages makes the table of images fit what is needed. Columns that nobody
// needs any more stay; loads do not write them.
func (w *Warehouse) keepImages(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *definition) error {
	c := w.defined(n, *def)
	var changed []int
	for _, d := range def.needs {
		i := columnIndex(def.columns, d.column)
		if d.kind != needChange || i < 0 || slices.Contains(changed, i) {
			continue
		}
		changed = append(changed, i)
		if !def.columns[i].Key {
			c.Changed = append(c.Changed, i)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	statements := []string{c.CreateChanges()}
	for _, i := range c.Changed {
		if len(def.images) > 0 && !slices.Contains(def.images, def.columns[i].Name) {
			statements = append(statements, c.AddImageColumn(i))
		}
	}
	if err := execAll(ctx, conn, statements...); err != nil {
		return err
	}
	var err error
	def.images, _, err = columnsOf(ctx, conn, sqlgen.Schema, n.Own("changes"))
	return err
}
