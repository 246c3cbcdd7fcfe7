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

// The points at which Options.Fault is asked, in the order in which a run comes
// to them.
const (
	PointRunAcquired  = "duckdb.run.acquired"
	PointRunBegin     = "duckdb.run.begin"
	PointRunStaged    = "duckdb.run.staged"
	PointRunHead      = "duckdb.run.head"
	PointRunPublished = "duckdb.run.published"
	PointRunLogged    = "duckdb.run.logged" // the last before the commit
	PointRunCommitted = "duckdb.run.committed"
)

// Commit is described at warehouse.Runner.
func (r *Runner) Commit(ctx context.Context, s *warehouse.Step) (schemas.LoadComplete, error) {
	done, err := r.commit(ctx, s)
	if err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("run of %s: %w", s.Table.Name, err)
	}
	r.watchWAL()
	return done, nil
}

func (r *Runner) commit(ctx context.Context, s *warehouse.Step) (done schemas.LoadComplete, err error) {
	d, err := r.derived(s.Table)
	if err != nil {
		return done, err
	}
	conn, leave, err := r.writer(ctx)
	if err != nil {
		return done, err
	}
	defer leave()
	x := &run{Runner: r, conn: conn, d: d, step: s, load: s.Load}
	defer x.drop(ctx)
	if err := x.prepare(ctx); err != nil {
		return done, err
	}
	if err := r.opts.Fault.At(ctx, PointRunBegin); err != nil {
		return done, err
	}
	if err := tx(ctx, conn, func() error { return x.do(ctx) }); err != nil {
		return done, x.fenced(ctx, err)
	}
	return x.event, r.opts.Fault.At(ctx, PointRunCommitted)
}

// run is one step on its way.
type run struct {
	*Runner
	conn    *sql.Conn
	d       *sqlgen.Derived
	step    *warehouse.Step
	load    int64
	times   []string // event-time columns whose touched ranges are listed
	changed []bool   // by part
	staged  int64
	rows    schemas.RowCounts
	orphans bool // the old code has left rows, or some were taken away
	event   schemas.LoadComplete
}

// prepare does what changes definitions, none of which anyone else sees but for
// the table of images: in DuckDB, a table that a transaction has written cannot
// be altered in it.
func (x *run) prepare(ctx context.Context) error {
	needs, err := x.taken(ctx, x.conn, x.d)
	if err != nil {
		return fmt.Errorf("take up the needs: %w", err)
	}
	x.times = slices.Clone(x.step.Table.EventTimes)
	for _, column := range needs.eventTimes {
		if !slices.Contains(x.times, column) {
			x.times = append(x.times, column)
		}
	}
	x.d.KeepImages, x.d.Changed = needs.images, needs.changed
	if keys := x.d.CreateKeys(); keys != "" {
		if err := execAll(ctx, x.conn, keys); err != nil {
			return fmt.Errorf("make the table of dirty keys: %w", err)
		}
	}
	return nil
}

// smallStage is how many rows a stage may hold that stays until the connection's
// next run replaces it: to drop it costs as much as to read it.
const smallStage = 2048

// drop frees what the run held, unless it is little. An error is of no concern:
// the next run replaces what stays.
func (x *run) drop(ctx context.Context) {
	if x.staged > smallStage || len(x.d.Owning) > 0 {
		_ = execAll(context.WithoutCancel(ctx), x.conn, x.d.DropRun()...)
	}
}

// do is the transaction: its statements in the order of the design. Its first
// read opens the snapshot that all queries of the run see.
func (x *run) do(ctx context.Context) error {
	for _, act := range []struct {
		do    func(context.Context) error
		point string
	}{
		{x.takeKeys, ""},
		{x.sweepOrphans, ""},
		{x.stage, PointRunStaged},
		{x.advance, PointRunHead},
		{x.publish, PointRunPublished},
		{x.dirt, ""},
		{x.announce, PointRunLogged},
	} {
		if err := act.do(ctx); err != nil {
			return err
		}
		if act.point == "" {
			continue
		}
		if err := x.opts.Fault.At(ctx, act.point); err != nil {
			return err
		}
	}
	return nil
}

