package producers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// table is a captured table in a session.
type table struct {
	tableState
	id    string
	enc   *avro.Encoder
	saved json.RawMessage // the state that was committed last
	dirty bool            // the state differs from it
	// held says that a version came in the middle of a transaction of the source:
	// the state is as of the checkpoint's token, so it is written when that has
	// moved on, and a crash before that gets the version once more.
	held       bool
	attempt    int            // of the snapshot
	chunkRows  int            // of its next chunk; 0: none was read yet
	asked      bool           // its source asks for rows to be read again (Change.Reread)
	keys       map[string]int // of Rereads, by canonical key
	keyTypes   []schemas.Type
	halted     error
	gone       bool             // its source says so in this session, and asks for it still
	changed    bool             // in this transaction
	mark       schemas.Progress // the last watermark
	markAt     time.Time        // when the next is due, if nothing changes
	quiet      time.Duration
	deadLetter string // its dead-letter topic, once that exists
	sent       [256]prometheus.Counter
}

func (s *session) newTable(id string) *table {
	t := &table{id: id, quiet: s.o.IdleMin}
	for _, op := range []schemas.Op{schemas.Create, schemas.Update, schemas.Delete, schemas.Read, schemas.Truncate, schemas.Watermark, schemas.SnapshotDone} {
		t.sent[op] = s.p.metrics.changes.WithLabelValues(id, op.String())
	}
	return t
}

// compile makes what is derived from the state.
func (s *session) compile(t *table) error {
	enc, err := avro.NewEncoder(t.Table, s.o.Connector, t.KeyID, t.ValueID)
	if err != nil {
		return fmt.Errorf("compile table %s: %w", t.id, err)
	}
	t.enc, t.keyTypes, t.keys = enc, nil, make(map[string]int)
	for _, c := range t.Table.KeyColumns() {
		t.keyTypes = append(t.keyTypes, c.Type)
	}
	for i, r := range t.Rereads {
		t.keys[string(schemas.AppendKeyValues(nil, t.keyTypes, r.Key))] = i
	}
	return nil
}

func (s *session) index(t *table) {
	s.tables[t.id], s.byVersion[t.Table] = t, t
	s.waiters[t] = true // until it is seen not to wait
}

// of is the table of a change.
func (s *session) of(version *schemas.Table) (*table, error) {
	if t := s.byVersion[version]; t != nil {
		return t, nil
	}
	t := s.tables[version.ID()]
	if t == nil {
		return nil, fmt.Errorf("the source sent a change of %s before a version of it", version.ID())
	}
	s.byVersion[version] = t
	return t, nil
}

// version takes up a version of a table before the first change that has it.
func (s *session) version(v *TableVersion) error {
	id := v.Table.ID()
	t, known := s.tables[id], true
	if t == nil {
		t, known = s.newTable(id), false
	}
	before := t.tableState
	t.State, t.Dropped, t.gone = slices.Clone(v.State), v.Dropped, v.Dropped
	t.Since = schemas.MaxPosition(t.Since, v.Since)
	t.Table = v.Table
	t.dirty, t.held = true, true
	for version, of := range s.byVersion {
		if of == t {
			delete(s.byVersion, version) // an older one must not come again
		}
	}
	if v.Dropped {
		if !known {
			return nil
		}
		t.attempt++
		t.Table = before.Table
		t.Snapshot, t.Rereads, t.keys = snapshotState{High: t.Snapshot.High}, nil, make(map[string]int)
		s.o.Log.Warn("table dropped at the source", "source", s.o.Source, "table", id)
		s.index(t)
		return nil
	}
	renewed := !known || before.Table.Generation != v.Table.Generation
	if err := s.prepare(t, before, renewed); err != nil {
		var cure *HaltError
		if !errors.As(err, &cure) {
			return err
		}
		if known {
			// It stays at the version before, so that the next start gets this one again.
			t.tableState, t.held = before, false
			t.attempt++
			s.index(t)
			s.halt(t, cure)
			return nil
		}
		// A table that never ran has no state to keep: the next start begins it.
		s.p.status.halted(id, cure)
		s.o.Log.Error("table halted", "source", s.o.Source, "table", id, "err", cure)
		t.halted, t.dirty = cure, false
		s.index(t)
		return nil
	}
	if known && renewed {
		if err := s.succeed(&before, t); err != nil {
			return err
		}
	}
	t.attempt++ // what is being read has the columns of the version before
	if renewed || before.Dropped || !v.Since.IsZero() {
		t.Snapshot.restart(v.Since, false)
	}
	s.index(t)
	if known {
		s.o.Log.Info("table has a new version", "source", s.o.Source, "table", id, "since", t.Since.String(), "generation", t.Table.Generation)
	}
	return nil
}

