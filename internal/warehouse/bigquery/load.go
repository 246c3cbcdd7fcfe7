package bigquery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// The points at which Options.Fault is asked, in the order in which a load comes
// to them. What happens inside the transaction happens in the service.
const (
	PointLoadBegin     = "bigquery.load.begin"
	PointLoadStaged    = "bigquery.load.staged" // the last before the commit
	PointLoadCommitted = "bigquery.load.committed"
)

// LoadPoints lists the points of a load, and before which of them its commit
// lies.
func LoadPoints() (points []string, committed string) {
	return []string{PointLoadBegin, PointLoadStaged, PointLoadCommitted}, PointLoadCommitted
}

// Load stages the batch and commits it by one job.
func (w *Warehouse) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	done, err := w.load(ctx, b)
	if err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("load %d of %s: %w", b.Load, b.Table.Name, passing(err))
	}
	return done, nil
}

func (w *Warehouse) load(ctx context.Context, b *warehouse.Batch) (done schemas.LoadComplete, err error) {
	if err := coretable.CheckBatch(b); err != nil {
		return done, err
	}
	t, err := w.entry(b.Table.Name)
	if err != nil {
		return done, err
	}
	def, err := w.definition(ctx, t)
	if err != nil {
		return done, err
	}
	was, err := w.owned(ctx, t, b.Epoch)
	if err != nil {
		return done, err
	}
	if was.Load != b.Load-1 {
		return done, fmt.Errorf("the head is at load %d: %w", was.Load, warehouse.ErrFenced)
	}
	core, kept, err := def.Core(w.dialect, t.name, b.Table)
	if err != nil {
		return done, err
	}
	switch {
	case core.Mode != b.Table.Mode:
		return done, fmt.Errorf("a batch of mode %s for a table of mode %s", b.Table.Mode, core.Mode)
	case core.Mode == schemas.ModeUpsert && !b.Truncate.IsZero():
		return done, errTruncate
	case core.Staging() != def.Defined(w.dialect, t.name).Staging():
		return done, errors.New("a column can be unset that could not: ensure it before the load")
	}
	next, err := was.After(b, core.Horizons())
	if err != nil {
		return done, err
	}
	if err := w.opts.Fault.At(ctx, PointLoadBegin); err != nil {
		return done, err
	}
	staged, err := w.stage(ctx, t, core, b)
	if err != nil {
		return done, err
	}
	if err := coretable.CheckCounts(b.Counts, staged.rows); err != nil { // G11
		return done, err
	}
	if err := w.opts.Fault.At(ctx, PointLoadStaged); err != nil {
		return done, err
	}
	t.learn(nil) // until the outcome is known
	var needs [][]string
	if core.Mode == schemas.ModeUpsert {
		done, err = w.commitUpserts(ctx, core, kept, b, next, staged)
	} else {
		done, needs, err = w.commit(ctx, core, kept, b, was, next, staged)
	}
	if err != nil {
		if classOf(err) != fenced {
			t.forget() // it may have been changed by hand
		}
		return done, settle(ctx, err, b.Epoch, w.epochOf(t.name))
	}
	next.Snapshot = done.Snapshot
	t.learn(&next)
	if core.Mode != schemas.ModeUpsert { // which needs nothing kept
		t.takeUp(needs)
	}
	return done, w.opts.Fault.At(ctx, PointLoadCommitted)
}

// takeUp notes what specs need now, if that is not known.
func (t *table) takeUp(needs [][]string) {
	var list []coretable.Need
	for _, n := range needs {
		if len(n) == 3 {
			list = append(list, coretable.Need{Spec: n[0], Kind: n[1], Column: n[2]})
		}
	}
	compare := func(a, b coretable.Need) int {
		return cmp.Or(cmp.Compare(a.Spec, b.Spec), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Column, b.Column))
	}
	slices.SortFunc(list, compare)
	t.ddl.Lock()
	defer t.ddl.Unlock()
	if !slices.Equal(list, slices.SortedFunc(slices.Values(t.def.Needs), compare)) {
		t.def.Needs, t.imaged = list, false
	}
}

// commit is the load's job: a script, and in it one transaction (G4).
func (w *Warehouse) commit(ctx context.Context, core *sqlgen.Core, kept warehouse.Kept, b *warehouse.Batch, was, next coretable.Head, s staged) (done schemas.LoadComplete, needs [][]string, err error) {
	head, err := w.headLiterals(b.Load, b.Epoch, next)
	if err != nil {
		return done, nil, err
	}
	core.NullKeys, core.Bounds = s.nullKeys, s.bounds
	committed := time.Now().UTC().Truncate(time.Microsecond)
	script := sqlgen.LoadScript{
		Batch: s.batch, StagedAtUs: s.atUs, Staged: s.rows, Head: head, Load: b.Load, CommittedUs: committed.UnixMicro(),
		Horizon: next.Horizon, Removes: was.Horizon.Less(next.Horizon),
		// Rows of an old snapshot that are replayed write nothing, and so say
		// nothing.
		Running: next.Snapshot.Running,
		MayRun:  b.Snapshotting && !next.Snapshot.Running && !next.Over,
	}
	// The same load may be asked for again after it failed, and is then another
	// job; that at most one of them has an effect is the head's doing.
	id := w.jobID("load", b.Table.Name, b.Epoch, b.Load, s.batch)
	if _, err := eventParts(core, kept, b, next, id, committed); err != nil {
		return done, nil, err
	}
	res, err := w.run(ctx, task{what: "load", table: b.Table.Name, id: id, text: func(job string) string {
		script.Event, _ = eventParts(core, kept, b, next, job, committed) // it was encoded above
		return core.Script(script)
	}})
	if err != nil {
		return done, nil, err
	}
	if len(res.rows) != 1 || len(res.rows[0]) != 2 {
		return done, nil, fmt.Errorf("job %s gave %d rows in place of its event", res.job, len(res.rows))
	}
	if done, err = parseEvent(str(res.rows[0][0])); err != nil {
		return done, nil, fmt.Errorf("decode the event of job %s: %w", res.job, err)
	}
	if err := json.Unmarshal([]byte(str(res.rows[0][1])), &needs); err != nil {
		return done, nil, fmt.Errorf("decode the needs that job %s read: %w", res.job, err)
	}
	w.opts.Logger.Log(ctx, levelOf(s.rows > 0 || script.Removes), "load committed", "table", b.Table.Name, "load", b.Load, "job", res.job, "rows", done.Rows.Applied,
		"billed_bytes", res.cost.billed, "slot_ms", res.cost.slotMs)
	return done, needs, nil
}

// headLiterals are what Advance writes, in its order.
func (w *Warehouse) headLiterals(load, epoch int64, next coretable.Head) ([]string, error) {
	offsets, err := encode(next.Offsets)
	if err != nil {
		return nil, fmt.Errorf("encode offsets: %w", err)
	}
	marks, err := encode(next.Marks)
	if err != nil {
		return nil, fmt.Errorf("encode marks: %w", err)
	}
	complete := "NULL"
	if !next.Complete.Time.IsZero() {
		complete = fmt.Sprintf("TIMESTAMP_MICROS(%d)", next.Complete.Time.UnixMicro())
	}
	text := w.dialect.Text
	return []string{
		text(offsets), text(marks), text(next.Horizon.String()), text(next.Complete.Pos.String()), complete, text(next.Ended.String()),
		strconv.FormatBool(next.Snapshot.Running), strconv.FormatBool(next.Snapshot.Done),
		strconv.FormatInt(load, 10), strconv.FormatInt(epoch, 10),
	}, nil
}

// headColumns is how many there are.
const headColumns = 10