// takeKeys puts the keys that the drained loads dirtied into the dirt, and
// captures those that the run owns.
func (x *run) takeKeys(ctx context.Context) error {
	for _, query := range x.step.MarkKeys {
		if err := execAll(ctx, x.conn, x.d.MarkKeys(query, x.step.KeyMark)...); err != nil {
			return fmt.Errorf("find dirty keys: %w", err)
		}
	}
	if !x.step.ByKeys {
		return nil
	}
	if err := execAll(ctx, x.conn, x.d.CaptureKeys()...); err != nil {
		return fmt.Errorf("capture dirty keys: %w", err)
	}
	return nil
}

// sweepOrphans deletes what the new code's parts do not own, and notes whether
// rows went of which no event tells.
func (x *run) sweepOrphans(ctx context.Context) error {
	if !x.step.Forget {
		return nil
	}
	if statement := x.d.Orphans(); statement != "" {
		result, err := x.conn.ExecContext(ctx, statement)
		if err != nil {
			return fmt.Errorf("delete rows that nothing owns: %w", err)
		}
		rows, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("delete rows that nothing owns: %w", err)
		}
		x.orphans = rows > 0
		x.rows.Deleted += rows
	}
	result, err := x.conn.ExecContext(ctx, x.d.Told())
	if err != nil {
		return fmt.Errorf("read whether rows were taken away: %w", err)
	}
	untold, err := result.RowsAffected()
	x.orphans = x.orphans || untold > 0
	return err
}

// stage computes and checks every part, and compares it with what is published.
func (x *run) stage(ctx context.Context) error {
	x.changed = make([]bool, len(x.step.Parts))
	for i, part := range x.step.Parts {
		staged, err := x.fill(ctx, x.d.StagePart(i, part.Query))
		if err != nil {
			return fmt.Errorf("compute part %d: %w", i, err)
		}
		x.staged += staged
		if err := x.check(ctx, i, part); err != nil {
			return err
		}
		if x.d.Append {
			x.changed[i] = staged > 0
			x.rows.Inserted += staged
			continue
		}
		if err := x.compare(ctx, i, x.owned(part)); err != nil {
			return err
		}
	}
	x.rows.Read = x.rows.Inserted + x.rows.Deleted
	x.rows.Applied = x.rows.Read
	if x.orphans || slices.Contains(x.changed, true) {
		x.load++
	}
	return nil
}

// fill runs a statement that makes or fills a table from a query, and gives how
// many rows it wrote: DuckDB answers with their number, which the driver takes for
// that of changed rows only where there was a table.
func (x *run) fill(ctx context.Context, statement string) (rows int64, err error) {
	err = x.conn.QueryRowContext(ctx, statement).Scan(&rows)
	return rows, err
}

func (x *run) owned(part warehouse.Part) string {
	if x.step.ByKeys {
		return x.d.OwnedByKeys()
	}
	return part.Owned
}

// check goes through what the part gave. The first violation counts, in the order
// of the checks.
func (x *run) check(ctx context.Context, part int, p warehouse.Part) error {
	owned, checks := "", x.step.Checks
	if !x.d.Append {
		if owned = x.owned(p); owned == everything {
			owned = ""
		}
		checks = append([]warehouse.Check{{Name: warehouse.CheckOwned}}, checks...)
	}
	var violated []string
	for _, c := range x.step.Checks {
		if c.Violated != "" {
			violated = append(violated, c.Violated)
		}
	}
	var outside int64
	violating, types := make([]int64, len(violated)), make([]string, len(x.d.Columns))
	into := []any{&outside}
	for i := range violating {
		into = append(into, &violating[i])
	}
	for i := range types {
		into = append(into, &types[i])
	}
	if err := x.conn.QueryRowContext(ctx, x.d.Examine(part, owned, violated)).Scan(into...); err != nil {
		return fmt.Errorf("examine part %d: %w", part, err)
	}
	if err := x.sameColumns(types); err != nil {
		return err
	}
	for _, c := range checks {
		rows := outside
		switch {
		case len(c.Unique) > 0:
			if err := x.conn.QueryRowContext(ctx, x.d.Repeated(part, c.Unique)).Scan(&rows); err != nil {
				return fmt.Errorf("audit %s: %w", c.Name, err)
			}
		case c.Violated != "":
			rows, violating = violating[0], violating[1:]
		}
		if rows > 0 {
			return &warehouse.ViolationError{Check: c.Name, Part: part, Rows: rows}
		}
	}
	return nil
}

