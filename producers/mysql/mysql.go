package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// mysqlDialect is MySQL's SQL, its GTIDs, and a snapshot whose place in the
// binlog must be found out.
type mysqlDialect struct{}

func (mysqlDialect) flavour() string  { return gomysql.MySQLFlavor }
func (mysqlDialect) versions() string { return "MySQL 8.4 or newer" }
func (mysqlDialect) monitor() string  { return "REPLICATION CLIENT" }

func (mysqlDialect) session(readOnly bool) map[string]string {
	out := map[string]string{
		"transaction_isolation": "'REPEATABLE-READ'", "max_execution_time": "0",
		// the binlog carries generated keys, so the catalog is to show them
		"show_gipk_in_create_table_and_information_schema": "ON",
	}
	if readOnly {
		out["transaction_read_only"] = "1"
	}
	return out
}

func (mysqlDialect) settings(ctx context.Context, q querier, s *server) ([]setting, error) {
	partial := setting{name: "binlog_row_value_options"}
	var native sql.NullString
	if err := q.QueryRowContext(ctx, `SELECT @@server_uuid, @@global.binlog_row_value_options`).
		Scan(&s.uuid, &partial.value); err != nil {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	// Since 9.6 cascades are changes like all others, unless this turns it off.
	err := q.QueryRowContext(ctx, `SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'`).Scan(new(string), &native)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	s.cascades = native.String == "OFF"
	return []setting{partial}, nil
}

func (mysqlDialect) status(ctx context.Context, q querier) (logStatus, error) {
	var gtids string
	st, err := scanStatus(ctx, q, `SHOW BINARY LOG STATUS`, &gtids)
	st.gtids = gtids
	return st, err
}

func (mysqlDialect) parseGTIDs(text string) (gtidSet, error) { return parseGTIDRanges(text) }

// continues proves by the server's history that the log was not reset; that the
// file is the same one, its time of creation proves.
func (mysqlDialect) continues(ctx context.Context, q querier, t token, at place) error {
	var executed string
	var contained bool
	if err := q.QueryRowContext(ctx, `SELECT @@global.gtid_executed, GTID_SUBSET(?, @@global.gtid_executed)`, t.GTIDs).Scan(&executed, &contained); err != nil {
		return fmt.Errorf("compare the executed GTIDs: %w", err)
	}
	if !contained {
		return halt(fmt.Errorf("resume at %s: the server has executed the GTIDs %q, and had %q: the log was reset or replaced", at, executed, t.GTIDs), snapshotAgain)
	}
	return nil
}

func (mysqlDialect) collations() string {
	return `SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS`
}

// jsonColumns has nothing to add: JSON is a type of its own.
func (mysqlDialect) jsonColumns() string {
	return `SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND DATA_TYPE = 'json'`
}

// A transaction is in MySQL's binlog before it is visible, and nothing tells
// where a snapshot stands between the two. So the snapshot is taken at a moment
// when they agree: tries without a lock find one unless the server is busy, and
// then the table is locked for as long as the snapshot needs to begin.
const (
	freeTries = 30
	lockTries = 20
	lockWait  = time.Second // writers queue behind a lock that waits
)

func (d mysqlDialect) snapshot(ctx context.Context, db *sql.DB, conn *sql.Conn, table string) (place, error) {
	for range freeTries {
		at, ok, err := d.tryFree(ctx, conn)
		if err != nil || ok {
			return at, err
		}
	}
	for try := 1; ; try++ {
		at, err := d.snapshotLocked(ctx, db, conn, table)
		if codeOf(err) != gomysql.ER_LOCK_WAIT_TIMEOUT || try == lockTries {
			return at, err
		}
		select { // let pass who waited behind the lock
		case <-time.After(lockWait):
		case <-ctx.Done():
			return place{}, ctx.Err()
		}
	}
}

// tryFree takes a snapshot and reports whether it shows exactly what the binlog
// held: before it no transaction was between binlog and engine, because one
// that is owns a GTID, and after it the binlog had not grown. Without GTIDs
// there is no telling.
func (d mysqlDialect) tryFree(ctx context.Context, conn *sql.Conn) (place, bool, error) {
	before, err := d.status(ctx, conn)
	if err != nil {
		return place{}, false, err
	}
	var gtids bool
	var owned string
	if err := conn.QueryRowContext(ctx, `SELECT @@global.gtid_mode = 'ON', @@global.gtid_owned`).Scan(&gtids, &owned); err != nil {
		return place{}, false, fmt.Errorf("read the owned GTIDs: %w", err)
	}
	if !gtids || owned != "" {
		return place{}, false, nil
	}
	if err := startSnapshot(ctx, conn); err != nil {
		return place{}, false, err
	}
	after, err := d.status(ctx, conn)
	if err == nil && after.end == before.end {
		return before.end, true, nil
	}
	if _, failed := conn.ExecContext(ctx, `ROLLBACK`); err == nil && failed != nil {
		err = fmt.Errorf("give up a snapshot: %w", failed)
	}
	return place{}, false, err
}

// snapshotLocked takes the snapshot while nobody writes to the table. A writer
// holds the table until its transaction is visible, so what the binlog has of
// it the snapshot shows.
func (d mysqlDialect) snapshotLocked(ctx context.Context, db *sql.DB, conn *sql.Conn, table string) (at place, err error) {
	locker, err := db.Conn(ctx)
	if err != nil {
		return place{}, fmt.Errorf("lock %s: %w", table, err)
	}
	defer locker.Close()
	defer func() { // whatever happened, the lock ends with its connection
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		for _, stmt := range []string{`UNLOCK TABLES`, `SET SESSION lock_wait_timeout = DEFAULT`} {
			if _, failed := locker.ExecContext(ctx, stmt); failed != nil {
				_ = locker.Raw(func(any) error { return driver.ErrBadConn })
				return
			}
		}
	}()
	for _, stmt := range []string{fmt.Sprintf(`SET SESSION lock_wait_timeout = %d`, int(lockWait.Seconds())), `LOCK TABLES ` + table + ` READ`} {
		_, err := locker.ExecContext(ctx, stmt)
		if err != nil {
			err = fmt.Errorf("lock %s: %w", table, err)
		}
		if codeOf(err) == gomysql.ER_DBACCESS_DENIED_ERROR {
			err = halt(err, "grant the user LOCK TABLES on the table's database")
		}
		if err != nil {
			return place{}, err
		}
	}
	if err := startSnapshot(ctx, conn); err != nil {
		return place{}, err
	}
	st, err := d.status(ctx, locker)
	return st.end, err
}
