package producers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/internal/kafka"
	"millrace/schemas"
)

// session is the producer from the opening of the source to the first error.
// All that it knows was read from Kafka when it began, and nothing of it
// outlives it. Its fields belong to the goroutine of loop.
type session struct {
	p   *Producer
	o   *Options
	cl  *kgo.Client
	src Source
	// work ends a while after the producer's own context, so that what has been
	// read can be committed.
	work context.Context //nolint:containedctx // the life of the session

	checkpoint                 // as the next commit will write it
	durable    schemas.Token   // of the last commit
	before     schemas.Token   // of the one before it
	saved      json.RawMessage // the last that was committed
	n, base    int64
	tables     map[string]*table
	byVersion  map[*schemas.Table]*table
	boundary   bool // the stream stands between two transactions of the source
	waiters    map[*table]bool

	txn  transaction
	idle struct {
		at    time.Time
		quiet time.Duration
	}
	committed bool // something was

	reader reader
	worker worker

	halts struct {
		sync.Mutex
		list []*HaltError
	}
}

// session runs one. It reports whether anything was committed.
func (p *Producer) session(ctx context.Context) (committed bool, err error) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(p.drain, cancel) })()

	if err := p.ensureTopics(ctx); err != nil {
		return false, err
	}
	// In this order: who came before can write no more, then what it wrote is
	// read, then the source goes on from there.
	cl, err := p.client(ctx)
	if err != nil {
		return false, err
	}
	s := &session{p: p, o: &p.opts, cl: cl, work: work}
	defer s.close()
	at, err := p.read(ctx)
	if err != nil {
		return false, fmt.Errorf("read the checkpoint: %w", err)
	}
	if was := at.Epoch; at.beginAgain(s.o.Epoch) {
		s.o.Log.Warn("source begins again: every table is snapshotted", "source", s.o.Source, "epoch", s.o.Epoch, "epoch_before", was)
	}
	if s.src, err = s.open(ctx, at); err != nil {
		return false, fmt.Errorf("open source: %w", err)
	}
	if err := s.load(at); err != nil {
		return false, err
	}
	p.status.opened(s)
	s.reader = reader{src: s.src, batches: make(chan *Batch), release: make(chan struct{}, 1)}
	s.worker = newWorker(s.src, s.o.ChunkBytes)

	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return s.reader.run(running) })
	group.Go(func() error { return s.worker.run(running) })
	group.Go(func() error { return s.loop(running) })
	err = group.Wait()
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = s.finish()
	}
	return s.committed, err
}

func (p *Producer) ensureTopics(ctx context.Context) error {
	o := &p.opts
	cl, err := kgo.NewClient(o.Kafka.ClientOpts("producer."+o.Source+".setup", o.Log, nil)...)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer cl.Close()
	return kafka.EnsureTopics(ctx, cl, o.Kafka.Compacted(p.topics.positions, o.Replicas), o.Kafka.Compacted(p.topics.snapshots, o.Replicas))
}

func (s *session) open(ctx context.Context, at *resumed) (Source, error) {
	env := Env{
		Source: s.o.Source, Prefix: s.o.Prefix, Now: s.o.Now, Log: s.o.Log,
		Topic: func(schema, name string, generation int) string {
			// A name that is too long halts the table when its version arrives.
			topic, _ := s.topic(schema, name, generation)
			return topic
		},
		Halt: func(e *HaltError) {
			s.halts.Lock()
			defer s.halts.Unlock()
			s.halts.list = append(s.halts.list, e)
			s.o.Log.Error("table halted", "source", s.o.Source, "table", e.Table, "err", e.Err, "hint", e.Cure())
		},
	}
	return s.o.Config.Open(ctx, at.start(), env)
}

func (s *session) topic(schema, name string, generation int) (string, error) {
	return s.p.names.Table(kafka.TopicName{Source: s.o.Source, Schema: schema, Table: name, Generation: generation})
}

// load takes up the state that was read.
func (s *session) load(at *resumed) error {
	s.checkpoint, s.saved, s.durable = at.checkpoint, at.saved, schemas.Token(at.Token)
	s.n, s.base = at.n, at.base
	s.boundary = true
	s.tables, s.byVersion, s.waiters = make(map[string]*table), make(map[*schemas.Table]*table), make(map[*table]bool)
	s.idle.quiet = s.o.IdleMin
	for id, state := range at.tables {
		t := s.newTable(id)
		t.tableState, t.saved = state, at.raw[id]
		if err := s.compile(t); err != nil {
			return err
		}
		s.index(t)
	}
	// What the last transaction may have written in vain is written again, so
	// that it counts no more once this one is followed by another.
	for _, id := range at.undone {
		if t := s.tables[id]; t != nil {
			t.dirty = true
			continue
		}
		s.txn.void = append(s.txn.void, id)
	}
	return nil
}

// loop is the one place where changes, rows and time meet.
func (s *session) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := s.takeHalts(); err != nil {
			return err
		}
		s.schedule()
		timer.Reset(s.wait())
		batches := s.reader.batches
		if s.crowded() {
			batches = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b := <-batches:
			if err = s.takeHalts(); err == nil {
				err = s.batch(b)
			}
			s.reader.release <- struct{}{}
		case p := <-s.worker.parcels:
			err = s.take(p)
		case <-timer.C:
		}
		if err == nil {
			s.release()
			if s.due() {
				err = s.commit()
			}
		}
		if err != nil {
			return err
		}
	}
}

// finish commits what a stopped session has, and tells the source.
func (s *session) finish() error {
	if s.txn.pending && s.txn.err == nil {
		if err := s.commit(); err != nil {
			return err
		}
	}
	if token := s.reader.takeAck(); token != "" {
		if err := s.src.Ack(s.work, token); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	return nil
}

// close gives up what is not committed. The next session fences this one
// whether or not the abort arrives.
func (s *session) close() {
	if s.src != nil {
		if err := s.src.Close(); err != nil {
			s.o.Log.Warn("source did not close", "source", s.o.Source, "err", err)
		}
	}
	if s.txn.open {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.work), s.p.drain/5)
		defer cancel()
		if err := kafka.EndTransaction(ctx, s.cl, kgo.TryAbort); err != nil {
			s.o.Log.Debug("transaction was not aborted", "source", s.o.Source, "err", err)
		}
	}
	s.cl.Close()
}

// takeHalts acts on what the source has halted by itself.
func (s *session) takeHalts() error {
	s.halts.Lock()
	list := s.halts.list
	s.halts.list = nil
	s.halts.Unlock()
	for _, e := range list {
		if e.Table == "" {
			return e
		}
		if t := s.tables[e.Table]; t != nil {
			s.halt(t, e)
			continue
		}
		s.p.status.halted(e.Table, e)
	}
	return nil
}

// halt stops one table. What it misses from here on its next snapshot brings,
// so that is called for at once: it runs when the producer is started again.
func (s *session) halt(t *table, err error) {
	if t.halted != nil {
		return
	}
	s.o.Log.Error("table halted", "source", s.o.Source, "table", t.id, "err", err)
	t.halted = err
	t.attempt++
	t.Snapshot.restart(s.Last, false)
	t.dirty = true
	s.p.status.halted(t.id, err)
}

// sorted are the tables in the order of their IDs.
func (s *session) sorted() []*table {
	out := make([]*table, 0, len(s.tables))
	for _, id := range slices.Sorted(maps.Keys(s.tables)) {
		out = append(out, s.tables[id])
	}
	return out
}
