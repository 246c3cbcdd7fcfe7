package producers

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

// batch sends what the source has read.
func (s *session) batch(b *Batch) error {
	if b.Retained > 0 {
		s.p.status.retained(b.Retained)
	}
	for i := range b.Tables {
		if err := s.raise(b.Tables[i].Since.Epoch); err != nil {
			return err
		}
		if err := s.version(&b.Tables[i]); err != nil {
			return err
		}
	}
	s.txn.arena.made = time.Now()
	for i := range b.Changes {
		c := &b.Changes[i]
		if err := s.raise(c.Position.Epoch); err != nil {
			return err
		}
		s.boundary = false
		if err := s.change(c); err != nil {
			return err
		}
		if s.txn.overflows(s.o) {
			if err := s.commit(); err != nil {
				return err
			}
		}
	}
	if err := s.raise(b.Complete.Pos.Epoch); err != nil {
		return err
	}
	if b.Resume != "" {
		s.Token, s.boundary = []byte(b.Resume), true
		for _, t := range s.tables {
			t.held = false
		}
	}
	if s.Complete.Pos.Less(b.Complete.Pos) {
		s.Complete.Pos = b.Complete.Pos
	}
	// The clock was read when the log had been drained; what was committed a
	// little earlier may have become visible a little later.
	if at := b.Complete.Time.Add(-clockSlack); !b.Complete.Time.IsZero() && s.Complete.Time.Before(at) {
		s.Complete.Time = at
	}
	return nil
}

// raise begins a new epoch: it is in a checkpoint of its own before the first
// record that has it, so that no crash lets two histories share a number.
func (s *session) raise(epoch uint32) error {
	if epoch <= s.Epoch {
		return nil
	}
	if s.txn.pending {
		if err := s.commit(); err != nil {
			return err
		}
	}
	s.Epoch = epoch
	if err := s.commit(); err != nil {
		return err
	}
	if !s.o.Kafka.Embedded {
		return nil
	}
	// The last transaction before a kill may not count: the one with the epoch
	// must not be that one.
	return s.commit()
}

// change sends one change of the stream.
func (s *session) change(c *schemas.Change) error {
	t, err := s.of(c.Table)
	if err != nil {
		return err
	}
	if t.halted != nil || t.Dropped {
		return nil //nolint:nilerr // shown already
	}
	again := !s.Last.Less(c.Position)
	unset := len(c.After) > 0 && slices.ContainsFunc(c.After, func(c schemas.Cell) bool { return c.Kind == schemas.Unset })
	if unset {
		c.Since = t.Since
		if (c.Op == schemas.Create || c.Reread) && len(t.Table.Key) > 0 {
			t.asked = t.asked || c.Reread
			// Also for one that was sent already: the crash may have forgotten the call.
			s.callFor(t, c)
		}
	}
	if again {
		return nil
	}
	switch {
	case c.Op == schemas.Truncate:
		err = s.control(t, c.Op, c.Position, c.TsUs)
	case len(t.Table.Key) > 0:
		err = s.send(t, c)
	case c.Op != schemas.Create:
		err = s.bury(t, c, "an update or delete of a table without a key")
	case t.Snapshot.Running || t.Snapshot.Low.Less(c.Position):
		err = s.send(t, c)
	}
	if err != nil {
		return err
	}
	t.changed = true
	s.Last = c.Position
	return nil
}

// send produces a change of one row. A change that cannot be encoded halts its
// table; the error is for what ends the session.
func (s *session) send(t *table, c *schemas.Change) error {
	image := c.After
	if c.Op == schemas.Delete {
		image = c.Before
	}
	r, err := s.txn.arena.encode(t.form(), c, image)
	if err != nil {
		s.halt(t, unsendable(c, err))
		return nil
	}
	t.sent[c.Op].Inc()
	return s.produce(r)
}

// control produces a control record to every partition.
func (s *session) control(t *table, op schemas.Op, pos schemas.Position, tsUs int64, marks ...kgo.RecordHeader) error {
	value, err := t.enc.AppendValue(s.txn.arena.scratch[:0], &schemas.Change{Table: t.Table, Op: op, Position: pos, TsUs: tsUs})
	if err != nil {
		return fmt.Errorf("encode op %s: %w", op, err)
	}
	s.txn.arena.scratch = value
	value = s.txn.arena.keep(value)
	for p := range t.Partitions {
		r := s.txn.arena.record()
		r.Topic, r.Partition, r.Value, r.Headers = t.Table.Topic, p, value, append(s.txn.arena.opAndPos(2, op, pos), marks...)
		if err := s.produce(r); err != nil {
			return err
		}
	}
	t.sent[op].Inc()
	return nil
}

// bury sends a change that has no place in the table's topic to its
// dead-letter topic, with the reason (G12).
func (s *session) bury(t *table, c *schemas.Change, reason string) error {
	if err := s.deadLetters(s.work, t); err != nil {
		return fmt.Errorf("bury a change of %s: %w", t.id, err)
	}
	r, err := s.txn.arena.encode(t.form(), c, c.After)
	if err != nil {
		s.halt(t, &HaltError{Table: t.id, Err: err, Hint: "give the table a key, then restart millrace"})
		return nil //nolint:nilerr // the table's alone, and shown
	}
	r.Topic, r.Partition = t.deadLetter, 0
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "reason", Value: []byte(reason)})
	return s.produce(r)
}
