package deriver

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/deriver/window"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// maxParts is how many windows a run computes, each by a query of its own.
const maxParts = 32

// state is how far a table is. It is pure: it decides, and the loop acts.
type state struct {
	node *graph.Node
	head warehouse.DerivedHead // as committed

	drained  map[string]int64     // per input, the last load that is in dirt or keys
	complete map[string]time.Time // per input, complete through drained
	waiting  map[string]bool      // inputs that are not there yet, or whose snapshot runs

	dirt    map[time.Time]warehouse.Dirt // by window; the zero window is the whole table
	unsaved map[time.Time]bool           // windows of dirt that the warehouse does not have so
	alone   map[time.Time]bool           // windows of a group that failed: each runs by itself
	mark    int64                        // the greatest that was given

	keys    warehouse.KeyDirt // as committed
	keyed   []string          // queries of keys that the drained loads dirtied
	allKeys bool
	// computed is, per input, the last load whose keys a run has computed. Keys that
	// another life has left dirty may be of any load.
	computed map[string]int64

	begin, frontier time.Time // civil; the windows that have entered
	outside         int64     // touched ranges outside of them
	timeless        int64     // loads that touched rows whose event time is null
	round           int64     // marks up to it belong to the round at hand
	lastRound       time.Time
}

// newState continues from what the warehouse holds.
func newState(node *graph.Node, head warehouse.DerivedHead, dirt []warehouse.Dirt, keys warehouse.KeyDirt) *state {
	s := &state{
		node: node, head: head, keys: keys, drained: maps.Clone(head.Absorbed), complete: make(map[string]time.Time), waiting: make(map[string]bool),
		dirt: make(map[time.Time]warehouse.Dirt), unsaved: make(map[time.Time]bool), alone: make(map[time.Time]bool),
		begin: head.Begin, frontier: head.Frontier, mark: keys.Mark, round: -1,
	}
	if keys.Keys == 0 {
		s.computed = maps.Clone(head.Absorbed)
	}
	for _, d := range dirt {
		s.dirt[d.Window] = d
		s.mark = max(s.mark, d.Mark)
	}
	return s
}

func (s *state) started() bool { return s.head.Absorbed != nil }
func (s *state) recoded() bool { return s.started() && s.head.CodeHash != s.node.Hash }

func (s *state) scope() spec.Scope { return s.node.Spec.Scope }

func (s *state) grid() window.Grid { return s.node.Spec.Window.Grid }

// bound is where windows exist.
func (s *state) bound() window.Bound { return window.Bound{From: s.begin, To: s.frontier} }

// dirty marks a window, or the whole table. What held it ends: something has
// changed, so it is worth another attempt.
func (s *state) dirty(at time.Time, now time.Time, backfill bool, cause ...schemas.Cause) {
	d, known := s.dirt[at]
	if !known {
		d = warehouse.Dirt{Window: at, Since: now, Backfill: backfill}
	}
	s.mark++
	d.Mark = s.mark
	d.Backfill = d.Backfill && backfill
	d.RetryAt = time.Time{}
	for _, c := range cause {
		d.Cause = withCause(d.Cause, c)
	}
	s.dirt[at] = d
	s.unsaved[at] = true
}

// withCause keeps the last load of each input.
func withCause(causes []schemas.Cause, c schemas.Cause) []schemas.Cause {
	out := slices.DeleteFunc(slices.Clone(causes), func(o schemas.Cause) bool { return o.Table == c.Table })
	return append(out, c)
}

// everything dirties all that the table has, after what is live.
func (s *state) everything(now time.Time, cause ...schemas.Cause) {
	switch s.scope() {
	case spec.ScopeTable:
		s.dirty(time.Time{}, now, false, cause...)
	case spec.ScopeKeys:
		s.allKeys = true
	case spec.ScopeWindow:
		s.enter(s.begin, s.frontier, now, true, cause...)
	}
}

// enter dirties the windows that start in [from, to).
func (s *state) enter(from, to, now time.Time, backfill bool, cause ...schemas.Cause) {
	if from.IsZero() || !from.Before(to) {
		return
	}
	for w := s.grid().Civil(from); w.Start.Before(to); w = s.grid().Next(w) {
		s.dirty(w.Start, now, backfill, cause...)
	}
}

