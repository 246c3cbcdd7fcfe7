package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/producers/mysql"
	"millrace/producers/sourcetest"
)

// family is one of the servers that the tests run on.
type family struct {
	name     string
	server   func(t testing.TB, args ...string) *testkit.Server // of the test's own
	database func(t testing.TB) string                          // on a shared one
	compress []string                                           // what makes it compress its binlog
	types    func() []sourcetest.TypeCase
	status   string // the statement that tells where the binlog ends
	reset    string
	monitor  string // the privilege to read the binlog's status
	metadata string // binlog_row_metadata that does not name the columns
}

var (
	mariadb = family{
		name: "mariadb", server: testkit.MariaDB, database: testkit.MariaDBDatabase,
		compress: []string{"--log-bin-compress=ON", "--log-bin-compress-min-len=10"},
		types:    mariadbTypes, status: "SHOW MASTER STATUS", reset: "RESET MASTER",
		monitor: "BINLOG MONITOR", metadata: "NO_LOG",
	}
	mysql97 = family{
		name: "mysql", server: testkit.MySQL, database: testkit.MySQLDatabase,
		compress: []string{"--binlog-transaction-compression=ON"},
		types:    mysqlTypes, status: "SHOW BINARY LOG STATUS", reset: "RESET BINARY LOGS AND GTIDS",
		monitor: "REPLICATION CLIENT", metadata: "MINIMAL",
	}
)

// onBoth runs a test on MariaDB and on MySQL, beside each other: mostly it waits.
func onBoth(t *testing.T, test func(t *testing.T, f family)) {
	for _, f := range []family{mariadb, mysql97} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}

func TestSource(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
			return harness(t, f, f.database(t))
		})
	})
}

func TestSourceWithCompressedLog(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t, f.compress...)
		n := 0
		sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
			n++
			h := harness(t, f, srv.CreateDatabase(fmt.Sprintf("suite%d", n)))
			h.Kill = func(testing.TB) { srv.Kill(); srv.Start() }
			return h
		})
	})
}

// harness is a database as the conformance suite wants it.
func harness(t *testing.T, f family, dsn string) *sourcetest.Harness {
	db := testkit.Open(t, dsn)
	name := dsn[strings.LastIndexByte(dsn, '/')+1:]
	var conn *sql.Conn
	t.Cleanup(func() {
		if conn != nil {
			_ = conn.Close()
		}
	})
	session := func(t testing.TB) *sql.Conn {
		c, err := db.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return &sourcetest.Harness{
		Exec: func(t testing.TB, stmts ...string) {
			t.Helper()
			if conn != nil && conn.PingContext(t.Context()) != nil { // the server was killed
				_ = conn.Close()
				conn = nil
			}
			if conn == nil {
				conn = session(t)
			}
			for _, stmt := range stmts {
				if _, err := conn.ExecContext(t.Context(), stmt); err != nil {
					t.Fatalf("%s: %v", stmt, err)
				}
			}
		},
		Session: func(t testing.TB) func(string) error {
			c := session(t)
			t.Cleanup(func() { _ = c.Close() })
			return func(stmt string) error {
				_, err := c.ExecContext(context.Background(), stmt)
				return err
			}
		},
		Rows: func(t testing.TB, table string, columns ...string) []string {
			t.Helper()
			return rowsOf(t, db, table, columns...)
		},
		ID: func(table string) string { return name + "." + table },
		Config: func(tables ...string) producers.Config {
			cfg := &mysql.Config{DSN: dsn}
			for _, table := range tables {
				cfg.Tables = append(cfg.Tables, mysql.Table{Name: name + "." + table})
			}
			return cfg
		},
		Types:   append(typeCases(), f.types()...),
		BigType: "LONGTEXT",
	}
}

func rowsOf(t testing.TB, db *sql.DB, table string, columns ...string) []string {
	t.Helper()
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = "COALESCE(CAST(`" + c + "` AS CHAR), 'NULL')"
	}
	rows, err := db.QueryContext(t.Context(), "SELECT CONCAT_WS('|', "+strings.Join(texts, ", ")+") FROM `"+table+"` ORDER BY `"+columns[0]+"`")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
