package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/internal/page"
	"millrace/internal/up"
	"millrace/internal/verify"
	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
	"millrace/schemas"
)

// endToEnd measures the time from when a change was to be made until it can be
// read in the warehouse, at a fixed rate.
func (r *rig) endToEnd(ctx context.Context) error {
	p, loads, g, err := r.startAll(ctx, "")
	if err != nil {
		return err
	}
	defer loads.close()
	began := time.Now()
	watch := measure.Begin(r.pids)
	changes, late, err := r.openLoop(ctx, p, g)
	if err != nil {
		return err
	}
	offered := time.Since(began)
	if err := r.awaitComplete(ctx, p); err != nil {
		return err
	}
	_, processes := watch.End()
	wall := max(loads.last().Sub(began), offered)
	r.figures(changes, wall, measure.Of(processes, "millrace"), processes)
	r.limited("the rate at which changes were to be made", changes, r.file.Duration, 0)
	r.more("commit_p50", late.Quantile(50), "ms")
	r.more("commit_p99", late.Quantile(99), "ms")
	r.more("loads", float64(loads.count()), "")
	r.result.Detail.Timeline = loads.timeline(began)
	h, lost, err := r.readable(ctx, p, loads, began)
	if err != nil {
		return err
	}
	r.times("from when a change was to be made until its load was committed; deletes carry no time", h)
	r.tell("account", 0, 0)
	a := &measure.Account{}
	for ; lost > 0; lost-- {
		a.Note(&a.Lost, "an event lies in no load")
	}
	if err := r.accountAll(ctx, p, a); err != nil {
		return err
	}
	r.result.Account(a)
	_, err = p.Stop()
	return err
}

