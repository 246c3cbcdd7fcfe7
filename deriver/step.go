package deriver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/deriver/spec"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// savedLag is how many loads may be drained without the head saying so: they
// are drained again after a restart.
const savedLag = 100

// step runs what is due, or writes down what was learned, or only tells it.
func (d *Deriver) step(ctx context.Context, now time.Time) (again time.Time, err error) {
	if d.state.scope() == spec.ScopeKeys {
		return d.stepKeys(ctx, now)
	}
	if len(d.failed) > 0 {
		for _, f := range d.failed {
			d.state.hold(f)
		}
		d.failed = nil
		return now, d.save(ctx, now)
	}
	due, again := d.state.due(now, d.pace)
	if len(due) > 0 {
		err := d.compute(ctx, due, now)
		if len(d.failed) == 0 && len(d.state.dirt) == 0 && !d.unsaved() {
			now = again // nothing is left to do: what comes wakes it
		}
		return now, err
	}
	if d.unsaved() {
		return sooner(again, now), d.save(ctx, now)
	}
	return again, d.progress(ctx)
}

// unsaved reports whether the warehouse should know more than it does.
func (d *Deriver) unsaved() bool {
	s := d.state
	next := s.next(nil)
	lag := int64(0)
	for table, load := range next.Absorbed {
		lag += load - s.head.Absorbed[table]
	}
	return len(s.unsaved) > 0 && s.scope() != spec.ScopeRows || lag >= savedLag || s.recoded() || next.Ready != s.head.Ready ||
		!s.begin.Equal(s.head.Begin) || !s.frontier.Equal(s.head.Frontier)
}

// plan is the step that leaves the state as it is but for what is computed.
func (d *Deriver) plan(now time.Time, done []warehouse.Dirt) *warehouse.Step {
	s := d.state
	step := &warehouse.Step{
		Table: d.table, Epoch: s.head.Epoch, Load: s.head.Load, Head: s.next(done), WasHash: s.head.CodeHash,
		Forget: !s.started() || s.recoded(), Mark: s.saved(done), Mode: d.opts.Node.Spec.Strategy, StartedAt: d.asked,
	}
	if step.StartedAt.IsZero() { // nobody waits for turns
		step.StartedAt = now
	}
	for _, w := range done {
		step.Parts = append(step.Parts, d.part(w))
		for _, c := range w.Cause {
			step.Cause = withCause(step.Cause, c)
		}
	}
	if len(done) > 0 {
		step.Checks = d.checks
	}
	return step
}

func (d *Deriver) part(w warehouse.Dirt) (p warehouse.Part) {
	s := d.state
	switch s.scope() {
	case spec.ScopeWindow:
		p = d.strategy.Window(s.grid().Civil(w.Window))
	case spec.ScopeRows:
		driver := s.driver()
		p = d.strategy.Rows(s.head.Absorbed[driver], s.drained[driver])
	default:
		p = d.strategy.Whole()
	}
	p.Dirt = w
	return p
}

// compute runs the windows together. If that fails, each is repeated by
// itself; one that failed by itself is held.
func (d *Deriver) compute(ctx context.Context, due []warehouse.Dirt, now time.Time) error {
	step := d.plan(now, due)
	event, err := d.commit(ctx, step)
	if err == nil {
		d.state.committed(d.after(step, event), due)
		return d.announce(ctx, event)
	}
	if err := d.recover(ctx, err); err != nil {
		return err
	}
	s := d.state
	if len(due) > 1 {
		for _, w := range due {
			s.alone[w.Window] = true
		}
		return nil
	}
	delete(s.alone, due[0].Window)
	failures := due[0].Failures + 1
	d.opts.Metrics.hold(d.table.Name)
	d.log.Warn("window held", "window", due[0].Window.Format(time.DateTime), "failures", failures, "err", err)
	// It is held after the logs were drained again: the state may be a new one.
	d.failed = append(d.failed, warehouse.Dirt{Window: due[0].Window, Error: err.Error(), Failures: failures, RetryAt: now.Add(backoff(failures))})
	return nil
}

// recover settles what a failed commit has left. After a violation that is
// nothing; else the outcome is unknown, and the warehouse is asked.
func (d *Deriver) recover(ctx context.Context, err error) error {
	if errors.Is(err, warehouse.ErrFenced) || ctx.Err() != nil {
		return err
	}
	if errors.As(err, new(*warehouse.ViolationError)) {
		return nil
	}
	d.log.Warn("run failed", "err", err)
	if taken := d.acquire(ctx); taken != nil {
		return errors.Join(taken, err)
	}
	return nil
}

