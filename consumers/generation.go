package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// A table whose key changes goes on in the topic of its next generation. Its
// topics are read one after the other, each to its end. A history takes one
// step after the other with them. A copy stands at the last generation that was
// read whole, while the rows of the next collect in a table of their own.

// errSuccessor ends a session that must read a topic which it does not know yet.
var errSuccessor = errors.New("a table goes on in the topic of its next generation")

// lookout is how often the topics are listed: for the members that do not own
// the table, and so do not hear of its next topic from the one before.
const lookout = 30 * time.Second

// generations holds, by the topic of a table's first generation, those of its
// generations that are there, in their order.
type generations map[string][]string

func (k generations) topics() (all []string) {
	for _, of := range k {
		all = append(all, of...)
	}
	slices.Sort(all)
	return all
}

// list finds the topics of all tables. One without any has the first, which is
// to come.
func (s *session) list(ctx context.Context) (generations, error) {
	details, err := s.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	known := generations{}
	for _, name := range details.Names() {
		if first, _ := kafka.Generation(name); s.tables[first].Core != "" {
			known[first] = append(known[first], name)
		}
	}
	for first := range s.tables {
		if known[first] == nil {
			known[first] = []string{first}
		}
		slices.SortFunc(known[first], func(a, b string) int { return generation(a) - generation(b) })
	}
	return known, nil
}

func generation(topic string) int {
	_, n := kafka.Generation(topic)
	return n
}

// conf is the table of a topic of any generation.
func (c *Consumer) conf(topic string) (Table, bool) {
	first, _ := kafka.Generation(topic)
	conf, ok := c.tables[first]
	return conf, ok
}

// runs is the topic of the table that is being read, or empty.
func (s *session) runs(first string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.known[first] {
		if s.topics[name] != nil {
			return name
		}
	}
	return ""
}

// watch ends the session when a table has a topic that the session does not
// know.
func (s *session) watch(ctx context.Context) error {
	every := time.NewTicker(lookout)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		now, err := s.list(ctx)
		if err != nil {
			continue // the poller meets the same, and says it
		}
		for first, of := range now {
			if len(of) > len(s.known[first]) {
				return fmt.Errorf("%s: %w", of[len(of)-1], errSuccessor)
			}
		}
	}
}

// locate takes the table's core tables over, and finds the topic whose turn it
// is: that of the one that is the furthest behind. The others wait for it.
func (s *session) locate(ctx context.Context, conf Table) ([]*target, *topicLog, error) {
	l := &locator{session: s, conf: conf, topics: s.known[conf.Topic], logs: map[string]*topicLog{}}
	var all []*target
	for _, name := range []string{conf.Core, conf.History} {
		if name == "" {
			continue
		}
		g := &target{of: name}
		g.table.Name, g.table.Mode, g.table.EventTimes = name, schemas.ModeMerge, conf.EventTimes
		switch {
		case name == conf.History:
			g.table.Mode = schemas.ModeAppend
		case conf.Upsert:
			g.table.Mode = schemas.ModeUpsert
		}
		if err := l.place(ctx, g); err != nil {
			return nil, nil, err
		}
		all = append(all, g)
	}
	least := slices.MinFunc(all, func(a, b *target) int { return a.generation - b.generation }).generation
	all = slices.DeleteFunc(all, func(g *target) bool { return g.generation > least })
	at := slices.IndexFunc(l.topics, func(t string) bool { return generation(t) == least })
	log, err := l.log(ctx, at)
	return all, log, err
}

type locator struct {
	*session
	conf   Table
	topics []string
	logs   map[string]*topicLog
}

func (l *locator) log(ctx context.Context, i int) (log *topicLog, err error) {
	if log = l.logs[l.topics[i]]; log == nil {
		log, err = l.describe(ctx, l.topics[i])
		l.logs[l.topics[i]] = log
	}
	return log, err
}

// place finds the generation that the table is to read.
func (l *locator) place(ctx context.Context, g *target) error {
	for i := 0; ; i++ {
		log, err := l.log(ctx, i)
		if err != nil {
			return err
		}
		if g.staged {
			g.table.Name = schemas.GenerationName(g.of, generation(log.topic))
		}
		head, err := l.opts.Loader.Acquire(ctx, g.table.Name, log.topic, log.id)
		if g.owned = err == nil; err != nil && !errors.Is(err, warehouse.ErrNoTable) {
			return fmt.Errorf("acquire %s: %w", g.table.Name, err)
		}
		if g.owned && head.Topic != log.topic {
			if i = slices.Index(l.topics, head.Topic); i < 0 {
				return halt(fmt.Errorf("take over %s: it was loaded from topic %s, and there are only %q", g.of, head.Topic, l.topics),
					"its topic was deleted: snapshot the table again under a new topic")
			}
			if log, err = l.log(ctx, i); err != nil {
				return err
			}
		}
		last := i == len(l.topics)-1
		offsets, err := log.check(g.of, head.TopicID, head.Offsets)
		if err != nil && (g.owned || last) {
			return err
		}
		if err != nil {
			continue // the beginning of the topic is gone, and a later one has all rows
		}
		head.Offsets = offsets
		g.head, g.generation = head, generation(log.topic)
		if last || !log.ended(head.Marks) {
			return nil
		}
		if g.table.Mode == schemas.ModeAppend {
			return l.renews(ctx, g, i+1)
		}
		if !g.staged {
			g.main, g.staged = head, true
		}
	}
}

