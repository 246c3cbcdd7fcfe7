package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// The points at which Options.Fault is asked, in the order in which a run comes
// to them. What happens inside the transaction happens in the service.
const (
	PointRunAcquired  = "bigquery.run.acquired"
	PointRunBegin     = "bigquery.run.begin"
	PointRunComputed  = "bigquery.run.computed"
	PointRunInspected = "bigquery.run.inspected" // the last before the commit
	PointRunCommitted = "bigquery.run.committed"
)

// RunPoints lists the points of a Commit, and before which of them its commit
// lies.
func RunPoints() (points []string, committed string) {
	return []string{PointRunBegin, PointRunComputed, PointRunInspected, PointRunCommitted}, PointRunCommitted
}

// Commit is described at warehouse.Runner. What is computed goes into tables of
// the run's own, one job each; one job publishes it.
func (r *Runner) Commit(ctx context.Context, s *warehouse.Step) (schemas.LoadComplete, error) {
	done, err := r.commit(ctx, s)
	if err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("run of %s: %w", s.Table.Name, err)
	}
	return done, nil
}

func (r *Runner) commit(ctx context.Context, s *warehouse.Step) (done schemas.LoadComplete, err error) {
	d, err := r.table(s.Table)
	if err != nil {
		return done, err
	}
	number := r.runs.Add(1)
	// The session keeps apart what other processes compute of the table.
	x := &run{
		Runner: r, step: s, now: time.Now().UTC().Truncate(time.Microsecond), load: s.Load, number: number,
		Run: &sqlgen.Run{Derived: d, ID: fmt.Sprintf("%s_%s_%d", d.Name.Own("run"), r.session, number)},
	}
	defer x.leave(ctx)
	if err := x.prepare(ctx); err != nil {
		return done, err
	}
	if err := r.opts.Fault.At(ctx, PointRunBegin); err != nil {
		return done, err
	}
	for _, act := range []struct {
		do    func(context.Context) error
		point string
	}{
		{x.takeKeys, ""},
		{x.compute, PointRunComputed},
		{x.inspect, PointRunInspected},
	} {
		if err := act.do(ctx); err != nil {
			return done, err
		}
		if act.point == "" {
			continue
		}
		if err := r.opts.Fault.At(ctx, act.point); err != nil {
			return done, err
		}
	}
	if err := x.publish(ctx); err != nil {
		r.forgetRun(s.Table.Name)
		return done, asFenced(err)
	}
	return x.event, r.opts.Fault.At(ctx, PointRunCommitted)
}

// run is one step on its way.
type run struct {
	*Runner
	*sqlgen.Run
	step    *warehouse.Step
	now     time.Time
	number  int64
	load    int64
	times   []sqlgen.Time // event-time columns whose touched ranges are listed
	tables  []string      // scratch tables that were made
	changed []int         // parts
	rows    schemas.RowCounts
	touched map[int][]int64 // buckets by event time
	null    map[int]bool
	event   schemas.LoadComplete
}

// prepare learns what specs need, and makes the table of images fit it.
func (x *run) prepare(ctx context.Context) error {
	x.mu.Lock()
	known := x.known[x.step.Table.Name]
	x.mu.Unlock()
	if known == nil {
		known = &knownRun{}
		needs, err := x.readNeeds(ctx, x.Name)
		if err != nil {
			return err
		}
		for _, n := range needs {
			known.needs = append(known.needs, []string{n.Spec, n.Kind, n.Column})
		}
	}
	times := slices.Clone(x.step.Table.EventTimes)
	for _, n := range known.needs {
		switch {
		case len(n) != 3 || !slices.Contains(x.Columns, n[2]): // it is taken up when the column comes
		case n[1] == coretable.NeedEventTime && !slices.Contains(times, n[2]):
			times = append(times, n[2])
		case n[1] == coretable.NeedChange:
			x.KeepImages = true
			if !slices.Contains(x.Key, n[2]) && !slices.Contains(x.Changed, n[2]) {
				x.Changed = append(x.Changed, n[2])
			}
		}
	}
	for _, name := range times {
		x.times = append(x.times, sqlgen.Time{Column: name, Kind: x.step.Table.Columns[slices.Index(x.Columns, name)].Type.Kind})
	}
	if err := x.makeImages(ctx, known); err != nil {
		return err
	}
	x.learn(known)
	return nil
}

