package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Succeed moves the table to its next generation. Rows, head, view and the log
// of loads change in one transaction, for which no load of the table or of the
// one that is taken in can be under way.
func (w *Warehouse) Succeed(ctx context.Context, s *warehouse.Succession) (done schemas.LoadComplete, err error) {
	var from *table
	if s.From != "" {
		if from, err = w.entry(s.From); err == nil {
			err = w.renumber(ctx, from, s)
		}
		if err != nil {
			return done, fmt.Errorf("succeed %s: %w", s.Table.Name, err)
		}
	}
	if err := w.opts.Fault.At(ctx, PointSucceedBegin); err != nil {
		return done, err
	}
	unlock := func() {}
	defer func() { unlock() }() // after the commit
	err = w.define(ctx, s.Table.Name, func(conn *sql.Conn, n sqlgen.Name, def *definition) error {
		if from != nil {
			from.mu.Lock()
			unlock = from.mu.Unlock
			from.def = definition{} // it is read again, if it is still there
		}
		u := &succession{Warehouse: w, s: s, conn: conn, name: n, def: def}
		if err := u.run(ctx); err != nil {
			return err
		}
		done = u.event
		return nil
	})
	if errors.Is(err, errNotOne) {
		err = fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	if err != nil {
		return done, fmt.Errorf("succeed %s: %w", s.Table.Name, err)
	}
	return done, w.opts.Fault.At(ctx, PointSucceedCommitted)
}

// renumber gives the rows of an append table the number that they will have
// arrived with. Nobody reads them yet; and it cannot be in the transaction that
// drops or alters what it writes.
func (w *Warehouse) renumber(ctx context.Context, from *table, s *warehouse.Succession) error {
	if s.Table.Mode != schemas.ModeAppend {
		return nil
	}
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return err
	}
	defer leave()
	from.mu.Lock()
	defer from.mu.Unlock()
	n, err := w.dialect.ParseName(s.Table.Name)
	if err != nil {
		return err
	}
	return tx(ctx, conn, func() error {
		// Once the step was taken these are the rows that readers see: an old owner
		// must not come as far as the UPDATE (G5).
		h, err := w.readHead(ctx, conn, n)
		if err != nil {
			return err
		}
		if err := follows(s, h); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "UPDATE "+w.dialect.Base(from.name)+" SET "+sqlgen.ColLoad+" = $1", s.Load); err != nil {
			return fmt.Errorf("number the rows of %s: %w", from.name, err)
		}
		return nil
	})
}

// follows is ErrFenced if the head is not the one that the step was made for.
func follows(s *warehouse.Succession, h head) error {
	if h.Epoch != s.Epoch || h.Load != s.Load-1 {
		return fmt.Errorf("the head is at load %d of epoch %d: %w", h.Load, h.Epoch, warehouse.ErrFenced)
	}
	return nil
}

// succession is one on its way.
type succession struct {
	*Warehouse
	s     *warehouse.Succession
	conn  *sql.Conn
	name  sqlgen.Name
	def   *definition // as it was, and then as it is
	event schemas.LoadComplete
}

func (u *succession) run(ctx context.Context) error {
	was, err := u.readHead(ctx, u.conn, u.name)
	if err != nil {
		return err
	}
	if err := follows(u.s, was); err != nil {
		return err
	}
	var next head
	if u.s.From == "" {
		next, err = u.stay(ctx, was)
	} else {
		next, err = u.move(ctx, was)
	}
	if err != nil {
		return err
	}
	next.Load = u.s.Load
	if err := u.advance(ctx, next); err != nil {
		return err
	}
	// Images of rows with another key are of no use to anybody: what the load
	// touched is everything.
	u.def.images = nil
	if err := execAll(ctx, u.conn, "DROP TABLE IF EXISTS "+u.dialect.Changes(u.name)); err != nil {
		return err
	}
	if err := u.keepImages(ctx, u.conn, u.name, u.def); err != nil {
		return err
	}
	return u.log(ctx, next)
}

