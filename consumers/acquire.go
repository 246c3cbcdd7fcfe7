package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/deadletter"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// assigned takes over the topics that the group gave us: the epoch of each head
// is raised before its offsets are read, so that no earlier owner can move them
// any more (G5). A topic that a person must look at is not read; an error is
// returned only if the warehouse or Kafka cannot be reached, and is tried again.
//
// ctx ends when the group moves on; the goroutines of the topics live until
// they are revoked, or as long as life.
func (s *session) assigned(ctx, life context.Context, asked map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var taken []*topic
	for name := range asked {
		conf, ok := s.tables[name]
		if !ok {
			continue
		}
		// The client asks again for what it was given in a rebalance that was cut
		// short: of one topic, one goroutine.
		s.dropped(map[string][]int32{name: nil})
		t, err := s.acquire(ctx, conf)
		var h *haltError
		switch {
		case errors.As(err, &h):
			s.mu.Lock()
			s.haltTopic(name, h)
			s.mu.Unlock()
			continue
		case err != nil:
			s.opts.Log.Warn("take over topic", "topic", name, "err", err)
			return nil, err
		}
		taken = append(taken, t)
	}
	out := map[string]map[int32]kgo.Offset{}
	for _, t := range taken {
		name := t.conf.Topic
		out[name] = map[int32]kgo.Offset{}
		for p, n := range t.offsets() {
			out[name][p] = kgo.NewOffset().At(n).WithEpoch(-1)
		}
		s.start(life, t)
	}
	return out, nil
}

// acquire raises the epochs of the topic's tables, compares their heads with
// the topic, and announces their last loads again: the owner before may have
// died between its commit and the announcement (G6).
func (s *session) acquire(ctx context.Context, conf Table) (*topic, error) {
	log, err := s.describe(ctx, conf)
	if err != nil {
		return nil, err
	}
	t := newTopic(s, conf, log)
	t.keys = map[uint32]*avro.KeyDecoder{}
	for _, g := range t.targets {
		g.head, err = s.opts.Loader.Acquire(ctx, g.table.Name, conf.Topic, log.id)
		if g.owned = err == nil; err != nil && !errors.Is(err, warehouse.ErrNoTable) {
			return nil, fmt.Errorf("acquire %s: %w", g.table.Name, err)
		}
		if g.head.Offsets, err = log.check(g.table.Name, g.head.TopicID, g.head.Offsets); err != nil {
			return nil, err
		}
		g.shown = g.head.Complete
		last, err := t.announceLast(ctx, g)
		if err != nil {
			return nil, err
		}
		s.status.update(g.table.Name, func(st *TableStatus) {
			st.Halted, st.Load, st.LoadedAt, st.Complete, st.Snapshot = "", g.head.Load, last, g.head.Complete, g.head.Snapshot
		})
	}
	t.letters, err = deadletter.Open(ctx, s.opts.Cluster, s.opts.Names, s.client, conf.Topic)
	if err != nil {
		return nil, fmt.Errorf("read dead letters of %s: %w", conf.Topic, err)
	}
	return t, nil
}

// announceLast announces the table's last load, if it has one, and returns when
// that was committed.
func (t *topic) announceLast(ctx context.Context, g *target) (committed time.Time, err error) {
	if g.head.Load == 0 {
		return committed, nil
	}
	events, err := t.opts.Loader.Loads(ctx, g.table.Name, g.head.Load-1, 1)
	if err != nil {
		return committed, fmt.Errorf("read the last load of %s: %w", g.table.Name, err)
	}
	for i := range events {
		committed = events[i].CommittedAt
		if err := t.announce(ctx, &events[i]); err != nil {
			return committed, err
		}
	}
	return committed, nil
}

// topicLog is what Kafka says of a topic.
type topicLog struct {
	conf       Table
	id         string
	partitions int32
	start, end map[int32]int64
}

func (s *session) describe(ctx context.Context, conf Table) (*topicLog, error) {
	details, err := s.admin.ListTopics(ctx, conf.Topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", conf.Topic, err)
	}
	d, ok := details[conf.Topic]
	if !ok || d.Err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", conf.Topic, errors.Join(d.Err, errors.New("it is not there")))
	}
	log := &topicLog{conf: conf, id: d.ID.String(), partitions: int32(len(d.Partitions)), start: map[int32]int64{}, end: map[int32]int64{}}
	for _, part := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into map[int32]int64
	}{{s.admin.ListStartOffsets, log.start}, {s.admin.ListEndOffsets, log.end}} {
		listed, err := part.list(ctx, conf.Topic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list offsets of %s: %w", conf.Topic, err)
		}
		listed.Each(func(o kadm.ListedOffset) { part.into[o.Partition] = o.Offset })
	}
	return log, nil
}

