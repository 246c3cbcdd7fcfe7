package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"millrace/producers"
	"millrace/schemas"
)

// slotBusyFor is how long Open waits for the slot of an owner that died: the
// server may not have seen it yet.
const slotBusyFor = 10 * time.Second

const minVersion = 130000 // publish_via_partition_root

// server is what Open asks the server first.
type server struct {
	version   int
	walLevel  string
	standby   bool
	role      string
	database  string
	blockSize int64
}

// Open connects, checks, and resumes behind from.Token. The order of its
// effects: the publication before the slot, because a slot that is behind the
// making of its publication cannot be read; the slot before any version, so
// that nothing between is missed.
func (c *Config) Open(ctx context.Context, from producers.Start, env producers.Env) (_ producers.Source, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	name, err := slotName(env.Prefix, env.Source)
	if err != nil {
		return nil, err
	}
	s := &Source{
		dsn: c.DSN, publication: name, env: env, epoch: from.Epoch, configured: c.Tables,
		side: &side{dsn: c.DSN}, types: &types{info: map[uint32]typeInfo{}},
		tables: map[string]*captured{}, relations: map[uint32]*relation{}, stop: func() {},
	}
	defer func() {
		if err != nil {
			s.side.close()
		}
	}()
	conn, err := s.side.get(ctx)
	if err != nil {
		return nil, err
	}
	srv, err := inspect(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.blockSize = uint64(srv.blockSize) //nolint:gosec // 8192
	s.who = identityNow{source: env.Source, db: srv.database, topic: env.Topic}

	repl, buffer, err := dialReplication(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeNow(repl)
		}
	}()
	sys, err := pglogrepl.IdentifySystem(ctx, repl)
	if err != nil {
		return nil, fmt.Errorf("identify the server: %w", err)
	}
	s.token = token{System: sys.SystemID, Timeline: sys.Timeline}
	if from.Token != "" {
		if s.token, err = resume(ctx, conn, from.Token, s.token); err != nil {
			return nil, err
		}
	}
	cats, err := s.publishAll(ctx, conn)
	if err != nil {
		return nil, err
	}
	if from.Token != "" {
		err = checkSlot(ctx, conn, name, srv.database, s.token.lsn)
	} else {
		s.token.lsn, err = newSlot(ctx, conn, repl, name)
	}
	if err != nil {
		return nil, err
	}
	if err := s.firstVersions(ctx, conn, from, cats); err != nil {
		return nil, err
	}
	s.passed = s.token.lsn
	s.complete.Pos = schemas.Position{Epoch: s.epoch, Major: s.passed}
	s.snapshots = &snapshots{dsn: c.DSN, slot: name, epoch: s.epoch, configured: c.Tables, types: s.types, publication: name, wait: slotWait}
	if err := s.start(ctx, repl); err != nil {
		return nil, err
	}
	if s.wire, err = newWire(repl, buffer); err != nil {
		return nil, err
	}
	beat, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() { s.wire.heartbeat(beat, heartbeatEvery) })
	return s, nil
}

