package producers

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
)

// clockSlack is how far a watermark's time stays behind the source's clock.
const clockSlack = time.Second

// transaction is the Kafka transaction that is being filled.
type transaction struct {
	open           bool
	promises       *promises
	began          time.Time // when there was first something to commit
	pending        bool
	err            error // of the commit: what became of it is not known
	changes, bytes int
	arena          arena
	parcels        []*parcel // whose last record is in it
	void           []string  // tables whose record does not count, without a state to write instead
}

// overflows reports whether the transaction must end, wherever the source's stands.
func (x *transaction) overflows(o *Options) bool {
	return x.changes >= split*o.MaxChanges || x.bytes >= split*o.MaxBytes
}

// wanted says that there is something to commit soon.
func (x *transaction) wanted(o *Options) {
	if !x.pending {
		x.pending, x.began = true, o.Now()
	}
}

// produce adds a record to the transaction, which it opens.
func (s *session) produce(r *kgo.Record) error {
	if !s.txn.open {
		if err := s.cl.BeginTransaction(); err != nil {
			return fmt.Errorf("begin transaction: %w", err)
		}
		s.txn.open, s.txn.promises = true, newPromises()
	}
	s.txn.wanted(s.o)
	s.txn.changes++
	s.txn.bytes += len(r.Key) + len(r.Value) + 128
	s.txn.promises.made++
	s.cl.Produce(s.work, r, s.txn.promises.keep)
	return nil
}

// due reports whether to commit now.
func (s *session) due() bool {
	now := s.o.Now()
	x := &s.txn
	switch {
	case x.overflows(s.o):
		return true
	case x.pending:
		full := x.changes >= s.o.MaxChanges || x.bytes >= s.o.MaxBytes
		age := now.Sub(x.began)
		return s.boundary && (full || age >= s.o.MaxDelay) || age >= split*s.o.MaxDelay
	}
	return !now.Before(s.idle.at) && s.progressed(now)
}

// progressed reports whether there is idle progress worth a transaction. A
// watermark that need not wait any more is.
func (s *session) progressed(now time.Time) bool {
	if !s.boundary {
		return false
	}
	if schemas.Token(s.Token) != s.durable {
		return true
	}
	for _, t := range s.tables {
		if t.dirty && !t.held || s.markDue(t, now) {
			return true
		}
	}
	return false
}

// wait is how long the loop may sleep.
func (s *session) wait() time.Duration {
	now := s.o.Now()
	switch {
	case s.txn.pending:
		return max(s.txn.began.Add(s.o.MaxDelay).Sub(now), time.Millisecond)
	case now.Before(s.idle.at):
		return min(s.idle.at.Sub(now), time.Second)
	}
	return time.Second // progress comes with a batch, and that wakes the loop
}

// release makes the watermark of every table due that has stopped waiting.
func (s *session) release() {
	for t := range s.waiters {
		if s.waits(t) {
			continue
		}
		delete(s.waiters, t)
		t.quiet, t.markAt, s.idle.at = s.o.IdleMin, time.Time{}, time.Time{}
	}
}

func (s *session) markDue(t *table, now time.Time) bool {
	return !now.Before(t.markAt) && !s.waits(t) && !s.below() && (t.mark.Pos.Less(s.Complete.Pos) || t.mark.Time.Before(s.Complete.Time))
}

