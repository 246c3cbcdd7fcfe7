package mysql_test

import (
	"maps"
	"strings"
	"testing"

	"millrace/producers/mysql"
	"millrace/schemas"
)

func captureT(t *testing.T, f family, table mysql.Table, stmts ...string) *capture {
	t.Helper()
	table.Name = "t"
	c := newCapture(t, f, f.database(t), []mysql.Table{table}, stmts...)
	c.open()
	c.ready()
	return c
}

// columnsOf are the names of the newest version's columns.
func (c *capture) columnsOf(table string) string {
	vs := c.versionsOf(table)
	var out []string
	for _, col := range vs[len(vs)-1].Table.Columns {
		out = append(out, col.Name)
	}
	return strings.Join(out, ",")
}

// A table that nobody writes to shows its DDL too, once the log is drained.
func TestIdleTableShowsItsDDL(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY) COMMENT 'old'", "INSERT INTO t VALUES (1)")
		c.exec("ALTER TABLE t ADD COLUMN a INT COMMENT 'why'")
		c.until("the new column", func() bool { return c.columnsOf("t") == "id,a" })
		if v := c.versionsOf("t")[1]; !v.Since.IsZero() || v.Table.Columns[1].Description != "why" || v.Table.Description != "old" {
			t.Errorf("version %+v of %+v", v, v.Table)
		}
		c.exec("ALTER TABLE t ADD COLUMN b INT NOT NULL DEFAULT 7, COMMENT = 'new'")
		c.until("the rewritten table", func() bool { return c.columnsOf("t") == "id,a,b" })
		if v := c.versionsOf("t")[2]; v.Since.IsZero() || v.Table.Description != "new" {
			t.Errorf("version %+v of %+v", v, v.Table)
		}
	})
}

// What renames and swaps do to a table: gone, or another one under its name.
func TestDropRenameAndSwap(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
		c.exec("INSERT INTO t VALUES (1, 1)", "DROP TABLE t")
		c.sync()
		if v := c.versionsOf("t"); !v[len(v)-1].Dropped {
			t.Fatalf("after DROP: %+v", v)
		}
		at := c.checkpoint()
		c.exec("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (2, 2)")
		c.sync()
		vs := c.versionsOf("t")
		back := vs[len(vs)-1]
		if ch := c.of("t"); back.Dropped || back.Since.IsZero() || !ch[0].Position.Less(back.Since) || ch[1].Position.Less(back.Since) {
			t.Fatalf("after CREATE: %+v; changes %s", back, c.text("t"))
		}
		// The checkpoint in between knows that the table is gone.
		c.reopen(at)
		c.sync()
		if vs := c.versionsOf("t"); len(vs) != 1 || vs[0].Dropped || vs[0].Since != back.Since {
			t.Fatalf("after a crash: %+v, want since %v", vs, back.Since)
		}
		n := len(c.versionsOf("t"))
		c.exec("CREATE TABLE IF NOT EXISTS t (x INT)", "CREATE TABLE next (id INT PRIMARY KEY, v INT)", "INSERT INTO next VALUES (3, 3)",
			"RENAME TABLE t TO old, next TO t", "INSERT INTO t VALUES (4, 4)", "INSERT INTO old VALUES (5, 5)")
		c.sync()
		if vs := c.versionsOf("t"); len(vs) <= n || vs[len(vs)-1].Since.IsZero() || vs[len(vs)-1].Dropped {
			t.Fatalf("after the swap: %+v", vs)
		}
		if got := c.text("t"); got != "c:2:2 c:4:4" {
			t.Fatalf("changes %s", got)
		}
		// People are to be told that it is gone after a restart too.
		c.exec("DROP TABLE t")
		c.sync()
		c.reopen(c.checkpoint())
		c.sync()
		if vs := c.versionsOf("t"); len(vs) != 1 || !vs[0].Dropped {
			t.Fatalf("after a restart: %+v", vs)
		}
	})
}

