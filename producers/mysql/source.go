package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"millrace/producers"
	"millrace/schemas"
)

// A batch is cut at the end of a transaction once it holds batchRows or
// batchBytes, or nothing more waits. A transaction larger than hugeRows or
// hugeBytes is handed over in pieces (G13).
const (
	batchRows  = 4096
	batchBytes = 2 << 20
	hugeRows   = 4 * batchRows
	hugeBytes  = 4 * batchBytes

	tick = time.Second // how often an idle source speaks
)

// source reads one server. The fields below stream belong to Next.
type source struct {
	cfg     *Config
	env     producers.Env
	epoch   uint32
	db      *sql.DB
	kind    dialect
	server  server
	catalog *catalog
	stream  *stream

	tables map[string]*tracked // by database.table
	log    log
	group  group
	seqAt  place // where seq counts
	seq    uint32
	maps   map[uint64]*tracked // the tables that a group's TABLE_MAPs named

	values   converter
	keyA     []byte // scratch of sameKey
	keyB     []byte
	out      producers.Batch
	bytes    int
	returned bool // out was handed over and is to be emptied
	held     *replication.BinlogEvent
	failed   error // what ended the stream; it does not go on

	probe  probe
	ripe   bool      // the stream passed the last probe, and its answers wait
	probed time.Time // when the last probe was taken, by our clock
	spoken time.Time // the greatest Complete.Time so far

	readPointTaken func() // a test's, between a chunk's read point and its rows
}

// log is where the stream stands.
type log struct {
	at       place // the end of the last event
	boundary place // the last place between two transactions
	gtids    gtidSet
	created  uint32 // when the file of boundary was made
	head     uint32 // when the file of at was made
	listed   bool   // the file of at has told its GTIDs: before that, no place in it can be resumed at
	skip     place  // what ends at or below it was sent
	checksum bool   // events end in four bytes of checksum
}

// probe is a moment of the server's clock and where the binlog ended just
// after it.
type probe struct {
	taken bool
	time  time.Time
	end   place
}

