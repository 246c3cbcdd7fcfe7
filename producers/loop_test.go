package producers

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/schemas"
)

// both runs a test on Kafka and on the embedded broker, beside other tests.
func both(t *testing.T, test func(t *testing.T, embedded bool)) {
	t.Parallel()
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "kafka", true: "embedded"}[embedded], func(t *testing.T) {
			t.Parallel()
			test(t, embedded)
		})
	}
}

func TestSnapshotBesideStream(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, rand.Uint64(), embedded, "a", "b")
		for range 60 {
			w.db.random(30, false)
		}
		w.db.log = nil // from before the source began
		r := w.start(nil)
		for range 200 {
			w.db.random(30, false)
			time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
		}
		r.settle()
		r.finish()
		w.check()
		for _, name := range w.db.names {
			if n := w.count(name, schemas.SnapshotDone); n < 3 {
				t.Errorf("%s: %d records say that the snapshot is done, want one per partition", name, n)
			}
		}
	})
}

func TestSchemaChanges(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, rand.Uint64(), embedded, "a", "b")
		r := w.start(nil)
		for range 250 {
			w.db.random(20, true)
			time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
		}
		r.settle()
		r.finish()
		w.check()
	})
}

func TestNewGeneration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a")
	r := w.start(nil)
	for range 50 {
		w.db.random(10, false)
	}
	r.settle()
	w.db.transact(func(x *memWriter) { x.renew("a") })
	for range 50 {
		w.db.random(10, false)
	}
	r.settle()
	r.finish()
	if topic := r.p.Status().Tables[0].Topic; topic != "p.s.public.a.g2" {
		t.Fatalf("the table is in topic %s", topic)
	}
	w.check()
}

func TestStopAndStart(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, rand.Uint64(), embedded, "a")
		for range 4 {
			r := w.start(nil)
			for range 20 {
				w.db.random(10, true)
			}
			r.settle()
			for range 20 {
				w.db.random(10, true)
			}
			r.finish()
		}
		r := w.start(nil)
		r.settle()
		r.finish()
		w.check()
	})
}

// TestGenerationBeforeEnds: the last record of every partition names the next
// topic, whatever dies meanwhile, and only repetitions follow it.
func TestGenerationBeforeEnds(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, rand.Uint64(), embedded, "a")
		w.drain = 50 * time.Millisecond
		r := w.start(nil)
		r.settle()
		last := 4
		if testing.Short() {
			last = 2
		}
		for generation := 2; generation <= last; generation++ {
			for range 20 {
				w.db.random(10, false)
			}
			w.db.transact(func(x *memWriter) { x.renew("a") })
			for range 20 {
				w.db.random(10, false)
			}
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			r.kill()
			if embedded {
				r.killAll()
			}
			r = w.start(nil)
		}
		r.settle()
		r.finish()
		w.check()
		w.checkEnds("a", r.p.Status().Tables[0].Topic)
	})
}

// TestHugeTransaction: it is split, and what was sent of it is not sent again.
func TestHugeTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a")
	w.drain = 50 * time.Millisecond
	r := w.start(nil)
	r.settle()
	w.db.transact(func(x *memWriter) {
		for i := range int64(500) {
			x.put("a", i)
		}
	})
	kills := 0
	for kills < 3 {
		if w.count("a", schemas.Create) > 100*kills {
			r.kill()
			r = w.start(nil)
			kills++
		}
	}
	r.settle()
	r.finish()
	w.check()
}

func TestTableWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a")
	w.db.tables["a"].keyless = true
	w.db.transact(func(x *memWriter) { x.put("a", 1); x.put("a", 2) })
	w.db.log = nil
	r := w.start(nil)
	r.settle()
	w.db.transact(func(x *memWriter) { x.put("a", 3); x.remove("a", 1) })
	r.settle()
	r.finish()
	reads, creates := w.count("a", schemas.Read), w.count("a", schemas.Create)
	if reads != 2 || creates != 1 {
		t.Errorf("%d rows of the snapshot and %d creates, want 2 and 1", reads, creates)
	}
	dead := w.read("p.s.public.a.dlq")
	if len(dead) != 1 || string(dead[0].Headers[len(dead[0].Headers)-1].Value) != "an update or delete of a table without a key" {
		t.Errorf("%d dead letters: %v", len(dead), dead)
	}
	cl, err := kgo.NewClient(w.cluster().ClientOpts("test", nil, nil)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(t.Context(), "p.s.public.a.dlq")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "retention.ms" && c.MaybeValue() == "-1" {
			return
		}
	}
	t.Errorf("letters that a person has not seen go with time: %+v", configs)
}

func TestHaltedTableLetsOthersGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a", "b")
	w.registry.refuse = "p.s.public.b-value"
	r := w.start(nil)
	for range 30 {
		w.db.random(10, false)
	}
	end := w.db.end()
	for r.p.Status().Complete.Pos.Major < end || r.p.Status().Tables[0].Snapshot.Running || !r.p.Status().Tables[0].Snapshot.Done {
		time.Sleep(time.Millisecond)
	}
	b := r.p.Status().Tables[1]
	var halt *HaltError
	if !errors.As(b.Halted, &halt) || halt.Table != "public.b" || !b.Marked.Pos.IsZero() {
		t.Fatalf("status of the refused table: %+v", b)
	}
	r.finish()
	// Cured: the table is read from the start, and nothing is missing.
	w.registry.mu.Lock()
	w.registry.refuse = ""
	w.registry.mu.Unlock()
	r = w.start(nil)
	r.settle()
	r.finish()
	w.db.names = []string{"a"}
	w.check()
	w.checkContent("b", w.consume("b"))
}

