package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
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
	err = w.define(ctx, s.Table.Name, func(conn *sql.Conn, n sqlgen.Name, def *coretable.Definition) error {
		if from != nil {
			from.mu.Lock()
			unlock = from.mu.Unlock
			from.def = coretable.Definition{} // it is read again, if it is still there
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
func follows(s *warehouse.Succession, h coretable.Head) error {
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
	def   *coretable.Definition // as it was, and then as it is
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
	var next coretable.Head
	if u.s.From == "" {
		next, err = u.stay(ctx, was)
	} else {
		next, err = u.move(ctx, was)
	}
	if err != nil {
		return err
	}
	if err := u.advance(ctx, next); err != nil {
		return err
	}
	// Images of rows with another key are of no use to anybody: what the load
	// touched is everything.
	u.def.Images = nil
	if err := execAll(ctx, u.conn, "DROP TABLE IF EXISTS "+u.dialect.Changes(u.name)); err != nil {
		return err
	}
	if err := u.keepImages(ctx, u.conn, u.name, u.def); err != nil {
		return err
	}
	return u.log(ctx, next)
}

// stay keeps the rows where they are, and gives the table the key and the
// columns of the next generation.
func (u *succession) stay(ctx context.Context, was coretable.Head) (coretable.Head, error) {
	old := *u.def
	next, err := old.Stay(u.dialect, u.s)
	if err != nil {
		return was, err
	}
	next.Generation = old.Generation
	if err := u.alter(ctx, u.conn, u.name, old, next); err != nil {
		return was, err
	}
	*u.def = next
	return was.Stays(u.s, next.Unsettable), nil
}

// move makes the rows of From the table's, and takes its head over; nothing
// else of From is left.
func (u *succession) move(ctx context.Context, was coretable.Head) (next coretable.Head, err error) {
	n, err := u.dialect.ParseName(u.s.From)
	if err != nil {
		return next, err
	}
	from, err := u.readDefinition(ctx, u.conn, n)
	if err != nil {
		return next, err
	}
	if len(from.Columns) == 0 {
		return next, fmt.Errorf("take in %s: %w", u.s.From, warehouse.ErrNoTable)
	}
	taken, err := u.readHead(ctx, u.conn, n)
	if err != nil {
		return next, err
	}
	if taken.Epoch != u.s.FromEpoch {
		return next, fmt.Errorf("the head of %s is at epoch %d: %w", u.s.From, taken.Epoch, warehouse.ErrFenced)
	}
	next = was.TakesIn(taken, u.s)
	old := u.def.Defined(u.dialect, u.name)
	from.Generation, from.Needs, from.Images = u.s.Generation, u.def.Needs, nil
	*u.def = from
	statements := []string{from.Defined(u.dialect, u.name).CreateView(), "DROP TABLE " + u.dialect.Base(old.Name)}
	// Generations that were given up before they were whole go with it.
	for g := max(was.Generation, 1) + 1; g <= u.s.Generation; g++ {
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
func (u *succession) advance(ctx context.Context, next coretable.Head) error {
	args, err := parameters(next, u.s.Load, u.s.Epoch)
	if err != nil {
		return err
	}
	key, err := encode(next.Key)
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	unsettable, err := encode(append([]string{}, next.Unsettable...))
	if err != nil {
		return fmt.Errorf("encode which columns can be unset: %w", err)
	}
	args = append(args, string(u.def.Mode), key, next.Topic, next.TopicID, unsettable, max(u.def.Generation, 1))
	if err := exactlyOne(u.conn.ExecContext(ctx, u.dialect.Succeed(u.name), args...)); err != nil {
		return fmt.Errorf("advance the head: %w", err)
	}
	return nil
}

func (u *succession) log(ctx context.Context, next coretable.Head) error {
	u.event = schemas.LoadComplete{
		Table: u.s.Table.Name, Load: u.s.Load, Epoch: u.s.Epoch, Mode: u.def.Mode, CompleteThrough: next.Complete, All: true,
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
