package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/consumers/deadletter"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// acquiredAtOnce bounds how many tables are taken over at the same time. One whose
// old owner's job still runs waits for minutes, and those behind it with it.
const acquiredAtOnce = 32

// assigned takes over the topics that the group gave us: the epoch of each head
// is raised before its offsets are read, so that no earlier owner can move them
// any more (G5). A topic that a person must look at is not read; an error is
// returned only if the warehouse or Kafka cannot be reached, and is tried again.
//
// ctx ends when the group moves on, and the takeovers with it; the goroutines of
// the topics live until they are revoked, or as long as life.
func (s *session) assigned(ctx, life context.Context, asked map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	families := map[string]bool{}
	for name := range asked {
		if first, _ := kafka.Generation(name); s.tables[first].Core != "" {
			families[first] = true
		}
	}
	taken := make([]*topic, len(families))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(acquiredAtOnce)
	for i, first := range slices.Sorted(maps.Keys(families)) {
		if name := s.runs(first); name != "" && asked[name] == nil {
			continue // the table is ours, and reads the topic that is its turn
		}
		group.Go(func() error {
			t, err := s.takeOver(inner, life, first)
			if t != nil && asked[t.conf.Topic] != nil { // else the earlier generation is still on its way to us
				taken[i] = t
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := map[string]map[int32]kgo.Offset{}
	for _, t := range taken {
		if t == nil {
			continue
		}
		name := t.conf.Topic
		out[name] = map[int32]kgo.Offset{}
		for p, n := range t.offsets() {
			out[name][p] = kgo.NewOffset().At(n).WithEpoch(-1)
		}
		s.start(life, t)
	}
	return out, nil
}

// takeOver takes over the table of the topic of its first generation. It returns
// nil without an error if the table is halted, or set aside.
func (s *session) takeOver(ctx, life context.Context, first string) (*topic, error) {
	// The client asks again for what it was given in a rebalance that was cut
	// short: of one table, one goroutine.
	gone := map[string][]int32{}
	for _, name := range s.known[first] {
		gone[name] = nil
	}
	s.dropped(gone)
	t, err := s.acquire(ctx, s.tables[first])
	var h *haltError
	var changed *warehouse.ChangedError
	if errors.As(err, &changed) { // one table that was changed by hand holds up no other
		err = halt(fmt.Errorf("take over %s: %s", s.tables[first].Core, changed.Problem), changed.Cure)
	}
	switch {
	case errors.As(err, &h):
		s.mu.Lock()
		s.haltTopic(first, h)
		s.mu.Unlock()
		return nil, nil
	case errors.Is(err, warehouse.ErrBusy):
		s.leaveAside(life, s.tables[first], err)
		return nil, nil
	case isDenied(err):
		s.mu.Lock()
		s.deny(life, first, err, true)
		s.mu.Unlock()
		return nil, nil
	case err != nil && ctx.Err() == nil: // else another table's error has ended this takeover, or the group
		s.opts.Log.Warn("take over topic", "topic", first, "err", err)
	}
	return t, err
}

// errAside ends a session in which a table was set aside.
var errAside = errors.New("a table that was busy may be free")

// leaveAside leaves a table alone that another writer's transaction holds: it holds
// up no other (G12). After a while the session ends, and the next one tries again: by
// then the group may have given the table to another member (G5).
func (s *session) leaveAside(life context.Context, conf Table, why error) {
	s.opts.Log.Warn("table set aside", "table", conf.Core, "topic", conf.Topic, "pause", s.setAside, "err", why)
	for _, table := range []string{conf.Core, conf.History} {
		s.status.update(table, func(st *TableStatus) { st.Trouble = why.Error() })
	}
	s.group.Go(func() error {
		timer := time.NewTimer(s.setAside)
		defer timer.Stop()
		select {
		case <-life.Done():
			return nil
		case <-timer.C:
			return fmt.Errorf("%s: %w", conf.Core, errAside)
		}
	})
}

// acquire raises the epochs of the tables, compares their heads with the topic
// whose turn it is, and announces their last loads again: the owner before may
// have died between its commit and the announcement (G6).
func (s *session) acquire(ctx context.Context, conf Table) (*topic, error) {
	targets, log, err := s.locate(ctx, conf)
	if err != nil {
		return nil, err
	}
	conf.Topic = log.topic
	t := newTopic(s, conf, log, targets)
	for _, g := range t.targets {
		g.shown = g.head.Complete
		head := g.head
		if g.staged {
			head = g.main
		}
		last, err := t.announceLast(ctx, g.of, head.Load)
		if err != nil {
			return nil, err
		}
		s.status.update(g.of, func(st *TableStatus) {
			st.Halted, st.Trouble, st.Load, st.LoadedAt, st.Complete, st.Snapshot, st.Topic = "", "", head.Load, last, head.Complete, head.Snapshot, conf.Topic
			st.Snapshot.Running = st.Snapshot.Running || g.staged
		})
	}
	first, n := kafka.Generation(conf.Topic)
	for _, name := range s.known[first] {
		if _, of := kafka.Generation(name); of > n || of < n && conf.History == "" {
			continue
		}
		if err := t.readLetters(ctx, name); err != nil {
			return nil, fmt.Errorf("read dead letters of %s: %w", name, err)
		}
	}
	return t, nil
}

// readLetters reads those of the topic, or counts those of a generation before.
func (t *topic) readLetters(ctx context.Context, topic string) error {
	name, err := t.opts.Names.DeadLetter(topic)
	if err != nil {
		return err
	}
	r := deadletter.Reader{Cluster: t.opts.Cluster, Client: t.client, Topic: topic, Name: name, Tables: []string{t.conf.Core}}
	if t.conf.History != "" {
		r.Tables = append(r.Tables, t.conf.History)
	}
	if topic != t.conf.Topic {
		n, err := deadletter.Count(ctx, r)
		t.earlier += n
		return err
	}
	t.letters, err = deadletter.Open(ctx, r, t.offsets(), t.letterKeys)
	if errors.Is(err, deadletter.ErrFull) {
		return halt(err, "end what makes letters of its records ("+name+" tells the reasons), then load the topic into another table with as:")
	}
	return err
}

// lettersOf is how many dead letters the target lacks. A copy's next generation
// was read whole; a history keeps the rows of all, and lacks what they lacked.
func (t *topic) lettersOf(g *target) int {
	if g.of == t.conf.History {
		return t.letters.Len() + t.earlier
	}
	return t.letters.Len()
}

// announceLast announces the table's last load, if it has one, and returns when
// that was committed.
func (t *topic) announceLast(ctx context.Context, table string, load int64) (committed time.Time, err error) {
	if load == 0 {
		return committed, nil
	}
	events, err := t.opts.Loader.Loads(ctx, table, load-1, 1)
	if err != nil {
		return committed, fmt.Errorf("read the last load of %s: %w", table, err)
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
	topic      string
	id         string
	partitions int32
	start, end map[int32]int64
}

func (s *session) describe(ctx context.Context, topic string) (*topicLog, error) {
	details, err := s.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	d, ok := details[topic]
	if !ok || d.Err != nil {
		return nil, fmt.Errorf("describe topic %s: %w", topic, errors.Join(d.Err, errors.New("it is not there")))
	}
	log := &topicLog{topic: topic, id: d.ID.String(), partitions: int32(len(d.Partitions)), start: map[int32]int64{}, end: map[int32]int64{}}
	for _, part := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into map[int32]int64
	}{{s.admin.ListStartOffsets, log.start}, {s.admin.ListEndOffsets, log.end}} {
		listed, err := part.list(ctx, topic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list offsets of %s: %w", topic, err)
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
		return nil, halt(fmt.Errorf("take over %s: topic %s has id %s and the table was loaded from %s", table, l.topic, l.id, headID), cure)
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
	if s.known, err = s.list(ctx); err != nil {
		return err
	}
	for _, conf := range c.opts.Tables {
		for i, name := range s.known[conf.Topic] {
			log, err := s.describe(ctx, name)
			if err != nil {
				return err
			}
			_, n := kafka.Generation(name)
			tables := []string{schemas.GenerationName(conf.Core, n)}
			if i == 0 {
				tables = append(tables, conf.Core, conf.History)
			}
			for _, table := range tables {
				if err := s.clip(ctx, table, log); err != nil {
					return fmt.Errorf("clip offsets of %s: %w", table, err)
				}
			}
		}
	}
	return nil
}

// clip does it for a table whose first topic is the log's.
func (s *session) clip(ctx context.Context, table string, log *topicLog) error {
	if table == "" {
		return nil
	}
	head, err := s.opts.Loader.Acquire(ctx, table, log.topic, log.id)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	if head.Topic != log.topic {
		if log, err = s.describe(ctx, head.Topic); err != nil {
			return err
		}
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
	s.opts.Log.Warn("offsets set back to the end of a torn log", "table", table, "offsets", back)
	return s.opts.Loader.Rewind(ctx, table, head.Epoch, back)
}

// prepare makes the topic of load-complete events, registers their schema, and
// lists the tables' topics.
func (s *session) prepare(ctx context.Context) (err error) {
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
	if err := s.retry(ctx, "make topic "+s.loads, func() error { return kafka.EnsureTopics(ctx, client, s.opts.Cluster.Loads(s.loads)) }); err != nil {
		return err
	}
	s.admin = kadm.NewClient(client)
	return s.retry(ctx, "list topics", func() (err error) {
		s.known, err = s.list(ctx)
		return err
	})
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
