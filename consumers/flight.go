package consumers

import (
	"context"
	"time"

	"millrace/consumers/batch"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// flight is a batch on its way into the warehouse, while the next is collected.
// Only the first attempt of each table's load is made beside the topic's
// goroutine. What comes of it, and everything after it, is that goroutine's: so
// heads, letters and announcements have one owner and one order.
type flight struct {
	batch   *batch.Batch
	held    int64 // bytes to be counted off when it has landed
	records int64 // likewise
	started time.Time
	loads   []*attempt    // one a table, in their order
	done    chan struct{} // closed when the attempts were made
}

// attempt is a table's load, and what became of its first attempt.
type attempt struct {
	target *target
	batch  *warehouse.Batch // nil: the table has all of it already
	made   bool             // and nobody has looked yet
	event  schemas.LoadComplete
	err    error
}

// load makes an attempt, or returns what came of the one that was made.
func (a *attempt) load(ctx context.Context, w warehouse.Loader) (schemas.LoadComplete, error) {
	if a.made {
		a.made = false
		return a.event, a.err
	}
	a.batch.Rows.Reset()
	return w.Load(ctx, a.batch)
}

// flush makes what was collected one load of every table that the topic feeds.
// The order is the design: dead letters acknowledged, rows and progress in one
// transaction, announced, offsets committed. A crash between any two only
// repeats work. It returns when the loads are under way; the loads of the batch
// before have landed by then.
//
// Watermarks alone make a load now and then: a head that never moves is one day
// overtaken by the topic's retention, and reads more at every start.
func (t *topic) flush(ctx context.Context) error {
	if err := t.land(ctx); err != nil {
		return err
	}
	if t.batch.ProgressOnly() && len(t.put) == 0 && !t.batch.Waited(time.Now()) {
		t.batch.Wait() // its marks and ranges ride with the next load
		t.settle()
		return t.progress(ctx)
	}
	f := &flight{batch: t.batch, held: t.taken, records: t.collected, started: time.Now(), done: make(chan struct{})}
	if t.batch = t.spare; t.batch == nil {
		t.batch = batch.New(t.opts.Limits)
	}
	t.flight, t.spare, t.taken, t.collected = f, nil, 0, 0
	if err := t.ready(ctx, f); err != nil {
		t.flight = nil
		return err
	}
	go func() {
		defer close(f.done)
		f.fly(ctx, t.opts.Loader)
	}()
	return nil
}

// ready does what comes before the loads.
func (t *topic) ready(ctx context.Context, f *flight) error {
	if err := t.putLetters(ctx, t.put); err != nil {
		return err
	}
	clear(t.put) // they refer to records
	t.put = t.put[:0]
	for _, g := range t.targets {
		b, err := t.prepare(ctx, g)
		if err != nil {
			return err
		}
		f.loads = append(f.loads, &attempt{target: g, batch: b})
	}
	return nil
}

// fly makes the first attempts. After one that fails the order of effects is the
// topic's to mend, and the tables behind it wait.
func (f *flight) fly(ctx context.Context, w warehouse.Loader) {
	for _, a := range f.loads {
		if a.batch == nil {
			continue
		}
		a.event, a.err = a.load(ctx, w)
		a.made = true
		if a.err != nil {
			return
		}
	}
}

// flown is closed when the batch in flight waits to be landed; without one it is nil.
func (t *topic) flown() <-chan struct{} {
	if t.flight == nil {
		return nil
	}
	return t.flight.done
}

func (t *topic) hasFlown() bool {
	select {
	case <-t.flown():
		return true
	default:
		return false
	}
}

// land waits for the batch in flight, and returns when its loads are committed
// and announced, and the offsets behind it too.
func (t *topic) land(ctx context.Context) error {
	f := t.flight
	if f == nil {
		return nil
	}
	<-f.done
	for _, a := range f.loads {
		if err := t.load(ctx, a); err != nil {
			t.flight = nil // what it held is counted off with all that the topic holds
			return err
		}
	}
	t.letters.Settle(t.offsets())
	f.batch.Reset()
	t.flight, t.spare = nil, f.batch
	t.release(f.held, f.records)
	t.settle()
	err := t.commitOffsets(ctx)
	if isDenied(err) { // they are for people (G4)
		t.session.mu.Lock()
		t.deny(ctx, t.conf.Topic, err, false)
		t.session.mu.Unlock()
		err = nil
	}
	if err != nil {
		return err
	}
	return t.step(ctx)
}
