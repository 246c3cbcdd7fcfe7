package consumers

import (
	"context"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// slow is a warehouse whose loads wait to be let through. What was asked of it
// before it was held is done all the same.
type slow struct {
	warehouse.Loader
	came chan struct{} // a load that waits
	pass chan struct{}
}

func (r *rig) slow() *slow {
	w := &slow{Loader: r.loader, came: make(chan struct{}, 100), pass: make(chan struct{})}
	r.loader = w
	return w
}

func (w *slow) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	w.came <- struct{}{}
	select {
	case <-w.pass:
	case <-ctx.Done():
		return schemas.LoadComplete{}, ctx.Err()
	}
	return w.Loader.Load(ctx, b)
}

// garbage is a record that nobody can decode, at its own key.
func (r *rig) garbage(s *sourceTable, id int64) *kgo.Record {
	rec := r.put(s, id, "")
	delete(s.want, wantKey(id))
	rec.Value = []byte("nobody knows")
	return rec
}

// counted is what a counter without labels, or the first with them, says.
func (r *rig) counted(c *Consumer, name string) float64 {
	r.t.Helper()
	families, err := c.opts.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

// collected waits until as many records were found to be dead letters: it shows
// how far a topic has been taken up, whatever its loads do.
func (r *rig) collected(c *Consumer, s *sourceTable, letters float64) {
	r.t.Helper()
	r.await("the records of "+s.Name+" are taken up", func() bool { return r.counted(c, "millrace_dead_letters_total") == letters })
}

// A batch is collected while the one before is loaded, and loaded after it.
func TestBatchIsCollectedWhileOneLoads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("items", 1)
	w := r.slow()
	r.produce(r.put(s, 1, "a"))
	c, stop := r.start()
	defer stop()
	<-w.came
	records := []*kgo.Record{r.garbage(s, 9)}
	for i := range 3 * r.limits.Rows { // more than a batch holds
		records = append(records, r.put(s, int64(i+10), "b"))
	}
	r.produce(records...)
	r.collected(c, s, 1)
	if len(r.mem.live("core.items")) != 0 || len(w.came) != 0 {
		t.Fatal("a load did not wait for the one before")
	}
	close(w.pass)
	r.awaitEqual(s)
	r.await("the letter", func() bool { return status(c, "core.items").Letters == 1 })
	if n := r.counted(c, "millrace_consumer_rejoins_total"); n != 0 {
		t.Errorf("the group was joined again %v times", n)
	}
}

// What the warehouse refuses of a batch holds up its key in the batch that was
// collected meanwhile (G2, G12).
func TestRefusedWhileTheNextIsCollected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.judge()
	s := r.documents("docs")
	met, goOn := make(chan struct{}), make(chan struct{})
	j.then = func(context.Context) {
		if j.refused.Load() == 1 {
			close(met)
			<-goOn
		}
	}
	r.produce(r.put(s, 1, `1`), r.put(s, 2, loneSurrogate))
	c, stop := r.start()
	defer stop()
	<-met
	r.produce(r.put(s, 2, `"behind"`), r.put(s, 1, `2`), r.garbage(s, 3))
	r.collected(c, s, 1)
	close(goOn)
	want := map[int64]string{1: `2`}
	r.await("what is not behind is loaded", func() bool {
		got := j.rows(t, "SELECT id, x::VARCHAR FROM core.docs")
		return got[1] == want[1]
	})
	if got := j.rows(t, "SELECT id, x::VARCHAR FROM core.docs"); len(got) != 1 {
		t.Errorf("the table is %v, want %v", got, want)
	}
	r.await("three letters", func() bool { return status(c, "core.docs").Letters == 3 })
	r.await("three records are counted as left out", func() bool { return r.quarantined("core.docs") == 3 })
}

// A load that was under way when the next batch halted the table is announced (G6).
func TestHaltWhileABatchLoads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("items", 1)
	w := r.slow()
	r.produce(r.put(s, 1, "a"))
	c, stop := r.start()
	defer stop()
	<-w.came
	bad := r.put(s, 2, "b")
	bad.Key = []byte("nobody knows")
	delete(s.want, wantKey(2))
	r.produce(r.garbage(s, 3), bad)
	r.collected(c, s, 1)
	close(w.pass)
	r.await("the table is halted", func() bool { return status(c, "core.items").Halted != "" })
	r.awaitEqual(s)
	r.await("the load before the halt is announced", func() bool {
		return slices.ContainsFunc(r.events(), func(e schemas.LoadComplete) bool { return e.Table == "core.items" && e.Load == 1 })
	})
}

// A member that ends while a load is under way leaves the rest to the next owner.
func TestStoppedWhileABatchLoads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("items", 1)
	w := r.slow()
	r.produce(r.put(s, 1, "a"))
	c, stop := r.start()
	<-w.came
	r.produce(r.put(s, 1, "b"), r.garbage(s, 9), r.put(s, 2, "c"))
	r.collected(c, s, 1)
	stop()
	close(w.pass)
	c, stop = r.start()
	defer stop()
	r.awaitEqual(s)
	r.await("the letter", func() bool { return status(c, "core.items").Letters == 1 })
}
