package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
)

// Ensure makes what is missing of a core table, in one transaction, and recreates
// the reader's view if its columns changed.
func (w *Warehouse) Ensure(ctx context.Context, want warehouse.CoreTable) error {
	if err := coretable.Check(want); err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	err := w.define(ctx, want.Name, func(conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
		if len(def.Columns) == 0 {
			return w.create(ctx, conn, n, want, def)
		}
		return w.evolve(ctx, conn, n, want, def)
	})
	if err != nil {
		return fmt.Errorf("ensure %s: %w", want.Name, err)
	}
	return nil
}

// define runs change on the table's definition, alone and in one transaction.
// What change writes into the definition is kept once it is committed.
func (w *Warehouse) define(ctx context.Context, name string, change func(*sql.Conn, sqlgen.Name, *coretable.Definition) error) error {
	t, err := w.entry(name)
	if err != nil {
		return err
	}
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer w.needs.forget(t.name) // a derived table, which runs already, may be needed too
	t.mu.Lock()
	defer t.mu.Unlock()
	w.ddl.Lock()
	defer w.ddl.Unlock()
	// What is known is read again if the outcome of the commit is not known.
	t.def = coretable.Definition{}
	var def coretable.Definition
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

func (w *Warehouse) create(ctx context.Context, conn *sql.Conn, n sqlgen.Name, want warehouse.CoreTable, def *coretable.Definition) error {
	needs := def.Needs
	*def = coretable.New(w.dialect, want)
	def.Needs = needs // a spec may have come first
	c := def.Defined(w.dialect, n)
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
func (w *Warehouse) evolve(ctx context.Context, conn *sql.Conn, n sqlgen.Name, want warehouse.CoreTable, def *coretable.Definition) error {
	was := *def
	next, steps, err := was.Evolve(w.dialect, want)
	if err != nil {
		return err
	}
	*def = next
	if len(steps) > 0 {
		if err := w.alter(ctx, conn, n, was, next); err != nil {
			return err
		}
		if err := w.keepImages(ctx, conn, n, def); err != nil {
			return err
		}
	}
	if len(next.Unsettable) > len(was.Unsettable) {
		return w.rememberUnsettable(ctx, conn, n, def)
	}
	return nil
}

// alter gives the table the columns of next, of which the first are those that
// it has, and makes its view anew.
func (w *Warehouse) alter(ctx context.Context, conn *sql.Conn, n sqlgen.Name, was, next coretable.Definition) error {
	c := next.Defined(w.dialect, n)
	base := c.Base(c.Name)
	for i, col := range next.Columns {
		var statements []string
		if i >= len(was.Columns) {
			statements = append(statements, c.AddColumn(i))
		} else {
			if old := was.Columns[i].Name; old != col.Name {
				statements = append(statements, fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", base, w.dialect.Ident(old), w.dialect.Ident(col.Name)))
			}
			if was.Columns[i].Type != col.Type {
				statements = append(statements, c.AlterType(base, i))
				if slices.Contains(next.Images, col.Name) {
					statements = append(statements, c.AlterType(w.dialect.Changes(n), i))
				}
			}
		}
		if err := execAll(ctx, conn, statements...); err != nil {
			return fmt.Errorf("column %q: %w", col.Name, err)
		}
	}
	return execAll(ctx, conn, c.CreateView())
}

// rememberUnsettable writes down that rows may lack a column: once one does, it
// stays so, whatever a later version of the source's table promises.
func (w *Warehouse) rememberUnsettable(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
	text, err := encode(append([]string{}, def.Unsettable...))
	if err == nil {
		err = exactlyOne(conn.ExecContext(ctx, w.dialect.SetUnsettable(n), text))
	}
	if err != nil {
		return fmt.Errorf("write down which columns can be unset: %w", err)
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
	err := w.define(ctx, table, func(conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
		if err := execAll(ctx, conn, w.dialect.CreateNeeds(n)); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+w.dialect.Needs(n)+" WHERE spec = $1", spec); err != nil {
			return fmt.Errorf("take back the needs: %w", err)
		}
		needs := coretable.Needs(spec, k)
		for _, need := range needs {
			if _, err := conn.ExecContext(ctx, "INSERT INTO "+w.dialect.Needs(n)+" VALUES ($1, $2, $3, now())", need.Spec, need.Kind, need.Column); err != nil {
				return fmt.Errorf("write the need of %q: %w", need.Column, err)
			}
		}
		def.Needs = append(slices.DeleteFunc(def.Needs, func(need coretable.Need) bool { return need.Spec == spec }), needs...)
		return w.keepImages(ctx, conn, n, def)
	})
	if err != nil {
		return fmt.Errorf("set the needs of %s in %s: %w", spec, table, err)
	}
	return nil
}

// keepImages makes the table of images fit what is needed. Columns that nobody
// needs any more stay; loads do not write them.
func (w *Warehouse) keepImages(ctx context.Context, conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
	changed, some := def.Imaged()
	if !some {
		return nil
	}
	c := def.Defined(w.dialect, n)
	c.Changed = changed
	statements := []string{c.CreateChanges()}
	for _, i := range changed {
		if len(def.Images) > 0 && !slices.Contains(def.Images, def.Columns[i].Name) {
			statements = append(statements, c.AddImageColumn(i))
		}
	}
	if err := execAll(ctx, conn, statements...); err != nil {
		return err
	}
	var err error
	def.Images, _, err = columnsOf(ctx, conn, sqlgen.Schema, n.Own("changes"))
	return err
}