// everything is the condition of a part that owns all rows.
const everything = "TRUE"

// sameColumns refuses a result of other types than the table's: a table that
// the query reads has changed since, and the values would be rounded or cut to
// fit (G12).
func (x *run) sameColumns(types []string) error {
	for i, name := range x.d.Columns {
		if types[i] != x.d.Types[i] {
			return fmt.Errorf("column %q of the result has type %s and was found to have %s: a table that the query reads has changed", name, types[i], x.d.Types[i])
		}
	}
	return nil
}

// compare notes how the part differs from what is published.
func (x *run) compare(ctx context.Context, part int, owned string) error {
	differ, err := x.fill(ctx, x.d.Compare(part, owned))
	if err != nil {
		return fmt.Errorf("compare part %d with the table: %w", part, err)
	}
	if differ == 0 {
		return nil
	}
	var gone, come int64
	if err := x.conn.QueryRowContext(ctx, x.d.Differences(part)).Scan(&gone, &come); err != nil {
		return fmt.Errorf("count the differences of part %d: %w", part, err)
	}
	x.rows.Deleted += gone
	x.rows.Inserted += come
	x.changed[part] = true
	return nil
}

// advance moves the head, and by that fences (G5).
func (x *run) advance(ctx context.Context) error {
	s := x.step
	absorbed, err := encode(s.Head.Absorbed)
	if err != nil {
		return fmt.Errorf("encode the head: %w", err)
	}
	err = exactlyOne(x.conn.ExecContext(ctx, x.dialect.AdvanceDerived(x.d.Name), x.load, s.Head.CodeHash, absorbed,
		timeText(s.Head.Begin), timeText(s.Head.Frontier), timeText(s.Head.Complete), s.Head.Ready, s.Epoch, s.Load, s.WasHash))
	if err != nil {
		return fmt.Errorf("advance the head: %w", err)
	}
	return nil
}

// timeText is a time for a CAST, or null.
func timeText(t time.Time) sql.NullString {
	return sql.NullString{String: t.UTC().Format("2006-01-02 15:04:05.999999+00"), Valid: !t.IsZero()}
}

func (x *run) publish(ctx context.Context) error {
	for i, part := range x.step.Parts {
		if !x.changed[i] {
			continue
		}
		var statements []string
		switch {
		case x.d.Append:
			statements = x.d.AppendRows(x.load)
		case x.step.Mode == schemas.ModeMerge:
			statements = x.d.Merge(i)
		default:
			statements = x.d.Replace(i, x.owned(part))
		}
		if err := execAll(ctx, x.conn, statements...); err != nil {
			return fmt.Errorf("publish part %d: %w", i, err)
		}
	}
	if x.d.KeepImages && slices.Contains(x.changed, true) {
		if err := execAll(ctx, x.conn, x.d.KeepRunChanges(x.load)); err != nil {
			return fmt.Errorf("keep changes: %w", err)
		}
	}
	return nil
}

// markAtOnce bounds the length of a statement.
const markAtOnce = 500