func TestChangedKeyIsANewGeneration(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL)", "INSERT INTO t VALUES (1, 1)")
		c.exec("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (v, id)", "UPDATE t SET id = 2")
		c.sync()
		vs := c.versionsOf("t")
		v := vs[len(vs)-1].Table
		if v.Generation != 2 || !strings.HasSuffix(v.Topic, ".2") || len(v.Key) != 2 || v.Columns[v.Key[0]].Name != "v" {
			t.Fatalf("generation %d, topic %s, key %v", v.Generation, v.Topic, v.Key)
		}
		since := schemas.Position{}
		for _, v := range vs {
			since = schemas.MaxPosition(since, v.Since)
		}
		if since.IsZero() {
			t.Error("the new generation is not snapshotted")
		}
		if got := c.text("t"); got != "d:1:1 c:2:1" {
			t.Errorf("changes %s", got)
		}
		c.exec("ALTER TABLE t DROP PRIMARY KEY")
		c.halted("t", "no primary key")
	})
}

// What the stream cannot follow halts its table; the others go on; and the next
// start takes the table up again with a new snapshot, because it missed changes.
func TestWhatHaltsATable(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		type fault struct {
			stmts []string
			cure  []string
			words []string
		}
		faults := map[string]fault{
			"statement": {
				[]string{"SET SESSION binlog_format = STATEMENT", "INSERT INTO t (id) VALUES (2)", "SET SESSION binlog_format = ROW"},
				nil,
				[]string{"the binlog holds only the statement", "ROW"},
			},
			"row image": {
				[]string{"SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET v = 5", "SET SESSION binlog_row_image = FULL"},
				nil,
				[]string{"does not carry every column", "FULL"},
			},
			"zero date": {
				[]string{"SET SESSION sql_mode = ''", "INSERT INTO t (id, d) VALUES (2, '0000-00-00')"},
				[]string{"UPDATE t SET d = NULL"},
				[]string{"id=2", `column "d"`, "0000-00-00", "zero_dates: null"},
			},
			"invalid date": {
				[]string{"SET SESSION sql_mode = 'ALLOW_INVALID_DATES'", "INSERT INTO t (id, d) VALUES (2, '2026-02-31')"},
				[]string{"UPDATE t SET d = NULL"},
				[]string{"id=2", "2026-02-31"},
			},
			"text": {
				[]string{"SET SESSION sql_mode = ''", "INSERT INTO t (id, c) VALUES (2, x'81')"},
				[]string{"UPDATE t SET c = NULL"},
				[]string{"id=2", `column "c"`, "81", "cp1250"},
			},
		}
		own := map[string]fault{
			"JSON": {
				[]string{"SET SESSION check_constraint_checks = 0", "INSERT INTO t (id, j) VALUES (2, '{')"},
				[]string{"UPDATE t SET j = NULL"},
				[]string{"id=2", "not JSON"},
			},
			"versioning": {
				[]string{"ALTER TABLE t ADD SYSTEM VERSIONING"},
				[]string{"ALTER TABLE t DROP SYSTEM VERSIONING"},
				[]string{"system-versioned"},
			},
		}
		if f.name == "mysql" {
			own = map[string]fault{"partial JSON": {
				[]string{"UPDATE t SET j = JSON_OBJECT('a', REPEAT('x', 100), 'b', 1)", "SET SESSION binlog_row_value_options = PARTIAL_JSON", "UPDATE t SET j = JSON_SET(j, '$.b', 2)", "SET SESSION binlog_row_value_options = ''"},
				nil,
				[]string{"only the parts of its JSON", "binlog_row_value_options"},
			}}
		}
		maps.Copy(faults, own)
		for name, w := range faults {
			t.Run(name, func(t *testing.T) {
				c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY, v INT, d DATETIME, c VARCHAR(9) CHARACTER SET cp1250, j JSON)", "INSERT INTO t (id) VALUES (1)")
				c.exec(w.stmts...)
				c.halted("t", w.words...)
				c.exec("INSERT INTO t (id) VALUES (3)")
				c.sync()
				if got := c.text("t"); strings.Contains(got, "c:3") {
					t.Errorf("a halted table goes on: %s", got)
				}
				missed := c.changes[len(c.changes)-1].Position
				c.exec(w.cure...)
				at := c.checkpoint()
				c.halts = nil
				c.reopen(at)
				c.sync()
				if vs := c.versionsOf("t"); len(vs) == 0 || vs[0].Since.Less(missed) {
					t.Fatalf("taken up again without a snapshot: %+v", vs)
				}
				c.exec("INSERT INTO t (id) VALUES (4)")
				c.sync()
				if got := c.text("t"); !strings.HasSuffix(got, "c:4:null") || len(c.halts) > 0 {
					t.Errorf("after the cure: %s, halts %v", got, c.halts)
				}
				rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, 10)
				if err != nil || len(rows) < 3 {
					t.Errorf("its snapshot: %d rows, %v", len(rows), err)
				}
			})
		}
	})
}