func (x *run) learn(known *knownRun) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.known[x.step.Table.Name] = known
}

func (x *run) makeImages(ctx context.Context, known *knownRun) error {
	want := append(slices.Clone(x.Key), x.Changed...)
	missing := slices.DeleteFunc(slices.Clone(want), func(c string) bool { return slices.Contains(known.imaged, c) })
	if !x.KeepImages || len(missing) == 0 && len(known.imaged) > 0 {
		return nil
	}
	s := []string{x.CreateRunChanges()}
	if len(missing) > 0 {
		s = append(s, x.AddRunImages(missing))
	}
	if err := x.ddl(ctx, x.Name, s...); err != nil {
		return fmt.Errorf("make the table of changes: %w", err)
	}
	known.imaged = append(known.imaged, want...)
	return nil
}

// job runs a statement of the run. Its id says which run it is of.
func (x *run) job(ctx context.Context, what, into, text string) (result, error) {
	if into != "" {
		x.tables = append(x.tables, into)
	}
	return x.Warehouse.run(ctx, task{
		what: what, table: x.step.Table.Name, id: x.jobID(what, x.step.Table.Name, x.step.Epoch, x.step.Load, x.number),
		text: func(string) string { return text }, into: into, batch: x.conf.Batch, maxBytes: x.conf.MaxBytesBilled,
	})
}

// maxKeys is how many dirty keys stand in a query as literals; more of them are
// read from their table.
const (
	maxKeys    = 10_000
	maxKeyText = 200_000 // bytes of those literals: they stand in a query several times
)

// takeKeys finds the keys that the drained loads dirtied, and captures those
// that the run owns.
func (x *run) takeKeys(ctx context.Context) error {
	fresh := len(x.step.MarkKeys) > 0
	if fresh {
		if _, err := x.job(ctx, "fresh_keys", x.Fresh(), x.FreshKeys(x.step.MarkKeys)); err != nil {
			return fmt.Errorf("find dirty keys: %w", err)
		}
	}
	if !x.step.ByKeys {
		for _, p := range x.step.Parts {
			x.Owned = append(x.Owned, p.Owned)
		}
		if x.Append {
			x.Owned = nil
		}
		return nil
	}
	if _, err := x.job(ctx, "due_keys", x.Keys(), x.DueKeys(fresh, x.step.KeyMark)); err != nil {
		return fmt.Errorf("capture dirty keys: %w", err)
	}
	literals, err := x.keyLiterals(ctx)
	if err != nil {
		return fmt.Errorf("read dirty keys: %w", err)
	}
	x.Owned = []string{x.OwnedBy(literals)}
	parts := slices.Clone(x.step.Parts)
	for i := range parts {
		parts[i].Query = x.OwnKeys(parts[i].Query, literals)
	}
	step := *x.step
	step.Parts = parts
	x.step = &step
	return nil
}

// compute runs the parts, and compares their result with what is published.
func (x *run) compute(ctx context.Context) error {
	if len(x.step.Parts) == 0 {
		return nil
	}
	if err := x.sameColumns(ctx, x.step.Parts[0].Query); err != nil { // the parts differ in values alone
		return err
	}
	queries := make([]string, len(x.step.Parts))
	for i, p := range x.step.Parts {
		queries[i] = p.Query
	}
	if _, err := x.job(ctx, "compute", x.Stage(), x.Compute(queries)); err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	if x.Append {
		return nil
	}
	if _, err := x.job(ctx, "compare", x.Diff(), x.Differ()); err != nil {
		return fmt.Errorf("compare with the table: %w", err)
	}
	return nil
}

// sameColumns refuses a result of other types than the table's: a table that
// the query reads has changed since, and the values would be rounded or cut to
// fit (G12). The digits of a NUMERIC are no part of a result's type.
func (x *run) sameColumns(ctx context.Context, query string) error {
	names, types, err := x.columnsOfQuery(ctx, task{
		what: "describe", table: x.step.Table.Name, text: func(string) string { return query }, maxBytes: x.conf.MaxBytesBilled,
	})
	if err != nil {
		return fmt.Errorf("describe the query: %w", err)
	}
	for i, name := range x.Columns {
		have := ""
		if at := slices.Index(names, name); at >= 0 {
			have = types[at]
		}
		if sqlgen.BareType(have) != sqlgen.BareType(x.Types[i]) {
			return fmt.Errorf("column %q of the result has type %s and was found to have %s: a table that the query reads has changed", name, have, x.Types[i])
		}
	}
	return nil
}