// TestSourceHaltsATable: what a table missed while it was halted, its next
// snapshot brings.
func TestSourceHaltsATable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a", "b")
	r := w.start(nil)
	w.db.transact(func(x *memWriter) { x.put("a", 1); x.put("b", 1) })
	r.settle()
	r.finish()

	r = w.start(nil, func(o *Options) { o.Config = &memConfig{db: w.db, halt: "b"} })
	w.db.transact(func(x *memWriter) { x.put("a", 2); x.put("b", 2); x.remove("b", 1) })
	end := w.db.end()
	for st := r.p.Status(); st.Complete.Pos.Major < end || st.Tables[1].Halted == nil; st = r.p.Status() {
		time.Sleep(time.Millisecond)
	}
	r.finish()

	r = w.start(nil)
	r.settle()
	r.finish()
	w.checkContent("b", w.consume("b"))
	w.db.names = []string{"a"}
	w.check()
}

// TestValueThatCannotBeEncoded halts its table, never the others.
func TestValueThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a", "b")
	r := w.start(nil)
	r.settle()
	w.db.transact(func(x *memWriter) {
		x.put("a", 1)
		x.put("b", 1)
		x.txn.items[1].row.big = "\xff" // no UTF-8
		x.put("a", 2)
	})
	end := w.db.end()
	for st := r.p.Status(); st.Complete.Pos.Major < end || st.Tables[1].Halted == nil; st = r.p.Status() {
		time.Sleep(time.Millisecond)
	}
	r.finish()
	if n := w.count("b", schemas.Create); n != 0 {
		t.Errorf("%d creates of the halted table", n)
	}
	w.db.names = []string{"a"}
	w.check()
}

// A row that no topic takes halts its table with the reason; the others go on.
func TestRowThatIsTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a", "b")
	r := w.start(nil)
	r.settle()
	w.db.transact(func(x *memWriter) {
		x.put("a", 1)
		x.put("b", 1)
		x.txn.items[1].row.big = strings.Repeat("0123456789", 150_000)
		x.put("a", 2)
	})
	end := w.db.lsn
	deadline := time.Now().Add(time.Minute)
	for st := r.p.Status(); st.Complete.Pos.Major < end || st.Tables[1].Halted == nil; st = r.p.Status() {
		if time.Now().After(deadline) {
			t.Fatalf("neither halted nor sent: %v", st.Err)
		}
		time.Sleep(time.Millisecond)
	}
	if why := r.p.Status().Tables[1].Halted.Error(); !strings.Contains(why, "its record has 1500") {
		t.Errorf("halted: %s", why)
	}
	r.finish()
	w.db.names = []string{"a"}
	w.check()
}

// A record that the broker refuses fails its transaction: the commit itself
// would succeed without it, and what follows would be acknowledged (G1).
func TestRefusedRecordFailsItsTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a")
	r := w.start(nil)
	r.settle()
	var refused atomic.Bool
	w.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		produce := req.(*kmsg.ProduceRequest)
		resp := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range produce.Topics {
			out := kmsg.NewProduceResponseTopic()
			out.Topic, out.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.InvalidRecord.Code
				out.Partitions = append(out.Partitions, part)
			}
			resp.Topics = append(resp.Topics, out)
		}
		refused.Store(true)
		return resp, nil, true
	})
	for range 20 {
		w.db.random(10, false)
	}
	r.settle()
	r.finish()
	if !refused.Load() {
		t.Error("nothing was refused")
	}
	w.check()
}

func TestWholeSourceHalts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a")
	halt := &HaltError{Err: errors.New("slot lost"), Hint: "drop it"}
	r := w.start(func(_ *run, effect string) error {
		if effect == "open" {
			return halt
		}
		return nil
	})
	<-r.done
	if !errors.Is(r.err, halt) {
		t.Fatalf("run ended with %v", r.err)
	}
}

func TestFailover(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, rand.Uint64(), embedded, "a")
		r := w.start(nil)
		for epoch := range uint32(3) {
			for range 20 {
				w.db.random(10, false)
			}
			r.settle()
			w.db.mu.Lock()
			w.db.epoch = epoch + 2
			w.db.mu.Unlock()
		}
		w.db.random(10, false)
		r.settle()
		r.finish()
		w.check()
		// Every epoch was in a committed checkpoint before its first change.
		state, err := r.p.read(t.Context())
		if err != nil || state.Epoch != 4 {
			t.Fatalf("epoch %d, %v", state.Epoch, err)
		}
	})
}

// TestIdleProgress: an idle source is acknowledged up to what is committed, at
// intervals that grow.
func TestIdleProgress(t *testing.T) {
	both(t, func(t *testing.T, embedded bool) {
		w := newWorld(t, 1, embedded, "a")
		r := w.start(nil)
		r.settle()
		for range 20 { // read points move the log without changes
			w.db.mu.Lock()
			w.db.lsn += 5
			end := w.db.lsn
			w.db.mu.Unlock()
			r.settle()
			for w.embedded == false {
				w.db.mu.Lock()
				acked := w.db.acked
				w.db.mu.Unlock()
				if acked >= end {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
		r.finish()
		w.check()
	})
}

func TestOptions(t *testing.T) {
	_, err := New(Options{Prefix: "p"})
	for _, want := range []string{"Source is not set", "Config is not set", "Kafka.Brokers is not set", "Registry is not set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