func TestStatementOfUnknownReachHaltsTheSource(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY)", "CREATE FUNCTION f() RETURNS INT DETERMINISTIC BEGIN INSERT INTO t VALUES (9); RETURN 1; END")
		c.exec("SET SESSION binlog_format = STATEMENT", "DO f()", "SET SESSION binlog_format = ROW")
		var err error
		for err == nil {
			_, err = c.next()
		}
		wantHalt(t, err, "", "only the statement", "`f`()", "ROW")
	})
}

func TestZeroDatesBecomeNullWhenToldSo(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{ZeroDates: "null"}, "CREATE TABLE t (id INT PRIMARY KEY, d DATE, dt DATETIME(3), ts TIMESTAMP NULL)")
		c.exec("SET SESSION sql_mode = ''", "INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00'), (2, '2026-00-10', '2026-10-00 01:02:03.004', NULL)")
		c.sync()
		rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, 10)
		if err != nil || len(rows) != 2 || len(c.of("t")) != 2 {
			t.Fatalf("%d rows and %d changes, %v", len(rows), len(c.of("t")), err)
		}
		for i, ch := range c.of("t") {
			for j := 1; j < 4; j++ {
				if ch.After[j].Kind != schemas.Null || rows[i].After[j].Kind != schemas.Null {
					t.Errorf("row %d, column %d: %v and %v", i+1, j, ch.After[j], rows[i].After[j])
				}
			}
		}
	})
}

// An old image that does not convert is no reason to refuse the new one.
func TestZeroDateIsCuredByAnUpdate(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "SET SESSION sql_mode = ''", "CREATE TABLE t (id INT PRIMARY KEY, d DATE)", "INSERT INTO t VALUES (1, '0000-00-00')")
		c.exec("UPDATE t SET d = '2026-01-01'")
		c.sync()
		if ch := c.of("t"); len(ch) != 1 || ch[0].Before[1].Kind != schemas.Unset || ch[0].After[1].Int != 20454 || len(c.halts) > 0 {
			t.Fatalf("changes %+v, halts %v", ch, c.halts)
		}
	})
}

// The binlog carries columns that no statement can name, and types under other
// names; a version made of it equals one made of the catalog.
func TestHiddenAndGeneratedColumns(t *testing.T) {
	c := captureT(t, mariadb, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY, long_key TEXT, a INT, g INT AS (a * 2) VIRTUAL, h INT AS (a * 3) STORED, i INT INVISIBLE, UNIQUE KEY (long_key) USING HASH)")
	c.exec("INSERT INTO t (id, long_key, a, i) VALUES (1, 'x', 5, 6)", "UPDATE t SET a = 7")
	c.sync()
	if vs := c.versionsOf("t"); len(vs) != 1 || c.columnsOf("t") != "id,long_key,a,g,h,i" {
		t.Fatalf("%d versions, columns %s", len(vs), c.columnsOf("t"))
	}
	after := c.of("t")[1].After
	if after[3].Int != 14 || after[4].Int != 21 || after[5].Int != 6 {
		t.Errorf("row %v", after)
	}
	rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i := range after {
		if rows[0].After[i].Int != after[i].Int || string(rows[0].After[i].Bytes) != string(after[i].Bytes) {
			t.Errorf("column %d: %v in the stream, %v in the snapshot", i, after[i], rows[0].After[i])
		}
	}
}
