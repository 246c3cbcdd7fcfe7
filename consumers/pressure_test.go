package consumers

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/batch"
)

// A topic is paused by the poller while its own goroutine may be counting off what
// it held: whoever comes last, one that holds nothing is fetched.
func TestWhatIsEmptyIsNotPaused(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Limits: batch.Limits{Rows: 1, Bytes: 1, Age: 1}, Memory: 100, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := &session{Consumer: c, client: client, freed: make(chan struct{}, 1), topics: map[string]*running{}}
	for _, name := range []string{"a", "b"} {
		s.topics[name] = &running{topic: newTopic(s, Table{Topic: name}, &topicLog{}, []*target{{}})}
	}
	a := s.topics["a"].topic
	for range 20_000 {
		var both sync.WaitGroup
		a.hold(100)
		both.Go(func() { a.free(100) })
		both.Go(s.wakeAll) // throttles
		both.Wait()
		if paused := client.PauseFetchTopics(); slices.Contains(paused, "a") {
			t.Fatalf("a is paused, holds %d, and goes on below %d", a.held.Load(), a.enough.Load())
		}
	}
}

// said counts what is logged, by its message.
type said struct {
	slog.Handler
	mu sync.Mutex
	n  map[string]int
}

func (s *said) Enabled(context.Context, slog.Level) bool { return true }

func (s *said) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[r.Message]++
	return nil
}

func (s *said) times(message string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[message]
}

// A topic that lost what was to be loaded next halts once, and is not asked for
// any more.
func TestTopicThatLostItsRecordsIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad, good := r.table("a_bad", 1), r.table("b_good", 1)
	said := &said{Handler: slog.DiscardHandler, n: map[string]int{}}
	r.log, r.memory = slog.New(said), 1000
	var down atomic.Bool
	r.mem.fault = func(effect, table string, _ int64) error {
		if down.Load() && effect == "before load" && table == "core.a_bad" {
			return errDown
		}
		return nil
	}
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	c, stop := r.start()
	defer stop()
	r.awaitEqual(bad)
	r.awaitEqual(good)
	down.Store(true)
	for range 60 { // far more than is fetched ahead
		r.produce(r.put(bad, 1, strings.Repeat("v", 100_000)))
	}
	r.await("it is stuck", func() bool { return status(c, "core.a_bad").Trouble != "" })
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: bad.Topic, Partition: 0, At: 60})
	if _, err := kadm.NewClient(r.client).DeleteRecords(r.ctx(), offsets); err != nil {
		t.Fatal(err)
	}
	down.Store(false)
	r.await("it halts", func() bool { return strings.Contains(status(c, "core.a_bad").Halted, "no longer holds") })
	for id := range int64(20) {
		r.produce(r.put(good, id, "w"))
		r.awaitEqual(good)
	}
	if n := said.times("table halted"); n != 1 {
		t.Errorf("it halts %d times", n)
	}
}