// touch dirties the windows that read any of the touched ranges.
func (s *state) touch(t schemas.Touched, back window.Lookback, now time.Time, cause schemas.Cause) error {
	windows, outside, err := s.grid().Dirty(t, back, s.bound())
	if err != nil {
		return err
	}
	s.outside += int64(outside)
	if t.Null {
		s.timeless++
	}
	for _, w := range windows {
		s.dirty(w.Start, now, false, cause)
	}
	return nil
}

// absorb notes a load of an input and dirties what its partitions say. What its
// changes say takes queries: mappings over changes that the load covers are
// returned.
func (s *state) absorb(in *graph.Input, load schemas.LoadComplete, now time.Time) (ask []graph.Mapping, err error) {
	s.drained[in.Table] = load.Load
	cause := schemas.Cause{Table: in.Table, Load: load.Load}
	for _, m := range in.Mappings {
		switch {
		case m.Kind == graph.Nothing || changedNothing(load):
		case m.Kind == graph.Adds:
			s.dirty(time.Time{}, now, false, cause)
		case m.Kind == graph.Everything || !covers(load, m):
			s.everything(now, cause)
		case m.Kind == graph.Partitions:
			for _, t := range load.Touched {
				if t.Column == m.EventTime.Name {
					err = cmp.Or(err, s.touch(t, m.Lookback, now, cause))
				}
			}
		default:
			ask = append(ask, m)
		}
	}
	return ask, err
}

// changedNothing reports whether the load says that it left every row as it was.
// One that lists no event times cannot say it: rows may have been removed.
func changedNothing(load schemas.LoadComplete) bool {
	return load.Rows.Applied == 0 && !load.All && len(load.Touched) == 0 && len(load.Covers.EventTimes) > 0
}

// covers reports whether the load says what the mapping needs to know.
func covers(load schemas.LoadComplete, m graph.Mapping) bool {
	if m.Kind == graph.Partitions {
		return !load.All && slices.Contains(load.Covers.EventTimes, m.EventTime.Name)
	}
	return !slices.ContainsFunc(m.Changes, func(c string) bool { return !slices.Contains(load.Covers.Changes, c) })
}

// through is the least of the inputs' complete times, or zero.
func (s *state) through() time.Time {
	var least time.Time
	for i, in := range s.node.Inputs {
		if t := s.complete[in.Table]; i == 0 || t.Before(least) {
			least = t
		}
	}
	return least
}

// advance moves the frontier to the end of the window that an instant opens,
// and dirties the windows that enter by it, rows or not: a quiet day is a day.
func (s *state) advance(opened, now time.Time) {
	if s.scope() != spec.ScopeWindow || opened.IsZero() || s.begin.IsZero() {
		return
	}
	if to := s.grid().Instant(opened).End; s.frontier.Before(to) {
		from := s.frontier
		if from.Before(s.begin) {
			from = s.begin
		}
		s.frontier = to
		s.enter(from, to, now, false)
	}
}

// blocked reports whether an input keeps the table from running.
func (s *state) blocked() []string { return slices.Sorted(maps.Keys(s.waiting)) }

// due returns what the next run computes, and otherwise when to ask again (zero:
// when something comes). Live windows come before backfill, earlier ones first.
func (s *state) due(now time.Time, pace pace) (run []warehouse.Dirt, again time.Time) {
	var ready []warehouse.Dirt
	for _, d := range s.dirt {
		at := d.RetryAt
		if t := pace.opens(d.Since); t.After(at) {
			at = t
		}
		switch {
		case at.After(now):
			again = sooner(again, at)
		case s.incomplete(d):
		default:
			ready = append(ready, d)
		}
	}
	if len(ready) == 0 {
		s.round = -1
		return nil, again
	}
	in := func(d warehouse.Dirt) bool { return d.Mark <= s.round }
	if !slices.ContainsFunc(ready, in) { // a new round
		if at := pace.next(s.lastRound); at.After(now) {
			return nil, sooner(again, at)
		}
		s.round, s.lastRound = s.mark, now
	}
	ready = slices.DeleteFunc(ready, func(d warehouse.Dirt) bool { return !in(d) })
	slices.SortFunc(ready, func(a, b warehouse.Dirt) int {
		return cmp.Or(cmp.Compare(bit(a.Backfill), bit(b.Backfill)), cmp.Compare(bit(s.alone[a.Window]), bit(s.alone[b.Window])), a.Window.Compare(b.Window))
	})
	if s.alone[ready[0].Window] {
		return ready[:1], time.Time{}
	}
	for len(run) < min(len(ready), maxParts) && !s.alone[ready[len(run)].Window] {
		run = append(run, ready[len(run)])
	}
	return run, time.Time{}
}

