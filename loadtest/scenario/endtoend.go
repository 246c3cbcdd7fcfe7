package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	watch := r.watch(r.pids)
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
	a := &measure.Account{}
	h, err := r.readable(ctx, p, loads, began, changes, a)
	if err != nil {
		return err
	}
	r.times("from when a change was to be made until its load was committed; deletes carry no time", h)
	r.tell("account", 0, 0)
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
	r.at = where{Brokers: p.run.Kafka, Embedded: !ownKafka, Registry: p.run.Registry}
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
// brought it. It accounts for the events that lie in no load, for those that come
// twice, and for those that are not among so many that were made: what a later change
// of its row hides, no comparison of rows finds.
func (r *rig) readable(ctx context.Context, p *product, loads *tailer, began time.Time, made int64, a *measure.Account) (*measure.Histogram, error) {
	if p.Ended() {
		return nil, errors.New("millrace has ended")
	}
	topics, err := r.topics()
	if err != nil {
		return nil, err
	}
	folds := make([]*fold, len(topics))
	for t := range folds {
		folds[t] = &fold{rows: map[int64]folded{}, account: a, table: r.place.Table(t)}
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
	h := measure.NewHistogram()
	err = r.read(ctx, r.at, topics, func(t int, e *event) error {
		folds[t].add(e)
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
			a.Note(&a.Lost, "%s: the event of key %d at %s lies in no load", folds[t].table, e.key, e.pos)
		case e.op != schemas.Read && e.intended.After(began):
			h.Add(s[at].at.Sub(e.intended))
		}
		return nil
	})
	var seen int64
	for _, f := range folds {
		seen += f.changes
	}
	countChanges(a, seen, made)
	return h, err
}

// countChanges accounts for changes by their number.
func countChanges(a *measure.Account, seen, made int64) {
	for n := seen; n < made; n++ {
		a.Note(&a.Lost, "%d changes were made, %d are in the topics", made, seen)
	}
	for n := made; n < seen; n++ {
		a.Note(&a.Wrong, "%d changes were made, %d are in the topics", made, seen)
	}
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