func closeNow(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// inspect refuses a server whose log cannot be read.
func inspect(ctx context.Context, conn *pgx.Conn) (server, error) {
	var s server
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(),
		current_user::text, current_database()::text, current_setting('wal_block_size')::int8`).
		Scan(&s.version, &s.walLevel, &s.standby, &s.role, &s.database, &s.blockSize)
	switch {
	case err != nil:
		return s, fmt.Errorf("read the server's settings: %w", err)
	case s.version < minVersion:
		return s, &producers.HaltError{Err: fmt.Errorf("the server's version is %d", s.version/10000), Hint: "PostgreSQL 13 or newer is needed"}
	case s.standby:
		return s, &producers.HaltError{Err: errors.New("the server is a standby"), Hint: "name the primary in the dsn"}
	case s.walLevel != "logical":
		return s, &producers.HaltError{
			Err:  fmt.Errorf("wal_level is %s: the log does not hold rows", s.walLevel),
			Hint: "ALTER SYSTEM SET wal_level = 'logical', then restart the server",
		}
	}
	return s, nil
}

// resume accepts the token if the server's log is the one that it belongs to.
func resume(ctx context.Context, q querier, text schemas.Token, now token) (token, error) {
	t, err := parseToken(text)
	if err != nil {
		return t, err
	}
	const again = "point the dsn back at the old server; or, to go on with this one, " + producers.BeginAgain
	if t.System != now.System {
		return t, &producers.HaltError{Err: fmt.Errorf("the checkpoint belongs to the server with system id %s, and this one has %s", t.System, now.System), Hint: again}
	}
	if t.Timeline != now.Timeline {
		return t, &producers.HaltError{Err: fmt.Errorf("the checkpoint lies on timeline %d, and the server is on %d: it was promoted or restored", t.Timeline, now.Timeline), Hint: again}
	}
	end, err := walEnd(ctx, q)
	if err != nil {
		return t, err
	}
	if t.lsn > end {
		return t, &producers.HaltError{Err: fmt.Errorf("the checkpoint is at %s, and the server's log ends at %s: it was restored", t.LSN, pglogrepl.LSN(end)), Hint: again}
	}
	return t, nil
}

// publishAll checks every configured table and publishes those that can be
// captured. The others are reported.
func (s *Source) publishAll(ctx context.Context, conn *pgx.Conn) (map[string]*catalogTable, error) {
	cats, err := readCatalog(ctx, conn, s.publication, s.configured)
	if err != nil {
		return nil, err
	}
	var wanted []*catalogTable
	var faults []error
	for _, c := range s.configured {
		cat := cats[c.Name]
		err := error(missing(c))
		if cat != nil {
			_, err = cat.check(c)
		}
		var h *producers.HaltError
		if errors.As(err, &h) {
			delete(cats, c.Name)
			faults = append(faults, h)
			if s.env.Halt != nil {
				s.env.Halt(h)
			}
			continue
		}
		wanted = append(wanted, cat)
	}
	if len(wanted) == 0 {
		return nil, &producers.HaltError{Err: errors.Join(faults...), Hint: "no table is left to capture"}
	}
	if err := publish(ctx, conn, s.publication, wanted); err != nil {
		return nil, err
	}
	after, err := readCatalog(ctx, conn, s.publication, s.configured)
	if err != nil {
		return nil, err
	}
	for id := range after {
		if cats[id] == nil {
			delete(after, id)
		}
	}
	return after, nil
}

// slotState is what pg_replication_slots says.
type slotState struct {
	plugin, database, status, invalid string
	active                            bool
	pid                               int
	confirmed                         uint64
}

func readSlot(ctx context.Context, conn *pgx.Conn, name string) (*slotState, error) {
	var s slotState
	var confirmed string
	err := conn.QueryRow(ctx, `SELECT coalesce(plugin, ''), coalesce(database, ''), coalesce(to_jsonb(s)->>'wal_status', ''),
		coalesce(to_jsonb(s)->>'invalidation_reason', ''), active, coalesce(active_pid, 0), coalesce(confirmed_flush_lsn, '0/0')::text
		FROM pg_replication_slots s WHERE slot_name = $1`, name).
		Scan(&s.plugin, &s.database, &s.status, &s.invalid, &s.active, &s.pid, &confirmed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read slot %s: %w", name, err)
	}
	lsn, err := pglogrepl.ParseLSN(confirmed)
	s.confirmed = uint64(lsn)
	return &s, err
}

// idleSlot reads the slot, and waits for one that is in use: the server may
// not have seen yet that its owner died.
func idleSlot(ctx context.Context, conn *pgx.Conn, name string) (*slotState, error) {
	for deadline := time.Now().Add(slotBusyFor); ; {
		slot, err := readSlot(ctx, conn, name)
		if err != nil || slot == nil || !slot.active {
			return slot, err
		}
		if time.Now().After(deadline) {
			return nil, slotInUse(name, slot.pid)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// slotInUse names the harmless cure first: to end the process of a slot takes the
// log away from whoever reads it rightly.
func slotInUse(name string, pid int) error {
	return fmt.Errorf("slot %s is in use by the server's process %d: if another Millrace of this prefix and source name reads this database, "+
		"give this one another prefix: or source name; if none runs, its producer died unseen: SELECT pg_terminate_backend(%d)", name, pid, pid)
}

// checkSlot refuses a slot from which the log behind the token does not come
// whole.
func checkSlot(ctx context.Context, conn *pgx.Conn, name, database string, from uint64) error {
	slot, err := idleSlot(ctx, conn, name)
	if err != nil {
		return err
	}
	halted := func(format string, args ...any) error {
		return &producers.HaltError{Err: fmt.Errorf("slot %s "+format, append([]any{name}, args...)...), Hint: lostHint}
	}
	switch {
	case slot == nil:
		return halted("does not exist any more")
	case slot.plugin != "pgoutput" || slot.database != database:
		return halted("belongs to plugin %q and database %q", slot.plugin, slot.database)
	case slot.status == "lost" || slot.invalid != "":
		return halted("has lost its log (%s %s)", slot.status, slot.invalid)
	case slot.confirmed > from:
		return halted("is ahead: it was acknowledged up to %s, and the checkpoint is at %s", pglogrepl.LSN(slot.confirmed), pglogrepl.LSN(from))
	}
	return nil
}

// newSlot makes the slot from which everything from now on is read. One that
// is there belongs to a start that made no checkpoint, or to a history that is
// being given up: every table is snapshotted.
func newSlot(ctx context.Context, conn *pgx.Conn, repl *pgconn.PgConn, name string) (uint64, error) {
	slot, err := idleSlot(ctx, conn, name)
	if err != nil {
		return 0, err
	}
	if slot != nil {
		if err := pglogrepl.DropReplicationSlot(ctx, repl, name, pglogrepl.DropReplicationSlotOptions{}); err != nil {
			return 0, fmt.Errorf("drop the old slot %s: %w", name, err)
		}
	}
	lsn, _, err := createSlot(ctx, repl, name, false, slotWait)
	return lsn, err
}

// firstVersions restores the versions of Start, and makes those of tables that
// are new, that were halted, or that were not published for a while.
func (s *Source) firstVersions(ctx context.Context, conn *pgx.Conn, from producers.Start, cats map[string]*catalogTable) error {
	end, err := walEnd(ctx, conn)
	if err != nil {
		return err
	}
	s.opened = end
	for _, c := range s.configured {
		cat := cats[c.Name]
		if cat == nil {
			continue
		}
		t := &captured{config: c}
		if v, ok := from.Tables[c.Name]; ok && v.Table != nil {
			if t.version, err = loadVersion(v); err != nil {
				return err
			}
			if from.Token != "" && t.version.state.Halted == "" && t.version.state.PubRel == cat.PubRel {
				s.tables[c.Name] = t
				continue // the log says what else changed, and where
			}
		}
		key, err := cat.check(c)
		var next *version
		if err == nil {
			next, err = s.types.build(ctx, conn, s.who, c, cat.described(), key, cat, t.version)
		}
		var h *producers.HaltError
		switch {
		case errors.As(err, &h) && h.Table != "":
			if s.env.Halt != nil {
				s.env.Halt(h)
			}
			continue
		case err != nil:
			return err
		}
		next.at = end
		since := schemas.Position{}
		if t.version != nil {
			since = schemas.Position{Epoch: s.epoch, Major: end}
		}
		next.state.Since = schemas.MaxPosition(next.state.Since, since)
		v, err := next.announce(since)
		if err != nil {
			return err
		}
		t.version = next
		s.tables[c.Name] = t
		s.pending = append(s.pending, v)
	}
	s.configured = slices.DeleteFunc(slices.Clone(s.configured), func(c TableConfig) bool { return s.tables[c.Name] == nil })
	return nil
}

// start begins the stream behind the token.
func (s *Source) start(ctx context.Context, repl *pgconn.PgConn) error {
	err := pglogrepl.StartReplication(ctx, repl, s.publication, pglogrepl.LSN(s.token.lsn), pglogrepl.StartReplicationOptions{
		Mode:       pglogrepl.LogicalReplication,
		PluginArgs: []string{"proto_version '1'", "publication_names '" + s.publication + "'"},
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("start replication from slot %s at %s: %w", s.publication, pglogrepl.LSN(s.token.lsn), err)
	if code(err) == codeInUse {
		return err // another producer was faster; this one may try again
	}
	return s.explain(err)
}