// commit ends the transaction: watermarks, the states that changed and the
// checkpoint join the changes in it, and only then the source hears of it (G1).
func (s *session) commit() error {
	began := s.o.Now()
	changes := s.txn.changes
	for _, t := range s.tables {
		if s.waits(t) {
			s.waiters[t] = true
		}
	}
	if err := s.watermarks(began); err != nil {
		return err
	}
	s.Floor.Pos = schemas.MaxPosition(s.Floor.Pos, s.Complete.Pos)
	if s.Floor.Time.Before(s.Complete.Time) {
		s.Floor.Time = s.Complete.Time
	}
	n := s.n + 1
	states, err := s.writeStates(n)
	if err != nil {
		return err
	}
	saved, err := s.write(s.p.topics.positions, s.o.Source, n, s.checkpoint, s.saved)
	if err != nil {
		return err
	}
	// The promises are all kept only if Flush succeeds, and it succeeds also if
	// records failed.
	if err = s.cl.Flush(s.work); err == nil {
		err = s.txn.promises.kept()
	}
	if err == nil {
		err = kafka.EndTransaction(s.work, s.cl, kgo.TryCommit)
	}
	if err != nil {
		s.txn.err = fmt.Errorf("commit transaction %d: %w", n, err)
		return s.txn.err
	}
	// On the embedded broker a kill may take this transaction, its own records
	// included. Then the one before is the last that is seen, and does not count
	// either: the source is asked for the one before that.
	ack := schemas.Token(s.Token)
	if s.o.Kafka.Embedded {
		ack, s.before = s.before, s.durable
	}
	if ack != "" {
		s.reader.acknowledge(ack)
	}
	s.n, s.base, s.saved, s.durable, s.committed = n, n, saved, schemas.Token(s.Token), true
	for t, state := range states {
		t.saved, t.dirty = state, false
	}
	for _, t := range s.tables {
		t.changed = false
	}
	s.rest(began, changes > 0)
	s.txn.arena.reset()
	for _, p := range s.txn.parcels {
		s.worker.giveBack(p)
	}
	s.txn = transaction{arena: s.txn.arena, parcels: s.txn.parcels[:0]}
	s.p.metrics.committed(s.o.Now().Sub(began), changes)
	s.p.status.committed(s)
	return nil
}

// rest sets when idle progress is written next: later each time.
func (s *session) rest(now time.Time, busy bool) {
	if busy {
		s.idle.quiet = s.o.IdleMin
	} else {
		s.idle.quiet = min(2*s.idle.quiet, s.o.IdleMax)
	}
	s.idle.at = now.Add(s.idle.quiet)
}

// below reports whether a watermark would fall back behind an earlier one.
func (s *session) below() bool {
	return s.Complete.Pos.Less(s.Floor.Pos) || s.Complete.Time.Before(s.Floor.Time)
}

// watermarks sends them to the tables that changed, and to those that have
// been quiet for long enough.
func (s *session) watermarks(now time.Time) error {
	if s.Complete.Pos.IsZero() || s.below() {
		return nil
	}
	for _, t := range s.tables {
		due := s.markDue(t, now)
		if !due && (!t.changed || s.waits(t) || !t.mark.Pos.Less(s.Complete.Pos)) {
			continue
		}
		var at int64
		if !s.Complete.Time.IsZero() {
			at = s.Complete.Time.UnixMicro()
		}
		if err := s.control(t, schemas.Watermark, s.Complete.Pos, at); err != nil {
			return err
		}
		if t.changed {
			t.quiet = s.o.IdleMin
		} else {
			t.quiet = min(2*t.quiet, s.o.IdleMax)
		}
		t.mark, t.markAt = s.Complete, now.Add(t.quiet)
	}
	return nil
}

// writeStates writes the states that changed and are as of the checkpoint's token.
func (s *session) writeStates(n int64) (map[*table]json.RawMessage, error) {
	written := make(map[*table]json.RawMessage)
	for _, t := range s.sorted() {
		if !t.dirty || t.held || len(s.Token) == 0 {
			continue
		}
		saved, err := s.write(s.p.topics.snapshots, t.id, n, t.tableState, t.saved)
		if err != nil {
			return nil, err
		}
		written[t] = saved
	}
	for _, id := range s.txn.void {
		if t := s.tables[id]; t != nil && written[t] != nil {
			continue
		}
		if _, err := s.write(s.p.topics.snapshots, id, n, nil, nil); err != nil {
			return nil, err
		}
	}
	return written, nil
}

// write adds a record of the producer's own to the transaction.
func (s *session) write(topic, key string, n int64, value any, previous json.RawMessage) (json.RawMessage, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("write state of %s: %w", key, err)
	}
	r := record{N: n, Base: s.base, Writer: s.p.id, Value: raw}
	if s.o.Kafka.Embedded {
		r.Previous = previous
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write state of %s: %w", key, err)
	}
	return raw, s.produce(&kgo.Record{Topic: topic, Key: []byte(key), Value: text})
}
