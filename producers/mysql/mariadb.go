package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// What is MariaDB's own: the names of things in its SQL, its GTIDs, and the
// consistent snapshot that knows its place in the binlog. MySQL differs in all
// of it, and in little else.

// flavour is the server's name in package replication.
const flavour = gomysql.MariaDBFlavor

const (
	// collationsQuery names the character set of every collation. The plain
	// table of collations leaves out the newer ones.
	collationsQuery = `SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL`

	// jsonColumnsQuery names the columns declared as JSON: text with a check.
	jsonColumnsQuery = `SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS
		WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ? AND LEVEL = 'Column'
		AND CHECK_CLAUSE = CONCAT('json_valid(', CHAR(96), REPLACE(CONSTRAINT_NAME, CHAR(96), REPEAT(CHAR(96), 2)), CHAR(96), ')')`

	statusQuery = `SHOW MASTER STATUS`

	// flagPreparedXA, in a group's GTID event, says that it ends in XA PREPARE.
	flagPreparedXA = 0x40
)

// monitorPrivilege lets a user read the binlog's status.
const monitorPrivilege = "BINLOG MONITOR"

// logStatus is where the binlog ends, and which databases it leaves out.
type logStatus struct {
	end          place
	only, except string
}

func readStatus(ctx context.Context, q querier) (logStatus, error) {
	var st logStatus
	var file string
	var pos uint64
	err := q.QueryRowContext(ctx, statusQuery).Scan(&file, &pos, &st.only, &st.except)
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

// gtidsAt is the last GTID of each domain at a place of the binlog. It reports
// false if the place is not the end of a group.
func gtidsAt(ctx context.Context, q querier, at place) (gtidSet, bool, error) {
	var text sql.NullString
	if err := q.QueryRowContext(ctx, `SELECT BINLOG_GTID_POS(?, ?)`, at.file, at.pos).Scan(&text); err != nil {
		return nil, false, fmt.Errorf("read the GTIDs at %s: %w", at, err)
	}
	if !text.Valid {
		return nil, false, nil
	}
	set, err := parseGTIDs(text.String)
	return set, true, err
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

// beginSnapshot opens a consistent snapshot on conn, without a lock, and says
// which place of the binlog it shows: all transactions up to it, none behind.
func beginSnapshot(ctx context.Context, conn *sql.Conn) (place, error) {
	if _, err := conn.ExecContext(ctx, `START TRANSACTION WITH CONSISTENT SNAPSHOT`); err != nil {
		return place{}, fmt.Errorf("start a consistent snapshot: %w", err)
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
