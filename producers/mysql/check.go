package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-sql-driver/mysql"

	"millrace/producers"
)

var errNoBinlog = errors.New("the server writes no binlog (log_bin is off)")

// snapshotAgain is the cure for a log that does not continue.
const snapshotAgain = "changes may be missing: " + producers.BeginAgain

func halt(err error, hint string) error { return &producers.HaltError{Err: err, Hint: hint} }

// server is what Open learns about the server.
type server struct {
	id       uint32
	uuid     string // of MySQL
	account  string // as whom the server knows the user
	cascades bool   // the binlog carries what foreign keys change
	status   logStatus
}

// inspect checks that the server logs what the source needs.
func inspect(ctx context.Context, db *sql.DB, kind dialect, addr string) (server, error) {
	s, faults, err := examine(ctx, db, kind, addr)
	if err == nil && len(faults) > 0 {
		err = joinHalts(faults)
	}
	return s, err
}

// examine is what the server is, and all that a person must change of it.
func examine(ctx context.Context, db *sql.DB, kind dialect, addr string) (s server, faults []error, err error) {
	var format, image, metadata string
	var on bool
	err = db.QueryRowContext(ctx, `SELECT @@server_id, CURRENT_USER(), @@global.log_bin, @@global.binlog_format, @@global.binlog_row_image`).
		Scan(&s.id, &s.account, &on, &format, &image)
	if err != nil {
		return s, nil, connectError(err, addr)
	}
	if err := db.QueryRowContext(ctx, `SELECT @@global.binlog_row_metadata`).Scan(&metadata); err != nil {
		return s, nil, halt(fmt.Errorf("read binlog_row_metadata of %s: %w", addr, err), "this source captures "+kind.versions())
	}
	more, err := kind.settings(ctx, db, &s)
	if err != nil {
		return s, nil, err
	}
	if !on {
		faults = append(faults, halt(fmt.Errorf("%s: %w", addr, errNoBinlog),
			"add log_bin and server_id to the [mysqld] section of its configuration and restart it"))
	}
	for _, v := range append([]setting{
		{"binlog_format", format, "ROW"},
		{"binlog_row_image", image, "FULL"},
		{"binlog_row_metadata", metadata, "FULL"},
	}, more...) {
		if v.value != v.want {
			faults = append(faults, halt(fmt.Errorf("%s has %s=%s", addr, v.name, v.value),
				fmt.Sprintf("SET GLOBAL %s = '%s', put it into the server's configuration, and let open sessions reconnect", v.name, v.want)))
		}
	}
	if s.id == 0 {
		faults = append(faults, halt(fmt.Errorf("%s has server_id=0", addr), "SET GLOBAL server_id = 1, and put it into the server's configuration"))
	}
	if !on {
		return s, faults, nil
	}
	if s.status, err = kind.status(ctx, db); err != nil {
		err = privilegeError(err, s.account, kind.monitor()+" ON *.*")
		var h *producers.HaltError
		if errors.As(err, &h) {
			return s, append(faults, err), nil
		}
	}
	return s, faults, err
}

// joinHalts makes one HaltError of several, so that a person cures all at once.
func joinHalts(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	var hints []string
	for _, err := range faults {
		var h *producers.HaltError
		if errors.As(err, &h) {
			hints = append(hints, h.Hint)
		}
	}
	return halt(errors.Join(faults...), strings.Join(hints, "; "))
}

// codeOf is the server's error number in err, of either client library.
func codeOf(err error) uint16 {
	var sqlErr *mysql.MySQLError
	if errors.As(err, &sqlErr) {
		return sqlErr.Number
	}
	var binlogErr *gomysql.MyError
	if errors.As(err, &binlogErr) {
		return binlogErr.Code
	}
	return 0
}

// connectError says which faults of a connection only a person can cure. A
// server that cannot be reached may come back, so that is no HaltError.
func connectError(err error, addr string) error {
	connect := fmt.Errorf("connect to %s: %w", addr, err)
	switch codeOf(err) {
	case gomysql.ER_ACCESS_DENIED_ERROR:
		return halt(connect, "correct user and password in dsn, or create the user and grant it its privileges")
	case gomysql.ER_DBACCESS_DENIED_ERROR:
		return halt(connect, "correct the database in dsn, or leave it out; or grant the user SELECT on it")
	case gomysql.ER_BAD_DB_ERROR:
		return halt(connect, "correct the database in dsn, or leave it out")
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return fmt.Errorf("%w; check host and port in dsn, and that the server runs", connect)
	}
	for _, garbled := range []error{
		context.DeadlineExceeded, os.ErrDeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, driver.ErrBadConn,
		mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrPktSyncMul, mysql.ErrInvalidConn, mysql.ErrBusyBuffer,
	} {
		if errors.Is(err, garbled) {
			return fmt.Errorf("%w: what listens there does not speak MariaDB's or MySQL's protocol, or is too slow; check host and port in dsn", connect)
		}
	}
	return connect
}

