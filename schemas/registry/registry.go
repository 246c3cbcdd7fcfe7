package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"millrace/internal/kafka"
	"millrace/schemas/avro"
)

// DefaultTopic is where registries keep their schemas.
const DefaultTopic = "_schemas"

// Registry is a schema registry over one topic. It is an http.Handler. Its
// reads are answered from memory, its writes after Kafka has them.
type Registry struct {
	http.Handler

	log     *topicLog
	writing chan struct{} // held by the one who writes: log, pending
	// pending is a record whose outcome is unknown. It is made certain before
	// any other is written, so that its id is given to no other schema.
	pending *record

	mu    sync.RWMutex
	state *state
}

// Open reads the topic up to its end, after making it if it is not there. The
// caller sees to it that no other process has it open.
func Open(ctx context.Context, cluster kafka.Cluster, topic string) (*Registry, error) {
	log, err := openLog(ctx, cluster, topic)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{log: log, writing: make(chan struct{}, 1), state: newState()}
	if err := r.reload(ctx); err != nil {
		log.close()
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r.Handler = r.routes()
	return r, nil
}

// Close lets go of Kafka. No request may be under way.
func (r *Registry) Close() { r.log.close() }

// reload takes the state from the log. What was answered stays true: a log that
// contradicts it is not the one that was written.
func (r *Registry) reload(ctx context.Context) error {
	s, err := r.log.read(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, text := range r.state.texts {
		if s.texts[id] != text {
			return fmt.Errorf("topic %s no longer has schema %d: it was deleted or is written by another registry", r.log.topic, id)
		}
	}
	r.state = s
	return nil
}

func (r *Registry) has(rec record) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.has(rec)
}

// change lets decide look at the state and name the records that it wants
// written, and writes them in order. Changes are one after the other, and decide
// sees all that were written before.
func (r *Registry) change(ctx context.Context, decide func(*state) ([]record, error)) error {
	select {
	case r.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for another write: %w", ctx.Err())
	}
	defer func() { <-r.writing }()
	if err := r.settle(ctx); err != nil {
		return storeError(err)
	}
	r.mu.RLock()
	records, err := decide(r.state)
	r.mu.RUnlock()
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := r.write(ctx, rec); err != nil {
			return storeError(err)
		}
	}
	return nil
}

// settle makes the pending record certain, by finding it in the log or writing
// it again: the same key and value, so that it may well be there twice.
func (r *Registry) settle(ctx context.Context) error {
	if r.pending == nil {
		return nil
	}
	rec := *r.pending
	if err := r.log.idle(ctx); err != nil {
		return err
	}
	if err := r.reload(ctx); err != nil {
		return err
	}
	if r.has(rec) {
		r.pending = nil
		return nil
	}
	return r.write(ctx, rec)
}

// write returns when the record is in the log and in the state. If it cannot
// know whether Kafka has it, it looks; what stays unknown is pending.
func (r *Registry) write(ctx context.Context, rec record) error {
	r.pending = &rec
	offset, err := r.log.append(ctx, rec)
	if err != nil {
		// The request may be over, but the record is not.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if readErr := r.reload(look); readErr != nil {
			return errors.Join(err, readErr)
		}
		if !r.has(rec) {
			return err
		}
		r.pending = nil
		return nil
	}
	if offset != r.log.next { // an earlier attempt came late, or somebody else writes
		if err := r.reload(ctx); err != nil {
			return err
		}
		if !r.has(rec) {
			return fmt.Errorf("topic %s has a record at offset %d and does not show it", r.log.topic, offset)
		}
		r.pending = nil
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.state.apply(rec); err != nil {
		return err
	}
	r.log.next, r.pending = offset+1, nil
	return nil
}

// register makes the schema the subject's newest version, unless it is one of
// its versions, and returns its id.
func (r *Registry) register(ctx context.Context, subject, schema string) (int, error) {
	normal, err := normalOf(schema)
	if err != nil {
		return 0, err
	}
	var id int
	err = r.change(ctx, func(s *state) ([]record, error) {
		if n := s.find(subject, normal); n > 0 {
			id = s.subjects[subject][n].id
			return nil, nil
		}
		if err := s.check(subject, schema); err != nil {
			return nil, &apiError{http.StatusConflict, http.StatusConflict, "schema is incompatible with an earlier one: " + err.Error()}
		}
		v := s.next(subject, schema, normal)
		id = v.ID
		return []record{schemaRecord(v)}, nil
	})
	return id, err
}

func normalOf(schema string) (string, error) {
	if err := avro.Valid(schema); err != nil {
		return "", &apiError{http.StatusUnprocessableEntity, 42201, err.Error()}
	}
	normal, err := avro.Normal(schema)
	if err != nil {
		return "", &apiError{http.StatusUnprocessableEntity, 42201, err.Error()}
	}
	return normal, nil
}

// remove marks versions as deleted: all that are live, or one. Their ids keep
// their meaning.
func (r *Registry) remove(ctx context.Context, subject, which string) ([]int, error) {
	var removed []int
	err := r.change(ctx, func(s *state) ([]record, error) {
		var err error
		if removed, err = s.pick(subject, which); err != nil {
			return nil, err
		}
		var records []record
		for _, n := range removed {
			id := s.subjects[subject][n].id
			records = append(records, schemaRecord(schemaValue{subject, n, id, s.texts[id], true}))
		}
		return records, nil
	})
	return removed, err
}
