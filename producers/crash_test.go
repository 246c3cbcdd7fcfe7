package producers

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/schemas"
)

// fault is what happens at the nth time of an effect.
type fault struct {
	effect string
	nth    int
}

func (f fault) String() string { return fmt.Sprintf("%s#%d", f.effect, f.nth) }

// effects at which a process can die: those of the source, and requests to
// Kafka before they are done, or after, with the reply lost.
var effects = []string{
	"open", "next", "ack", "acked", "chunk", "point", "chunked",
	"before Produce", "after Produce", "before EndTxn", "after EndTxn", "before InitProducerID", "after InitProducerID",
	"before AddPartitionsToTxn", "after AddPartitionsToTxn", "before Fetch", "after Fetch", "before CreateTopics", "after CreateTopics",
}

// killer kills the living process at one effect.
type killer struct {
	mu    sync.Mutex
	plan  fault
	left  int
	fired bool
}

func (k *killer) arm(f fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.plan, k.left, k.fired = f, f.nth, false
}

func (k *killer) hits(effect string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fired || effect != k.plan.effect {
		return false
	}
	k.left--
	k.fired = k.left == 0
	return k.fired
}

func (k *killer) source(r *run, effect string) error {
	if k.hits(effect) {
		r.kill()
		return errKilled
	}
	return nil
}

func (k *killer) kafka(w *world) {
	w.fake.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		name := kmsg.Key(req.Key()).Name()
		if k.hits("before " + name) {
			w.live.Load().kill()
			return nil, errKilled, true
		}
		if k.hits("after " + name) {
			w.live.Load().kill()
		}
		return nil, nil, false
	})
}

func TestCrashes(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, seed, embedded, "a", "b")
		w.drain = 50 * time.Millisecond
		var k killer
		k.kafka(w)
		var fired []fault
		plans := slices.Clone(effects)
		rng.Shuffle(len(plans), func(i, j int) { plans[i], plans[j] = plans[j], plans[i] })
		for _, effect := range plans {
			f := fault{effect, 1 + rng.IntN(6)}
			k.arm(f)
			r := w.start(k.source, func(o *Options) {
				if rng.IntN(2) == 0 {
					o.ChunkBytes = 1 // a chunk is one parcel of rows
				}
			})
			for range 400 { // on a slow machine an effect is reached late
				if r.killed.Load() {
					break
				}
				if rng.IntN(3) == 0 {
					w.db.random(12, true)
				}
				time.Sleep(time.Millisecond)
			}
			if r.killed.Load() {
				fired = append(fired, f)
			}
			select {
			case <-r.done:
				if !r.killed.Load() {
					t.Fatalf("seed %d, after %v: run ended: %v", seed, fired, r.err)
				}
			default:
			}
			k.arm(fault{})
			r.killAll()
		}

		r := w.start(nil)
		r.settle()
		r.finish()
		t.Logf("seed %d: %v", seed, fired)
		if len(fired) < len(plans)/4 {
			t.Errorf("seed %d: only %d of %d faults were reached", seed, len(fired), len(plans))
		}
		w.check()
	})
}

