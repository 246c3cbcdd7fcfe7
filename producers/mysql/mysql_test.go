package mysql_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"millrace/internal/testkit"
	"millrace/producers/mysql"
	"millrace/schemas"
)

// GTIDs come with tags, or not at all; a token of each resumes.
func TestMySQLResumesWithAnyGTIDs(t *testing.T) {
	srv := testkit.MySQL(t)
	c := newCapture(t, mysql97, srv.CreateDatabase("gtids"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)")
	c.open()
	c.ready()
	c.exec("SET SESSION gtid_next = 'AUTOMATIC:blue'", "INSERT INTO t VALUES (1)", "SET SESSION gtid_next = 'AUTOMATIC'")
	c.sync()
	if ch := c.of("t"); !strings.Contains(ch[0].TxID, ":blue:1") {
		t.Errorf("transaction %q", ch[0].TxID)
	}
	if token := string(c.checkpoint().Token); !strings.Contains(token, ":blue:1") {
		t.Errorf("token %s", token)
	}
	c.reopen(c.checkpoint())
	for _, mode := range []string{"ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"} {
		c.exec("SET GLOBAL gtid_mode = " + mode)
	}
	c.exec("INSERT INTO t VALUES (2)")
	c.sync()
	rows, chunk, err := c.chunk(c.checkpoint().Tables[c.name("t")].Table, nil, 10)
	if err != nil || len(rows) != 2 || c.text("t") != "c:2" || c.of("t")[0].TxID == "" {
		t.Fatalf("without GTIDs: %d rows, %v, changes %s", len(rows), err, c.text("t"))
	}
	if last := c.changes[len(c.changes)-1].Position; chunk.ReadPoint.Less(last) {
		t.Errorf("read point %v below %v", chunk.ReadPoint, last)
	}
	c.reopen(c.checkpoint())
	c.exec("INSERT INTO t VALUES (3)")
	c.sync()
	if got := c.text("t"); got != "c:3" {
		t.Errorf("resumed: %s", got)
	}
}

// While others write, a chunk shows exactly what the log holds up to its read
// point, found without a lock or by one.
func TestMySQLReadPointsBesideWriters(t *testing.T) {
	for _, args := range [][]string{{"--gtid-mode=ON"}, {"--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"}} {
		t.Run(args[0], func(t *testing.T) {
			srv := testkit.MySQL(t, args...)
			c := newCapture(t, mysql97, srv.CreateDatabase("busy"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 0)")
			c.open()
			c.ready()
			table := c.versionsOf("t")[0].Table
			var writers sync.WaitGroup
			var stop atomic.Bool
			for range 4 {
				writers.Go(func() {
					for !stop.Load() {
						if _, err := c.db.Exec("UPDATE t SET v = v + 1"); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			type shown struct {
				at schemas.Position
				v  int64
			}
			var chunks []shown
			for range 20 {
				rows, chunk, err := c.chunk(table, nil, 10)
				if err != nil || len(rows) != 1 {
					t.Errorf("%d rows, %v", len(rows), err)
					break
				}
				chunks = append(chunks, shown{chunk.ReadPoint, rows[0].After[1].Int})
			}
			stop.Store(true)
			writers.Wait()
			c.sync()
			for _, s := range chunks {
				v := int64(0)
				for _, ch := range c.of("t") {
					if !s.at.Less(ch.Position) {
						v = ch.After[1].Int
					}
				}
				if v != s.v {
					t.Errorf("at %v the log says %d, the chunk shows %d", s.at, v, s.v)
				}
			}
		})
	}
}

// A table that an open transaction holds cannot be locked; once that ends, it
// can, and without the privilege it is said which one.
func TestMySQLLockWaitsForWriters(t *testing.T) {
	srv := testkit.MySQL(t, "--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
	c := newCapture(t, mysql97, srv.CreateDatabase("held"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)",
		"CREATE USER cdc@'%' IDENTIFIED BY 'x'", "GRANT REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN, SELECT ON *.* TO cdc@'%'")
	c.cfg.DSN = "mysql://cdc:x@" + srv.Addr() + "/"
	c.open()
	c.ready()
	table := c.versionsOf("t")[0].Table
	_, _, err := c.chunk(table, nil, 10)
	wantHalt(t, err, "", "LOCK TABLES")
	c.exec("GRANT LOCK TABLES ON held.* TO cdc@'%'")
	c.reopen(c.checkpoint())
	holder, err := c.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec("INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	var waits sync.WaitGroup
	waits.Go(func() {
		for {
			var n int
			if err := c.db.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock'").Scan(&n); err != nil || n > 0 {
				break
			}
		}
		if err := holder.Commit(); err != nil {
			t.Error(err)
		}
	})
	rows, _, err := c.chunk(table, nil, 10)
	waits.Wait()
	if err != nil || len(rows) != 1 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// MySQL's way to check passwords asks for the server's key over plain TCP, and
// for nothing under TLS; for the sessions and for the stream.
func TestMySQLPasswords(t *testing.T) {
	srv := testkit.MySQL(t)
	dsn := srv.CreateDatabase("login")
	for _, query := range []string{"?tls=false", "?tls=skip-verify"} {
		user := strings.NewReplacer("?", "", "=", "", "-", "").Replace(query)
		c := newCapture(t, mysql97, dsn, []mysql.Table{{Name: "t"}}, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id INT PRIMARY KEY)",
			fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED WITH caching_sha2_password BY 'a long pass word'", user),
			fmt.Sprintf("GRANT REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN, SELECT ON *.* TO %s@'%%'", user))
		c.cfg.DSN = "mysql://" + user + ":a%20long%20pass%20word@" + srv.Addr() + "/" + query
		c.open()
		c.ready()
		c.exec("INSERT INTO t VALUES (1)")
		c.sync()
		if c.text("t") != "c:1" {
			t.Errorf("%s: %s", query, c.text("t"))
		}
		c.close()
		c.exec("DROP TABLE fence")
	}
}

// Columns that no statement needs to name, or that no table shows, come as the
// snapshot reads them; instant changes of columns too.
func TestMySQLHiddenColumns(t *testing.T) {
	c := newCapture(t, mysql97, testkit.MySQLDatabase(t), []mysql.Table{{Name: "t"}, {Name: "keyless"}},
		"CREATE TABLE t (id INT PRIMARY KEY, a INT, gone INT, g INT AS (a * 2) VIRTUAL, h INT AS (a * 3) STORED, i INT INVISIBLE, j JSON, KEY f ((a + 1)), KEY m ((CAST(j AS UNSIGNED ARRAY))))",
		"SET SESSION sql_generate_invisible_primary_key = ON", "CREATE TABLE keyless (v INT)", "SET SESSION sql_generate_invisible_primary_key = OFF",
		"INSERT INTO t (id, a, i, j) VALUES (1, 5, 6, '[1]')")
	c.open()
	c.ready()
	c.exec("UPDATE t SET a = 7", "ALTER TABLE t ADD COLUMN b INT DEFAULT 9, ALGORITHM=INSTANT", "UPDATE t SET i = 8",
		"ALTER TABLE t DROP COLUMN gone, ALGORITHM=INSTANT", "UPDATE t SET a = 10", "INSERT INTO keyless (v) VALUES (3)")
	c.sync()
	if len(c.halts) > 0 || c.columnsOf("t") != "id,a,g,h,i,j,b" || c.text("keyless") != "c:\x01:3" {
		t.Fatalf("halts %v, columns %s, keyless %s", c.halts, c.columnsOf("t"), c.text("keyless"))
	}
	vs := c.versionsOf("t")
	if last := vs[len(vs)-1]; last.Since.IsZero() {
		t.Error("after a column with a default its rows are not read again")
	}
	table := vs[len(vs)-1].Table
	rows, _, err := c.chunk(table, nil, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	changes := c.of("t")
	last := changes[len(changes)-1]
	for i, want := range []string{"1", "10", "20", "30", "8", "[1]", "9"} {
		if got := cell(rows[0].After[i], table.Columns[i]); got != want {
			t.Errorf("column %d of the snapshot is %s, want %s", i, got, want)
		}
		if got := cell(last.After[i], table.Columns[i]); got != want {
			t.Errorf("column %d of the stream is %s, want %s", i, got, want)
		}
	}
}

// What a foreign key changes is in the log, unless the engine does it itself.
func TestMySQLCascades(t *testing.T) {
	family := []string{
		"CREATE TABLE parent (a INT PRIMARY KEY)",
		"CREATE TABLE child (a INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent (a) ON DELETE CASCADE)",
		"INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (1, 1), (2, 1)",
	}
	c := newCapture(t, mysql97, testkit.MySQLDatabase(t), []mysql.Table{{Name: "child"}}, family...)
	c.open()
	c.ready()
	c.exec("DELETE FROM parent")
	c.sync()
	if got := c.text("child"); got != "d:1:1 d:2:1" || len(c.halts) > 0 {
		t.Errorf("changes %s, halts %v", got, c.halts)
	}
	srv := testkit.MySQL(t, "--innodb-native-foreign-keys=ON")
	c = newCapture(t, mysql97, srv.CreateDatabase("native"), []mysql.Table{{Name: "child"}}, family...)
	c.open()
	if len(c.halts) != 1 {
		t.Fatalf("halts: %v", c.halts)
	}
	wantHalt(t, c.halts[0], "native.child", "foreign key fk")
}

func TestMySQLSettingsThatHidePartsAreRefused(t *testing.T) {
	srv := testkit.MySQL(t, "--binlog-row-value-options=PARTIAL_JSON")
	c := newCapture(t, mysql97, srv.CreateDatabase("partial"), nil)
	wantHalt(t, c.tryOpen(), "", "binlog_row_value_options=PARTIAL_JSON", "SET GLOBAL binlog_row_value_options = ''")
}

// CREATE TABLE … SELECT is one transaction of a statement and rows.
func TestMySQLCreateSelect(t *testing.T) {
	c := captureT(t, mysql97, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	c.exec("DROP TABLE t", "CREATE TABLE t (PRIMARY KEY (id)) SELECT 2 AS id UNION SELECT 3")
	c.sync()
	vs := c.versionsOf("t")
	if last := vs[len(vs)-1]; last.Dropped || last.Since.IsZero() {
		t.Errorf("version %+v", last)
	}
	rows, _, err := c.chunk(vs[len(vs)-1].Table, nil, 10)
	if err != nil || len(rows) != 2 || !strings.HasSuffix(c.text("t"), "c:2 c:3") {
		t.Errorf("%d rows, %v, changes %s", len(rows), err, c.text("t"))
	}
}
