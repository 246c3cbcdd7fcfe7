package deriver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/deriver/window"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// loadsAtOnce bounds how many events are held in memory.
const loadsAtOnce = 1000

// maxUnwritten is how many windows a table may have whose begin nobody wrote.
const maxUnwritten = 10_000

// inputs learns how far the inputs are. What it learns is taken in before any
// log is read, so that a complete time never speaks for loads that are not
// drained.
func (d *Deriver) inputs(ctx context.Context) (map[string]warehouse.InputState, error) {
	d.mu.Lock()
	told := maps.Clone(d.told)
	d.mu.Unlock()
	var tables []string
	for _, in := range d.opts.Node.Inputs {
		tables = append(tables, in.Table)
	}
	states, err := d.opts.Runner.Inputs(ctx, tables)
	if err != nil {
		return nil, err
	}
	needs := Needs(d.opts.Node)
	for _, table := range tables {
		state, there := states[table]
		delete(d.state.waiting, table)
		if !there || !state.Ready {
			d.state.waiting[table] = true
		}
		if there && d.opts.Now().Sub(d.needed[table]) > needsAgain {
			if err := d.need(ctx, table, needs[table]); err != nil {
				return nil, err
			}
		}
		if told[table].After(state.Complete) {
			state.Complete = told[table]
		}
		if there {
			states[table] = state
		}
	}
	return states, nil
}

// needsAgain is how often the needs are written down again, and what is no
// longer needed is swept.
const needsAgain = 6 * time.Hour

func (d *Deriver) need(ctx context.Context, table string, kept warehouse.Kept) error {
	if err := d.opts.Runner.SetNeeds(ctx, table, d.table.Name, kept); err != nil {
		return err
	}
	d.needed[table] = d.opts.Now()
	if len(kept.Changes) == 0 {
		return nil
	}
	return d.opts.Runner.Sweep(ctx, table)
}

// start begins the table's life: the inputs' loads up to now are absorbed by
// making everything dirty.
func (d *Deriver) start(ctx context.Context, states map[string]warehouse.InputState, now time.Time) error {
	s := d.state
	s.drained = make(map[string]int64)
	for _, in := range d.opts.Node.Inputs {
		s.complete[in.Table] = states[in.Table].Complete
		if !in.Driver {
			s.drained[in.Table] = states[in.Table].Load
		} else {
			s.drained[in.Table] = 0
		}
	}
	if s.scope() == spec.ScopeWindow {
		if err := d.begin(ctx, now); err != nil {
			return err
		}
		if s.begin.IsZero() {
			return nil
		}
	}
	s.everything(now)
	return d.save(ctx, now)
}

// begin finds the first window, and the last.
func (d *Deriver) begin(ctx context.Context, now time.Time) error {
	s := d.state
	opened := s.through()
	if tick := d.pace.tick(now); d.pace.ticks != nil && tick.After(opened) {
		opened = tick
	}
	if opened.IsZero() {
		d.wait("for the inputs to say up to when they are complete")
		return nil
	}
	begin := d.opts.Node.Spec.Window.Begin
	frontier := s.grid().Instant(opened)
	written := !begin.IsZero()
	if !written {
		var err error
		if begin, err = d.first(ctx, frontier); err != nil {
			return err
		}
	}
	begin = s.grid().Civil(begin).Start
	if _, more := s.grid().Range(begin, frontier.End, maxUnwritten); more && !written {
		d.wait(fmt.Sprintf("for a written begin: from %s there are more than %d windows; write window.begin", begin.Format(time.DateOnly), maxUnwritten))
		return nil
	}
	s.begin, s.frontier, d.looked = begin, frontier.End, true
	return nil
}

// first is the first window that the inputs have rows for, or the last.
func (d *Deriver) first(ctx context.Context, last window.Window) (time.Time, error) {
	first := last.Start
	for _, query := range d.strategy.LeastEventTimes() {
		least, err := d.opts.Runner.Touched(ctx, query)
		if err != nil {
			return first, fmt.Errorf("find the first window: %w", err)
		}
		// Every window that the least event time dirties; the first is its own.
		windows, _, err := d.state.grid().Dirty(least, window.Lookback{}, window.Bound{To: last.End})
		if err != nil {
			return first, fmt.Errorf("find the first window: %w", err)
		}
		if len(windows) > 0 && windows[0].Start.Before(first) {
			first = windows[0].Start
		}
	}
	return first, nil
}

// look learns whether rows lie before a begin that was found and stays: they are
// not computed, and what the loads touched is forgotten with the process, so the
// rows themselves are asked, once. A begin that somebody wrote is meant. It is for
// people: a table is computed without it.
func (d *Deriver) look(ctx context.Context) {
	s := d.state
	if d.looked || s.begin.IsZero() || !d.opts.Node.Spec.Window.Begin.IsZero() {
		return
	}
	d.looked = true
	first, err := d.first(ctx, s.grid().Civil(s.begin))
	switch {
	case err != nil:
		d.log.Warn("rows before the begin were not looked for", "err", err)
	case first.Before(s.begin):
		d.earlier = first
	}
}

// drain reads the logs of the inputs and notes what they dirty.
func (d *Deriver) drain(ctx context.Context, states map[string]warehouse.InputState, now time.Time) error {
	s := d.state
	if s.recoded() {
		if err := d.recode(ctx, states, now); err != nil {
			return err
		}
	}
	for _, in := range d.opts.Node.Inputs {
		state, there := states[in.Table]
		if !there {
			continue
		}
		if state.Load > s.drained[in.Table] {
			d.gathered = now
		}
		if err := d.drainInput(ctx, in, state, now); err != nil {
			return fmt.Errorf("drain the loads of %s: %w", in.Table, err)
		}
		s.complete[in.Table] = state.Complete
	}
	if s.scope() == spec.ScopeWindow {
		d.advance(now)
		d.look(ctx)
	}
	return nil
}

