package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/producers"
	"millrace/schemas"
)

// Next reads on until there is something to say.
func (s *source) Next(ctx context.Context) (producers.Batch, error) {
	if s.failed != nil {
		return producers.Batch{}, s.failed
	}
	if s.returned {
		s.empty()
	}
	b, err := s.read(ctx)
	if err != nil && ctx.Err() == nil {
		s.failed = err
	}
	s.returned = err == nil
	return b, err
}

// empty takes back what the last batch lent.
func (s *source) empty() {
	s.out = producers.Batch{Changes: s.out.Changes[:0]}
	s.values.reset()
	s.bytes, s.group.first, s.returned = 0, 0, false
}

func (s *source) read(ctx context.Context) (producers.Batch, error) {
	if !s.begun {
		s.begun = true
		return s.cut(), nil
	}
	began := time.Now()
	idle := time.NewTimer(tick)
	defer idle.Stop()
	for {
		if err := s.look(ctx); err != nil {
			return producers.Batch{}, err
		}
		if s.due(began) {
			return s.cut(), nil
		}
		e := s.held
		if s.held = nil; e == nil {
			var err error
			if e, err = s.stream.next(ctx, idle.C); errors.Is(err, errIdle) {
				continue
			} else if err != nil {
				return producers.Batch{}, streamError(err, s.server.account)
			}
		}
		hold, err := s.process(ctx, e)
		if err != nil {
			return producers.Batch{}, err
		}
		if hold {
			s.held = e
			return s.cut(), nil
		}
	}
}

// due reports whether the batch is to be handed over.
func (s *source) due(began time.Time) bool {
	rows := len(s.out.Changes)
	switch {
	case time.Since(began) >= tick:
		return true
	case s.group.open:
		return rows >= hugeRows || s.bytes >= hugeBytes
	case rows >= batchRows || s.bytes >= batchBytes:
		return true
	}
	return (rows > 0 || len(s.out.Tables) > 0) && len(s.stream.events) == 0 && s.held == nil
}

// cut is the batch. It carries a token only if it ends where no transaction is
// half sent.
func (s *source) cut() producers.Batch {
	s.out.Complete = schemas.Progress{Pos: s.log.boundary.after(s.epoch)}
	if s.drained() {
		s.probe.taken, s.ripe = false, true
		if at := s.probe.time; at.After(s.spoken) {
			s.spoken = at
		}
		s.out.Complete.Time = s.spoken
	}
	s.out.Resume = ""
	if part := s.out.Changes[s.group.first:]; len(part) > 0 {
		s.group.sent = true
		if s.group.touched == nil {
			s.group.touched = map[*tracked]bool{}
		}
		for i := range part {
			s.group.touched[s.tables[part[i].Table.ID()]] = true
		}
	}
	if !s.group.sent {
		s.out.Resume = token{
			ServerID: s.server.id, File: s.log.boundary.file, Pos: s.log.boundary.pos,
			ServerUUID: s.server.uuid, GTIDs: s.log.gtids.String(), Created: s.log.created,
		}.encode()
	}
	return s.out
}

// drained reports whether the stream has passed the last probe.
func (s *source) drained() bool {
	return s.probe.taken && s.log.boundary.compare(s.probe.end) >= 0
}

// look takes a probe about once a tick, and settles what waited for the last
// one. The order is the promise: first the catalog, then the clock, then the
// log's end. What was committed before the clock was read ends at or before
// that end; what changed a table after the catalog was read, ends behind it or
// has been counted.
func (s *source) look(ctx context.Context) error {
	if !s.probe.taken && !s.ripe && time.Since(s.probed) >= tick {
		if err := s.takeProbe(ctx); err != nil {
			return err
		}
	}
	if (s.ripe || s.drained()) && len(s.out.Changes) == 0 {
		s.settle()
		s.ripe = false
	}
	return nil
}

func (s *source) takeProbe(ctx context.Context) error {
	s.probed = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.ask(ctx); err != nil {
		return fmt.Errorf("compare the catalog: %w", err)
	}
	var now string
	if err := s.db.QueryRowContext(ctx, `SELECT UTC_TIMESTAMP(6)`).Scan(&now); err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	at, err := time.Parse("2006-01-02 15:04:05.000000", now)
	if err != nil {
		return fmt.Errorf("read the server's clock: %w", err)
	}
	st, err := s.kind.status(ctx, s.db)
	if err != nil {
		return err
	}
	s.probe = probe{taken: true, time: at, end: st.end}
	return nil
}