// incomplete reports whether the window waits for its inputs to be complete
// through its end.
func (s *state) incomplete(d warehouse.Dirt) bool {
	if !s.node.Spec.Complete || s.scope() != spec.ScopeWindow {
		return false
	}
	_, end := s.grid().Instants(s.grid().Civil(d.Window))
	return s.through().Before(end)
}

// keysDue reports whether keys are dirty, or may be.
func (s *state) keysDue() bool { return s.keys.Keys > 0 || len(s.keyed) > 0 || s.allKeys }

// next is the head that a commit which leaves the given dirt behind writes.
func (s *state) next(done []warehouse.Dirt) warehouse.DerivedHead {
	h := s.head
	h.CodeHash = s.node.Hash
	h.Absorbed = maps.Clone(s.drained)
	h.Begin, h.Frontier = s.begin, s.frontier
	left := maps.Clone(s.dirt)
	for _, d := range done {
		delete(left, d.Window)
	}
	if _, waits := left[time.Time{}]; waits && s.scope() == spec.ScopeRows {
		driver := s.driver()
		h.Absorbed[driver] = s.head.Absorbed[driver] // its rows are not in the table
	}
	live, backfill := s.scope() == spec.ScopeKeys && s.keysDue(), false
	for _, d := range left {
		if s.incomplete(d) {
			continue
		}
		live = live || !d.Backfill && d.RetryAt.IsZero()
		backfill = backfill || d.Backfill && d.Error == ""
	}
	if s.started() && !live && !backfill {
		h.Ready = true
	}
	if through := s.through(); h.Ready && !live && h.Complete.Before(through) {
		h.Complete = through
	}
	return h
}

// driver is the input whose rows an append table adds.
func (s *state) driver() string {
	i := slices.IndexFunc(s.node.Inputs, func(in *graph.Input) bool { return in.Driver })
	return s.node.Inputs[i].Table
}

// saved are the windows that a commit writes into the dirt: those that the
// warehouse does not have so, but for the ones that the commit computes.
func (s *state) saved(done []warehouse.Dirt) []warehouse.Dirt {
	var out []warehouse.Dirt
	for at := range s.unsaved {
		if !slices.ContainsFunc(done, func(d warehouse.Dirt) bool { return d.Window.Equal(at) }) {
			out = append(out, s.dirt[at])
		}
	}
	slices.SortFunc(out, func(a, b warehouse.Dirt) int { return a.Window.Compare(b.Window) })
	return out
}

// committed notes that a step was committed with what it computed.
func (s *state) committed(h warehouse.DerivedHead, done []warehouse.Dirt) {
	s.head = h
	for _, d := range done {
		if s.dirt[d.Window].Mark <= d.Mark {
			delete(s.dirt, d.Window)
		}
		delete(s.alone, d.Window)
	}
	clear(s.unsaved)
	s.keyed, s.allKeys = nil, false
}

// hold keeps a window back after a failure, if it is still dirty.
func (s *state) hold(failed warehouse.Dirt) {
	d, dirty := s.dirt[failed.Window]
	if !dirty {
		return
	}
	d.Error, d.Failures, d.RetryAt = failed.Error, max(failed.Failures, d.Failures), failed.RetryAt
	s.dirt[d.Window] = d
	s.unsaved[d.Window] = true
}

// backoff is 1 s, doubled with every failure, up to an hour.
func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 12), time.Hour)
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
