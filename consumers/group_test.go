package consumers

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// in starts a member of another group, with a registry of its own.
func (r *rig) in(group string, tables ...Table) (c *Consumer, stop func()) {
	r.t.Helper()
	was, all := r.group, r.tables
	r.group, r.tables = group, tables
	defer func() { r.group, r.tables = was, all }()
	return r.start()
}

// A table moves to another group, whose Kafka offsets know nothing of it, while
// the members of the group before still run: the new owner goes on where the
// head is, and what the old one loads then is refused until it has taken the
// table back. Nothing is lost, and no load counts anything twice (G5).
func TestTableMovesToAnotherGroup(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	stays, moves := r.table("stays", 2), r.table("moves", 3)
	both, last := r.tables, r.tables[1:]
	sent := int64(0)
	write := func(n int) {
		for range n {
			for _, s := range []*sourceTable{stays, moves} {
				r.produce(r.put(s, int64(rng.IntN(30)), fmt.Sprint("v", rng.IntN(1000))))
			}
			sent++
		}
	}
	write(100)
	_, stop := r.in("p.consumers", both...)
	r.awaitEqual(moves)

	// Both groups count their members in for a while, as in an update of the pods.
	big, _ := r.in("p.consumers.big", last...)
	write(100)
	r.await("the new owner has the table", func() bool { return status(big, "core.moves").Owned })
	write(50)
	stop()
	small, _ := r.in("p.consumers", both[:1]...)
	write(100)
	r.awaitEqual(stays)
	r.awaitEqual(moves)
	r.await("each has its own", func() bool { return status(big, "core.moves").Owned && status(small, "core.stays").Owned })

	r.awaitAnnounced(stays, moves)
	next, read := map[string]int64{}, map[string]int64{}
	seen := map[string]bool{} // of two owners each may announce a load
	for _, e := range r.events() {
		id := fmt.Sprint(e.Table, e.Load)
		if seen[id] || e.Load == 0 {
			continue
		}
		seen[id] = true
		next[e.Table] = max(next[e.Table], e.Load)
		read[e.Table] += e.Rows.Read
	}
	for _, table := range []string{"core.stays", "core.moves"} {
		if head := r.mem.head(table); head.Load != next[table] || read[table] != sent {
			t.Errorf("%s: %d loads of which %d are announced, with %d changes of %d", table, head.Load, next[table], read[table], sent)
		}
	}
}

// The lag is what an autoscaler goes by: of all that the topic holds and that is
// not loaded, also while loads are stuck and nothing is polled, said by the owner
// alone.
func TestLag(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 2)
	held := &holder{memory: r.mem}
	r.loader = held
	r.measure = 20 * time.Millisecond
	r.memory = 2000
	c, stop := r.start()
	r.produce(r.put(s, 1, "v"))
	r.awaitEqual(s)
	r.await("it is a member", c.Member)
	r.await("nothing is behind", func() bool { return status(c, "core.orders").Lag == 0 })

	held.gate.Lock()
	for i := range 500 {
		r.produce(r.put(s, int64(i), "v"))
	}
	// The last record of a partition may be a transaction's marker, which is none.
	r.await("all is behind", func() bool { n := status(c, "core.orders").Lag; return n >= 498 && n <= 500 })
	if n := series(c.metrics.lag); n != 1 {
		t.Errorf("%d tables have a lag", n)
	}
	held.gate.Unlock()
	r.awaitEqual(s)
	r.await("nothing is behind", func() bool { return status(c, "core.orders").Lag == 0 })

	// Watermarks wait for the next load, and are no work for anybody.
	r.produce(r.control(s, schemas.Watermark, s.pos(), 1)...)
	r.produce(r.control(s, schemas.Watermark, s.pos(), 2)...)
	r.await("the watermarks are not behind", func() bool { return status(c, "core.orders").Lag == 0 })
	stop()
	if n := series(c.metrics.lag); n != 0 || c.Member() {
		t.Errorf("%d tables have a lag at a member that has left", n)
	}
}

// Members of two groups can be measured by one process.
func TestGroupsAreMeasuredApart(t *testing.T) {
	reg := prometheus.NewRegistry()
	newMetrics(reg, "p.consumers", newBoard(nil)).sessions.Inc()
	newMetrics(reg, "p.consumers.big", newBoard(nil))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "millrace_consumer_rejoins_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if want := map[string]float64{"p.consumers": 1, "p.consumers.big": 0}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// holder is a warehouse whose loads wait at a gate.
type holder struct {
	*memory
	gate sync.RWMutex
}

func (h *holder) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	wait(&h.gate)
	return h.memory.Load(ctx, b)
}

// series is how many label values a metric has.
func series(c prometheus.Collector) int {
	out := make(chan prometheus.Metric, 100)
	c.Collect(out)
	return len(out)
}
