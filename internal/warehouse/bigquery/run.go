package bigquery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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
		return schemas.LoadComplete{}, fmt.Errorf("run of %s: %w", s.Table.Name, passing(err))
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
		{x.inspect, ""},
		{x.putMarks, PointRunInspected},
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
		return done, settle(ctx, err, s.Epoch, x.readEpoch)
	}
	return x.event, r.opts.Fault.At(ctx, PointRunCommitted)
}

// readEpoch reads the epoch of the table.
func (x *run) readEpoch(ctx context.Context) (int64, error) {
	rows, err := x.query(ctx, x.Name, x.dialect.ReadDerivedHead(x.Name))
	if err != nil {
		return 0, fmt.Errorf("read the head of %s: %w", x.Name, err)
	}
	h, err := derivedHeadOf(x.Name, rows)
	return h.Epoch, err
}

// run is one step on its way.
type run struct {
	*Runner
	*sqlgen.Run
	step    *warehouse.Step
	now     time.Time
	number  int64
	load    int64
	cost    cost          // of its jobs so far
	times   []sqlgen.Time // event-time columns whose touched ranges are listed
	tables  []string      // scratch tables that were made
	changed []int         // parts
	rows    schemas.RowCounts
	orphans bool            // the old code has left rows, or taken some away
	marked  []string        // statements that write what becomes dirty
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

// job runs a statement of the run. Its id says which run it is of, and which of
// several of a kind.
func (x *run) job(ctx context.Context, what, into, text string, of ...int) (result, error) {
	if into != "" {
		x.tables = append(x.tables, into)
	}
	res, err := x.run(ctx, task{
		what: what, table: x.step.Table.Name, id: x.jobID(what, x.step.Table.Name, x.step.Epoch, x.step.Load, x.number, of), run: x.label(),
		text: func(string) string { return text }, into: into,
	})
	x.cost = x.cost.and(res.cost)
	return res, err
}

// label names the run among those of the table: the load that it is to be, and
// the try at it.
func (x *run) label() string { return fmt.Sprintf("%d_%d_%d", x.step.Load+1, x.step.Epoch, x.number) }

// maxKeys is how many dirty keys stand in a query as literals; more of them are
// read from their table.
const (
	maxKeys    = 10_000
	maxKeyText = 200_000 // bytes of those literals
	// maxText is how long a statement may become by what is put into it. The
	// service takes 1 MiB.
	maxText = 700_000
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
	x.OwnBy(literals)
	parts := slices.Clone(x.step.Parts)
	for i, p := range parts {
		if parts[i].Query = x.OwnKeys(p.Query, literals); len(parts[i].Query) > maxText {
			parts[i].Query = x.OwnKeys(p.Query, "")
		}
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
		what: "describe", table: x.step.Table.Name, text: func(string) string { return query },
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
	if len(x.step.Parts) == 0 && !x.step.Forget {
		return nil
	}
	checks := make([]sqlgen.RunCheck, len(x.step.Checks))
	for i, c := range x.step.Checks {
		checks[i] = sqlgen.RunCheck{Violated: c.Violated, Unique: c.Unique}
	}
	res, err := x.job(ctx, "inspect", "", x.Inspect(len(x.step.Parts), checks, x.times, x.step.Forget))
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
				violation = &warehouse.ViolationError{Check: warehouse.CheckOwned, Part: int(a), Rows: c}
				if b > 0 {
					violation.Check = x.step.Checks[b-1].Name
				}
			}
		case sqlgen.InspectChanged:
			x.changed = append(x.changed, int(a))
			x.rows.Deleted, x.rows.Inserted = x.rows.Deleted+b, x.rows.Inserted+c
		case sqlgen.InspectOrphans:
			x.orphans = a+b > 0
			x.rows.Deleted += a
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
	if x.orphans || len(x.changed) > 0 {
		x.load++
	}
	return nil
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
