package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/batch"
	"millrace/consumers/deadletter"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// haltError stops one topic until a person has acted (G12).
type haltError struct {
	err  error
	cure string
}

// What has halted is taken up again when the process starts, and not before.
func (e *haltError) Error() string {
	if strings.Contains(e.cure, "restart millrace") {
		return fmt.Sprintf("%v: %s", e.err, e.cure)
	}
	return fmt.Sprintf("%v: %s; then restart millrace", e.err, e.cure)
}

func (e *haltError) Unwrap() error { return e.err }

func halt(err error, cure string) error { return &haltError{err, cure} }

// target is one core table that a topic feeds.
type target struct {
	// of is the core table. Until a copy's next generation is whole its rows
	// collect in another table, and main is the head of this one.
	of         string
	generation int
	staged     bool
	main       warehouse.Head
	// renew says that a history has yet to take the step to this generation.
	renew bool

	table   warehouse.CoreTable
	head    warehouse.Head
	owned   bool             // the head is ours; false until a new table's first load
	ensured bool             // the warehouse's table has table.Columns
	shown   schemas.Progress // the last that was announced
}

// topic loads one topic, as its owner.
type topic struct {
	*session
	conf    Table
	log     *topicLog
	targets []*target
	letters *deadletter.Queue
	earlier int // dead letters of the generations before, which a history has kept
	schemas map[uint32]*batch.Schema
	keys    map[uint32]*avro.KeyDecoder
	batch   *batch.Batch        // what is being collected
	flight  *flight             // what is being loaded meanwhile, or nil
	spare   *batch.Batch        // an empty one, or nil
	put     []deadletter.Letter // to be acknowledged before the next load

	queue
	lag       lag
	collected int64        // work that left the queue and is not in flight
	held      atomic.Int64 // bytes of it that count as memory
	taken     int64        // of them, those that left the queue and are not in flight
	enough    atomic.Int64 // fetching is paused until less than half of it is held; 0: not for that
	pausing   sync.Mutex   // held while enough is made to say what the client does
	canonical []byte
	cells     []schemas.Cell
	change    batch.Change
	read      reader[*batch.Schema]    // of the value before
	readKeys  reader[*avro.KeyDecoder] // of the key before
}

// queue hands polled records from the poller to the topic's goroutine.
type queue struct {
	mu     sync.Mutex
	polled [][]*kgo.Record
	wake   chan struct{}
}

func (q *queue) push(records []*kgo.Record) {
	q.mu.Lock()
	q.polled = append(q.polled, records)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() [][]*kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.polled
	q.polled = nil
	return out
}

// run collects and loads until ctx ends or something fails that another owner
// or a person must mend.
func (t *topic) run(ctx context.Context) error {
	err := t.work(ctx)
	if t.flight != nil {
		<-t.flight.done
	}
	if ctx.Err() == nil { // what is committed is announced, whatever ended the next batch
		err = errors.Join(err, t.land(ctx))
	}
	return err
}

func (t *topic) work(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	if err := t.step(ctx); err != nil {
		return err
	}
	for {
		if due := t.batch.Due(); !due.IsZero() && t.flight == nil {
			timer.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-timer.C:
		case <-t.flown():
		}
		for _, records := range t.take() {
			if err := t.collectAll(ctx, records); err != nil {
				return err
			}
			if err := t.turn(ctx); err != nil {
				return err
			}
		}
		if err := t.turn(ctx); err != nil {
			return err
		}
	}
}

// turn lands a batch whose loads have ended, and cuts the next if it is time. A
// load that has ended waits for no more than a poll.
func (t *topic) turn(ctx context.Context) error {
	if t.hasFlown() {
		if err := t.land(ctx); err != nil {
			return err
		}
	}
	due := t.batch.Due()
	if t.flight != nil || due.IsZero() || !t.pressed() && time.Now().Before(due) {
		return nil
	}
	return t.flush(ctx)
}

// settle counts off what was taken from the queue, once nothing refers to it.
func (t *topic) settle() {
	if t.batch.Size() > 0 {
		return
	}
	if t.flight != nil {
		t.flight.held += t.taken // a part of the last poll may be in it
		t.flight.records += t.collected
	} else {
		t.release(t.taken, t.collected)
	}
	t.taken, t.collected = 0, 0
}

// release counts off what nothing refers to any more.
func (t *topic) release(held, records int64) {
	t.free(held)
	t.lag.loaded(records)
	t.showLag()
}