// startAll starts a source with rows in it and the whole product beside it, and
// returns when all rows are loaded. Specs of derived tables are written into the
// folder derived, if it has a name.
func (r *rig) startAll(ctx context.Context, derived string) (p *product, loads *tailer, g *workload.Generator, err error) {
	ownKafka := r.Kafka == RealKafka || r.Config != nil && len(r.Config.Kafka.Brokers) > 0
	if ownKafka {
		if err := r.openKafka(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := r.openSource(ctx); err != nil {
		return nil, nil, nil, err
	}
	g = workload.New(r.file.Workload)
	if err := r.seed(ctx, g, r.file.Seeded, "seed"); err != nil {
		return nil, nil, nil, err
	}
	warehouse, err := r.warehouse(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if derived != "" {
		if err := r.writeSpecs(derived); err != nil {
			return nil, nil, nil, err
		}
	}
	config, err := r.configure(ownKafka, warehouse, derived)
	if err != nil {
		return nil, nil, nil, err
	}
	if p, err = r.run(ctx, config, up.All(), true); err != nil {
		return nil, nil, nil, err
	}
	r.pids["millrace"] = p.PID
	if !ownKafka { // else they are known, and how they are entered
		r.at = open(p.run.Kafka, p.run.Registry)
		r.at.Embedded = true
	}
	if loads, err = r.tail(ctx, r.at); err != nil {
		return nil, nil, nil, err
	}
	r.tell("load the rows that are there", 0, 0)
	if err := r.awaitSnapshots(ctx, p); err != nil {
		loads.close()
		return nil, nil, nil, err
	}
	if err := r.awaitComplete(ctx, p); err != nil {
		loads.close()
		return nil, nil, nil, err
	}
	return p, loads, g, nil
}

// writers is how many transactions of the open loop may be under way.
const writers = 16

// openLoop makes changes on a schedule that is fixed before: a change that is
// late because those before it are keeps its time, and the delay counts (no
// coordinated omission). It returns how many there were, and how late the
// commits themselves were.
func (r *rig) openLoop(ctx context.Context, p *product, g *workload.Generator) (int64, *measure.Histogram, error) {
	spec := r.file.Workload
	schedule := &workload.Schedule{Begin: time.Now(), Rate: r.file.Rate, Each: spec.Transaction, Burst: spec.Burst}
	late, total := measure.NewHistogram(), int64(r.file.Rate*r.file.Duration.Seconds())
	type job struct {
		tx  workload.Tx
		due time.Time
	}
	jobs := make(chan job, 100_000) // what is due waits here, and its time runs
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	for range writers {
		group.Go(func() error {
			for j := range jobs {
				if err := r.db.Write(inner, j.tx); err != nil {
					return err
				}
				mu.Lock()
				late.Add(time.Since(j.due))
				mu.Unlock()
			}
			return nil
		})
	}
	var changes int64
	end, told := schedule.Begin.Add(r.file.Duration), time.Time{}
	for {
		due := schedule.Next()
		if !due.Before(end) {
			break
		}
		if wait := time.Until(due); wait > 0 {
			select {
			case <-inner.Done():
			case <-time.After(wait):
			}
		}
		if inner.Err() != nil {
			break
		}
		if now := time.Now(); now.Sub(told) > 200*time.Millisecond {
			r.tell("write", changes, total)
			told = now
			if p.Ended() {
				break
			}
		}
		tx := g.Next(spec.Transaction, due)
		changes += int64(len(tx))
		select {
		case jobs <- job{tx, due}:
		case <-inner.Done():
		}
	}
	close(jobs)
	if err := group.Wait(); err != nil {
		return 0, nil, fmt.Errorf("write: %w", err)
	}
	if p.Ended() {
		_, err := p.Stop()
		return 0, nil, fmt.Errorf("write: millrace ended: %w", err)
	}
	return changes, late, ctx.Err()
}

// awaitComplete returns when every core table holds all that its source holds
// now.
func (r *rig) awaitComplete(ctx context.Context, p *product) error {
	db, err := verify.OpenDatabase(r.place.Kind, r.place.DSN)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	mark, err := db.Mark(ctx)
	if err != nil {
		return fmt.Errorf("ask where the source's log ends: %w", err)
	}
	return r.await(ctx, p, "everything is loaded", 100*time.Millisecond, func(s *page.Status) (bool, error) {
		r.tell("wait until everything is loaded", 0, 0)
		for t := range r.file.Workload.Tables {
			at := slices.IndexFunc(s.Core, func(c page.Core) bool { return c.Table == r.core(t) })
			if at < 0 {
				return false, fmt.Errorf("%s is no core table", r.core(t))
			}
			c := s.Core[at]
			if c.Halted != "" || c.Letters > 0 {
				return false, fmt.Errorf("%s: %s, %d dead letters", c.Table, c.Halted, c.Letters)
			}
			if reached, err := mark.Reached(c.Complete.Pos); err != nil || !reached {
				return false, err
			}
		}
		return true, nil
	})
}

// readable finds for every change since began when the load was committed that
// brought it. It counts the events that lie in no load.
func (r *rig) readable(ctx context.Context, p *product, loads *tailer, began time.Time) (*measure.Histogram, int64, error) {
	if p.Ended() {
		return nil, 0, errors.New("millrace has ended")
	}
	topics, err := r.topics()
	if err != nil {
		return nil, 0, err
	}
	type place struct {
		topic     string
		partition int32
	}
	type span struct {
		from, to int64
		at       time.Time
	}
	spans := map[place][]span{}
	for _, e := range loads.all() {
		for _, g := range e.Ranges {
			k := place{g.Topic, g.Partition}
			spans[k] = append(spans[k], span{g.From, g.To, e.CommittedAt})
		}
	}
	for _, s := range spans {
		slices.SortFunc(s, func(a, b span) int { return int(a.from - b.from) })
	}
	h, lost := measure.NewHistogram(), int64(0)
	err = r.read(ctx, r.at, topics, func(_ int, e *event) error {
		s := spans[place{e.record.Topic, e.record.Partition}]
		at, found := slices.BinarySearchFunc(s, e.record.Offset, func(s span, offset int64) int {
			switch {
			case s.to <= offset:
				return -1
			case s.from > offset:
				return 1
			}
			return 0
		})
		switch {
		case !found:
			lost++
		case e.op != schemas.Read && e.intended.After(began):
			h.Add(s[at].at.Sub(e.intended))
		}
		return nil
	})
	return h, lost, err
}

// accountAll compares every core table with its source.
func (r *rig) accountAll(ctx context.Context, p *product, a *measure.Account) error {
	for t := range r.file.Workload.Tables {
		source, err := r.db.Rows(ctx, t)
		if err != nil {
			return err
		}
		if err := r.accountCore(ctx, p, t, source, a); err != nil {
			return err
		}
	}
	return nil
}
