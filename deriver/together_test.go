package deriver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/fault"
	"millrace/schemas"
)

// All derived tables of a platform run at the same time as the loads of its
// core tables, with faults at random points. Once quiet, every table is what a
// full computation gives, and no announcement is missing.
func TestTogether(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p := shop(t)
	history := p.table("core.payments_history", "id int, amount int", schemas.ModeAppend)
	history.loads("2024-03-05T10:00:00Z", put(0, 1))
	months := strings.NewReplacer("\n", " ").Replace("SELECT CAST(date_trunc('month', day) AS DATE) AS month, CAST(sum(total) AS BIGINT) AS total FROM analytics.revenue GROUP BY ALL")
	p.derive(revenue, customers,
		"name: analytics.months\nwindow: {size: month, begin: 2024-03-01}\nquery: "+months,
		"name: analytics.counts\nquery: SELECT (SELECT count(*) FROM analytics.months) AS months, count(*) AS customers FROM analytics.customers",
		"name: analytics.log\nstrategy: append\nquery: SELECT id, amount FROM core.payments_history")
	var mu sync.Mutex // p.events
	for _, d := range p.derived {
		d.opts.Now, d.opts.Poll = time.Now, 20*time.Millisecond
		d.opts.Announce = func(_ context.Context, e schemas.LoadComplete) error {
			mu.Lock()
			p.events[e.Table] = append(p.events[e.Table], e)
			mu.Unlock()
			for _, other := range p.derived {
				other.Notify(e)
			}
			return nil
		}
	}
	for _, point := range runPoints {
		for range 3 {
			p.plan.On(point, 1+r.IntN(60), func(context.Context) error { return fmt.Errorf("at %s: %w", point, fault.ErrInjected) })
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for _, d := range p.derived {
		running.Go(func() {
			if err := d.Run(ctx); err != nil {
				t.Errorf("%s: %v", d.table.Name, err)
			}
		})
	}
	var loading sync.WaitGroup
	for name, next := range map[string]func(*rand.Rand) change{
		"core.orders": func(r *rand.Rand) change {
			id := 1 + r.IntN(6)
			if r.IntN(4) == 0 {
				return gone(id)
			}
			return put(id, fmt.Sprint("item", r.IntN(3)), r.IntN(4))
		},
		"core.payments": func(r *rand.Rand) change {
			id := r.IntN(30)
			if r.IntN(4) == 0 {
				return gone(id)
			}
			return put(id, 1+r.IntN(6), r.IntN(9), fmt.Sprintf("2024-03-%02dT%02d:00:00Z", 1+r.IntN(5), r.IntN(24)))
		},
		"core.payments_history": func(r *rand.Rand) change { return put(r.IntN(99), r.IntN(9)) },
	} {
		own := rand.New(rand.NewPCG(seed, uint64(len(name))))
		loading.Go(func() {
			for range 30 {
				p.core[name].loads("2024-03-05T11:00:00Z", next(own))
				if own.IntN(3) == 0 {
					time.Sleep(time.Duration(own.IntN(10)) * time.Millisecond)
				}
			}
		})
	}
	loading.Wait()
	for !p.absorbed() {
		time.Sleep(10 * time.Millisecond) // the test's own limit ends it
	}
	stop()
	running.Wait()

	for table, full := range map[string]string{
		"analytics.revenue":   revenueFull,
		"analytics.months":    months,
		"analytics.customers": customers[strings.Index(customers, "SELECT"):],
		"analytics.counts":    "SELECT (SELECT count(*) FROM analytics.months) AS months, count(*) AS customers FROM analytics.customers",
		"analytics.log":       "SELECT l.id, l.amount, l._load FROM analytics.log l WHERE (SELECT count(*) FROM analytics.log) = (SELECT count(*) FROM core.payments_history)",
	} {
		if got, want := p.rows("FROM "+table), p.rows(full); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", table, got, want)
		}
	}
	for table, events := range p.events {
		next := int64(1)
		for _, e := range events {
			if e.Load > next {
				t.Fatalf("%s: load %d was announced before %d", table, e.Load, next)
			}
			next = max(next, e.Load+1)
		}
		if last := p.derived[table].Status().Load; last != next-1 {
			t.Errorf("%s: announced up to %d of %d", table, next-1, last)
		}
	}
	if len(p.plan.Fired()) == 0 {
		t.Error("no fault was met")
	}
}

// absorbed reports whether every derived table has published all loads of its
// inputs.
func (p *platform) absorbed() bool {
	for _, n := range p.nodes {
		s := p.derived[n.Spec.Name].Status()
		if s.Dirty > 0 || s.Waiting != "" || s.Error != "" {
			return false
		}
		for _, in := range n.Inputs {
			var load int64
			if core := p.core[in.Table]; core != nil {
				load = core.load
			} else {
				load = p.derived[in.Table].Status().Load
			}
			if s.Drained[in.Table] != load {
				return false
			}
		}
	}
	return true
}