// stay keeps the rows, and gives the table the key and the columns of the next
// generation. A column whose type cannot take the new one keeps its values
// under another name.
func (u *succession) stay(ctx context.Context, was head) (head, error) {
	next := was
	next.key, next.Topic, next.TopicID = u.s.Table.Key, u.s.Topic, u.s.TopicID
	next.Offsets, next.Marks = map[int32]int64{}, map[int32]warehouse.Mark{}
	for i := range u.def.columns {
		u.def.columns[i].Key = false
	}
	for _, col := range u.s.Table.Columns {
		i := columnIndex(u.def.columns, col.Name)
		if i < 0 {
			continue
		}
		if _, ok := u.dialect.Fit(u.def.columns[i].Type, col.Type); ok {
			continue
		}
		old := schemas.GenerationName(col.Name, u.s.Generation-1)
		if err := execAll(ctx, u.conn, fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
			u.dialect.Base(u.named()), u.dialect.Ident(col.Name), u.dialect.Ident(old))); err != nil {
			return next, err
		}
		u.def.columns[i].Name = old
	}
	if err := u.evolve(ctx, u.conn, u.name, u.s.Table, u.def); err != nil {
		return next, err
	}
	for i := range u.def.columns {
		c := &u.def.columns[i]
		if c.Key = slices.Contains(u.s.Table.Key, c.Name); c.Key {
			c.Unsettable = false
		}
	}
	u.def.unsettable = slices.DeleteFunc(u.def.unsettable, func(name string) bool { return slices.Contains(u.s.Table.Key, name) })
	next.unsettable = u.def.unsettable
	return next, execAll(ctx, u.conn, u.defined(u.name, *u.def).CreateView())
}

func (u *succession) named() sqlgen.Name {
	n := u.name
	n.Generation = u.def.generation
	return n
}

// move makes the rows of From the table's, and takes its head over; nothing
// else of From is left. Completeness does not go back: what the next generation
// read, it read later.
func (u *succession) move(ctx context.Context, was head) (next head, err error) {
	n, err := u.dialect.ParseName(u.s.From)
	if err != nil {
		return next, err
	}
	from, err := u.readDefinition(ctx, u.conn, n)
	if err != nil {
		return next, err
	}
	if len(from.columns) == 0 {
		return next, fmt.Errorf("take in %s: %w", u.s.From, warehouse.ErrNoTable)
	}
	if next, err = u.readHead(ctx, u.conn, n); err != nil {
		return next, err
	}
	if next.Epoch != u.s.FromEpoch {
		return next, fmt.Errorf("the head of %s is at epoch %d: %w", u.s.From, next.Epoch, warehouse.ErrFenced)
	}
	next.Complete.Pos = schemas.MaxPosition(was.Complete.Pos, next.Complete.Pos)
	next.Complete.Time = later(was.Complete.Time, next.Complete.Time)
	next.Snapshot.Done = was.Snapshot.Done || next.Snapshot.Done
	old := u.dialect.Base(u.named())
	*u.def = definition{
		mode: from.mode, columns: from.columns, needs: u.def.needs, unsettable: from.unsettable, generation: u.s.Generation,
	}
	statements := []string{u.defined(u.name, *u.def).CreateView(), "DROP TABLE " + old}
	// Generations that were given up before they were whole go with it.
	for g := max(was.generation, 1) + 1; g <= u.s.Generation; g++ {
		gone := sqlgen.Name{Dataset: u.name.Dataset, Table: schemas.GenerationName(u.name.Table, g)}
		statements = append(statements, "DROP VIEW IF EXISTS "+u.dialect.View(gone))
		for _, own := range []string{u.dialect.Head(gone), u.dialect.Loads(gone), u.dialect.Needs(gone), u.dialect.Changes(gone)} {
			statements = append(statements, "DROP TABLE IF EXISTS "+own)
		}
		if g < u.s.Generation {
			statements = append(statements, "DROP TABLE IF EXISTS "+u.dialect.Base(gone))
		}
	}
	return next, execAll(ctx, u.conn, statements...)
}

// advance moves the head, and by that fences (G5).
func (u *succession) advance(ctx context.Context, next head) error {
	args, err := next.parameters(u.s.Load, u.s.Epoch)
	if err != nil {
		return err
	}
	key, err := encode(next.key)
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	unsettable, err := encode(append([]string{}, next.unsettable...))
	if err != nil {
		return fmt.Errorf("encode which columns can be unset: %w", err)
	}
	args = append(args, string(u.def.mode), key, next.Topic, next.TopicID, unsettable, max(u.def.generation, 1))
	if err := exactlyOne(u.conn.ExecContext(ctx, u.dialect.Succeed(u.name), args...)); err != nil {
		return fmt.Errorf("advance the head: %w", err)
	}
	return nil
}

func (u *succession) log(ctx context.Context, next head) error {
	u.event = schemas.LoadComplete{
		Table: u.s.Table.Name, Load: u.s.Load, Epoch: u.s.Epoch, Mode: u.def.mode, CompleteThrough: next.Complete, All: true,
		SchemaVersion: u.s.SchemaVersion, Snapshot: next.Snapshot, StartedAt: u.s.StartedAt.UTC(), CommittedAt: time.Now().UTC(),
	}
	text, err := encode(u.event)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	if _, err := u.conn.ExecContext(ctx, u.dialect.LogLoad(u.name), u.s.Load, u.event.CommittedAt, text); err != nil {
		return fmt.Errorf("log the load: %w", err)
	}
	return nil
}