// learnKey asks the registry for the key of a topic of which no key was read
// yet: control records have none. Schemas are registered before the first
// record, so a topic without a key's schema feeds a table without a key.
func (t *topic) learnKey(ctx context.Context) error {
	if t.targets[0].table.Key != nil {
		return nil
	}
	var text string
	err := t.retry(ctx, "look up the key of "+t.conf.Topic, func() (err error) {
		text, err = t.opts.Registry.Latest(ctx, t.conf.Topic+"-key")
		if errors.Is(err, registry.ErrUnknown) {
			return permanent(err)
		}
		return err
	})
	if errors.Is(err, registry.ErrUnknown) {
		return t.setKeyless()
	}
	if err != nil {
		return err
	}
	columns, err := avro.ParseKeySchema(text)
	if err != nil {
		return halt(fmt.Errorf("read the key's schema of %s: %w", t.conf.Topic, err), "correct the subject "+t.conf.Topic+"-key in the registry, then restart millrace")
	}
	return t.setKey(columns)
}

// setKeyless makes every table of the topic a history: rows without a key
// cannot be merged.
func (t *topic) setKeyless() error {
	for _, g := range t.targets {
		if g.table.Mode == schemas.ModeUpsert {
			return halt(fmt.Errorf("%s has no key, and %s is of mode upsert", t.conf.Topic, g.of), "leave mode: upsert out, or give the source's table a key")
		}
		g.table.Key, g.table.Mode = []string{}, schemas.ModeAppend
	}
	return nil
}

// keepsAll reports whether a table keeps every change, and so the rows before
// deletes.
func (t *topic) keepsAll() bool {
	return slices.ContainsFunc(t.targets, func(g *target) bool { return g.table.Mode == schemas.ModeAppend })
}

// setKey gives the tables the key that the topic's key schema names.
func (t *topic) setKey(columns []schemas.Column) error {
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	for _, g := range t.targets {
		if g.table.Key != nil && !slices.Equal(g.table.Key, names) {
			return halt(fmt.Errorf("the key of %s was %v and is %v", t.conf.Topic, g.table.Key, names),
				"a table whose key changes needs a new topic: snapshot it again under another prefix")
		}
		g.table.Key = names
	}
	return nil
}

// schemaText asks the registry until it answers.
func (t *topic) schemaText(ctx context.Context, id uint32) (text string, err error) {
	err = t.retry(ctx, "look up schema", func() error {
		text, err = t.opts.Registry.Schema(ctx, id)
		if errors.Is(err, registry.ErrUnknown) {
			return permanent(err)
		}
		return err
	})
	return text, err
}

// errBehind is the reason of a letter that waits for an earlier one.
var errBehind = errors.New("an earlier change of the key is a dead letter")

// quarantine sends a record to the dead-letter topic, with the next load.
func (t *topic) quarantine(ctx context.Context, c *batch.Change, reason error) error {
	var h *haltError
	if errors.As(reason, &h) || ctx.Err() != nil {
		return reason
	}
	if c.Canonical == nil {
		if err := t.readKey(ctx, c); err != nil {
			return err
		}
	}
	if err := t.letters.Block(c.Canonical, c.Offset); err != nil {
		return t.full(err)
	}
	t.put = append(t.put, deadletter.Letter{
		Partition: c.Partition, Offset: c.Offset, Key: c.Key, Value: c.Value,
		Canonical: slices.Clone(c.Canonical), Reason: reason.Error(),
	})
	t.batch.Quarantine(c.Partition, c.Offset)
	t.opts.Log.Warn("record quarantined", "table", t.conf.Core, "topic", t.conf.Topic, "partition", c.Partition, "offset", c.Offset, "err", reason)
	t.metrics.letters.WithLabelValues(t.conf.Core).Inc()
	return nil
}

// full halts a topic before a change that could be neither loaded nor remembered as
// set aside. After a restart the keys that wait already take no more room.
func (t *topic) full(err error) error {
	return halt(err, fmt.Sprintf("end what makes letters of its records (%s tells the reasons), then restart millrace", t.letters.Name))
}

// offsets are the next ones to read: of the table that is the furthest behind.
func (t *topic) offsets() map[int32]int64 {
	out := maps.Clone(t.targets[0].head.Offsets)
	for _, g := range t.targets[1:] {
		for p, n := range out {
			out[p] = min(n, g.head.Offsets[p])
		}
	}
	return out
}
