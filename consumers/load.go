package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/consumers/batch"
	"millrace/consumers/deadletter"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// load commits the batch in flight to one table and announces it; the first
// attempt may have been made.
func (t *topic) load(ctx context.Context, a *attempt) error {
	g := a.target
	for refused := 0; ; refused++ {
		if !a.made {
			var err error
			if a.batch, err = t.prepare(ctx, g); err != nil {
				return err
			}
		}
		if a.batch == nil {
			return nil
		}
		event, err := t.commit(ctx, a, refused >= exactRefusals)
		var r *refusal
		if errors.As(err, &r) {
			if err := t.quarantineDropped(ctx, r.dropped); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		t.loaded(g, a.batch, &event)
		if g.staged {
			return nil // nobody reads it yet
		}
		return t.announce(ctx, &event)
	}
}

// prepare makes of the batch in flight what the warehouse gets, or nil if the
// table has all of it already.
func (t *topic) prepare(ctx context.Context, g *target) (*warehouse.Batch, error) {
	if err := t.learnKey(ctx); err != nil {
		return nil, err
	}
	if g.renew {
		if err := t.renew(ctx, g, t.flight.started); err != nil {
			return nil, err
		}
	}
	if !g.ensured {
		if err := checkEventTimes(&g.table); err != nil {
			return nil, err
		}
		if err := t.retry(ctx, "ensure table "+g.table.Name, func() error { return t.opts.Loader.Ensure(ctx, g.table) }); err != nil {
			return nil, err
		}
		g.ensured = true
	}
	if !g.owned {
		if err := t.retry(ctx, "acquire "+g.table.Name, func() error { return t.acquireNew(ctx, g) }); err != nil {
			return nil, err
		}
	}
	l, err := t.flight.batch.Load(t.conf.Topic, g.table, g.head.Offsets)
	if err != nil {
		return nil, halt(err, "load the topic into another table with as:")
	}
	if len(l.Ranges) == 0 {
		return nil, nil
	}
	if g.table.Mode == schemas.ModeUpsert && !l.Truncate.IsZero() {
		return nil, halt(fmt.Errorf("the source truncated the table at %s, and %s is of mode upsert, whose rows go by their keys alone", l.Truncate, g.of),
			"load the topic into another table with as:, without mode: upsert")
	}
	return &warehouse.Batch{
		Table: g.table, Epoch: g.head.Epoch, Load: g.head.Load + 1, Ranges: l.Ranges, Marks: l.Marks, Partitions: t.log.partitions,
		Rows: l.Rows, Counts: l.Counts, PosMin: l.PosMin, PosMax: l.PosMax, Truncate: l.Truncate, Snapshotting: l.Snapshotting,
		Blocked: t.lettersOf(g) > 0, SchemaVersion: t.schemaVersion(), StartedAt: t.flight.started,
	}, nil
}

// acquireNew takes over a table that was not there when the topic was assigned,
// by right: another member may have the topic by now, and the table too (G5).
func (t *topic) acquireNew(ctx context.Context, g *target) error {
	if err := t.confirm(ctx); err != nil {
		return err
	}
	head, err := t.opts.Loader.Acquire(ctx, g.table.Name, t.conf.Topic, t.log.id)
	if err != nil {
		return err
	}
	if head.Load > 0 || len(head.Offsets) > 0 {
		return permanent(fmt.Errorf("take over %s, which another writer has made: %w", g.table.Name, warehouse.ErrFenced))
	}
	head.Offsets = g.head.Offsets
	g.head, g.owned = head, true
	return nil
}

// schemaVersion is the newest of the topic's schemas that was seen: its id.
func (t *topic) schemaVersion() (newest int) {
	for id := range t.schemas {
		newest = max(newest, int(id))
	}
	return newest
}

// commit loads the batch. After an error the outcome is unknown: the table is
// acquired again, and its head says whether the load is there. Acquiring again
// is by right only while the group still counts us in (G5).
//
// whole is described at exactRefusals.
func (t *topic) commit(ctx context.Context, a *attempt, whole bool) (event schemas.LoadComplete, err error) {
	g, b, again := a.target, a.batch, false
	err = t.retry(ctx, "load "+g.table.Name, func() error {
		if again {
			done, err := t.reacquire(ctx, g, b, &event)
			if done || err != nil {
				return err
			}
		}
		again = true
		event, err = a.load(ctx, t.opts.Loader)
		if dropped := t.drop(g, err, whole); len(dropped) > 0 {
			return permanent(&refusal{err, dropped})
		}
		if errors.Is(err, warehouse.ErrFenced) {
			return permanent(err)
		}
		if err != nil {
			t.metrics.retries.WithLabelValues(g.of).Inc()
		}
		return err
	})
	if err != nil {
		return event, fmt.Errorf("load %d of %s: %w", b.Load, g.table.Name, err)
	}
	return event, nil
}

// reacquire takes the table again after an error, and reports whether the load
// had been committed all the same.
func (t *topic) reacquire(ctx context.Context, g *target, b *warehouse.Batch, event *schemas.LoadComplete) (bool, error) {
	if err := t.confirm(ctx); err != nil {
		return false, err
	}
	before := g.head
	head, err := t.opts.Loader.Acquire(ctx, g.table.Name, t.conf.Topic, t.log.id)
	if err != nil {
		return false, err
	}
	if head.Epoch != before.Epoch+1 {
		return false, permanent(fmt.Errorf("epoch went from %d to %d: %w", before.Epoch, head.Epoch, warehouse.ErrFenced))
	}
	switch head.Load {
	case before.Load:
		g.head.Epoch, b.Epoch = head.Epoch, head.Epoch
		return false, nil
	case b.Load:
		events, err := t.opts.Loader.Loads(ctx, g.table.Name, before.Load, 1)
		if err != nil {
			return false, err
		}
		if len(events) != 1 || events[0].Load != b.Load {
			return false, permanent(fmt.Errorf("the log of loads lacks load %d", b.Load))
		}
		*event, g.head.Epoch = events[0], head.Epoch
		return true, nil
	}
	return false, permanent(fmt.Errorf("the head went from load %d to %d: %w", before.Load, head.Load, warehouse.ErrFenced))
}

// exactRefusals is how often one load may be refused before whole keys are taken
// out of it. Until then the changes before a refused one are loaded; but a row
// that is updated a thousand times with a value of that kind would be refused a
// thousand times.
const exactRefusals = 8

// refusal says that a load was refused for changes that have been taken out of
// the batch since.
type refusal struct {
	error
	dropped []batch.Dropped
}

func (r *refusal) Unwrap() error { return r.error }

// drop takes out of the batch what a load of it was refused for: a change that
// cannot be decoded, or values that the warehouse cannot take; and what waits
// behind them.
func (t *topic) drop(g *target, err error, whole bool) []batch.Dropped {
	var poison *batch.Poison
	var rows *warehouse.RowsError
	switch {
	case errors.As(err, &poison):
		return t.flight.batch.Drop(poison.Partition, poison.Offset, poison.Err.Error())
	case errors.As(err, &rows):
		return t.flight.batch.Refuse(g.table, g.head.Offsets, rows.Rows, whole)
	}
	return nil
}

// quarantineDropped returns when the changes that were taken out of the batch
// are dead letters: a load without them may commit then. What was collected
// meanwhile and waits behind them becomes letters with the next load.
func (t *topic) quarantineDropped(ctx context.Context, dropped []batch.Dropped) error {
	if err := t.putLetters(ctx, t.lettersFor(dropped)); err != nil {
		return err
	}
	t.put = append(t.put, t.lettersFor(t.batch.DropBehind(t.letters.Blocks))...)
	return nil
}

// putLetters returns when the letters are acknowledged. One that its topic does not
// take is not shorter the next time.
func (t *topic) putLetters(ctx context.Context, letters []deadletter.Letter) error {
	return t.retry(ctx, "put dead letters", func() error {
		err := t.letters.Put(ctx, letters)
		if errors.Is(err, deadletter.ErrFull) {
			return permanent(t.full(err))
		}
		if errors.Is(err, kerr.MessageTooLarge) {
			return permanent(halt(err, fmt.Sprintf("set max.message.bytes of that topic to %d; a record that is longer must be removed from its own topic", kafka.MaxLetterBytes)))
		}
		return err
	})
}

func (t *topic) lettersFor(dropped []batch.Dropped) (letters []deadletter.Letter) {
	for _, d := range dropped {
		if d.Reason == "" {
			d.Reason = errBehind.Error()
		}
		letters = append(letters, deadletter.Letter{Partition: d.Partition, Offset: d.Offset, Key: d.Key, Value: d.Value, Canonical: d.Canonical, Reason: d.Reason})
		t.opts.Log.Warn("record quarantined", "table", t.conf.Core, "topic", t.conf.Topic, "partition", d.Partition, "offset", d.Offset, "err", d.Reason)
		t.metrics.letters.WithLabelValues(t.conf.Core).Inc()
	}
	return letters
}

// loaded takes the committed load into the head that we hold.
func (t *topic) loaded(g *target, b *warehouse.Batch, e *schemas.LoadComplete) {
	g.head.Load = b.Load
	offsets := maps.Clone(g.head.Offsets)
	for _, r := range b.Ranges {
		offsets[r.Partition] = r.To
	}
	g.head.Offsets = offsets
	g.head.Marks = mergeMarks(g.head.Marks, b.Marks)
	g.head.Complete, g.head.Snapshot = e.CompleteThrough, e.Snapshot
	g.shown = e.CompleteThrough
	t.status.update(g.of, func(s *TableStatus) {
		if s.Letters = t.lettersOf(g); g.staged {
			s.Snapshot.Running = true
		} else {
			s.Load, s.LoadedAt, s.Complete, s.Snapshot = b.Load, e.CommittedAt, e.CompleteThrough, e.Snapshot
		}
		s.Rows.Read += e.Rows.Read
		s.Rows.Applied += e.Rows.Applied
		s.Rows.Folded += e.Rows.Folded
		s.Rows.Inserted += e.Rows.Inserted
		s.Rows.Updated += e.Rows.Updated
		s.Rows.Deleted += e.Rows.Deleted
		s.Rows.Stale += e.Rows.Stale
		s.Rows.Quarantined += e.Rows.Quarantined
	})
	m := t.metrics
	m.loads.WithLabelValues(g.of).Inc()
	m.duration.WithLabelValues(g.of).Observe(time.Since(b.StartedAt).Seconds())
	m.rows.WithLabelValues(g.of, "applied").Add(float64(e.Rows.Applied))
	m.rows.WithLabelValues(g.of, "folded").Add(float64(e.Rows.Folded))
	m.rows.WithLabelValues(g.of, "stale").Add(float64(e.Rows.Stale))
	m.rows.WithLabelValues(g.of, "quarantined").Add(float64(e.Rows.Quarantined))
}

// progress tells those who wait for completeness that a quiet table is complete
// further than its last load said. Nothing is written to the warehouse: the
// watermarks are read again after a crash.
func (t *topic) progress(ctx context.Context) error {
	for _, g := range t.targets {
		if t.lettersOf(g) > 0 || g.head.Load == 0 || g.staged || g.renew {
			continue
		}
		if err := t.learnKey(ctx); err != nil { // the mode hangs on it
			return err
		}
		through := complete(mergeMarks(g.head.Marks, t.batch.Marks()), t.log.partitions)
		if !g.shown.Time.Before(through.Time) {
			continue
		}
		event := schemas.LoadComplete{
			Table: g.table.Name, Epoch: g.head.Epoch, Mode: g.table.Mode, CompleteThrough: through,
			Snapshot: g.head.Snapshot, StartedAt: time.Now().UTC(), CommittedAt: time.Now().UTC(),
		}
		if err := t.announce(ctx, &event); err != nil {
			return err
		}
		t.status.update(g.of, func(s *TableStatus) { s.Complete = through })
		g.shown = through
	}
	return nil
}

func mergeMarks(have, more map[int32]warehouse.Mark) map[int32]warehouse.Mark {
	out := maps.Clone(have)
	if out == nil {
		out = map[int32]warehouse.Mark{}
	}
	for p, m := range more {
		out[p] = out[p].Join(m)
	}
	return out
}

// complete is the least of the partitions' last watermarks.
func complete(marks map[int32]warehouse.Mark, partitions int32) schemas.Progress {
	var least schemas.Progress
	for p := range partitions {
		c := marks[p].Complete
		if p == 0 || c.Pos.Less(least.Pos) {
			least.Pos = c.Pos
		}
		if p == 0 || c.Time.Before(least.Time) {
			least.Time = c.Time
		}
	}
	return least
}