// advance opens the windows that the inputs, or with cron the clock, have
// reached.
func (d *Deriver) advance(now time.Time) {
	s := d.state
	if begin := d.opts.Node.Spec.Window.Begin; !begin.IsZero() {
		switch start := s.grid().Civil(begin).Start; {
		case start.Before(s.begin):
			s.enter(start, s.begin, now, true)
			s.begin = start
		case s.begin.Before(start):
			s.begin = start
		}
	}
	if d.pace.ticks != nil {
		if tick := d.pace.tick(now).UTC(); !tick.IsZero() {
			s.advance(tick, tick)
		}
	}
	if d.pace.onLoad || d.pace.ticks == nil {
		s.advance(s.through(), now)
	}
}

// recode dirties everything for new code. Inputs that the old code did not read
// are absorbed by that.
func (d *Deriver) recode(ctx context.Context, states map[string]warehouse.InputState, now time.Time) error {
	s := d.state
	for _, in := range d.opts.Node.Inputs {
		s.complete[in.Table] = states[in.Table].Complete
		if _, known := s.drained[in.Table]; !known && !in.Driver {
			s.drained[in.Table] = states[in.Table].Load
		}
	}
	maps.DeleteFunc(s.drained, func(table string, _ int64) bool { return d.opts.Node.Input(table) == nil })
	switch {
	case s.scope() != spec.ScopeWindow:
	case s.begin.IsZero(): // it had no windows before
		if err := d.begin(ctx, now); err != nil {
			return err
		}
		if s.begin.IsZero() {
			return errors.New("no input says up to when it is complete")
		}
	default: // the grid may be another
		s.begin = s.grid().Civil(s.begin).Start
		s.frontier = s.grid().Civil(s.frontier.Add(-time.Nanosecond)).End
	}
	clear(s.dirt)
	clear(s.unsaved)
	s.everything(now)
	return nil
}

// asked is what a mapping over changes has to be asked: about which loads.
type asked struct {
	mapping        graph.Mapping
	after, through int64
}

func (d *Deriver) drainInput(ctx context.Context, in *graph.Input, state warehouse.InputState, now time.Time) error {
	s := d.state
	if state.Load < s.drained[in.Table] {
		if err := d.rewound(in, state, now); err != nil {
			return err
		}
	}
	var asks []asked
	for s.drained[in.Table] < state.Load {
		after := s.drained[in.Table]
		loads, err := d.opts.Runner.Loads(ctx, in.Table, after, loadsAtOnce)
		if err != nil {
			return err
		}
		if len(loads) == 0 {
			return fmt.Errorf("the log ends at load %d, but the head is at %d", after, state.Load)
		}
		for _, load := range loads {
			if load.Load != s.drained[in.Table]+1 {
				return fmt.Errorf("load %d follows load %d in the log", load.Load, s.drained[in.Table])
			}
			mappings, err := s.absorb(in, load, now)
			if err != nil {
				return err
			}
			for _, m := range mappings {
				asks = ask(asks, m, load.Load)
			}
		}
	}
	for _, a := range asks {
		if a.after < state.Swept { // it was silent for too long
			s.everything(now, schemas.Cause{Table: in.Table, Load: a.through})
			continue
		}
		query := d.strategy.Changed(in, a.mapping, a.after, a.through)
		if s.scope() == spec.ScopeKeys {
			s.keyed = append(s.keyed, query)
			continue
		}
		touched, err := d.opts.Runner.Touched(ctx, query)
		if err != nil {
			return fmt.Errorf("find what its changes dirty: %w", err)
		}
		if err := s.touch(touched, a.mapping.Lookback, now, schemas.Cause{Table: in.Table, Load: a.through}); err != nil {
			return err
		}
	}
	return nil
}

// rewound is for an input whose numbers have gone back: a person has brought it back
// from a time before, or it was made again. What its next loads change is another
// thing than what the loads of those numbers had: everything is computed again.
func (d *Deriver) rewound(in *graph.Input, state warehouse.InputState, now time.Time) error {
	s := d.state
	had := s.drained[in.Table]
	if in.Driver {
		return fmt.Errorf("it is at load %d, and its rows up to load %d were added: which of them come again is not known: bring it back as it was then, or give this table another name", state.Load, had)
	}
	d.log.Warn("everything is computed again: an input is at an earlier load than it was", "input", in.Table, "load", state.Load, "was", had)
	s.drained[in.Table] = state.Load
	delete(s.computed, in.Table)
	s.everything(now, schemas.Cause{Table: in.Table, Load: state.Load})
	return nil
}

// ask adds a load to what a mapping is asked about.
func ask(asks []asked, m graph.Mapping, load int64) []asked {
	same := func(a asked) bool {
		return a.mapping.Kind == m.Kind && a.mapping.Hop == m.Hop && a.mapping.HopColumn == m.HopColumn && a.mapping.On == m.On &&
			a.mapping.EventTime == m.EventTime && a.mapping.Lookback == m.Lookback && a.mapping.Dirty == m.Dirty && slices.Equal(a.mapping.Key, m.Key)
	}
	if i := slices.IndexFunc(asks, same); i >= 0 {
		asks[i].through = load
		return asks
	}
	return append(asks, asked{m, load - 1, load})
}
