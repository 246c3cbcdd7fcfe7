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

// The points at which Options.Fault is asked. Those of a load stand in the order
// in which a load comes to them.
const (
	PointLoadBegin        = "duckdb.load.begin"
	PointLoadStaged       = "duckdb.load.staged"
	PointLoadHead         = "duckdb.load.head"
	PointLoadRemoved      = "duckdb.load.removed"
	PointLoadWritten      = "duckdb.load.written"
	PointLoadLogged       = "duckdb.load.logged" // the last before the commit
	PointLoadCommitted    = "duckdb.load.committed"
	PointAcquireBegin     = "duckdb.acquire.begin"
	PointAcquireCommitted = "duckdb.acquire.committed"
	PointDefineCommit     = "duckdb.define.commit"
	PointSucceedBegin     = "duckdb.succeed.begin"
	PointSucceedCommitted = "duckdb.succeed.committed"
)

// LoadPoints lists the points of a load, and before which of them its commit
// lies.
func LoadPoints() (points []string, committed string) {
	return []string{
		PointLoadBegin, PointLoadStaged, PointLoadHead, PointLoadRemoved, PointLoadWritten, PointLoadLogged, PointLoadCommitted,
	}, PointLoadCommitted
}

// Load commits the batch. The stage is filled before the transaction begins, so
// that a load holds others up only while it writes.
func (w *Warehouse) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	done, err := w.load(ctx, b)
	if err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("load %d of %s: %w", b.Load, b.Table.Name, err)
	}
	w.watchWAL()
	return done, nil
}

func (w *Warehouse) load(ctx context.Context, b *warehouse.Batch) (done schemas.LoadComplete, err error) {
	if err := coretable.CheckBatch(b); err != nil {
		return done, err
	}
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return done, err
	}
	defer leave()
	t, release, err := w.hold(ctx, conn, b.Table.Name)
	if err != nil {
		return done, err
	}
	defer release()
	core, kept, err := t.def.Core(w.dialect, t.name, b.Table)
	if err != nil {
		return done, err
	}
	l := &load{Warehouse: w, conn: conn, core: core, kept: kept, batch: b, now: time.Now().UTC()}
	defer l.drop(ctx)
	if err := w.opts.Fault.At(ctx, PointLoadBegin); err != nil {
		return done, err
	}
	if err := l.prepare(ctx); err != nil {
		return done, err
	}
	if err := w.opts.Fault.At(ctx, PointLoadStaged); err != nil {
		return done, err
	}
	err = tx(ctx, conn, func() error { return l.run(ctx) })
	if err != nil {
		return done, w.fenced(ctx, conn, t.name, err, func(h coretable.Head) bool { return h.Epoch != b.Epoch || h.Load != b.Load-1 })
	}
	return l.event, w.opts.Fault.At(ctx, PointLoadCommitted)
}

// load is one load on its way.
type load struct {
	*Warehouse
	conn   *sql.Conn
	core   *sqlgen.Core
	kept   warehouse.Kept
	batch  *warehouse.Batch
	now    time.Time
	staged int64
	was    coretable.Head
	next   coretable.Head
	event  schemas.LoadComplete
}

// prepare makes and fills what the transaction reads. None of it is seen by
// anyone else.
func (l *load) prepare(ctx context.Context) (err error) {
	if l.staged, err = l.stage(ctx, l.conn, l.core, l.batch); err != nil {
		return err
	}
	if _, err := l.conn.ExecContext(ctx, l.core.CreateEffect()); err != nil {
		return fmt.Errorf("make the effect: %w", err)
	}
	return coretable.CheckCounts(l.batch.Counts, l.staged) // G11
}

// drop frees the stage. An error is of no concern: the next load of the
// connection replaces it.
func (l *load) drop(ctx context.Context) {
	_ = execAll(context.WithoutCancel(ctx), l.conn, l.core.DropTemp()...)
}

// run is the transaction: its statements in the order of the design.
func (l *load) run(ctx context.Context) (err error) {
	if l.was, err = l.readHead(ctx, l.conn, l.core.Name); err != nil {
		return err
	}
	if l.was.Epoch != l.batch.Epoch || l.was.Load != l.batch.Load-1 {
		return fmt.Errorf("the head is at load %d of epoch %d: %w", l.was.Load, l.was.Epoch, warehouse.ErrFenced)
	}
	if l.next, err = l.was.After(l.batch, l.core.Horizons()); err != nil {
		return err
	}
	if err := l.advance(ctx); err != nil {
		return err
	}
	if err := l.opts.Fault.At(ctx, PointLoadHead); err != nil {
		return err
	}
	if err := l.unique(ctx); err != nil {
		return err
	}
	if err := l.remove(ctx); err != nil {
		return err
	}
	if err := l.opts.Fault.At(ctx, PointLoadRemoved); err != nil {
		return err
	}
	if err := l.write(ctx); err != nil {
		return err
	}
	if err := l.opts.Fault.At(ctx, PointLoadWritten); err != nil {
		return err
	}
	if err := l.announce(ctx); err != nil {
		return err
	}
	return l.opts.Fault.At(ctx, PointLoadLogged)
}

// advance moves the head, and by that fences (G5).
func (l *load) advance(ctx context.Context) error {
	args, err := parameters(l.next, l.batch.Load, l.batch.Epoch)
	if err == nil {
		err = exactlyOne(l.conn.ExecContext(ctx, l.dialect.Advance(l.core.Name), args...))
	}
	if err != nil {
		return fmt.Errorf("advance the head: %w", err)
	}
	return nil
}

