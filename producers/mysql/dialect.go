package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// dialect is what differs between the two servers.
type dialect interface {
	flavour() string // the server's name in package replication
	versions() string
	monitor() string // the privilege to read the binlog's status

	// session is what every SQL session of the source sets.
	session(readOnly bool) map[string]string
	// settings reads what the server must have set, beside what both have, and
	// completes what is known of it.
	settings(ctx context.Context, q querier, s *server) ([]setting, error)
	status(ctx context.Context, q querier) (logStatus, error)
	parseGTIDs(text string) (gtidSet, error)
	// continues checks that the log up to a place is the one of the token.
	continues(ctx context.Context, q querier, t token, at place) error
	// snapshot opens a consistent snapshot on conn and says which place of the
	// binlog it shows of a table: all changes up to it, none behind.
	snapshot(ctx context.Context, db *sql.DB, conn *sql.Conn, table string) (place, error)

	collations() string
	jsonColumns() string // the columns of a table that are JSON and called otherwise
}

// setting is a variable of the server and the value that it must have.
type setting struct{ name, value, want string }

// logStatus is where the binlog ends, and which databases it leaves out.
type logStatus struct {
	end          place
	only, except string
	gtids        string // of all that was committed by then
}

// dialectOf tells the servers apart by their version.
func dialectOf(version, addr string) (dialect, error) {
	if strings.Contains(version, "MariaDB") {
		return mariadbDialect{}, nil
	}
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n == 2 && err == nil && (major > 8 || major == 8 && minor >= 4) {
		return mysqlDialect{}, nil
	}
	return nil, halt(fmt.Errorf("the server at %s is version %s", addr, version),
		"this source captures "+mysqlDialect{}.versions()+" and "+mariadbDialect{}.versions())
}

// connect finds out which server it is, and prepares sessions for it.
func (c *Config) connect(ctx context.Context, readOnly bool) (_ *mysql.Config, _ *sql.DB, _ dialect, err error) {
	d, err := c.driver()
	if err != nil {
		return nil, nil, nil, err
	}
	first, err := openDB(d)
	if err != nil {
		return nil, nil, nil, err
	}
	var version string
	err = first.QueryRowContext(ctx, `SELECT VERSION()`).Scan(&version)
	_ = first.Close() // its one connection has answered
	if err != nil {
		return nil, nil, nil, connectError(err, d.Addr)
	}
	kind, err := dialectOf(version, d.Addr)
	if err != nil {
		return nil, nil, nil, err
	}
	for name, value := range kind.session(readOnly) {
		d.Params[name] = value
	}
	db, err := openDB(d)
	return d, db, kind, err
}

func openDB(d *mysql.Config) (*sql.DB, error) {
	connector, err := mysql.NewConnector(d)
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// scanStatus reads the row that tells where the binlog ends.
func scanStatus(ctx context.Context, q querier, query string, more ...any) (logStatus, error) {
	var st logStatus
	var file string
	var pos uint64
	err := q.QueryRowContext(ctx, query).Scan(append([]any{&file, &pos, &st.only, &st.except}, more...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return st, errNoBinlog
	}
	if err == nil {
		st.end, err = parsePlace(file, pos)
	}
	if err != nil {
		return st, fmt.Errorf("read the binlog's status: %w", err)
	}
	return st, nil
}

func startSnapshot(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `START TRANSACTION WITH CONSISTENT SNAPSHOT`); err != nil {
		return fmt.Errorf("start a consistent snapshot: %w", err)
	}
	return nil
}