// inspect checks the result, and learns what it changes.
func (x *run) inspect(ctx context.Context) error {
	x.touched, x.null = map[int][]int64{}, map[int]bool{}
	if len(x.step.Parts) == 0 {
		return nil
	}
	checks := make([]sqlgen.RunCheck, len(x.step.Checks))
	for i, c := range x.step.Checks {
		checks[i] = sqlgen.RunCheck{Violated: c.Violated, Unique: c.Unique}
	}
	res, err := x.job(ctx, "inspect", "", x.Inspect(checks, x.times))
	if err != nil {
		return fmt.Errorf("inspect the result: %w", err)
	}
	var violation *warehouse.ViolationError
	check := 0
	for _, row := range res.rows {
		a, b, c := number(row[1]), number(row[2]), number(row[3])
		switch number(row[0]) {
		case sqlgen.InspectStaged:
			if x.Append && b > 0 {
				x.changed = append(x.changed, int(a))
				x.rows.Inserted += b
			}
		case sqlgen.InspectCheck:
			first := violation == nil || int(a) < violation.Part || int(a) == violation.Part && int(b) < check
			if c > 0 && first {
				check = int(b)
				violation = &warehouse.ViolationError{Check: "inside the owned part", Part: int(a), Rows: c}
				if b > 0 {
					violation.Check = x.step.Checks[b-1].Name
				}
			}
		case sqlgen.InspectChanged:
			x.changed = append(x.changed, int(a))
			x.rows.Deleted, x.rows.Inserted = x.rows.Deleted+b, x.rows.Inserted+c
		case sqlgen.InspectBucket:
			if row[2] == nil {
				x.null[int(a)] = true
			} else {
				x.touched[int(a)] = append(x.touched[int(a)], b)
			}
		}
	}
	if violation != nil {
		return violation
	}
	slices.Sort(x.changed)
	x.rows.Read = x.rows.Inserted + x.rows.Deleted
	x.rows.Applied = x.rows.Read
	if len(x.changed) > 0 {
		x.load++
	}
	return nil
}

// publish is the run's transaction.
func (x *run) publish(ctx context.Context) error {
	head, err := x.headLiterals()
	if err != nil {
		return err
	}
	dirt, err := x.dirt()
	if err != nil {
		return err
	}
	x.announce()
	p := sqlgen.Publication{
		Head: head, Load: x.load, Changed: x.changed, Mode: x.step.Mode, FreshKeys: len(x.step.MarkKeys) > 0, ByKeys: x.step.ByKeys,
		KeyMark: x.step.KeyMark, Dirt: dirt, CommittedUs: x.now.UnixMicro(),
	}
	const what = "publish"
	event := x.event
	res, err := x.Warehouse.run(ctx, task{
		what: what, table: x.step.Table.Name, id: x.jobID(what, x.step.Table.Name, x.step.Epoch, x.step.Load, x.number),
		text: func(job string) string {
			event.JobIDs = []string{job}
			p.Event, _ = encode(event) // of values that encode
			return x.Publish(p)
		},
	})
	if err != nil {
		return err
	}
	if x.load > x.step.Load {
		x.event.JobIDs = []string{res.job}
	}
	x.takeUp(res.rows)
	return nil
}