// check compares a head with the log. A topic that was made again, or whose log
// begins above the head or ends below it, would skip records without an error.
func (l *topicLog) check(table, headID string, have map[int32]int64) (map[int32]int64, error) {
	const cure = "its topic was deleted, made again or cut below what is loaded: snapshot the table again under a new topic"
	if headID != "" && headID != l.id {
		return nil, halt(fmt.Errorf("take over %s: topic %s has id %s and the table was loaded from %s", table, l.conf.Topic, l.id, headID), cure)
	}
	out := map[int32]int64{}
	for p := range l.partitions {
		next, ok := have[p]
		switch {
		case !ok && l.start[p] > 0:
			return nil, halt(fmt.Errorf("take over %s: partition %d begins at offset %d and nothing of it is loaded", table, p, l.start[p]), cure)
		case next < l.start[p]:
			return nil, halt(fmt.Errorf("take over %s: partition %d begins at offset %d and offset %d is next", table, p, l.start[p], next), cure)
		case next > l.end[p]:
			return nil, halt(fmt.Errorf("take over %s: partition %d ends at offset %d and offset %d is next", table, p, l.end[p], next), cure)
		}
		out[p] = next
	}
	return out, nil
}

// Clip sets every head offset that lies above the end of its partition back to
// the end. It is for the embedded broker, whose log can lose its last
// transaction in a crash, and must be done before producers repeat it: else the
// repeats would be skipped.
func (c *Consumer) Clip(ctx context.Context) error {
	client, err := kgo.NewClient(c.opts.Cluster.ClientOpts("clip", c.opts.Log, nil)...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	s := &session{Consumer: c, client: client, admin: kadm.NewClient(client)}
	for _, conf := range c.opts.Tables {
		log, err := s.describe(ctx, conf)
		if err != nil {
			return err
		}
		for _, table := range []string{conf.Core, conf.History} {
			if table == "" {
				continue
			}
			if err := c.clip(ctx, table, log); err != nil {
				return fmt.Errorf("clip offsets of %s: %w", table, err)
			}
		}
	}
	return nil
}

func (c *Consumer) clip(ctx context.Context, table string, log *topicLog) error {
	head, err := c.opts.Loader.Acquire(ctx, table, log.conf.Topic, log.id)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	back := map[int32]int64{}
	for p, next := range head.Offsets {
		if end, ok := log.end[p]; ok && next > end {
			back[p] = end
		}
	}
	if len(back) == 0 {
		return nil
	}
	c.opts.Log.Warn("offsets set back to the end of a torn log", "table", table, "offsets", back)
	return c.opts.Loader.Rewind(ctx, table, head.Epoch, back)
}

// prepareLoads makes the topic of load-complete events and registers their
// schema.
func (s *session) prepareLoads(ctx context.Context) (err error) {
	if s.loads, err = s.opts.Names.Loads(); err != nil {
		return err
	}
	if err = s.retry(ctx, "register the schema of load-complete", func() (err error) {
		s.loadsID, err = s.opts.Registry.Register(ctx, s.loads+"-value", avro.LoadCompleteSchema)
		return err
	}); err != nil {
		return err
	}
	client, err := kgo.NewClient(s.opts.Cluster.ClientOpts("consumer.prepare", s.opts.Log, nil)...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	return s.retry(ctx, "make topic "+s.loads, func() error { return kafka.EnsureTopics(ctx, client, s.opts.Cluster.Loads(s.loads)) })
}

// announce returns when Kafka has acknowledged the event. Its data is readable
// by then (G6).
func (t *topic) announce(ctx context.Context, e *schemas.LoadComplete) error {
	value, err := avro.AppendLoadComplete(avro.AppendHeader(nil, t.loadsID), e)
	if err != nil {
		return fmt.Errorf("encode load %d of %s: %w", e.Load, e.Table, err)
	}
	return t.retry(ctx, "announce", func() error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		r := &kgo.Record{Topic: t.loads, Key: []byte(e.Table), Value: value}
		if err := t.client.ProduceSync(ctx, r).FirstErr(); err != nil {
			return fmt.Errorf("announce load %d of %s: %w", e.Load, e.Table, err)
		}
		return nil
	})
}
