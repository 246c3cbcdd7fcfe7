package scenario

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// writers is how many transactions of the open loop may be under way.
const writers = 16

// job is a transaction that is due, or was.
type job struct {
	tx    workload.Tx
	due   time.Time
	after []<-chan struct{} // closed when those before it that have rows of it are done
	done  chan struct{}
}

// openLoop makes changes on a schedule that is fixed before: a change that is
// late because those before it are keeps its time, and the delay counts (no
// coordinated omission). It returns how many change events they make, and how late
// the commits themselves were.
func (r *rig) openLoop(ctx context.Context, p *product, g *workload.Generator) (int64, *measure.Histogram, error) {
	spec := r.file.Workload
	schedule := &workload.Schedule{Begin: time.Now(), Rate: r.file.Rate, Each: spec.Transaction, Burst: spec.Burst}
	late, total := measure.NewHistogram(), int64(r.file.Rate*r.file.Duration.Seconds())
	jobs := make(chan job, 100_000) // what is due waits here, and its time runs
	var mu sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	for range writers {
		group.Go(func() error {
			for j := range jobs {
				if err := j.write(inner, r.db.Write); err != nil {
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
	var rows order
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
		j := rows.next(g.Next(spec.Transaction, due), due)
		changes += j.tx.Events()
		select {
		case jobs <- j:
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

// write waits for those before it. They were taken from the queue before it, so that
// one of them never waits for a writer.
func (j *job) write(ctx context.Context, write func(context.Context, ...workload.Tx) error) error {
	defer close(j.done)
	for _, before := range j.after {
		select {
		case <-before:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return write(ctx, j.tx)
}

// order keeps the changes of a row in their order, though many writers make them: an
// update that comes before the insert of its row would change nothing, and be no
// change. Its zero value is ready.
type order struct {
	last map[int64]chan struct{} // by key, which no two tables share
	most int
}

// next is the transaction behind those before it that have rows of it.
func (o *order) next(tx workload.Tx, due time.Time) job {
	if len(o.last) >= o.most {
		o.forget()
	}
	j := job{tx: tx, due: due, done: make(chan struct{})}
	for _, op := range tx {
		keys := []int64{op.Key}
		if op.Kind == workload.Key {
			keys = append(keys, op.Old)
		}
		for _, key := range keys {
			if before := o.last[key]; before != nil && before != j.done {
				j.after = append(j.after, before)
			}
			o.last[key] = j.done
		}
	}
	return j
}

// forget drops the rows whose last transaction is done.
func (o *order) forget() {
	if o.last == nil {
		o.last = map[int64]chan struct{}{}
	}
	for key, done := range o.last {
		select {
		case <-done:
			delete(o.last, key)
		default:
		}
	}
	o.most = 2*len(o.last) + 10_000
}
