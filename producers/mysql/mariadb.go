package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// mariadbDialect is MariaDB's SQL, its GTIDs, and the consistent snapshot that
// knows its place in the binlog.
type mariadbDialect struct{}

// flagPreparedXA, in a group's GTID event, says that it ends in XA PREPARE.
const flagPreparedXA = 0x40

func (mariadbDialect) flavour() string  { return gomysql.MariaDBFlavor }
func (mariadbDialect) versions() string { return "MariaDB 10.5 or newer" }
func (mariadbDialect) monitor() string  { return "BINLOG MONITOR" }

func (mariadbDialect) session(readOnly bool) map[string]string {
	out := map[string]string{"tx_isolation": "'REPEATABLE-READ'", "max_statement_time": "0"}
	if readOnly {
		out["tx_read_only"] = "1"
	}
	return out
}

func (mariadbDialect) settings(context.Context, querier, *server) ([]setting, error) {
	return nil, nil
}

func (mariadbDialect) status(ctx context.Context, q querier) (logStatus, error) {
	st, err := scanStatus(ctx, q, `SHOW MASTER STATUS`)
	if err != nil {
		return st, err
	}
	st.gtids, _, err = mariadbGTIDsAt(ctx, q, st.end)
	return st, err
}

// mariadbGTIDsAt is the last GTID of each domain at a place of the binlog. It
// reports false if the place is not the end of a group.
func mariadbGTIDsAt(ctx context.Context, q querier, at place) (string, bool, error) {
	var text sql.NullString
	if err := q.QueryRowContext(ctx, `SELECT BINLOG_GTID_POS(?, ?)`, at.file, at.pos).Scan(&text); err != nil {
		return "", false, fmt.Errorf("read the GTIDs at %s: %w", at, err)
	}
	return text.String, text.Valid, nil
}

func (mariadbDialect) parseGTIDs(text string) (gtidSet, error) { return parseLastGTIDs(text) }

func (d mariadbDialect) continues(ctx context.Context, q querier, t token, at place) error {
	want, err := d.parseGTIDs(t.GTIDs)
	if err != nil {
		return fmt.Errorf("parse resume token: %w", err)
	}
	text, ok, err := mariadbGTIDsAt(ctx, q, at)
	if err != nil {
		return err
	}
	got, err := d.parseGTIDs(text)
	if err != nil {
		return err
	}
	if !ok || got.String() != want.String() {
		return halt(fmt.Errorf("resume at %s: the GTIDs there are %q, and were %q: the log was reset or replaced", at, got, want), snapshotAgain)
	}
	return nil
}

// snapshot takes no lock: the server says where its snapshot stands.
func (mariadbDialect) snapshot(ctx context.Context, _ *sql.DB, conn *sql.Conn, _ string) (place, error) {
	if err := startSnapshot(ctx, conn); err != nil {
		return place{}, err
	}
	rows, err := conn.QueryContext(ctx, `SHOW STATUS LIKE 'binlog\_snapshot\_%'`)
	if err != nil {
		return place{}, fmt.Errorf("read the snapshot's place in the binlog: %w", err)
	}
	defer rows.Close()
	status := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return place{}, fmt.Errorf("read the snapshot's place in the binlog: %w", err)
		}
		status[name] = value
	}
	if err := rows.Err(); err != nil {
		return place{}, fmt.Errorf("read the snapshot's place in the binlog: %w", err)
	}
	pos, err := strconv.ParseUint(status["Binlog_snapshot_position"], 10, 64)
	if err != nil {
		return place{}, fmt.Errorf("read the snapshot's place in the binlog: %w", err)
	}
	return parsePlace(status["Binlog_snapshot_file"], pos)
}

// collations names the character set of every collation. The plain table of
// collations leaves out the newer ones.
func (mariadbDialect) collations() string {
	return `SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL`
}

// jsonColumns are text with a check.
func (mariadbDialect) jsonColumns() string {
	return `SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS
		WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ? AND LEVEL = 'Column'
		AND CHECK_CLAUSE = CONCAT('json_valid(', CHAR(96), REPLACE(CONSTRAINT_NAME, CHAR(96), REPEAT(CHAR(96), 2)), CHAR(96), ')')`
}
