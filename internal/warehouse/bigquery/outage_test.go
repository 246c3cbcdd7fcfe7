package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// outage is a BigQuery that goes away and comes back as it was.
type outage struct {
	*project
	fake  *bigqueryfake.Fake
	gates []*gate
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	rest, path, _ := strings.Cut(strings.TrimPrefix(fake.URL(), "http://"), "/")
	jobs, writes := newGate(t, rest), newGate(t, fake.GRPCAddr())
	o := &outage{fake: fake, gates: []*gate{jobs, writes}, project: &project{files: fileDefaults(), opts: Options{
		Project: fake.Project(), Location: "US", Endpoints: Endpoints{Jobs: "http://" + jobs.addr + "/" + path, Writes: writes.addr},
		CallTimeout: time.Second, AppendTimeout: 500 * time.Millisecond, RetryWait: 5 * time.Millisecond, Patience: time.Second, Attempts: 3,
		RequestBytes: 200, // a request for each row
	}}}
	o.open(t)
	t.Cleanup(func() {
		if err := o.w.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// waiting is how many calls and jobs wait.
func (o *outage) waiting(t *testing.T) (n float64) {
	t.Helper()
	for _, c := range []class{again, quota, lag, conflict, unknown} {
		n += valueOf(t, o.w.metrics.waiting, c.String())
	}
	return n
}

// Wherever BigQuery goes away while a load is under way, and however, the load is
// seen to wait, comes back as an outage, and is made once when BigQuery is back
// (G4, G6).
func TestOutage(t *testing.T) {
	slow(t)
	// Each lets the outage begin at its place.
	before := func(o *outage, begin func()) {
		o.faults.On(PointLoadBegin, 1, func(context.Context) error { begin(); return nil })
	}
	inside := func(name string, nth int) func(*outage, func()) {
		return func(o *outage, begin func()) {
			release, done := make(chan struct{}), make(chan struct{})
			o.fake.On(name, nth, bigqueryfake.Hang(release))
			go func() {
				defer close(done)
				for len(o.fake.Fired()) == 0 && t.Context().Err() == nil {
					time.Sleep(time.Millisecond)
				}
				begin()
				close(release)
			}()
			t.Cleanup(func() { <-done })
		}
	}
	for place, arrange := range map[string]func(*outage, func()){
		"before a row":          before,
		"between rows":          inside("AppendRows", 2),
		"within the script":     inside("statement COMMIT", 1),
		"opening of a stream":   inside("CreateWriteStream", 1),
		"opening of its client": inside("GetWriteStream", 1),
	} {
		for how, shut := range map[string]func(*gate){"refused": (*gate).refuse, "silent": (*gate).silence} {
			t.Run(place+"/"+how, func(t *testing.T) {
				t.Parallel()
				o := newOutage(t)
				c := newConsumer(t, o.project)
				if !strings.HasPrefix(place, "opening") { // else the load opens the first stream
					if err := c.try(t.Context(), t); err != nil {
						t.Fatal(err)
					}
				}
				loads := c.head.Load + 1
				arrange(o, func() {
					for _, g := range o.gates {
						shut(g)
					}
				})
				said, back := o.watch(t)
				for c.head.Load < loads {
					err := c.try(t.Context(), t)
					if err == nil {
						break
					}
					if errors.Is(err, warehouse.ErrFenced) {
						t.Fatal(err)
					}
					if !errors.Is(err, warehouse.ErrUnavailable) {
						t.Fatalf("%v is not said to be an outage", err)
					}
					said()
					c.outlast(t)
				}
				<-back
				if n := o.waiting(t); n != 0 {
					t.Errorf("%v calls and jobs wait behind the outage", n)
				}
				if err := c.try(t.Context(), t); err != nil {
					t.Fatal(err)
				}
				c.check(t, loads+1)
			})
		}
	}
}

// watch ends the outage when a wait was seen in the metric and a load has failed.
func (o *outage) watch(t *testing.T) (said func(), back <-chan struct{}) {
	t.Helper()
	failed, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for o.waiting(t) == 0 {
			if t.Context().Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		select {
		case <-failed:
		case <-t.Context().Done():
		}
		for _, g := range o.gates {
			g.restore(t)
		}
	}()
	return func() {
		select {
		case failed <- struct{}{}:
		default:
		}
	}, done
}

// outlast acquires until that is possible, and compares.
func (c *consumer) outlast(t *testing.T) {
	t.Helper()
	for {
		head, err := c.p.w.Acquire(t.Context(), c.table.Name, "topic", "id")
		if err == nil {
			c.head = head
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// While one table's stream waits for a service that does not answer, a load of
// another that has given up is at its end: it does not wait for the first.
func TestOutageEndsWithTheContext(t *testing.T) {
	o := newOutage(t)
	c := newConsumer(t, o.project)
	if err := c.try(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	o.gates[1].silence()
	ctx, give := context.WithCancelCause(t.Context())
	o.faults.On(PointLoadBegin, 1, func(context.Context) error { give(errGivenUp); return nil })
	if err := c.try(ctx, t); !errors.Is(err, context.Canceled) && !errors.Is(err, errGivenUp) {
		t.Errorf("got %v", err)
	}
	o.gates[1].restore(t)
	c.outlast(t)
	if err := c.try(t.Context(), t); err != nil {
		t.Fatal(err)
	}
	c.check(t, 2)
}

// A run that cannot reach BigQuery is counted as waiting, and comes back as an outage.
func TestOutageOfARun(t *testing.T) {
	o := newOutage(t)
	r := o.w.newRunner()
	table := warehouse.DerivedTable{Name: "analytics.days", Columns: []warehouse.ResultColumn{{Name: "day", SQLType: "DATE"}}, Window: "day"}
	head, err := r.Acquire(t.Context(), table, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range o.gates {
		g.refuse()
	}
	failed := make(chan error, 1)
	go func() {
		_, err := r.Commit(t.Context(), &warehouse.Step{Table: table, Epoch: head.Epoch, Head: head, StartedAt: time.Now(), Mode: schemas.ModeReplace})
		failed <- err
	}()
	for o.waiting(t) == 0 {
		select {
		case err := <-failed:
			t.Fatalf("no wait was seen: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := <-failed; !errors.Is(err, warehouse.ErrUnavailable) {
		t.Error(fmt.Errorf("not said to be an outage: %w", err))
	}
	if n := o.waiting(t); n != 0 {
		t.Errorf("%v wait", n)
	}
}
