package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"millrace/consumers/batch"
	"millrace/internal/kafka"
	"millrace/schemas/avro"
)

// pollRecords bounds what one poll hands over, and so what a topic can hold
// beyond its part of the memory.
const pollRecords = 1000

// session is one membership of the group. It ends at the first error that
// another membership must mend; a table that waits for a person does not end it.
type session struct {
	*Consumer
	client   *kgo.Client
	admin    *kadm.Client
	loadsID  uint32 // of the schema of load-complete events
	loads    string // their topic
	group    *errgroup.Group
	buffered atomic.Int64
	freed    chan struct{}
	known    generations

	mu      sync.Mutex
	topics  map[string]*running
	halted  map[string]*running // owned, not read any more, and perhaps not at their end
	denials map[string]*denial  // by topic
}

// running is an owned topic and the goroutine that loads it.
type running struct {
	topic  *topic
	cancel context.CancelFunc
	done   chan struct{}
}

func (c *Consumer) session(ctx context.Context) (err error) {
	s := &session{Consumer: c, topics: map[string]*running{}, halted: map[string]*running{}, denials: map[string]*denial{}, freed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also where the group does not begin
	var inner context.Context
	s.group, inner = errgroup.WithContext(ctx)
	if err := s.prepare(inner); err != nil {
		return err
	}
	// The callbacks may come before NewClient returns, and start goroutines of the
	// group, which must not be its first.
	joined := make(chan struct{})
	opts := append(c.opts.Cluster.ClientOpts("consumer", c.opts.Log, nil), c.opts.Cluster.GroupOpts(c.opts.Group)...)
	opts = append(opts, c.opts.Cluster.PlainProducerOpts()...)
	opts = append(opts, kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
		if topic == s.loads {
			return kafka.MaxBatchBytes
		}
		return kafka.MaxLetterBytes
	}), kgo.ConsumeTopics(s.known.topics()...),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, asked map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			<-joined
			return s.assigned(ctx, inner, asked)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { s.dropped(gone) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { s.dropped(gone) }))
	if s.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	s.admin = kadm.NewClient(s.client)
	c.client.Store(s.client)
	defer c.client.Store(nil)
	s.group.Go(func() error { return s.poll(inner) })
	s.group.Go(func() error { return s.watch(inner) })
	s.group.Go(func() error { return s.measure(inner) })
	s.group.Go(func() error {
		// The client's callbacks start goroutines of the group: they must have
		// ended before the group has.
		<-inner.Done()
		s.client.CloseAllowingRebalance()
		return nil
	})
	close(joined)
	return s.group.Wait()
}

// poll hands what it polls to the topics' goroutines, and never blocks a
// rebalance for longer than that.
func (s *session) poll(ctx context.Context) error {
	for {
		fetches := s.client.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil {
			s.client.AllowRebalance()
			return nil //nolint:nilerr // asked to end
		}
		err := s.handOver(ctx, fetches)
		s.client.AllowRebalance()
		if err != nil {
			return err
		}
		for s.short() {
			s.wakeAll() // what waits for its age is loaded now
			select {
			case <-ctx.Done():
				return nil
			case <-s.freed:
			}
		}
	}
}

func (s *session) handOver(ctx context.Context, fetches kgo.Fetches) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range fetches.Errors() {
		if err := s.fetchFailed(ctx, e); err != nil {
			return err
		}
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		r := s.topics[p.Topic]
		if r == nil || len(p.Records) == 0 {
			return
		}
		held := size(p.Records)
		r.topic.hold(held)
		s.metrics.bytes.WithLabelValues(r.topic.conf.Core).Add(float64(held - recordOverhead*int64(len(p.Records))))
		r.topic.lag.polled(p)
		r.topic.showLag()
		r.topic.push(p.Records)
		s.throttle(r.topic)
	})
	s.metrics.buffered.Set(float64(s.buffered.Load()))
	return nil
}