// TestDeathBetweenChunksOfFewBytes: a chunk that ended because of its bytes is as
// done as any. What a crash repeats is what was read behind the last of them.
func TestDeathBetweenChunksOfFewBytes(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		const rows, chunk, died = 60, 3, 12 // memSource hands over three rows at once
		w := newWorld(t, rand.Uint64(), embedded, "a")
		w.drain = 50 * time.Millisecond
		w.db.transact(func(x *memWriter) {
			for i := range int64(rows) {
				x.put("a", i)
			}
		})
		few := func(o *Options) { o.ChunkRows, o.ChunkBytes = 10*rows, 1 }
		var chunks atomic.Int64
		r := w.start(func(r *run, effect string) error {
			if effect != "chunk" || chunks.Add(1) < died {
				return nil
			}
			for end := time.Now().Add(20 * time.Second); w.count("a", schemas.Read) < (died-1)*chunk && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			r.kill()
			return errKilled
		}, few)
		select {
		case <-r.done:
		case <-time.After(time.Minute):
			t.Fatalf("after %d chunks it lives", chunks.Load())
		}
		if got := w.count("a", schemas.Read); !r.killed.Load() || got != (died-1)*chunk {
			t.Fatalf("%d rows were sent when it died (%t), want %d", got, r.killed.Load(), (died-1)*chunk)
		}
		r.killAll()
		r = w.start(nil, few)
		r.settle()
		r.finish()
		w.check()
		// On the embedded broker a producer resumes before its last transaction; the
		// state of a chunk may be in the one behind its rows.
		if got := w.count("a", schemas.Read); got > rows+(died-1)*chunk/2 {
			t.Errorf("%d rows were sent of %d: what had ended was read again", got, rows)
		}
	})
}

// TestBeginAgain: what a source missed, because its log was gone, the snapshots of
// the next epoch bring, wherever the process dies on the way. Positions rise all the
// time.
func TestBeginAgain(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, seed, embedded, "a", "b")
		w.drain = 50 * time.Millisecond
		var k killer
		k.kafka(w)
		r := w.start(nil)
		for range 20 {
			w.db.random(12, true)
		}
		r.settle()
		r.finish()
		rounds := 6
		if testing.Short() {
			rounds = 2
		}
		for epoch := uint32(2); epoch < uint32(2+rounds); epoch++ {
			for range 20 {
				w.db.random(12, true)
			}
			w.db.lose()
			r := w.start(nil, func(o *Options) { o.Epoch = epoch - 1 })
			<-r.done
			if !errors.Is(r.err, errGone) {
				t.Fatalf("seed %d: without another epoch, run ended: %v", seed, r.err)
			}
			f := fault{effects[rng.IntN(len(effects))], 1 + rng.IntN(4)}
			k.arm(f)
			r = w.start(k.source, func(o *Options) { o.Epoch = epoch })
			for range 100 {
				if r.killed.Load() {
					break
				}
				if rng.IntN(3) == 0 {
					w.db.random(12, true)
				}
				time.Sleep(time.Millisecond)
			}
			k.arm(fault{})
			r.killAll()
			r = w.start(nil, func(o *Options) { o.Epoch = epoch })
			r.settle()
			if got := r.p.Status().Complete.Pos.Epoch; got != epoch {
				t.Errorf("seed %d, after %v: settled in epoch %d, want %d", seed, f, got, epoch)
			}
			r.finish()
		}
		// The line may go again.
		w.db.random(12, true)
		r = w.start(nil)
		r.settle()
		r.finish()
		w.check()
	})
}

// TestFaults: requests that fail, replies that are lost, leaders that move; the
// process lives on and finds its way back.
func TestFaults(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t, seed, embedded, "a", "b")
		var k killer
		w.fake.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			if k.hits("after " + kmsg.Key(req.Key()).Name()) {
				w.live.Load().cut()
			}
			return nil, nil, false
		})
		r := w.start(nil)
		rounds := 60
		if testing.Short() {
			rounds = 20
		}
		for range rounds {
			switch rng.IntN(8) {
			case 0:
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3})
			case 1:
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut, TopLevel: true})
			case 2:
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true})
			case 3:
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TransactionAbortable})
			case 4:
				w.fake.ShufflePartitionLeaders()
			case 5:
				k.arm(fault{"after EndTxn", 1 + rng.IntN(3)})
			case 6:
				k.arm(fault{"after Produce", 1 + rng.IntN(3)})
			case 7:
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, TopLevel: true})
			}
			for range 6 {
				w.db.random(12, true)
				time.Sleep(time.Millisecond)
			}
		}
		r.settle()
		r.finish()
		w.check()
	})
}

