package consumers

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// stopper stops a consumer as SIGSTOP stops a process: at its next load and on
// all of its connections.
type stopper struct {
	*memory
	still    sync.RWMutex // held for writing: it stands before the warehouse
	cut      sync.RWMutex // held for writing: nothing comes from or goes to Kafka
	loads    atomic.Int32 // those that stand before the warehouse
	acquires atomic.Int32
	ensures  atomic.Int32
	lose     atomic.Bool // the answer of the first load after the stop
}

func wait(l *sync.RWMutex) {
	l.RLock()
	l.RUnlock() //nolint:staticcheck // nothing but waiting
}

func (s *stopper) Acquire(ctx context.Context, table, topic, id string) (warehouse.Head, error) {
	wait(&s.still)
	s.acquires.Add(1)
	return s.memory.Acquire(ctx, table, topic, id)
}

// Load does not look at its context: a stopped process looks at nothing.
func (s *stopper) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	s.loads.Add(1)
	wait(&s.still)
	if s.lose.CompareAndSwap(true, false) {
		return schemas.LoadComplete{}, errDown
	}
	return s.memory.Load(ctx, b)
}

func (s *stopper) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	wait(&s.cut)
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	return still{c, s}, err
}

type still struct {
	net.Conn
	s *stopper
}

func (c still) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	wait(&c.s.cut)
	return n, err
}

func (c still) Write(b []byte) (int, error) {
	wait(&c.s.cut)
	return c.Conn.Write(b)
}

// An owner is stopped before its load, the group gives the table to another,
// and the first one goes on. What it loads is refused; and when it does not
// learn what became of its load, it may not take the table back to find out,
// because the group counts it no more (G5).
func TestZombie(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"fenced": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s := r.table("orders", 2)
			r.cluster.Client = []kgo.Opt{kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(100 * time.Millisecond)}
			others := r.cluster.Client
			zombie := &stopper{memory: r.mem}
			r.cluster.Client = append(slices.Clone(others), kgo.Dialer(zombie.dial))
			r.loader = zombie
			r.produce(r.put(s, 1, "v"))
			first, _ := r.start()
			r.awaitEqual(s)
			r.await("its offsets are committed", func() bool { return len(r.events()) == 1 })

			zombie.lose.Store(lose)
			zombie.still.Lock()
			before, acquires := zombie.loads.Load(), zombie.acquires.Load()
			r.produce(r.put(s, 2, "v"))
			r.await("it is about to load", func() bool { return zombie.loads.Load() > before })
			zombie.cut.Lock()
			r.cluster.Client, r.loader = others, r.mem
			r.start()
			r.awaitEqual(s)
			epoch := r.mem.head("core.orders").Epoch
			// It wakes before Kafka can tell it anything.
			zombie.still.Unlock()
			time.Sleep(300 * time.Millisecond)
			zombie.cut.Unlock()

			r.await("it is gone", func() bool { return !status(first, "core.orders").Owned })
			r.produce(r.put(s, 3, "v"))
			r.awaitEqual(s)
			if n := zombie.acquires.Load() - acquires; n > 0 || r.mem.head("core.orders").Epoch != epoch {
				t.Errorf("the zombie has taken the table %d times, the epoch went from %d to %d", n, epoch, r.mem.head("core.orders").Epoch)
			}
		})
	}
}

// Ensure stands still as Load does.
func (s *stopper) Ensure(ctx context.Context, t warehouse.CoreTable) error {
	s.ensures.Add(1)
	wait(&s.still)
	return s.memory.Ensure(ctx, t)
}

// An owner is stopped before it makes a new table, and another makes it. The first
// may not take it over then.
func TestZombieOfANewTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.cluster.Client = []kgo.Opt{kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(100 * time.Millisecond)}
	others := r.cluster.Client
	zombie := &stopper{memory: r.mem}
	r.cluster.Client = append(slices.Clone(others), kgo.Dialer(zombie.dial))
	r.loader = zombie
	first, _ := r.start()
	r.await("it owns the topic", func() bool { return status(first, "core.orders").Owned })
	zombie.still.Lock()
	r.produce(r.put(s, 1, "v"))
	r.await("it is about to make the table", func() bool { return zombie.ensures.Load() > 0 })
	zombie.cut.Lock()
	r.cluster.Client, r.loader = others, r.mem
	_, stop := r.start()
	defer stop()
	r.awaitEqual(s)
	epoch, acquires := r.mem.head("core.orders").Epoch, zombie.acquires.Load()
	zombie.still.Unlock()
	time.Sleep(300 * time.Millisecond)
	zombie.cut.Unlock()

	r.await("it is gone", func() bool { return !status(first, "core.orders").Owned })
	r.produce(r.put(s, 2, "v"))
	r.awaitEqual(s)
	if n := zombie.acquires.Load() - acquires; n > 0 || r.mem.head("core.orders").Epoch != epoch {
		t.Errorf("the zombie has taken the table %d times, the epoch went from %d to %d", n, epoch, r.mem.head("core.orders").Epoch)
	}
}
