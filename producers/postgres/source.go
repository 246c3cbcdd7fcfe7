package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"millrace/producers"
	"millrace/schemas"
)

// Bounds of a batch (G13). A transaction that is larger comes in pieces.
const (
	batchRows  = 4096
	batchBytes = 4 << 20
)

// Times of the stream.
const (
	tickEvery      = time.Second            // clock, end of the log and catalog are read
	lingerFor      = 2 * time.Millisecond   // for more, between transactions
	lingerAtMost   = 20 * time.Millisecond  // over all
	probeAgain     = 20 * time.Millisecond  // the log's end has not been reached yet
	probeAtMost    = 500 * time.Millisecond // the wait doubles up to it
	heartbeatEvery = 10 * time.Second
)

// captured is a table of the configuration, as the log has it now.
type captured struct {
	config  TableConfig
	version *version
	halted  bool // its changes are left out
	renewed bool // overtake has called for a snapshot above Source.opened
}

// relation is what a relation message said, by which rows are decoded.
type relation struct {
	oid       uint32
	schema    string
	name      string
	identity  byte
	columns   []described
	inKey     []bool    // part of the replica identity
	table     *captured // nil if it is not captured
	unchecked bool      // the next change compares it with the catalog
}

// transaction is the place inside a transaction of the log.
type transaction struct {
	open   bool
	commit uint64
	minor  uint64
	seq    uint32
	timeUs int64
	order  int64
	id     string
	token  schemas.Token
}

// Source reads one PostgreSQL database.
type Source struct {
	dsn         string
	publication string
	env         producers.Env
	epoch       uint32
	who         identityNow
	configured  []TableConfig
	blockSize   uint64

	wire  *wire
	side  *side
	types *types
	token token
	stop  context.CancelFunc
	done  sync.WaitGroup

	tables    map[string]*captured
	relations map[uint32]*relation
	pending   []producers.TableVersion // for the next batch
	held      []byte                   // a message that a new version held back
	heldAt    uint64
	broken    error // Next cannot go on

	batch    producers.Batch
	arena    arena
	msg      message
	keyA     []byte
	keyB     []byte
	tx       transaction
	opened   uint64 // the end of the log when Open read the catalog
	passed   uint64 // everything below it was sent and read
	started  bool
	complete schemas.Progress

	nextTick    time.Time
	probe       probe
	fingerprint string
	watched     *watched

	snapshots *snapshots
}

var _ producers.Source = (*Source)(nil)

// Next returns what the log holds next. An end of ctx ends the wait; what was
// read until then is returned first.
func (s *Source) Next(ctx context.Context) (producers.Batch, error) {
	if s.broken != nil {
		return producers.Batch{}, s.broken
	}
	stop := context.AfterFunc(ctx, func() { _ = s.wire.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	s.arena.reset()
	s.batch = producers.Batch{Tables: s.batch.Tables[:0], Changes: s.batch.Changes[:0]}
	s.batch.Tables = append(s.batch.Tables, s.pending...)
	s.pending = s.pending[:0]
	aside, cancel := outlive(ctx)
	defer cancel()
	probed := false
	err := s.fill(ctx, aside, &probed)
	switch {
	case err == nil:
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || aside.Err() != nil):
		err = ctx.Err()
		if len(s.batch.Changes) == 0 && len(s.batch.Tables) == 0 {
			return producers.Batch{}, err
		}
	default:
		s.broken = s.explain(err)
		if len(s.batch.Changes) == 0 && len(s.batch.Tables) == 0 {
			return producers.Batch{}, s.broken
		}
	}
	s.batch.Complete.Pos = s.complete.Pos
	if !s.tx.open {
		s.batch.Resume = s.token.at(s.passed)
		if probed {
			s.batch.Complete.Time = s.complete.Time
		}
	}
	return s.batch, nil
}

// sideGrace is how long a query beside the stream may outlive Next's context:
// to break it off would cost the connection.
const sideGrace = time.Second

// outlive returns a context for queries beside the stream, which ends a little
// after ctx.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(sideGrace, cancel) })
	return out, func() { stop(); cancel() }
}

