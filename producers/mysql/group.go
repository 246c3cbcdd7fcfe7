package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/replication"

	"millrace/producers"
)

// group is the transaction that the stream stands in: an event group, from its
// GTID to XID, COMMIT or, if it stands alone, its one statement. MariaDB says in
// the GTID whether it does; in MySQL it does unless BEGIN comes first.
type group struct {
	open       bool
	standalone bool
	prepared   bool // XA: its rows are not committed here
	gtid       gtid
	id         string // of gtid
	tsUs       int64
	order      int64             // of the last change
	first      int               // where its changes begin in the batch
	sent       bool              // changes of it left with a batch before
	touched    map[*tracked]bool // the tables of those changes
}

// process takes one event. It reports hold, and has done nothing, if the batch
// must be handed over before the event.
func (s *source) process(ctx context.Context, e *replication.BinlogEvent) (hold bool, err error) {
	defer func() {
		if r := recover(); r != nil { // the library cuts events without checking their length
			err = halt(fmt.Errorf("the event after %s cannot be read: %v", s.log.at, r), "the binlog is damaged, or newer than this source: "+snapshotAgain)
		}
	}()
	before := s.log.at
	if e.Header.LogPos != 0 && e.Header.EventType != replication.ROTATE_EVENT && e.Header.EventType != replication.HEARTBEAT_EVENT {
		s.log.at = s.log.at.widen(e.Header.LogPos)
	}
	switch event := e.Event.(type) {
	case *replication.RotateEvent:
		return false, s.rotate(event)
	case *replication.FormatDescriptionEvent:
		s.describe(e, event)
		return false, nil
	}
	if s.log.at.compare(s.log.skip) <= 0 {
		return false, nil
	}
	switch event := e.Event.(type) {
	case *replication.MariadbGTIDEvent:
		s.begin(gtid{domain: event.GTID.DomainID, server: event.GTID.ServerID, seq: event.GTID.SequenceNumber}, int64(e.Header.Timestamp)*1e6)
		s.group.standalone, s.group.prepared = event.IsStandalone(), event.Flags&flagPreparedXA != 0
	case *replication.GTIDEvent:
		s.beginMySQL(e, event)
	case *replication.GtidTaggedLogEvent:
		s.beginMySQL(e, &event.GTIDEvent)
	case *replication.TableMapEvent:
		if !s.group.open {
			return false, halt(fmt.Errorf("the stream began in the middle of a transaction, at %s: the log was replaced", before), snapshotAgain)
		}
		hold, err = s.mapTable(ctx, e, event)
	case *replication.RowsEvent:
		err = s.rows(e, event)
	case *replication.QueryEvent:
		hold, err = s.query(ctx, event)
	case *replication.XIDEvent:
		s.end()
	case *replication.MariadbGTIDListEvent, *replication.PreviousGTIDsEvent:
		s.log.listed = true
	case *replication.BeginLoadQueryEvent, *replication.ExecuteLoadQueryEvent:
		err = s.opaque("LOAD DATA")
	default:
		switch e.Header.EventType {
		case replication.XA_PREPARE_LOG_EVENT:
			s.end()
		case replication.INCIDENT_EVENT:
			err = halt(fmt.Errorf("the server reports at %s that its binlog lost events", s.log.at), snapshotAgain)
		}
	}
	switch {
	case hold:
		s.log.at = before
	case !s.group.open && s.log.listed: // the head of a file, and what follows it between transactions
		s.bound()
	}
	return hold, err
}

// rotate follows the log into the next file. A file also begins so when the
// stream does.
func (s *source) rotate(e *replication.RotateEvent) error {
	next, err := parsePlace(string(e.NextLogName), e.Position)
	if err != nil {
		return err
	}
	if next.number != s.log.at.number {
		s.log.at = next
	}
	return nil
}

// describe takes up the head of a file. A group that is open there was never
// finished: the server crashed while it wrote it, and rolled it back.
func (s *source) describe(e *replication.BinlogEvent, event *replication.FormatDescriptionEvent) {
	s.log.checksum = event.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32
	s.log.head = e.Header.Timestamp
	if s.log.at.number == s.log.boundary.number {
		return
	}
	s.log.listed = false
	s.abandon()
	s.group = group{first: len(s.out.Changes)}
}

// abandon takes back the changes of a transaction that was not committed. The
// tables of what was sent before are snapshotted again.
func (s *source) abandon() {
	if !s.group.open {
		return
	}
	s.out.Changes = s.out.Changes[:s.group.first]
	for t := range s.group.touched {
		if t.live() {
			v := t.version()
			v.Since = s.log.at.position(s.epoch, 1)
			s.announce(v)
		}
	}
}

func (s *source) begin(g gtid, tsUs int64) {
	s.group = group{open: true, gtid: g, id: g.String(), tsUs: tsUs, first: len(s.out.Changes)}
	if s.group.id == "" {
		s.group.id = s.log.at.String()
	}
	clear(s.maps)
}

