package deriver

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/deriver/spec"
)

// Status says how far a table is, and what it waits for.
type Status struct {
	Table string `json:"table"`
	// Acquired says that the table is this writer's, as far as it knows (G5).
	Acquired bool   `json:"acquired"`
	Load     int64  `json:"load"`
	Waiting  string `json:"waiting,omitempty"` // empty: it runs, or is up to date
	Error    string `json:"error,omitempty"`   // why the last cycle ended early
	Dirty    int64  `json:"dirty"`             // windows or keys to compute
	// Next is before when nothing runs, though there were something to compute: a
	// schedule says so, or Freshness. Zero: it runs at once, or waits for something
	// else.
	Next      time.Time     `json:"next,omitzero"`
	Freshness time.Duration `json:"freshness,omitempty"` // 0: the schedule says it
	Held      []Held        `json:"held,omitempty"`
	// Absorbed are the inputs' loads whose effect the warehouse knows, Drained
	// those whose effect this process knows.
	Absorbed map[string]int64 `json:"absorbed,omitempty"`
	Drained  map[string]int64 `json:"drained,omitempty"`
	Begin    time.Time        `json:"begin,omitzero"`
	Frontier time.Time        `json:"frontier,omitzero"`
	Complete time.Time        `json:"complete,omitzero"`
	// Earlier is the first window that the inputs had rows for when this process
	// looked, if that lies before Begin and nobody wrote a begin; else zero.
	Earlier time.Time `json:"earlier,omitzero"`
	// Outside counts touched ranges that lie outside of all windows, since this
	// process took the table up.
	Outside int64 `json:"outside,omitempty"`
	// Timeless counts loads that touched rows whose event time is null, which
	// belong to no window (G8).
	Timeless int64 `json:"timeless,omitempty"`
}

// Held is a window whose computation has failed. Its published rows are those
// of before.
type Held struct {
	Window   time.Time `json:"window,omitzero"`
	Error    string    `json:"error"`
	Failures int       `json:"failures"`
	RetryAt  time.Time `json:"retry_at"`
}

// Status returns the state after the last cycle. It may be called at any time.
func (d *Deriver) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

func (d *Deriver) wait(what string) {
	d.mu.Lock()
	d.status.Waiting = what
	d.mu.Unlock()
}

func (d *Deriver) showAcquired() {
	d.mu.Lock()
	d.status.Acquired = true
	d.mu.Unlock()
}

// fail is for an error after which the table must be acquired again.
func (d *Deriver) fail(err error) {
	d.mu.Lock()
	d.status.Error, d.status.Acquired = err.Error(), false
	d.mu.Unlock()
}

// report writes the status at the end of a cycle that comes back at again.
func (d *Deriver) report(again time.Time) {
	s := d.state
	if s == nil {
		return
	}
	now := Status{
		Table: d.table.Name, Acquired: true, Load: s.head.Load, Dirty: int64(len(s.dirt)) + s.keys.Keys, Absorbed: s.head.Absorbed, Drained: maps.Clone(s.drained),
		Begin: s.begin, Earlier: d.earlier, Frontier: s.frontier, Complete: later(s.head.Complete, d.reported), Outside: s.outside, Timeless: s.timeless,
	}
	for _, w := range s.dirt {
		if w.Error != "" && !w.RetryAt.IsZero() {
			now.Held = append(now.Held, Held{w.Window, w.Error, w.Failures, w.RetryAt})
		}
	}
	if s.keys.Error != "" {
		now.Held = append(now.Held, Held{Error: s.keys.Error, Failures: d.keyFailures, RetryAt: s.keys.RetryAt})
	}
	slices.SortFunc(now.Held, func(a, b Held) int { return a.Window.Compare(b.Window) })
	now.Next, now.Freshness = d.next(again, now.Dirty > 0)
	switch blocked := s.blocked(); {
	case len(blocked) > 0:
		now.Waiting = "for the snapshot of " + strings.Join(blocked, ", ")
	case !s.started():
		now.Waiting = d.Status().Waiting // begin has said why
	case len(now.Held) > 0 && now.Dirty == int64(len(now.Held)):
		now.Waiting = fmt.Sprintf("for %d that failed", len(now.Held))
	case now.Dirty > 0 && now.Next.IsZero() && d.opts.Node.Spec.Complete && s.scope() == spec.ScopeWindow:
		now.Waiting = "for the inputs to be complete; they are through " + s.through().Format(time.RFC3339)
	}
	d.opts.Metrics.state(now)
	d.mu.Lock()
	d.status = now
	d.mu.Unlock()
}

// next is before when nothing runs, and the freshness that says so, after a cycle
// that comes back at again.
func (d *Deriver) next(again time.Time, dirty bool) (at time.Time, freshness time.Duration) {
	s, now := d.state, d.opts.Now()
	if !s.started() || len(s.waiting) > 0 || dirty && !again.After(now) { // it goes on, or waits for its inputs
		return at, 0
	}
	at = later(d.pace.next(s.lastRound), again)
	if !dirty {
		at = later(at, d.rest(again))
	}
	if tick := d.pace.opens(now); !dirty && at.Before(tick) {
		return tick, 0
	}
	if !at.After(now) {
		return time.Time{}, 0
	}
	if d.pace.ticks != nil && !d.pace.onLoad && at.After(d.pace.next(s.lastRound)) {
		return at, 0
	}
	return at, d.pace.freshness
}