// stepKeys is step for the scope keys: the dirty keys are in the warehouse.
func (d *Deriver) stepKeys(ctx context.Context, now time.Time) (again time.Time, err error) {
	s := d.state
	fresh := len(s.keyed) > 0 || s.allKeys
	at := d.pace.next(s.lastRound)
	if !fresh {
		if s.keys.RetryAt.After(at) {
			at = s.keys.RetryAt
		}
		if t := d.pace.opens(s.keys.Since); t.After(at) {
			at = t
		}
	} else if t := d.pace.opens(now); t.After(at) {
		at = t
	}
	switch {
	case d.keyHold != nil:
		step := d.planKeys(now)
		step.HoldKeys = d.keyHold
		d.keyHold = nil
		return now, d.commitKeys(ctx, step)
	case s.keysDue() && !at.After(now):
		s.lastRound = now
		return now, d.computeKeys(ctx, now)
	case fresh: // not yet its time: the dirt is kept where it is found again
		return now, d.commitKeys(ctx, d.planKeys(now))
	case s.keysDue():
		return at, nil
	case d.unsaved():
		return now, d.commitKeys(ctx, d.planKeys(now))
	}
	return again, d.progress(ctx)
}

// planKeys is the step that puts the keys which the drained loads dirtied into
// the dirt.
func (d *Deriver) planKeys(now time.Time) *warehouse.Step {
	step := d.plan(now, nil)
	step.MarkKeys = d.state.keyed
	if d.state.allKeys {
		step.MarkKeys = append(slices.Clone(step.MarkKeys), d.strategy.AllKeys()...)
	}
	d.state.mark++
	step.KeyMark = d.state.mark
	return step
}

func (d *Deriver) computeKeys(ctx context.Context, now time.Time) error {
	step := d.planKeys(now)
	step.Parts = []warehouse.Part{d.strategy.Keys()}
	step.ByKeys = true
	step.Checks = d.checks
	for _, in := range d.opts.Node.Inputs {
		if load := d.state.drained[in.Table]; load > d.state.computed[in.Table] {
			step.Cause = withCause(step.Cause, schemas.Cause{Table: in.Table, Load: load})
		}
	}
	if d.state.started() {
		step.Head.Ready = true
		step.Head.Complete = later(step.Head.Complete, d.state.through())
	}
	err := d.commitKeys(ctx, step)
	if err == nil {
		d.keyFailures = 0
		d.state.computed = step.Head.Absorbed
		return nil
	}
	if err := d.recover(ctx, err); err != nil {
		return err
	}
	d.keyFailures++
	d.keyHold = &warehouse.Dirt{Error: err.Error(), Failures: d.keyFailures, RetryAt: now.Add(backoff(d.keyFailures))}
	d.opts.Metrics.hold(d.table.Name)
	d.log.Warn("dirty keys held", "failures", d.keyFailures, "err", err)
	return nil
}

// commitKeys commits, and learns how many keys are left.
func (d *Deriver) commitKeys(ctx context.Context, step *warehouse.Step) error {
	event, err := d.commit(ctx, step)
	if err != nil {
		return err
	}
	d.state.committed(d.after(step, event), nil)
	if _, d.state.keys, err = d.opts.Runner.Dirt(ctx, d.table); err != nil {
		return err
	}
	return d.announce(ctx, event)
}

// save writes down what is drained and dirty.
func (d *Deriver) save(ctx context.Context, now time.Time) error {
	if d.state.scope() == spec.ScopeKeys {
		return d.commitKeys(ctx, d.planKeys(now))
	}
	step := d.plan(now, nil)
	event, err := d.commit(ctx, step)
	if err != nil {
		return err
	}
	d.state.committed(d.after(step, event), nil)
	return d.announce(ctx, event)
}

func (d *Deriver) commit(ctx context.Context, step *warehouse.Step) (schemas.LoadComplete, error) {
	started := time.Now()
	event, err := d.opts.Runner.Commit(ctx, step)
	d.opts.Metrics.committed(d.table.Name, step, event, time.Since(started), err)
	return event, err
}

// after is the head that the step has left.
func (d *Deriver) after(step *warehouse.Step, event schemas.LoadComplete) warehouse.DerivedHead {
	h := step.Head
	h.Epoch, h.Load = step.Epoch, max(step.Load, event.Load)
	return h
}

// announce tells of a commit. Without a load number there is only progress to
// tell, and only if there is some.
func (d *Deriver) announce(ctx context.Context, event schemas.LoadComplete) error {
	if event.Load == 0 {
		return d.progress(ctx)
	}
	d.endTurn()
	if err := d.opts.Announce(ctx, event); err != nil {
		return fmt.Errorf("announce load %d of %s: %w", event.Load, event.Table, err)
	}
	d.reported = event.CompleteThrough.Time
	return nil
}

// progress tells those who wait for completeness how far the table is, without
// a number and without a write to the warehouse.
func (d *Deriver) progress(ctx context.Context) error {
	h := d.state.next(nil)
	if !d.state.started() || !h.Complete.After(d.reported) {
		return nil
	}
	event := schemas.LoadComplete{
		Table: d.table.Name, Epoch: h.Epoch, Mode: d.opts.Node.Spec.Strategy,
		CompleteThrough: schemas.Progress{Time: h.Complete}, Snapshot: schemas.SnapshotState{Done: h.Ready},
	}
	d.endTurn()
	if err := d.opts.Announce(ctx, event); err != nil {
		return fmt.Errorf("announce progress of %s: %w", event.Table, err)
	}
	d.reported = h.Complete
	return nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
