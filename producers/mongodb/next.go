package mongodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/producers"
)

// A batch is cut between transactions once it holds batchRows or batchBytes, or
// nothing more waits. A transaction larger than hugeRows or hugeBytes is handed
// over in pieces (G13). batchCalls keeps the rows that are to be read again below
// what a producer takes before it reads the whole table, so it cuts a
// transaction too.
const (
	batchRows  = 4096
	batchBytes = 2 << 20
	batchCalls = 250
	hugeRows   = 4 * batchRows
	hugeBytes  = 4 * batchBytes
)

// Next reads on until there is something to say.
func (s *source) Next(ctx context.Context) (producers.Batch, error) {
	if s.failed != nil {
		return producers.Batch{}, s.failed
	}
	if s.returned {
		s.out = producers.Batch{Changes: s.out.Changes[:0]}
		s.mem.reset()
		s.group.first, s.calls, s.lent, s.returned = 0, 0, 0, false
	}
	b, err := s.read(ctx)
	if err != nil && ctx.Err() == nil {
		s.failed = err
	}
	s.returned = err == nil
	return b, err
}

func (s *source) read(ctx context.Context) (producers.Batch, error) {
	if !s.begun {
		s.begun = true
		return s.cut(), nil
	}
	began := time.Now()
	for {
		if len(s.out.Changes) == 0 && s.reported() {
			s.takeReports()
		}
		if err := s.look(ctx); err != nil {
			return producers.Batch{}, err
		}
		if s.due(began) {
			return s.cut(), nil
		}
		event, err := s.nextEvent(ctx, began)
		if errors.Is(err, errIdle) {
			continue
		} else if err != nil {
			return producers.Batch{}, err
		}
		hold, err := s.process(ctx, event)
		if err != nil {
			return producers.Batch{}, err
		}
		if hold {
			s.held = event
			return s.cut(), nil
		}
	}
}

// due reports whether the batch is to be handed over.
func (s *source) due(began time.Time) bool {
	// A delta has no text of the document, but its values keep the answer alive.
	rows, bytes := len(s.out.Changes), max(len(s.mem.bytes), s.lent)
	switch {
	case time.Since(began) >= s.cfg.idle():
		return true
	case rows > 0 && s.reported():
		return true
	case s.calls >= batchCalls:
		return true
	case s.group.open:
		return rows >= hugeRows || bytes >= hugeBytes
	case rows >= batchRows || bytes >= batchBytes:
		return true
	}
	return (rows > 0 || len(s.out.Tables) > 0) && s.held == nil && s.event == len(s.answer.events) && len(s.stream.answers) == 0
}

// cut is the batch. It carries a token only if it ends where no transaction is
// half sent.
func (s *source) cut() producers.Batch {
	if s.probe.taken && s.probe.applied <= s.boundary.time {
		s.probe.taken = false
		if s.spoken.Before(s.probe.time) {
			s.spoken = s.probe.time
		}
		s.out.Complete.Time = s.spoken
	}
	if s.whole.less(s.boundary.place) {
		s.whole = s.boundary.place
	}
	s.out.Complete.Pos = s.whole.position(s.epoch)
	if len(s.out.Changes) > s.group.first && s.group.open {
		s.group.sent = true
	}
	s.out.Resume = ""
	if !s.group.sent {
		s.out.Resume = s.resume(s.boundary.place, s.boundary.token)
	}
	return s.out
}

// look takes a probe about as often as an idle source speaks. The order is the promise: first the
// clock and what was applied, then a majority has it, and what the stream is
// asked for after that holds it.
func (s *source) look(ctx context.Context) error {
	if s.probe.taken || time.Since(s.probed) < s.cfg.idle() {
		return nil
	}
	s.probed = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(30*time.Second, cancel).Stop()
	at, err := s.clock(ctx)
	if err == nil {
		err = s.settle(ctx, at.applied)
	}
	if err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	s.probe = probe{taken: true, time: at.now, applied: at.applied, asked: time.Now()}
	return nil
}

var errIdle = errors.New("no event")

// nextEvent returns the next event, joined if it was split. An answer without events
// is errIdle, and says that all of the log was read.
func (s *source) nextEvent(ctx context.Context, began time.Time) ([]byte, error) {
	if e := s.held; e != nil {
		s.held = nil
		return e, nil
	}
	for {
		if s.event < len(s.answer.events) {
			e := s.answer.events[s.event]
			s.event++
			whole, err := s.join(e)
			if whole == nil && err == nil {
				continue
			}
			return whole, err
		}
		if err := s.passed(ctx); err != nil {
			return nil, err
		}
		idle := time.NewTimer(max(time.Until(began.Add(s.cfg.idle())), time.Millisecond))
		select {
		case s.answer = <-s.stream.answers:
			idle.Stop()
			if s.event = 0; s.answer.err != nil {
				db, _, _ := strings.Cut(s.cfg.scope(), ".")
				return nil, streamError(s.answer.err, strings.TrimSuffix(db, allDatabases))
			}
			if len(s.answer.events) == 0 {
				return nil, errors.Join(errIdle, s.passed(ctx))
			}
		case <-s.wake:
			idle.Stop()
			return nil, errIdle
		case <-idle.C:
			return nil, errIdle
		case <-ctx.Done():
			idle.Stop()
			return nil, ctx.Err()
		}
	}
}

// passed takes up the end of an answer: its token stands behind its events, and
// where it had none, there were none.
func (s *source) passed(ctx context.Context) error {
	a := &s.answer
	if len(s.parts) > 0 {
		return nil // an event is not whole yet
	}
	if a.token != nil {
		s.token = a.token
	}
	empty := len(a.events) == 0 && !a.began.IsZero()
	if empty {
		s.endGroup()
		if s.probe.taken && a.began.After(s.probe.asked) && s.at.less(through(s.probe.applied)) {
			s.at = through(s.probe.applied)
		}
	}
	if !s.group.open {
		s.bound()
	}
	closed := a.closed
	a.token, a.closed, a.began = nil, false, time.Time{}
	if !closed {
		return nil
	}
	// The collection or the database went, and with it the stream. What comes
	// after is another one's.
	s.stream.close()
	var err error
	s.stream, err = openStream(ctx, s.client, s.cfg, s.server, from{token: s.token})
	return err
}

// bound takes the present place for one that no transaction spans.
func (s *source) bound() {
	s.boundary.place, s.boundary.token = s.at, s.token
}

func (s *source) endGroup() {
	if s.group.open {
		s.group = group{first: len(s.out.Changes)}
		s.bound()
	}
}