// TestFencing: of two producers of one source one gives way, and nothing is
// sent twice.
func TestFencing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a")
	first := w.start(nil)
	for range 30 {
		w.db.random(12, false)
	}
	first.settle()
	second := w.start(nil)
	var survivor *run
	for survivor == nil {
		w.db.random(12, false)
		select {
		case <-first.done:
			survivor = second
		case <-second.done:
			survivor = first
		case <-time.After(2 * time.Millisecond):
		}
	}
	loser := first
	if survivor == first {
		loser = second
	}
	// The first may take its id back while the second opens the source. The second
	// then finds that the log which its checkpoint needs was acknowledged by the
	// first, and halts, before it has written anything.
	if overtaken := loser == second && errors.Is(loser.err, errGone); !overtaken && !errors.Is(loser.err, ErrFenced) {
		t.Fatalf("the one that gave way ended with %v", loser.err)
	}
	for range 30 {
		w.db.random(12, false)
	}
	survivor.settle()
	survivor.finish()
	w.check()
}

// TestTornTail: after a kill of the embedded broker the last transaction is
// there in some partitions and gone in others, its own records included.
func TestTornTail(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	w := newWorld(t, seed, true, "a", "b")
	w.torn, w.drain = true, 50*time.Millisecond
	tears := 12
	if testing.Short() {
		tears = 4
	}
	lost := 0
	// On a slow machine nothing may have been committed when the kill comes:
	// then there are more rounds, which take longer.
	for n := 0; n < tears || lost == 0 && n < 5*tears; n++ {
		r := w.start(nil)
		// Sometimes killed at once: the transactions of a start are torn too.
		for range rng.IntN(40) + 200*(n/tears) {
			w.db.random(12, true)
			time.Sleep(time.Millisecond)
		}
		if n > 1 && rng.IntN(3) == 0 {
			// A table of which nothing was kept begins with its first generation; only
			// memDB, which numbers them by itself, would begin with a later one.
			r.settle()
			w.db.transact(func(x *memWriter) { x.renew("a") })
			time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
		}
		r.killAll()
		lost += w.tear(rng)
	}
	r := w.start(nil)
	r.settle()
	r.finish()
	t.Logf("seed %d: %d records were lost", seed, lost)
	if lost == 0 {
		t.Errorf("seed %d: nothing was torn", seed)
	}
	w.check()
	w.checkEnds("a", r.p.Status().Tables[0].Topic)
}

// tear moves what is committed to a new cluster, less some of the last
// transaction's records. It returns how many it lost.
func (w *world) tear(rng *rand.Rand) int {
	w.t.Helper()
	old := w.cluster()
	cl, err := kgo.NewClient(old.ClientOpts("tear", nil, nil)...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	// The positions are written by every transaction: what is younger than the
	// marker before the last is of the last.
	if err := old.AwaitStable(w.t.Context(), slices.Collect(maps.Keys(topics))...); err != nil {
		w.t.Fatal(err)
	}
	var markers []time.Time
	for _, r := range w.readAll("p.s.positions") {
		if r.Attrs.IsControl() {
			markers = append(markers, r.Timestamp)
		}
	}
	kept := make(map[string][]*kgo.Record)
	for name := range topics {
		kept[name] = w.read(name)
	}
	w.fake = testkit.KafkaCluster(w.t)
	next := w.cluster()
	to, err := kgo.NewClient(append(next.ClientOpts("tear", nil, nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer to.Close()
	lost := 0
	for name, d := range topics {
		if err := kafka.EnsureTopics(w.t.Context(), to, kafka.Topic{Name: name, Partitions: int32(len(d.Partitions))}); err != nil {
			w.t.Fatal(err)
		}
		torn := make(map[int32]bool)
		for p := range d.Partitions {
			torn[p] = rng.IntN(2) == 0
		}
		for _, r := range kept[name] {
			if len(markers) > 1 && r.Timestamp.After(markers[len(markers)-2]) && torn[r.Partition] {
				lost++
				continue
			}
			again := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
			if err := to.ProduceSync(w.t.Context(), again).FirstErr(); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return lost
}