// fill reads until the batch is worth returning. It waits for the log while
// ctx lasts, and for queries beside it while aside does.
func (s *Source) fill(ctx, aside context.Context, probed *bool) error {
	if !s.started { // the versions that Open made are worth saying at once
		s.started = true
		if len(s.batch.Tables) > 0 {
			return nil
		}
	}
	if len(s.held) > 0 {
		data := s.held
		s.held = nil
		if cut, err := s.handle(aside, s.heldAt, data); err != nil || cut {
			return err
		}
	}
	began, from := time.Now(), s.passed
	var since time.Time // the first wait of a batch that could be returned
	for {
		if !s.tx.open && *probed {
			return nil
		}
		if len(s.batch.Changes) >= batchRows || s.arena.used >= batchBytes {
			return nil
		}
		deadline := s.nextTick
		if s.wire.waits() {
			now := time.Now()
			if !now.Before(s.nextTick) {
				if err := s.tick(aside, now); err != nil {
					return err
				}
			}
			deadline = s.nextTick
			switch {
			case s.probe.lsn != 0 && !s.tx.open && len(s.batch.Changes) == 0:
				if s.probe.next.Before(deadline) {
					deadline = s.probe.next
				}
			case len(s.batch.Changes) > 0 && !s.tx.open:
				if since.IsZero() {
					since = now
				}
				if deadline = now.Add(lingerFor); deadline.After(since.Add(lingerAtMost)) {
					return nil
				}
			case len(s.batch.Tables) > 0 && !s.tx.open:
				return nil
			}
		}
		p, err := s.wire.receive(ctx, deadline)
		switch {
		case errors.Is(err, errWait):
			if len(s.batch.Changes) > 0 && !s.tx.open {
				return nil
			}
			if err := s.askAgain(time.Now()); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case p.keepalive:
			if !s.tx.open {
				done, err := s.pass(aside, p.end)
				*probed = *probed || done
				if err != nil {
					return err
				}
			}
			if p.reply { // after the place is noted: a server that shuts down waits to hear it
				if err := s.wire.status(false); err != nil {
					return err
				}
			}
		default:
			cut, err := s.handle(aside, p.start, p.data)
			if err != nil || cut {
				return err
			}
			if s.msg.kind == msgCommit && !s.tx.open {
				done, err := s.pass(aside, s.msg.endLSN)
				*probed = *probed || done
				if err != nil {
					return err
				}
				if now := time.Now(); !now.Before(s.nextTick) { // a stream that never pauses needs the clock as well
					if err := s.tick(aside, now); err != nil {
						return err
					}
				}
			}
		}
		if !s.tx.open && s.passed > from && (p.keepalive || s.msg.kind == msgCommit) && time.Since(began) > tickEvery {
			return nil // progress through a log that holds nothing of ours
		}
		if len(s.pending) > 0 {
			if len(s.batch.Changes) > 0 {
				return nil
			}
			s.batch.Tables = append(s.batch.Tables, s.pending...)
			s.pending = s.pending[:0]
		}
	}
}

// pass notes that everything below lsn was read. It reports whether the end of
// the log as of the last probe was reached.
func (s *Source) pass(ctx context.Context, lsn uint64) (bool, error) {
	s.passed = max(s.passed, lsn)
	s.wire.received.Store(s.passed)
	s.complete.Pos = schemas.MaxPosition(s.complete.Pos, schemas.Position{Epoch: s.epoch, Major: s.passed})
	if s.watched != nil && s.passed >= s.watched.lsn {
		w := s.watched
		s.watched = nil
		if err := s.apply(ctx, w); err != nil {
			return false, err
		}
	}
	if s.probe.lsn == 0 || s.passed < s.probe.lsn {
		return false, nil
	}
	if at := s.probe.clock; at.After(s.complete.Time) {
		s.complete.Time = at
	}
	s.probe = probe{}
	return true, nil
}

// Ack tells the server that everything up to the token is durable: it may
// forget it (G1).
func (s *Source) Ack(_ context.Context, resume schemas.Token) error {
	t, err := parseToken(resume)
	if err != nil {
		return err
	}
	if t.System != s.token.System || t.Timeline != s.token.Timeline || t.lsn > s.passed {
		return fmt.Errorf("acknowledge %s: this source has not read it", resume)
	}
	return s.wire.ack(t.lsn)
}

// Close ends the connections and waits for what runs.
func (s *Source) Close() error {
	s.stop()
	err := s.wire.conn.Close()
	s.done.Wait()
	s.side.close()
	s.snapshots.close()
	if err != nil {
		return fmt.Errorf("close the replication connection: %w", err)
	}
	return nil
}

// explain adds the cure to the faults of the stream that need one.
func (s *Source) explain(err error) error {
	var hint string
	switch code(err) {
	case codeNoObject:
		hint = "the publication was dropped or made anew while the slot was behind it: " + producers.BeginAgain
	case codeFileGone, codeNotReady:
		hint = lostHint
	default:
		return err
	}
	return &producers.HaltError{Err: err, Hint: hint}
}

const lostHint = "the log between is gone: " + producers.BeginAgain + "; raise max_slot_wal_keep_size if it was the reason"

// side is the connection beside the stream: catalog and clock. It is opened
// again when it broke.
type side struct {
	dsn  string
	conn *pgx.Conn
}

// get returns the open connection.
func (s *side) get(ctx context.Context) (*pgx.Conn, error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, nil
	}
	conn, err := dial(ctx, s.dsn, map[string]string{"lock_timeout": "1000"})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	return conn, nil
}

func (s *side) close() {
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.conn.Close(ctx)
	}
}
