package mongodb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/internal/testkit/mongofake"
)

var errKilled = errors.New("killed")

// moments at which the process is killed: requests to Kafka, before they are done
// or with the reply lost, and what its source does.
var moments = []string{
	"before Produce", "after Produce", "before EndTxn", "after EndTxn", "before EndTxn", "after EndTxn",
	"before InitProducerID", "after InitProducerID", "before AddPartitionsToTxn", "after AddPartitionsToTxn",
	"open", "opened", "next", "read", "next", "read", "chunk", "rows", "chunked", "keys", "keysRead",
}

// rig is a collection's way to Kafka: the stand-in, a cluster, and the processes
// that ran between them.
type rig struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	mongo *fake
	db    *database
	kafka *kfake.Cluster
	ids   *schemaIDs
	cfg   *Config
	live  atomic.Pointer[process]
	ends  *sync.WaitGroup // of the processes

	mu     sync.Mutex // of what follows: when the living process is killed
	moment string
	left   int
}

func newRig(t *testing.T, images bool, ends *sync.WaitGroup) *rig {
	t.Helper()
	seed := rand.Uint64()
	r := &rig{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), mongo: startFake(t, mongofake.Options{Noop: time.Second}), kafka: testkit.KafkaCluster(t),
		ids: &schemaIDs{ids: map[string]uint32{}, text: map[uint32]string{}}, ends: ends,
	}
	r.db = newDB(t, r.mongo.URI(), images)
	r.cfg = &Config{DSN: r.mongo.URI()}
	r.kafka.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.kafka.KeepControl()
		name := kmsg.Key(req.Key()).Name()
		if r.reached("before " + name) {
			r.live.Load().kill()
			return nil, errKilled, true
		}
		if r.reached("after " + name) {
			r.live.Load().kill() // its reply is lost
		}
		return nil, nil, false
	})
	return r
}

func (r *rig) cluster(opts ...kgo.Opt) kafka.Cluster {
	opts = append(opts, kgo.MetadataMinAge(20*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	return kafka.Cluster{Brokers: r.kafka.ListenAddrs(), Client: opts}
}

// arm has the living process killed when the moment is reached for the nth time.
func (r *rig) arm(moment string, nth int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moment, r.left = moment, nth
}

func (r *rig) reached(moment string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if moment != r.moment || r.left == 0 {
		return false
	}
	r.left--
	return r.left == 0
}

// Whenever the process is killed, whatever becomes of the server beside it: the
// next one goes on from what Kafka has, every change is there once, in its key's
// order, and all of them give what the collections hold (G1, G2, G3).
func TestKilledProcesses(t *testing.T) {
	long(t)
	var ends sync.WaitGroup
	t.Cleanup(ends.Wait) // not in the subtests, which would keep other tests waiting
	for _, images := range []bool{true, false} {
		t.Run(fmt.Sprint("images=", images), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, images, &ends)
			load := newLoad(r)
			died := 0
			for round, moment := range moments {
				if r.rng.IntN(3) == 0 {
					r.disturb()
				}
				r.arm(moment, 1+r.rng.IntN(3))
				p := r.run()
				for range 80 {
					if p.killed.Load() {
						died++
						break
					}
					if r.rng.IntN(4) == 0 {
						load.write()
					}
					time.Sleep(time.Millisecond)
				}
				select {
				case <-p.done:
					if !p.killed.Load() {
						t.Fatalf("seed %d: at %s run ended: %v", r.seed, moment, p.err)
					}
				default:
				}
				r.arm("", 0)
				p.kill() // at a moment that nobody chose, if the other was not reached
				if round%7 == 6 {
					r.mongo.restart(t)
					r.db.connect(t)
				}
			}
			if died < len(moments)/4 {
				t.Errorf("seed %d: only %d of %d moments were reached", r.seed, died, len(moments))
			}
			p := r.run()
			p.settle()
			load.write()
			p.settle()
			p.finish()
			r.check(p.p.Status())
			t.Logf("seed %d: %d of %d moments were reached", r.seed, died, len(moments))
		})
	}
}

// A transaction that calls for more rows than can be remembered is read on as
// they are read again, and the table is not snapshotted for it.
func TestLargeTransactionWithoutImages(t *testing.T) {
	long(t)
	var ends sync.WaitGroup
	t.Cleanup(ends.Wait)
	r := newRig(t, false, &ends)
	const n = 1500 // above producers.maxRereads
	load := newLoad(r)
	load.fill("a", n)
	p := r.run()
	p.settle()
	snapshot := r.reads("a")
	load.updateAll("a")
	p.settle()
	p.finish()
	if again := r.reads("a"); snapshot < n || again != snapshot {
		t.Fatalf("the snapshot read %d rows, and %d after the transaction", snapshot, again)
	}
	r.check(p.p.Status())
}

// disturb makes something fail at the server.
func (r *rig) disturb() {
	nth := 1 + r.rng.IntN(4)
	switch r.rng.IntN(6) {
	case 0:
		r.mongo.On("watch.getMore", nth, mongofake.Cut())
	case 1:
		r.mongo.On("watch.getMore", nth, mongofake.LoseReply())
	case 2:
		r.mongo.On("watch.getMore", nth, mongofake.LoseCursor())
	case 3:
		r.mongo.On("find", nth, mongofake.Cut())
	case 4:
		r.mongo.On("find", nth, mongofake.LoseReply())
	default:
		r.mongo.On("watch", 1, mongofake.Cut())
	}
}