func (s *source) beginMySQL(e *replication.BinlogEvent, event *replication.GTIDEvent) {
	at := int64(event.OriginalCommitTimestamp)
	if at == 0 {
		at = int64(e.Header.Timestamp) * 1e6
	}
	s.begin(gtid{origin: originOf(event.SID, event.Tag.String()), seq: uint64(event.GNO)}, at)
	s.group.standalone = true
}

func (s *source) end() {
	if s.group.open {
		s.log.gtids.add(s.group.gtid)
	}
	s.bound()
	s.group = group{first: len(s.out.Changes)}
}

// bound makes the end of the last event a place between two transactions.
func (s *source) bound() { s.log.boundary, s.log.created = s.log.at, s.log.head }

func (s *source) mapTable(ctx context.Context, e *replication.BinlogEvent, event *replication.TableMapEvent) (hold bool, err error) {
	t := s.tables[string(event.Schema)+"."+string(event.Table)]
	s.maps[event.TableID] = t
	if t == nil || !t.live() {
		return false, nil
	}
	body := s.body(e)
	if len(body) < 6 {
		return false, errShortRow
	}
	return s.tableMap(ctx, t, event, body[6:]) // without the number, which changes by itself
}

// body is an event without its header and checksum.
func (s *source) body(e *replication.BinlogEvent) []byte {
	body := e.RawData[replication.EventHeaderSize:]
	if s.log.checksum {
		body = body[:len(body)-replication.BinlogChecksumLength]
	}
	return body
}

// query takes a statement of the log.
func (s *source) query(ctx context.Context, e *replication.QueryEvent) (hold bool, err error) {
	what := classify(string(e.Query), string(e.Schema))
	type step struct {
		t      *tracked
		effect effect
	}
	var steps []step
	for _, a := range what.acts {
		for _, t := range s.tables {
			if t.live() && (a.table == t.id() || a.table == "" && a.db == t.schema) {
				steps = append(steps, step{t, a.effect})
			}
		}
	}
	if len(steps) > 0 && steps[0].effect != effectTruncate && len(s.out.Changes) > 0 {
		return true, nil
	}
	if what.opaque {
		return false, s.opaque(string(e.Query))
	}
	for _, step := range steps {
		if !step.t.live() {
			continue
		}
		if err := s.apply(ctx, step.t, step.effect, s.log.at); err != nil {
			return false, err
		}
	}
	if what.begin {
		s.group.standalone, s.group.prepared = false, s.group.prepared || what.prepares
	}
	switch {
	case what.rollback:
		s.abandon()
	case what.partial && (s.group.sent || len(s.out.Changes) > s.group.first):
		return false, halt(fmt.Errorf("a transaction at %s rolls back a part that the binlog does not mark", s.log.at),
			"it mixes captured tables with temporary or non-transactional ones: keep them apart; "+snapshotAgain)
	}
	if what.commit || what.rollback || s.group.standalone || !s.group.open {
		s.end()
	}
	return false, nil
}

// opaque refuses a statement that may have changed any table.
func (s *source) opaque(query string) error {
	if len(query) > 120 {
		query = query[:120] + "…"
	}
	return halt(fmt.Errorf("the binlog holds at %s only the statement %q, not the rows that it changed", s.log.at, query),
		"a session or the server writes with binlog_format STATEMENT or MIXED: set it to ROW; "+snapshotAgain)
}

// rows takes the rows that one event changed.
func (s *source) rows(e *replication.BinlogEvent, event *replication.RowsEvent) error {
	t := s.maps[event.TableID]
	if t == nil || !t.live() || t.layout == nil {
		return nil
	}
	if s.group.prepared {
		return halt(fmt.Errorf("an XA transaction prepared changes of %s at %s; whether and where they are committed, the rows do not say", t.id(), s.log.at),
			"XA transactions are not captured: write to captured tables without them; "+snapshotAgain)
	}
	if e.Header.EventType == replication.PARTIAL_UPDATE_ROWS_EVENT {
		s.haltTable(t, t.haltError(fmt.Errorf("an update at %s carries only the parts of its JSON that changed", s.log.at),
			"a session or the server writes with binlog_row_value_options PARTIAL_JSON: set it to '', then restart millrace: the table is then snapshotted again"))
		return nil
	}
	r, err := s.openRows(e, t.layout)
	if err != nil {
		return fmt.Errorf("read the rows of %s at %s: %w", t.id(), s.log.at, err)
	}
	if !r.full {
		s.haltTable(t, t.haltError(fmt.Errorf("a row at %s does not carry every column", s.log.at),
			"a session writes with a binlog_row_image that is not FULL: set it to FULL, then restart millrace: the table is then snapshotted again"))
		return nil
	}
	s.bytes += len(e.RawData)
	for len(r.data) > 0 {
		if err := s.row(t, r); err != nil {
			var h *producers.HaltError
			if errors.As(err, &h) {
				s.haltTable(t, err)
				return nil
			}
			return fmt.Errorf("read the rows of %s at %s: %w", t.id(), s.log.at, err)
		}
	}
	return nil
}