// dirt clears what the run computed and writes what it leaves.
func (x *run) dirt(ctx context.Context) error {
	if len(x.d.Owning) > 0 {
		return x.keyDirt(ctx)
	}
	if x.step.Forget {
		if err := execAll(ctx, x.conn, x.d.ForgetAll()); err != nil {
			return fmt.Errorf("forget the dirt: %w", err)
		}
	}
	for _, part := range x.step.Parts {
		window := part.Dirt.Window.Format("2006-01-02 15:04:05")
		if _, err := x.conn.ExecContext(ctx, x.d.ClearWindow(), window, part.Dirt.Mark); err != nil {
			return fmt.Errorf("clear the dirt: %w", err)
		}
	}
	for marks := range slices.Chunk(x.step.Mark, markAtOnce) {
		rows := make([]sqlgen.DirtyWindow, len(marks))
		for i, m := range marks {
			cause, err := encode(append([]schemas.Cause{}, m.Cause...))
			if err != nil {
				return fmt.Errorf("encode the cause: %w", err)
			}
			rows[i] = sqlgen.DirtyWindow{
				Window: m.Window, Since: m.Since, RetryAt: m.RetryAt, Mark: m.Mark, Backfill: m.Backfill, Cause: cause, Error: m.Error, Failures: m.Failures,
			}
		}
		if err := execAll(ctx, x.conn, x.d.MarkWindows(rows)...); err != nil {
			return fmt.Errorf("mark the dirt: %w", err)
		}
	}
	return nil
}

func (x *run) keyDirt(ctx context.Context) error {
	if x.step.ByKeys {
		if err := execAll(ctx, x.conn, x.d.ClearKeys()); err != nil {
			return fmt.Errorf("clear the dirt: %w", err)
		}
	}
	if h := x.step.HoldKeys; h != nil {
		if _, err := x.conn.ExecContext(ctx, x.d.HoldKeys(), h.Error, h.Failures, timeText(h.RetryAt)); err != nil {
			return fmt.Errorf("hold the dirty keys: %w", err)
		}
	}
	return nil
}

// announce writes the event into the log of loads, if the run changed rows;
// else the event announces progress alone.
func (x *run) announce(ctx context.Context) error {
	s := x.step
	x.event = schemas.LoadComplete{
		Table: s.Table.Name, Epoch: s.Epoch, Mode: s.Mode, CompleteThrough: schemas.Progress{Time: s.Head.Complete},
		Snapshot: schemas.SnapshotState{Done: s.Head.Ready}, Cause: s.Cause, StartedAt: s.StartedAt.UTC(), CommittedAt: time.Now().UTC(), TraceParent: s.TraceParent,
	}
	if x.load == s.Load {
		return nil
	}
	x.event.Load, x.event.Rows = x.load, x.rows
	if x.event.All = x.orphans; !x.event.All {
		x.event.Covers = schemas.Covers{EventTimes: x.times}
		if x.d.KeepImages {
			x.event.Covers.Changes = append(slices.Clone(x.d.Key), x.d.Changed...)
		}
	}
	for _, column := range x.event.Covers.EventTimes {
		touched, all, err := x.touched(ctx, column)
		if err != nil {
			return fmt.Errorf("list what was touched by %q: %w", column, err)
		}
		x.event.All = x.event.All || all
		if len(touched.Ranges) > 0 || touched.Null {
			x.event.Touched = append(x.event.Touched, touched)
		}
	}
	text, err := encode(x.event)
	if err != nil {
		return fmt.Errorf("encode the event: %w", err)
	}
	if _, err := x.conn.ExecContext(ctx, x.dialect.LogLoad(x.d.Name), x.load, x.event.CommittedAt, text); err != nil {
		return fmt.Errorf("log the run: %w", err)
	}
	return nil
}

func (x *run) touched(ctx context.Context, column string) (t schemas.Touched, all bool, err error) {
	kind := x.step.Table.Columns[slices.Index(x.d.Columns, column)].Type.Kind
	rows, err := x.conn.QueryContext(ctx, x.d.RunBuckets(column, kind))
	if err != nil {
		return t, false, err
	}
	buckets, null, err := scanBuckets(rows)
	if err != nil {
		return t, false, err
	}
	t, all = warehouse.Touch(column, kind, buckets, null)
	return t, all, nil
}

// fenced gives the error of a run its meaning: see Warehouse.fenced.
func (x *run) fenced(ctx context.Context, err error) error {
	if errors.Is(err, errNotOne) {
		return fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	if !isConflict(err) {
		return err
	}
	h, readErr := readDerivedHead(context.WithoutCancel(ctx), x.conn, x.dialect, x.d.Name)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if h.Epoch != x.step.Epoch || h.Load != x.step.Load {
		return fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	return err
}