// takeUp notes what specs need now. If that cannot be read, it is asked for
// again.
func (x *run) takeUp(rows [][]any) {
	var needs [][]string
	if len(rows) != 1 || json.Unmarshal([]byte(str(rows[0][0])), &needs) != nil {
		x.forgetRun(x.step.Table.Name)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.known[x.step.Table.Name]; known != nil { // else it was forgotten meanwhile
		x.known[x.step.Table.Name] = &knownRun{needs: needs, imaged: known.imaged}
	}
}

// headLiterals are what AdvanceDerived writes, in its order.
func (x *run) headLiterals() ([]string, error) {
	s := x.step
	absorbed, err := encode(s.Head.Absorbed)
	if err != nil {
		return nil, fmt.Errorf("encode the head: %w", err)
	}
	text := x.dialect.Text
	at := func(t time.Time, layout string) string {
		if t.IsZero() {
			return "NULL"
		}
		return text(t.UTC().Format(layout))
	}
	const civil = "2006-01-02 15:04:05"
	return []string{
		strconv.FormatInt(x.load, 10), text(s.Head.CodeHash), text(absorbed), at(s.Head.Begin, civil), at(s.Head.Frontier, civil),
		at(s.Head.Complete, "2006-01-02 15:04:05.999999+00"), strconv.FormatBool(s.Head.Ready),
		strconv.FormatInt(s.Epoch, 10), strconv.FormatInt(s.Load, 10), text(s.WasHash),
	}, nil
}

// markAtOnce bounds the length of a statement.
const markAtOnce = 500

// dirt are the statements that clear what the run computed and write what it
// leaves.
func (x *run) dirt() (out []string, err error) {
	if len(x.Owning) > 0 {
		if h := x.step.HoldKeys; h != nil {
			retry := "NULL"
			if !h.RetryAt.IsZero() {
				retry = x.dialect.Text(h.RetryAt.UTC().Format("2006-01-02 15:04:05.999999+00"))
			}
			out = append(out, sqlgen.Bind(x.HoldKeys(), x.dialect.Text(h.Error), strconv.Itoa(h.Failures), retry))
		}
		return out, nil
	}
	if x.step.Forget {
		out = append(out, x.ForgetAll())
	}
	var done []sqlgen.DirtyWindow
	for _, p := range x.step.Parts {
		done = append(done, sqlgen.DirtyWindow{Window: p.Dirt.Window, Mark: p.Dirt.Mark})
	}
	if len(done) > 0 {
		out = append(out, x.ClearWindows(done))
	}
	for marks := range slices.Chunk(x.step.Mark, markAtOnce) {
		rows := make([]sqlgen.DirtyWindow, len(marks))
		for i, m := range marks {
			cause, err := encode(append([]schemas.Cause{}, m.Cause...))
			if err != nil {
				return nil, fmt.Errorf("encode the cause: %w", err)
			}
			rows[i] = sqlgen.DirtyWindow{
				Window: m.Window, Since: m.Since, RetryAt: m.RetryAt, Mark: m.Mark, Backfill: m.Backfill, Cause: cause, Error: m.Error, Failures: m.Failures,
			}
		}
		out = append(out, x.MarkWindows(rows)...)
	}
	return out, nil
}

// announce makes the event: of what changed, or of progress alone.
func (x *run) announce() {
	s := x.step
	x.event = schemas.LoadComplete{
		Table: s.Table.Name, Epoch: s.Epoch, Mode: s.Mode, CompleteThrough: schemas.Progress{Time: s.Head.Complete},
		Snapshot: schemas.SnapshotState{Done: s.Head.Ready}, Cause: s.Cause, StartedAt: s.StartedAt.UTC(), CommittedAt: x.now, TraceParent: s.TraceParent,
	}
	if x.load == s.Load {
		return
	}
	x.event.Load, x.event.Rows = x.load, x.rows
	if x.KeepImages {
		x.event.Covers.Changes = append(slices.Clone(x.Key), x.Changed...)
	}
	for i, t := range x.times {
		x.event.Covers.EventTimes = append(x.event.Covers.EventTimes, t.Column)
		slices.Sort(x.touched[i])
		touched, all := warehouse.Touch(t.Column, t.Kind, x.touched[i], x.null[i])
		x.event.All = x.event.All || all
		if len(touched.Ranges) > 0 || touched.Null {
			x.event.Touched = append(x.event.Touched, touched)
		}
	}
}

// leave frees what the run held. What stays expires.
func (x *run) leave(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	for _, name := range x.tables {
		err := x.call(ctx, func(ctx context.Context) error {
			return x.jobs.Tables.Delete(x.opts.Project, sqlgen.Scratch, name).Context(ctx).Do()
		})
		if err != nil && !isStatus(err, http.StatusNotFound) {
			x.opts.Logger.Debug("scratch table stays until it expires", "table", x.step.Table.Name, "err", err)
		}
	}
}
