package consumers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// buffered is what was polled and is not loaded yet.
func (r *rig) buffered(c *Consumer) float64 {
	r.t.Helper()
	families, err := c.opts.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millrace_load_buffered_bytes" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}

// A topic that is alone has all of the memory: half is loaded while the other half
// is collected, and no more than that is (G13).
func TestTheOtherHalfIsCollectedMeanwhile(t *testing.T) {
	r := newRig(t)
	r.memory = 64 << 10
	half := float64(r.memory / 2)
	r.limits.Rows = 1 << 20
	s := r.table("items", 1)
	w := r.slow()
	r.produce(r.put(s, 1, "a"))
	c, stop := r.start()
	defer stop()
	<-w.came
	id := int64(10)
	fill := func(until float64) {
		for r.buffered(c) <= until {
			was := r.buffered(c)
			id++
			r.produce(r.put(s, id, strings.Repeat("x", 2000)))
			r.await("it is polled", func() bool { return r.buffered(c) > was })
		}
	}
	fill(half)
	r.produce(r.garbage(s, 2))
	r.collected(c, s, 1)
	fill(2 * half)
	r.produce(r.garbage(s, 3))
	time.Sleep(50 * time.Millisecond)
	if n := r.counted(c, "millrace_dead_letters_total"); n != 1 || len(w.came) != 0 {
		t.Errorf("with its memory full, the topic is polled on: %v letters", n)
	}
	close(w.pass)
	r.awaitEqual(s)
	r.await("both letters", func() bool { return status(c, "core.items").Letters == 2 })
}

// A table that is stuck while it is alone holds up none that comes later.
func TestStuckTableHoldsUpNoneThatComes(t *testing.T) {
	r := newRig(t)
	r.memory = 64 << 10
	tables := []*sourceTable{r.table("a", 1), r.table("b", 1)}
	var stuck atomic.Pointer[string]
	r.mem.fault = func(at, table string, _ int64) error {
		if name := stuck.Load(); at == "before load" && name != nil && table == *name {
			return errDown
		}
		return nil
	}
	c, stop := r.start()
	defer stop()
	_, leave := r.start()
	r.await("each has one table", func() bool { return status(c, "core.a").Owned != status(c, "core.b").Owned })
	if status(c, "core.b").Owned {
		slices.Reverse(tables)
	}
	bad, good := tables[0], tables[1]
	name := "core." + bad.Name
	stuck.Store(&name)
	for i := 0; r.buffered(c) <= float64(r.memory); i++ {
		r.produce(r.put(bad, int64(i), strings.Repeat("x", 2000)))
	}
	leave()
	r.produce(r.put(good, 1, "v"))
	r.awaitEqual(good)
	stuck.Store(nil)
	r.awaitEqual(bad)
}

// What a record refers to stays what it was until it is loaded, compressed or not.
func TestRecordsOfAnyCompression(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "snappy": kgo.SnappyCompression(), "zstd": kgo.ZstdCompression(), "gzip": kgo.GzipCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.limits.Rows = 1 << 20
			s := r.table("items", 2)
			w := r.slow()
			client, err := kgo.NewClient(append(r.cluster.ClientOpts("test", nil, nil), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			r.produce(r.put(s, 0, "v"))
			c, stop := r.start()
			defer stop()
			<-w.came
			for n := range 10 {
				var records []*kgo.Record
				for i := range 30 {
					records = append(records, r.put(s, int64(i), strings.Repeat(fmt.Sprint(n, i), 20)))
				}
				if n == 5 {
					bad := r.garbage(s, 100)
					bad.Value = []byte("nobody knows " + name)
					records = append(records, bad)
				}
				if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			r.collected(c, s, 1)
			close(w.pass)
			r.awaitEqual(s)
			r.await("the letter", func() bool { return status(c, "core.items").Letters == 1 })
			if letters := r.topic(s.Topic + ".dlq"); len(letters) != 1 || string(letters[0].Value) != "nobody knows "+name {
				t.Errorf("the letters are %v", letters)
			}
		})
	}
}