func open(ctx context.Context, cfg *Config, from producers.Start, env producers.Env) (_ producers.Source, err error) {
	d, db, kind, err := cfg.connect(ctx, false)
	if err != nil {
		return nil, err
	}
	s := &source{
		cfg: cfg, env: env, epoch: from.Epoch, db: db, kind: kind,
		tables: map[string]*tracked{}, maps: map[uint64]*tracked{}, probed: time.Now(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.db.SetConnMaxIdleTime(time.Minute)
	if s.server, err = inspect(ctx, s.db, kind, d.Addr); err != nil {
		return nil, err
	}
	if s.catalog, err = readCatalog(ctx, s.db, kind); err != nil {
		return nil, err
	}
	if err := s.locate(ctx, from); err != nil {
		return nil, err
	}
	if err := s.takeTables(ctx, from); err != nil {
		return nil, err
	}
	if s.stream, err = openStream(d, kind.flavour(), cfg.replicaID(env), s.log.boundary); err != nil {
		return nil, streamError(err, s.server.account)
	}
	return s, s.firstFile(ctx)
}

// locate finds the place to begin at: where the token says, or the log's end.
func (s *source) locate(ctx context.Context, from producers.Start) error {
	if from.Token == "" {
		s.log.boundary = s.server.status.end
		s.log.at = s.log.boundary
		var err error
		s.log.gtids, err = s.kind.parseGTIDs(s.server.status.gtids)
		return err
	}
	t, at, err := parseToken(from.Token)
	if err != nil {
		return err
	}
	if err := s.server.continues(ctx, s.db, s.kind, t, at); err != nil {
		return err
	}
	if s.log.gtids, err = s.kind.parseGTIDs(t.GTIDs); err != nil {
		return err
	}
	s.log.boundary, s.log.created, s.log.at = at, t.Created, at
	if at.pos > 1<<32-1 { // the stream begins at the file's head
		s.log.skip, s.log.at = at, place{file: at.file, number: at.number, pos: 4}
	}
	return nil
}

// takeTables compares the configured tables with those of the checkpoint. What
// is new, or was halted, is snapshotted; everything else is as it was at the
// token, and the log tells what became of it.
func (s *source) takeTables(ctx context.Context, from producers.Start) error {
	fresh := false
	for _, cfg := range s.cfg.Tables {
		schema, name, _ := cfg.split()
		t := &tracked{cfg: cfg, schema: schema, name: name, stale: true}
		v, known := from.Tables[t.id()]
		if known {
			t.table = v.Table
			if err := json.Unmarshal(v.State, &t.state); len(v.State) > 0 && err != nil {
				return fmt.Errorf("read the state of %s: %w", t.id(), err)
			}
		}
		if known && from.Token != "" && t.state.Halted == "" {
			s.tables[t.id()] = t
			if t.state.Dropped { // people are told while it is
				s.announce(t.version())
			}
			continue
		}
		fresh = true
		if err := s.takeTable(ctx, t, known); err != nil {
			return err
		}
	}
	if !fresh {
		return nil
	}
	n, err := preparedXA(ctx, s.db)
	if err != nil {
		return s.xaError(err)
	}
	if n > 0 {
		return halt(fmt.Errorf("%d prepared XA transactions are open: a snapshot would not hold their rows, and the binlog does not repeat them", n),
			"XA RECOVER lists them: XA COMMIT or XA ROLLBACK each, then restart millrace")
	}
	return nil
}

// takeTable takes up a table as it is now. After a gap, what was known of it no
// longer holds. A table that cannot be captured is reported and left out.
func (s *source) takeTable(ctx context.Context, t *tracked, gap bool) error {
	next, forms, err := s.presentTable(ctx, t)
	var h *producers.HaltError
	if errors.As(err, &h) {
		h.Table = t.id()
		s.env.Halt(h)
		return nil
	}
	if err != nil {
		return err
	}
	t.table, t.state = next, tableState{Forms: forms}
	s.tables[t.id()] = t
	v := t.version()
	if gap {
		v.Since = s.log.boundary.after(s.epoch)
	}
	s.announce(v)
	return nil
}

func (s *source) presentTable(ctx context.Context, t *tracked) (*schemas.Table, map[string]form, error) {
	if err := s.server.inLog(t.schema, t.name); err != nil {
		return nil, nil, err
	}
	// A table that the user may not read does not show in the catalog.
	_, err := s.db.ExecContext(ctx, `DO (SELECT 1 FROM `+quoteTable(t.schema, t.name)+` LIMIT 0)`)
	if codeOf(err) == gomysql.ER_NO_SUCH_TABLE || codeOf(err) == gomysql.ER_BAD_DB_ERROR {
		return nil, nil, t.haltError(err, "create it, or correct its name in the configuration, which is database.table in the server's own case")
	}
	if err != nil {
		return nil, nil, privilegeError(fmt.Errorf("read %s: %w", t.id(), err), s.server.account, "SELECT ON "+quoteTable(t.schema, t.name))
	}
	def, err := s.catalog.define(ctx, s.db, t.schema, t.name)
	if err != nil {
		return nil, nil, err
	}
	sh, err := s.shape(def, t.cfg)
	if err != nil {
		return nil, nil, err
	}
	next, err := s.renewed(t, sh)
	return next, def.forms(), err
}

// firstFile reads up to the description of the file in which the stream begins,
// so that faults of the start are faults of Open. The file's creation time
// proves that it is the file of the token: its name, its size and even its GTIDs
// repeat after the log was reset.
func (s *source) firstFile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for s.log.head == 0 {
		e, err := s.stream.next(ctx, nil)
		if err != nil {
			return streamError(err, s.server.account)
		}
		if _, err := s.process(ctx, e); err != nil {
			return err
		}
	}
	if s.log.created != 0 && s.log.created != s.log.head {
		made := func(at uint32) string { return time.Unix(int64(at), 0).UTC().Format(time.DateTime) }
		return halt(fmt.Errorf("resume at %s: the file was made at %s, and the one read before at %s: the log was reset",
			s.log.boundary, made(s.log.head), made(s.log.created)), snapshotAgain)
	}
	s.log.created, s.log.listed = s.log.head, true
	return nil
}

// Ack does nothing: the server keeps its binlog by its own rules, and nobody
// can tell it what was read.
func (s *source) Ack(context.Context, schemas.Token) error { return nil }

// Close ends the stream and every connection, and waits for them.
func (s *source) Close() error {
	if s.stream != nil {
		s.stream.close()
		s.stream = nil
	}
	_ = s.db.Close() // its only errors are of connections that the server has closed before
	return nil
}

func (s *source) xaError(err error) error {
	if codeOf(err) == gomysql.ER_XAER_RMERR {
		return halt(err, "GRANT XA_RECOVER_ADMIN ON *.* TO "+quoteAccount(s.server.account))
	}
	return err
}

// preparedXA counts the XA transactions that are prepared and not yet decided.
func preparedXA(ctx context.Context, q querier) (int, error) {
	rows, err := q.QueryContext(ctx, `XA RECOVER`)
	if err != nil {
		return 0, fmt.Errorf("list prepared XA transactions: %w", err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
