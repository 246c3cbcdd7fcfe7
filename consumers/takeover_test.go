package consumers

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/warehouse"
)

// held is a warehouse whose tables are held by the jobs of an old owner: who takes
// one over waits until free is closed.
type held struct {
	*memory
	free      chan struct{}
	waiting   atomic.Int32
	cancelled atomic.Int32
	mu        sync.Mutex
	most      int32
}

func (h *held) Acquire(ctx context.Context, table, topic, id string) (warehouse.Head, error) {
	n := h.waiting.Add(1)
	defer h.waiting.Add(-1)
	h.mu.Lock()
	h.most = max(h.most, n)
	h.mu.Unlock()
	select {
	case <-h.free:
	case <-ctx.Done():
		h.cancelled.Add(1)
		return warehouse.Head{}, ctx.Err()
	}
	return h.memory.Acquire(ctx, table, topic, id)
}

// Tables that an old owner's jobs still hold are waited for together: what each
// waits does not add up.
func TestTakeoversWaitTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := &held{memory: r.mem, free: make(chan struct{})}
	r.loader = h
	tables := []*sourceTable{r.table("a", 1), r.table("b", 1), r.table("c", 1)}
	for _, s := range tables {
		r.produce(r.put(s, 1, "v"))
	}
	_, stop := r.start()
	defer stop()
	r.await("all tables are being taken over", func() bool { return h.waiting.Load() == 3 })
	close(h.free)
	for _, s := range tables {
		r.awaitEqual(s)
	}
}

// A member that has many tables to take over does not ask for all of them at once.
func TestTakeoversAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := &held{memory: r.mem, free: make(chan struct{})}
	r.loader = h
	tables := map[string]bool{}
	for n := range acquiredAtOnce + 3 {
		tables[r.table("t"+string(rune('a'+n/26))+string(rune('a'+n%26)), 1).Name] = true
	}
	c, stop := r.start()
	defer stop()
	r.await("as many as may be are being taken over", func() bool { return h.waiting.Load() == acquiredAtOnce })
	close(h.free)
	r.await("all are taken over", func() bool {
		for name := range tables {
			if !status(c, "core."+name).Owned {
				return false
			}
		}
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.most != acquiredAtOnce {
		t.Errorf("%d tables were taken over at once, want %d", h.most, acquiredAtOnce)
	}
}

// When the group moves on, nobody waits for a table any more: it may be another
// member's.
func TestRebalanceEndsTakeovers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.Client = []kgo.Opt{kgo.HeartbeatInterval(100 * time.Millisecond)}
	h := &held{memory: r.mem, free: make(chan struct{})}
	r.loader = h
	tables := []*sourceTable{r.table("a", 1), r.table("b", 1)}
	for _, s := range tables {
		r.produce(r.put(s, 1, "v"))
	}
	_, stop := r.start()
	defer stop()
	r.await("both are being taken over", func() bool { return h.waiting.Load() == 2 })
	if h.cancelled.Load() != 0 {
		t.Fatal("a takeover has ended too soon")
	}
	r.loader = r.mem
	r.start()
	r.await("both takeovers have ended", func() bool { return h.cancelled.Load() >= 2 })
	close(h.free)
	for _, s := range tables {
		r.awaitEqual(s)
	}
}

// Of tables that are taken over together, one that is in trouble ends the waiting
// for the others: all are asked for again.
func TestTroubleEndsTakeovers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	h := &held{memory: r.mem, free: make(chan struct{})}
	bad, good := r.table("bad", 1), r.table("good", 1)
	var down atomic.Bool
	down.Store(true)
	r.loader = &oneDown{held: h, down: &down}
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	_, stop := r.start()
	defer stop()
	r.await("the other takeover has ended", func() bool { return h.cancelled.Load() > 0 })
	down.Store(false)
	close(h.free)
	r.awaitEqual(bad)
	r.awaitEqual(good)
}

// oneDown is held, and of core.bad nothing can be had while it is down.
type oneDown struct {
	*held
	down *atomic.Bool
}

func (o *oneDown) Acquire(ctx context.Context, table, topic, id string) (warehouse.Head, error) {
	if table == "core.bad" && o.down.Load() {
		for o.waiting.Load() == 0 && ctx.Err() == nil { // so that there is a wait to end
			time.Sleep(time.Millisecond)
		}
		return warehouse.Head{}, errors.Join(errDown, ctx.Err())
	}
	return o.held.Acquire(ctx, table, topic, id)
}