// renews has a history take the step to the topic with its first load from it.
func (l *locator) renews(ctx context.Context, g *target, i int) error {
	log, err := l.log(ctx, i)
	if err != nil {
		return err
	}
	g.renew, g.generation, g.head.Marks = true, generation(log.topic), nil
	g.head.Offsets, err = log.check(g.of, "", nil)
	return err
}

// ended reports whether every partition was read to its end.
func (l *topicLog) ended(marks map[int32]warehouse.Mark) bool {
	for p := range l.partitions {
		if !marks[p].Ended {
			return false
		}
	}
	return true
}

// step moves on what is ready to: a copy whose next generation was read whole
// becomes it, and a topic that was read to its end gives way to the next.
func (t *topic) step(ctx context.Context) error {
	over := true
	for _, g := range t.targets {
		if g.staged && g.owned && g.head.Snapshot.Done {
			if err := t.succeed(ctx, g); err != nil {
				return err
			}
		}
		over = over && !g.renew && t.log.ended(g.head.Marks)
	}
	if !over {
		return nil
	}
	return t.retry(ctx, "find the topic after "+t.conf.Topic, func() error {
		known, err := t.list(ctx)
		if err != nil {
			return err
		}
		first, _ := kafka.Generation(t.conf.Topic)
		if of := known[first]; generation(of[len(of)-1]) > generation(t.conf.Topic) {
			return permanent(fmt.Errorf("%s: %w", of[len(of)-1], errSuccessor))
		}
		return errors.New("there is none yet")
	})
}

// succeed makes the rows of a copy's next generation those that readers see.
func (t *topic) succeed(ctx context.Context, g *target) error {
	if err := t.learnKey(ctx); err != nil { // the mode hangs on it
		return err
	}
	s := &warehouse.Succession{
		Table: g.table, Epoch: g.main.Epoch, Load: g.main.Load + 1, Generation: g.generation,
		From: g.table.Name, FromEpoch: g.head.Epoch, SchemaVersion: t.schemaVersion(), StartedAt: time.Now().UTC(),
	}
	s.Table.Name = g.of
	if err := t.commitStep(ctx, g, s); err != nil {
		return err
	}
	g.table.Name, g.staged, g.ensured = g.of, false, false
	return nil
}

// renew makes a history take the topic up.
func (t *topic) renew(ctx context.Context, g *target, started time.Time) error {
	err := t.commitStep(ctx, g, &warehouse.Succession{
		Table: g.table, Epoch: g.head.Epoch, Load: g.head.Load + 1, Generation: g.generation,
		Topic: t.conf.Topic, TopicID: t.log.id, SchemaVersion: t.schemaVersion(), StartedAt: started,
	})
	g.renew = err != nil
	return err
}

// commitStep commits the step and announces it. After an error the outcome is unknown:
// the table is acquired again, and its head says whether the step was taken.
// Acquiring again is by right only while the group still counts us in (G5).
func (t *topic) commitStep(ctx context.Context, g *target, s *warehouse.Succession) error {
	var event schemas.LoadComplete
	again := false
	err := t.retry(ctx, fmt.Sprintf("move %s to generation %d", g.of, s.Generation), func() (err error) {
		if again {
			done, err := t.reacquireStep(ctx, s, &event)
			if done || err != nil {
				return err
			}
		}
		again = true
		if event, err = t.opts.Loader.Succeed(ctx, s); errors.Is(err, warehouse.ErrFenced) {
			return permanent(err)
		}
		return err
	})
	if err != nil {
		return err
	}
	g.head.Epoch, g.head.Load, g.head.Complete, g.head.Snapshot, g.shown = s.Epoch, s.Load, event.CompleteThrough, event.Snapshot, event.CompleteThrough
	t.status.update(g.of, func(st *TableStatus) {
		st.Load, st.LoadedAt, st.Complete, st.Snapshot = s.Load, event.CommittedAt, event.CompleteThrough, event.Snapshot
	})
	t.opts.Log.Info("table is in its next generation", "table", g.of, "generation", s.Generation, "load", s.Load)
	return t.announce(ctx, &event)
}

// reacquireStep takes the table again after an error, and reports whether the step had
// been taken all the same.
func (t *topic) reacquireStep(ctx context.Context, s *warehouse.Succession, event *schemas.LoadComplete) (bool, error) {
	if err := t.confirm(ctx); err != nil {
		return false, err
	}
	head, err := t.opts.Loader.Acquire(ctx, s.Table.Name, t.conf.Topic, t.log.id)
	if err != nil {
		return false, err
	}
	if head.Epoch != s.Epoch+1 || head.Load != s.Load-1 && head.Load != s.Load {
		return false, permanent(fmt.Errorf("the head is at load %d of epoch %d: %w", head.Load, head.Epoch, warehouse.ErrFenced))
	}
	s.Epoch = head.Epoch
	if head.Load < s.Load {
		return false, nil
	}
	events, err := t.opts.Loader.Loads(ctx, s.Table.Name, s.Load-1, 1)
	if err != nil {
		return false, err
	}
	if len(events) != 1 || events[0].Load != s.Load {
		return false, permanent(fmt.Errorf("the log of loads lacks load %d", s.Load))
	}
	*event = events[0]
	return true, nil
}
