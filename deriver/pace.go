package deriver

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"millrace/deriver/graph"
)

// pace says when a table may run. It is pure.
type pace struct {
	freshness time.Duration
	ticks     cron.Schedule // nil: none
	zone      *time.Location
	onLoad    bool
}

// rebuildFreshness is the pace of tables that one load may recompute wholly.
const rebuildFreshness = time.Hour

func newPace(n *graph.Node, freshness time.Duration) (pace, error) {
	p := pace{freshness: freshness, onLoad: n.Spec.Schedule.OnLoad, zone: time.UTC}
	for _, in := range n.Spec.Inputs {
		if in.Rebuild {
			p.freshness = rebuildFreshness
		}
	}
	if n.Spec.Freshness != nil {
		p.freshness = *n.Spec.Freshness
	}
	if n.Spec.Window != nil {
		p.zone = n.Spec.Window.Grid.Zone
	}
	if n.Spec.Schedule.Cron != "" {
		ticks, err := cron.ParseStandard(n.Spec.Schedule.Cron)
		if err != nil {
			return p, fmt.Errorf("read the schedule of %s: %w", n.Spec.Name, err)
		}
		p.ticks = ticks
	}
	return p, nil
}

// opens is the first moment at which what became dirty at since may run.
func (p pace) opens(since time.Time) time.Time {
	if p.onLoad || p.ticks == nil {
		return time.Time{}
	}
	return p.ticks.Next(since.In(p.zone).Add(-time.Second))
}

// next is the first moment of a round after the last one.
func (p pace) next(last time.Time) time.Time {
	if last.IsZero() {
		return last
	}
	return last.Add(p.freshness)
}

// tick is the last tick at or before now, or zero if there was none in a year.
func (p pace) tick(now time.Time) time.Time {
	if p.ticks == nil {
		return time.Time{}
	}
	var last time.Time
	for _, back := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 31 * 24 * time.Hour, 366 * 24 * time.Hour} {
		for t := p.ticks.Next(now.In(p.zone).Add(-back - time.Second)); !t.IsZero() && !t.After(now); t = p.ticks.Next(t) {
			last = t
		}
		if !last.IsZero() {
			return last
		}
	}
	return last
}