// prepare makes the topic and registers the schemas: both stand before the
// first row that needs them.
func (s *session) prepare(t *table, before tableState, renewed bool) error {
	stop := func(err error, hint string) error { return &HaltError{Table: t.id, Err: err, Hint: hint} }
	want, err := s.topic(t.Table.Schema, t.Table.Name, t.Table.Generation)
	if err != nil {
		return stop(err, "capture it under a shorter name, or leave it out")
	}
	if t.Table.Topic != want {
		return fmt.Errorf("the source put table %s into topic %q, not %s", t.id, t.Table.Topic, want)
	}
	if renewed {
		t.Partitions = s.o.Partitions
		t.Rereads = nil // the new generation's snapshot reads every row
	} else if !t.Table.Continues(before.Table) {
		return fmt.Errorf("the source changed the key or the form of a column of table %s within generation %d", t.id, t.Table.Generation)
	}
	if err := kafka.EnsureTopics(s.work, s.cl, s.o.Kafka.Data(want, t.Partitions, s.o.Replicas)); err != nil {
		var wrong *kafka.PartitionsError
		if errors.As(err, &wrong) {
			return stop(err, "a topic keeps its number of partitions for as long as the table keeps its key")
		}
		return err
	}
	for _, subject := range []struct {
		name, schema string
		id           *uint32
	}{{want + "-key", avro.KeySchema(t.Table), &t.KeyID}, {want + "-value", avro.ValueSchema(t.Table), &t.ValueID}} {
		if len(t.Table.Key) == 0 && subject.id == &t.KeyID {
			continue
		}
		id, err := s.o.Registry.Register(s.work, subject.name, subject.schema)
		var refused *registry.IncompatibleError
		if errors.As(err, &refused) {
			return stop(err, "cure it, then restart millrace: the table is then read again")
		}
		if err != nil {
			return fmt.Errorf("register schema %s: %w", subject.name, err)
		}
		*subject.id = id
	}
	if err := s.compile(t); err != nil {
		return stop(err, "rename the column, or leave the table out")
	}
	return nil
}

// NextHeader is the header of the last record of every partition of a topic
// whose table goes on with another generation: the name of that one's topic.
// The record is a watermark that says no more than the one before it. It is in
// the transaction of the first record of the new topic or in an earlier one, so
// nothing but repetitions follows it.
const NextHeader = "next"

// succeed ends the topic of the generation before.
func (s *session) succeed(before *tableState, t *table) error {
	enc, err := avro.NewEncoder(before.Table, s.o.Connector, before.KeyID, before.ValueID)
	if err != nil {
		return fmt.Errorf("compile table %s: %w", t.id, err)
	}
	at, us := schemas.MaxPosition(t.mark.Pos, schemas.Position{Epoch: 1}), int64(0) // the least that there is
	if !t.mark.Time.IsZero() {
		us = t.mark.Time.UnixMicro()
	}
	last := &table{id: t.id, tableState: *before, enc: enc, sent: t.sent}
	return s.control(last, schemas.Watermark, at, us, kgo.RecordHeader{Key: NextHeader, Value: []byte(t.Table.Topic)})
}

// deadLetters makes the dead-letter topic of a table.
func (s *session) deadLetters(ctx context.Context, t *table) error {
	if t.deadLetter != "" {
		return nil
	}
	topic, err := s.p.names.DeadLetter(t.Table.Topic)
	if err != nil {
		return err
	}
	if err := kafka.EnsureTopics(ctx, s.cl, s.o.Kafka.Letters(topic, s.o.Replicas)); err != nil {
		return err
	}
	t.deadLetter = topic
	return nil
}