func (l *load) unique(ctx context.Context) error {
	if l.staged < 2 {
		return nil
	}
	var pos string
	err := l.conn.QueryRowContext(ctx, l.core.DuplicateKey()).Scan(&pos)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look for duplicate keys: %w", err)
	}
	return fmt.Errorf("two staged rows have one key, the later one at %s", pos)
}

// remove deletes what a truncate or the end of a snapshot leaves behind.
func (l *load) remove(ctx context.Context) error {
	if !l.was.Horizon.Less(l.next.Horizon) {
		return nil
	}
	if err := execAll(ctx, l.conn, l.core.Removed(l.next.Horizon), l.core.Remove(l.next.Horizon)); err != nil {
		return fmt.Errorf("remove rows below %s: %w", l.next.Horizon, err)
	}
	return nil
}

// write joins the stage with the table, after it has noted what that changes.
func (l *load) write(ctx context.Context) error {
	rows := l.batch.Counts
	if l.staged > 0 {
		if err := execAll(ctx, l.conn, l.core.Write(l.next.Horizon)); err != nil {
			return fmt.Errorf("note what changes: %w", err)
		}
		var read int64
		err := l.conn.QueryRowContext(ctx, l.core.Counts()).Scan(&rows.Applied, &rows.Inserted, &rows.Updated, &rows.Deleted, &read)
		if err != nil {
			return fmt.Errorf("count what changes: %w", err)
		}
		if err := l.change(ctx, rows.Applied); err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		if err := l.snapshotRuns(ctx, read); err != nil {
			return err
		}
	}
	rows.Stale = l.staged - rows.Applied
	l.event.Rows = rows
	if l.core.KeepImages {
		if err := execAll(ctx, l.conn, l.core.KeepChanges(l.batch.Load)); err != nil {
			return fmt.Errorf("keep changes: %w", err)
		}
	}
	return nil
}

// change does to the table what the effect says. It writes as many rows as the
// effect has.
func (l *load) change(ctx context.Context, rows int64) error {
	load, now := l.batch.Load, l.now.UnixMicro()
	switch {
	case l.core.Mode == schemas.ModeAppend:
		return l.writes(ctx, l.core.Append(l.next.Horizon, load, now), rows)
	case !l.core.Rewrites():
		return l.writes(ctx, l.core.Merge(l.next.Horizon, load, now), rows)
	}
	var replaced int64
	if err := l.conn.QueryRowContext(ctx, l.core.Replaced()).Scan(&replaced); err != nil {
		return fmt.Errorf("count what is replaced: %w", err)
	}
	remove, insert := l.core.Rewrite(l.next.Horizon, load, now)
	if replaced > 0 {
		if err := l.writes(ctx, remove, replaced); err != nil {
			return err
		}
	}
	return l.writes(ctx, insert, rows)
}

func (l *load) writes(ctx context.Context, statement string, rows int64) error {
	result, err := l.conn.ExecContext(ctx, statement)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != rows {
		return errors.Join(fmt.Errorf("%d rows were written, but %d were counted", n, rows), err)
	}
	return nil
}

// snapshotRuns notes that a snapshot runs, once rows that it read were written.
// Rows of an old snapshot that are replayed write nothing.
func (l *load) snapshotRuns(ctx context.Context, read int64) error {
	if !l.batch.Snapshotting || read == 0 || l.next.Snapshot.Running || l.next.Over {
		return nil
	}
	l.next.Snapshot.Running = true
	if err := execAll(ctx, l.conn, l.dialect.SetRunning(l.core.Name)); err != nil {
		return fmt.Errorf("note that a snapshot runs: %w", err)
	}
	return nil
}

// announce writes the event into the log of loads.
func (l *load) announce(ctx context.Context) error {
	b := l.batch
	rows := l.event.Rows
	committed := time.Now().UTC()
	l.event = schemas.LoadComplete{
		Table: b.Table.Name, Load: b.Load, Epoch: b.Epoch, Mode: l.core.Mode, Ranges: b.Ranges,
		PosMin: b.PosMin, PosMax: b.PosMax, CompleteThrough: l.next.Complete, Rows: rows,
		Covers:        schemas.Covers{EventTimes: l.kept.EventTimes, Changes: l.kept.Changes},
		SchemaVersion: b.SchemaVersion, Snapshot: l.next.Snapshot,
		StartedAt: b.StartedAt.UTC(), CommittedAt: committed, TraceParent: b.TraceParent,
	}
	for _, i := range l.core.EventTimes {
		touched, all, err := l.touched(ctx, i)
		if err != nil {
			return err
		}
		l.event.All = l.event.All || all
		if len(touched.Ranges) > 0 || touched.Null {
			l.event.Touched = append(l.event.Touched, touched)
		}
	}
	text, err := encode(l.event)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	if _, err := l.conn.ExecContext(ctx, l.dialect.LogLoad(l.core.Name), b.Load, committed, text); err != nil {
		return fmt.Errorf("log the load: %w", err)
	}
	return nil
}

func (l *load) touched(ctx context.Context, i int) (t schemas.Touched, all bool, err error) {
	var buckets []int64
	null := false
	err = each(ctx, l.conn, l.core.Buckets(i), func(rows *sql.Rows) error {
		var b sql.NullInt64
		err := rows.Scan(&b)
		if b.Valid {
			buckets = append(buckets, b.Int64)
		} else {
			null = true
		}
		return err
	})
	col := l.core.Columns[i]
	if err != nil {
		return t, false, fmt.Errorf("list what was touched by %q: %w", col.Name, err)
	}
	t, all = warehouse.Touch(col.Name, col.Type.Kind, buckets, null)
	return t, all, nil
}