// start makes the topic's goroutine. A halt ends the goroutine and shows; any
// other error ends the session.
func (s *session) start(ctx context.Context, t *topic) {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{topic: t, cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	s.topics[t.conf.Topic] = r
	s.mu.Unlock()
	s.poke() // a stuck topic is alone no more
	t.showOwned(true)
	t.showLag()
	s.client.ResumeFetchTopics(t.conf.Topic) // it may have halted here before
	s.group.Go(func() error {
		defer close(r.done)
		defer t.showOwned(false)
		defer t.hideLag()
		err := t.run(ctx)
		var h *haltError
		halted := ctx.Err() == nil && errors.As(err, &h)
		if halted {
			s.mu.Lock()
			s.haltTopic(t.conf.Topic, h)
			s.mu.Unlock()
		}
		t.free(t.held.Load()) // nothing is handed to it any more
		if halted || ctx.Err() != nil {
			return nil // halted, or revoked
		}
		return err
	})
}

// haltTopic shows why a topic is not loaded, and has it read no more. s.mu is held.
func (s *session) haltTopic(name string, err error) {
	conf, _ := s.conf(name)
	s.opts.Log.Error("table halted", "table", conf.Core, "topic", name, "err", err)
	for _, table := range []string{conf.Core, conf.History} {
		s.status.update(table, func(st *TableStatus) { st.Halted = err.Error() })
	}
	if r := s.topics[name]; r != nil {
		r.cancel()
		r.topic.pause(0)
		delete(s.topics, name)
		s.halted[name] = r
	}
}

func (t *topic) showOwned(is bool) {
	for _, g := range t.targets {
		t.status.update(g.of, func(st *TableStatus) { st.Owned = is })
	}
}

// dropped ends the goroutines of topics that are ours no more, and waits for
// them: what they had not committed is the next owner's.
func (s *session) dropped(gone map[string][]int32) {
	for name := range gone {
		s.mu.Lock()
		r := cmp.Or(s.topics[name], s.halted[name])
		delete(s.topics, name)
		delete(s.halted, name)
		s.mu.Unlock()
		if r != nil {
			r.cancel()
			<-r.done
		}
		// What it is tried or waits for is the next owner's to say.
		conf, _ := s.conf(name)
		for _, table := range []string{conf.Core, conf.History} {
			s.status.update(table, func(st *TableStatus) { st.Trouble, st.Halted = "", "" })
		}
	}
}

// commitOffsets copies the heads' offsets to Kafka, for people.
func (t *topic) commitOffsets(ctx context.Context) error {
	offsets := map[string]map[int32]kgo.EpochOffset{t.conf.Topic: {}}
	for p, n := range t.offsets() {
		offsets[t.conf.Topic][p] = kgo.EpochOffset{Epoch: -1, Offset: n}
	}
	var failed error
	t.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, rt := range resp.Topics {
			for _, rp := range rt.Partitions {
				if failed == nil {
					failed = kerr.ErrorForCode(rp.ErrorCode)
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit offsets of %s: %w", t.conf.Topic, failed)
	}
	return nil
}

// confirm returns when the group counts us in: only then may a table be acquired
// again (G5).
func (t *topic) confirm(ctx context.Context) error {
	err := t.commitOffsets(ctx)
	if isDenied(err) {
		return fmt.Errorf("confirm membership: %w", err) // the topic's alone
	}
	if err != nil {
		return permanent(fmt.Errorf("confirm membership: %w", err))
	}
	return nil
}

// retry does something until it succeeds, ctx ends, or the error is permanent.
func (s *session) retry(ctx context.Context, what string, do func() error) error {
	return s.retryTelling(ctx, what, do, func(error) {})
}

// retry of a topic shows what it waits for (G12): some faults are for a person,
// such as a column that the warehouse's table cannot take.
func (t *topic) retry(ctx context.Context, what string, do func() error) error {
	failed := false
	err := t.retryTelling(ctx, what, do, func(err error) {
		failed = true
		t.showTrouble(what + ": " + err.Error())
	})
	if failed && err == nil {
		t.showTrouble("")
	}
	return err
}

func (t *topic) showTrouble(why string) {
	for _, g := range t.targets {
		t.status.update(g.of, func(st *TableStatus) { st.Trouble = why })
	}
}

func (s *session) retryTelling(ctx context.Context, what string, do func() error, tell func(error)) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, 15*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, do() },
		backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, wait time.Duration) {
			s.opts.Log.Warn("trying again", "what", what, "pause", wait, "err", err)
			tell(err)
		}))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func permanent(err error) error { return backoff.Permanent(err) }

func newTopic(s *session, conf Table, log *topicLog, targets []*target) *topic {
	t := &topic{session: s, conf: conf, log: log, targets: targets, schemas: map[uint32]*batch.Schema{}, batch: batch.New(s.opts.Limits)}
	t.keys, t.wake = map[uint32]*avro.KeyDecoder{}, make(chan struct{}, 1)
	t.lag.begin(t.offsets(), log.end)
	return t
}