// privilegeError makes a missing privilege a HaltError with its GRANT.
func privilegeError(err error, account, privilege string) error {
	switch codeOf(err) {
	case gomysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, gomysql.ER_ACCESS_DENIED_ERROR,
		gomysql.ER_TABLEACCESS_DENIED_ERROR, gomysql.ER_COLUMNACCESS_DENIED_ERROR:
		return halt(err, fmt.Sprintf("GRANT %s TO %s", privilege, quoteAccount(account)))
	}
	return err
}

func quoteAccount(account string) string {
	user, host, _ := strings.Cut(account, "@")
	return quoteName(user) + "@" + quoteName(host)
}

// inLog checks that the log filters of the server leave the table in.
func (s server) inLog(schema, table string) error {
	list := func(text string) []string { return strings.Split(text, ",") }
	if s.status.only != "" && !slices.Contains(list(s.status.only), schema) ||
		s.status.except != "" && slices.Contains(list(s.status.except), schema) {
		return &producers.HaltError{
			Table: schema + "." + table,
			Err:   fmt.Errorf("the server leaves database %q out of its binlog", schema),
			Hint:  "change binlog_do_db or binlog_ignore_db in the server's configuration and restart it",
		}
	}
	return nil
}

// continues checks that the log of the server still holds the place where the
// token was made, with the same history before it. A number that was given away
// again after a reset, a purged file or another server is a gap (G12).
func (s server) continues(ctx context.Context, q querier, kind dialect, t token, at place) error {
	var other error
	switch {
	case t.ServerUUID != s.uuid:
		other = fmt.Errorf("resume at %s: the log belongs to the server %q, and this is %q", at, t.ServerUUID, s.uuid)
	case s.uuid == "" && t.ServerID != s.id:
		other = fmt.Errorf("resume at %s: the log belongs to server_id %d, and this is %d", at, t.ServerID, s.id)
	}
	if other != nil {
		return halt(other,
			"connect to the server that was captured before; if another one took its place, "+snapshotAgain)
	}
	if at.base() != s.status.end.base() {
		return halt(fmt.Errorf("resume at %s: the binlog is called %s now", at, s.status.end.base()), snapshotAgain)
	}
	if s.status.end.compare(at) < 0 {
		return halt(fmt.Errorf("resume at %s: the binlog ends at %s, before it: it was reset, or this is a restored server, or a crash that lost the log's end", at, s.status.end),
			snapshotAgain+"; sync_binlog=1 keeps the log's end over a crash")
	}
	first, err := firstFile(ctx, q)
	if err != nil {
		return privilegeError(err, s.account, kind.monitor()+" ON *.*")
	}
	if first.number > at.number {
		return halt(fmt.Errorf("resume at %s: the server purged it, the oldest file is %s", at, first.file),
			snapshotAgain+"; a greater binlog_expire_logs_seconds keeps files longer")
	}
	return kind.continues(ctx, q, t, at)
}

func firstFile(ctx context.Context, q querier) (place, error) {
	rows, err := q.QueryContext(ctx, `SHOW BINARY LOGS`)
	if err != nil {
		return place{}, fmt.Errorf("list the binlog's files: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns() // MySQL's are three
	if err != nil {
		return place{}, fmt.Errorf("list the binlog's files: %w", err)
	}
	var file string
	into := []any{&file, new(any), new(any)}
	if rows.Next() {
		if err := rows.Scan(into[:len(columns)]...); err != nil {
			return place{}, fmt.Errorf("list the binlog's files: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return place{}, fmt.Errorf("list the binlog's files: %w", err)
	}
	return parsePlace(file, 4)
}

// streamError says what ended the binlog's stream.
func streamError(err error, account string) error {
	err = fmt.Errorf("read the binlog: %w", err)
	switch codeOf(err) {
	case gomysql.ER_MASTER_FATAL_ERROR_READING_BINLOG:
		return halt(err, snapshotAgain)
	case gomysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, gomysql.ER_ACCESS_DENIED_ERROR:
		return privilegeError(err, account, "REPLICATION SLAVE ON *.*")
	}
	return err
}
