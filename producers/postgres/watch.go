package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"

	"millrace/producers"
	"millrace/schemas"
)

// probe is the end of the log at a time of the server's clock. Once the stream
// has passed it, every transaction committed before the clock was sent.
type probe struct {
	lsn   uint64
	clock time.Time
	next  time.Time // when to ask the server again how far it is
	wait  time.Duration
}

// watched is a reading of the catalog that applies where the log passes lsn:
// the relation messages before that place say more exactly what happened.
type watched struct {
	lsn    uint64
	tables map[string]*catalogTable
}

// tick reads clock, end of the log, and a fingerprint of the catalog, in this
// order of effect: what the catalog shows lies below the end that is read.
// The fingerprint finds DDL on tables that no change follows. Ticks are spaced
// so that they take a twentieth of the time at most.
func (s *Source) tick(ctx context.Context, now time.Time) error {
	conn, err := s.side.get(ctx)
	if err != nil {
		return err
	}
	names, relations := splitNames(s.configured)
	var p probe
	var end, fingerprint string
	var retained *int64
	err = conn.QueryRow(ctx, `SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text,
		(SELECT coalesce(hashtextextended(string_agg(doc::text, ',' ORDER BY doc->>'schema', doc->>'name'), 0), 0)::text FROM (`+catalogSQL+`) d),
		(SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $4)`,
		names, relations, s.publication, s.publication).Scan(&p.clock, &end, &fingerprint, &retained)
	if err != nil {
		return fmt.Errorf("read clock and catalog: %w", err)
	}
	lsn, err := pglogrepl.ParseLSN(end)
	if err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	took := time.Since(now)
	s.nextTick = now.Add(max(tickEvery, 20*took))
	p.lsn = s.reachable(uint64(lsn))
	p.wait = probeAgain
	p.next = now.Add(took + p.wait)
	if s.probe.lsn == 0 { // else the older one is still to be passed, and will be sooner
		s.probe = p
	}
	if retained != nil {
		s.batch.Retained = *retained
	}
	if fingerprint != s.fingerprint {
		w, err := s.watch(ctx)
		if err != nil {
			return err
		}
		s.watched, s.fingerprint = w, fingerprint
	}
	return s.wire.status(true)
}

// reachable is an end of the log that the stream can reach without further
// writes. The insert position may lie behind the header of a page that holds
// nothing yet; nothing will be sent up to there.
func (s *Source) reachable(lsn uint64) uint64 {
	const shortHeader, longHeader = 24, 40 // the latter on the first page of a segment
	if at := lsn % s.blockSize; at == shortHeader || at == longHeader {
		return lsn - at
	}
	return lsn
}

// askAgain asks the server how far it is, at intervals that double.
func (s *Source) askAgain(now time.Time) error {
	if s.probe.lsn == 0 || now.Before(s.probe.next) {
		return nil
	}
	s.probe.wait = min(2*s.probe.wait, probeAtMost)
	s.probe.next = now.Add(s.probe.wait)
	return s.wire.status(true)
}

// watch reads the whole catalog. A table that has come under a captured name
// without being in the publication is published first: what it held until then
// is read by the snapshot that this calls for.
func (s *Source) watch(ctx context.Context) (*watched, error) {
	conn, err := s.side.get(ctx)
	if err != nil {
		return nil, err
	}
	cats, err := readCatalog(ctx, conn, s.publication, s.configured)
	if err != nil {
		return nil, err
	}
	var wanted []*catalogTable
	repair := false
	for _, t := range s.tables {
		cat := cats[t.config.Name]
		if cat == nil || t.halted {
			continue
		}
		if _, err := cat.check(t.config); err != nil {
			continue // apply halts it
		}
		wanted = append(wanted, cat)
		repair = repair || cat.PubRel == 0 || cat.Filtered
	}
	if repair {
		if err := publish(ctx, conn, s.publication, wanted); err != nil {
			if err := s.unpublished(wanted, err); err != nil {
				return nil, err
			}
		}
		if cats, err = readCatalog(ctx, conn, s.publication, s.configured); err != nil {
			return nil, err
		}
	}
	end, err := walEnd(ctx, conn)
	if err != nil {
		return nil, err
	}
	return &watched{lsn: s.reachable(end), tables: cats}, nil
}

// unpublished halts the tables that the role may not publish again.
func (s *Source) unpublished(wanted []*catalogTable, err error) error {
	var h *producers.HaltError
	if !errors.As(err, &h) {
		return err
	}
	for _, cat := range wanted {
		if cat.PubRel == 0 || cat.Filtered {
			if err := s.halt(s.tables[cat.id()], &producers.HaltError{Table: cat.id(), Err: h.Err, Hint: h.Hint}); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply takes a reading of the catalog in, where the log has passed it.
func (s *Source) apply(ctx context.Context, w *watched) error {
	conn, err := s.side.get(ctx)
	if err != nil {
		return err
	}
	pos := schemas.Position{Epoch: s.epoch, Major: w.lsn}
	for _, c := range s.configured {
		t := s.tables[c.Name]
		if t == nil || t.halted || t.version.at > w.lsn {
			continue // a relation message brought a later reading
		}
		cat := w.tables[c.Name]
		if cat == nil {
			if err := s.drop(t); err != nil {
				return err
			}
			continue
		}
		key, err := cat.check(c)
		var next *version
		if err == nil {
			next, err = s.types.build(ctx, conn, s.who, c, cat.described(), key, cat, t.version)
		}
		if err != nil {
			if err := s.refused(ctx, t, cat, err); err != nil {
				return err
			}
			continue
		}
		next.at = w.lsn
		since := schemas.Position{}
		why, differ := s.differ(ctx, cat, t.version, next)
		if differ {
			since = pos
		}
		if err := s.adopt(t, next, since, why); err != nil {
			return err
		}
	}
	return nil
}

// drop says that a table is gone. Should one come back under its name, the
// version that follows has a since.
func (s *Source) drop(t *captured) error {
	if t.version.state.Halted != "" {
		return nil
	}
	next := *t.version
	next.state.Halted = "dropped"
	t.version = &next
	v, err := next.announce(schemas.Position{})
	if err != nil {
		return err
	}
	v.Dropped = true
	s.pending = append(s.pending, v)
	return nil
}

// refused halts a table that can no longer be captured, and takes it out of
// the publication, where it would make its own updates fail. cat is nil if the
// catalog has nothing against the table. Other errors come back.
func (s *Source) refused(ctx context.Context, t *captured, cat *catalogTable, err error) error {
	var h *producers.HaltError
	if !errors.As(err, &h) || h.Table == "" {
		return err
	}
	if conn, err := s.side.get(ctx); err == nil && cat != nil && cat.PubRel != 0 {
		_ = unpublish(ctx, conn, s.publication, cat) // the next Open tries again, and says why it cannot
	}
	return s.halt(t, h)
}
