package postgres

import (
	"fmt"
	"strings"
	"testing"

	"millrace/schemas"
)

// The catalog is ahead of the log: rows are decoded by the relation messages,
// and no change behind the DDL may take a value from before it.
func TestCatalogAheadOfTheLog(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int, big text)", "ALTER TABLE t ALTER big SET STORAGE EXTERNAL").open()
	big := "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 4000))" // too much to be stored in the row
	c.exec("INSERT INTO t VALUES (1, 1, " + big + ")")
	c.sync()
	c.close()
	c.resumeAt()
	c.exec("UPDATE t SET v = 2",
		"ALTER TABLE t ALTER COLUMN big TYPE text USING upper(big)", // a rewrite that no message shows
		"UPDATE t SET v = 3",
		"ALTER TABLE t ADD COLUMN w int NOT NULL DEFAULT 9", "UPDATE t SET v = 4",
		"ALTER TABLE t RENAME COLUMN v TO x", "ALTER TABLE t DROP COLUMN w", "UPDATE t SET x = 5")
	c.open()
	c.sync()
	got := c.of("t")
	c.want("t", "u 1|2|?, u 1|3|?, u 1|4|?|9, u 1|5|?")
	for i, ch := range got[1:] {
		if !got[i].Position.Less(ch.Since) || ch.Position.Less(ch.Since) {
			t.Errorf("change %d at %v: since %v; the change before the DDL is at %v", i+1, ch.Position, ch.Since, got[i].Position)
		}
	}
	if names := columnNames(got[3].Table); names != "id x big" {
		t.Errorf("columns %s", names)
	}
	if names := columnNames(got[2].Table); names != "id v big w" {
		t.Errorf("columns %s", names)
	}
	c.drain(2)
	at := c.changes[len(c.changes)-1].Position
	c.exec("UPDATE t SET x = 6")
	c.sync()
	last := c.of("t")[4]
	if last.Since.IsZero() || at.Less(last.Since) && last.Since.Minor != 0 {
		t.Errorf("since %v of the change at %v", last.Since, last.Position)
	}
	if !got[2].Position.Less(last.Since) {
		t.Errorf("since %v lies below the last DDL", last.Since)
	}
}

func columnNames(t *schemas.Table) string {
	var out []string
	for _, c := range t.Columns {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// A replay announces the same versions at the same places.
func TestDDLInsideATransaction(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)").open()
	c.sync()
	c.resumeAt()
	c.exec("BEGIN; INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD COLUMN w int DEFAULT 7; INSERT INTO t VALUES (2, 2); SAVEPOINT s; "+
		"INSERT INTO t VALUES (3, 3); ALTER TABLE t ADD COLUMN gone int; ROLLBACK TO s; INSERT INTO t VALUES (4, 4, 4); COMMIT", "DELETE FROM t WHERE id = 1")
	c.sync()
	want := "c 1|1, c 2|2|7, c 4|4|4, d 1|?|?"
	c.want("t", want)
	first := c.of("t")
	if since := c.versions("t")[0].Since; since != first[1].Position {
		t.Fatalf("since %v, the first change behind the DDL is at %v", since, first[1].Position)
	}
	c.close()
	c.tables, c.changes = nil, nil
	c.open()
	c.sync()
	c.want("t", want)
	for i, ch := range c.of("t") {
		if ch.Position != first[i].Position {
			t.Errorf("change %d: %v, then %v", i, first[i].Position, ch.Position)
		}
	}
}

func TestChangedKeyIsANewGeneration(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL)", "INSERT INTO t VALUES (1, 'a')").open()
	c.sync()
	c.exec("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (code, id)", "INSERT INTO t VALUES (2, 'b')")
	c.sync()
	got := c.of("t")
	table := got[0].Table
	if table.Generation != 2 || table.Topic != "public.t.g2" || fmt.Sprint(table.Key) != "[1 0]" || c.raised("t") != got[0].Position {
		t.Fatalf("generation %d, topic %s, key %v, since %v", table.Generation, table.Topic, table.Key, c.raised("t"))
	}
	c.exec("ALTER TABLE t ALTER COLUMN id TYPE bigint", "INSERT INTO t VALUES (3, 'c')")
	c.sync()
	if got := c.of("t"); got[len(got)-1].Table.Generation != 2 {
		t.Error("int to bigint is the same canonical key")
	}
	rows, chunk, err := c.chunk("t")
	if err != nil || lines(rows) != "r 1|a, r 2|b, r 3|c" || len(chunk.Last) != 2 || string(chunk.Last[0].Bytes) != "c" {
		t.Fatalf("%s, %+v, %v", lines(rows), chunk, err)
	}
}

func TestConfiguredKey(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL UNIQUE, v int)", "ALTER TABLE t REPLICA IDENTITY USING INDEX t_email_key")
	c.cfg.Tables[0].Key = []string{"email"}
	c.open()
	c.exec("INSERT INTO t VALUES (1, 'a', 1)", "UPDATE t SET id = 2", "UPDATE t SET email = 'b'", "DELETE FROM t")
	c.sync()
	c.want("t", "c 1|a|1, u 2|a|1, d ?|a|?, c 2|b|1, d ?|b|?")
}

// A table without a key is read whole, and its log carries every row whole.
func TestTableWithoutAKey(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (a int, b text)", "ALTER TABLE t REPLICA IDENTITY FULL", "INSERT INTO t VALUES (1, 'x'), (1, 'x')").open()
	c.sync()
	rows, chunk, err := c.chunk("t")
	if err != nil || lines(rows) != "r 1|x, r 1|x" || !chunk.End || chunk.Last != nil {
		t.Fatalf("%s, %+v, %v", lines(rows), chunk, err)
	}
	c.exec("INSERT INTO t VALUES (2, NULL)", "UPDATE t SET a = 3 WHERE a = 2", "DELETE FROM t WHERE a = 3")
	c.sync()
	c.want("t", "c 2|null, u 3|null, d 3|null")
}

func TestTruncateOfSeveralTables(t *testing.T) {
	c := newCapture(t, "a b", "CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a)", "CREATE TABLE other (id int PRIMARY KEY)").open()
	c.exec("INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1, 1)", "TRUNCATE a, other CASCADE", "INSERT INTO a VALUES (2)")
	c.sync()
	c.want("a", "c 1, t , c 2")
	c.want("b", "c 1|1, t ")
	if x, y := c.of("a")[1].Position, c.of("b")[1].Position; x == y || x.Major != y.Major {
		t.Errorf("positions %v and %v", x, y)
	}
	c.drain(2)
	c.notRaised("a") // it has its own event
}

// A partitioned table is one table, under its root's name.
func TestPartitions(t *testing.T) {
	c := newCapture(t, "p", "CREATE TABLE p (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k)",
		"CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)", "INSERT INTO p VALUES (1, 1, 'a')").open()
	c.exec("INSERT INTO p VALUES (2, 2, 'b')", "CREATE TABLE p2 (v text, k int NOT NULL, id int NOT NULL, PRIMARY KEY (id, k))",
		"ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)")
	c.drain(2)
	c.notRaised("p") // an empty partition
	c.exec("UPDATE p SET k = 12 WHERE id = 2", "TRUNCATE p", "INSERT INTO p VALUES (3, 3, 'c'), (4, 14, 'd')")
	c.sync()
	c.want("p", "c 2|2|b, d 2|2|?, c 2|12|b, t , c 3|3|c, c 4|14|d")
	if rows, _, err := c.chunk("p"); err != nil || lines(rows) != "r 3|3|c, r 4|14|d" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
	for _, ddl := range []string{
		"CREATE TABLE p3 (id int NOT NULL, k int NOT NULL, v text, PRIMARY KEY (id, k)); INSERT INTO p3 VALUES (5, 25, 'e'); " +
			"ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)",
		"TRUNCATE p3", "ALTER TABLE p DETACH PARTITION p3",
	} {
		c.drain(2)
		c.tables = c.tables[len(c.tables)-1:]
		before := c.table("p")
		c.tables = nil
		c.exec(ddl)
		c.watch(ddl, func() bool { return len(c.versions("p")) > 0 })
		c.raised("p")
		if c.table("p") != before && columnNames(c.table("p")) != columnNames(before) {
			t.Fatalf("%s: columns %s", ddl, columnNames(c.table("p")))
		}
	}
}

func TestInheritedTablesAreTheirOwn(t *testing.T) {
	c := newCapture(t, "parent", "CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE child () INHERITS (parent)",
		"INSERT INTO parent VALUES (1)", "INSERT INTO child VALUES (2)").open()
	c.exec("INSERT INTO parent VALUES (3)", "INSERT INTO child VALUES (4)")
	c.sync()
	c.want("parent", "c 3")
	if rows, _, err := c.chunk("parent"); err != nil || lines(rows) != "r 1, r 3" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
}

// A publication that someone narrowed is repaired, and what it left out is
// read by a snapshot.
func TestPublicationIsRepaired(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)").open()
	c.sync()
	for _, ddl := range []string{
		"ALTER PUBLICATION pg_orders_db DROP TABLE t",
		"ALTER PUBLICATION pg_orders_db SET (publish = 'insert')",
		"ALTER PUBLICATION pg_orders_db SET TABLE t WHERE (id > 5), fence",
		"ALTER PUBLICATION pg_orders_db SET TABLE t (id), fence",
	} {
		c.tables = nil
		c.exec(ddl)
		c.watch(ddl, func() bool { return len(c.versions("t")) > 0 })
		c.raised("t")
		c.changes = nil
		c.exec("INSERT INTO t VALUES (1, 1)", "UPDATE t SET v = 2", "DELETE FROM t")
		c.sync()
		c.want("t", "c 1|1, u 1|2, d 1|?")
	}
	// While the source is down, or is not yet configured to read the table.
	c.tables = c.tables[:1]
	c.reopen()
	c.sync()
	c.close()
	c.resumeAt()
	c.exec("ALTER PUBLICATION pg_orders_db DROP TABLE t", "INSERT INTO t VALUES (7, 7)")
	c.open()
	c.sync()
	c.raised("t")
	if rows, _, err := c.chunk("t"); err != nil || lines(rows) != "r 7|7" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
}

func TestDroppedTable(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	c.exec("DROP TABLE t")
	c.watch("the end of the table", func() bool { vs := c.versions("t"); return vs[len(vs)-1].Dropped })
	n := len(c.versions("t"))
	c.exec("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	c.watch("the table that came back", func() bool { return len(c.versions("t")) > n })
	c.raised("t")
	c.exec("INSERT INTO t VALUES (2)")
	c.sync()
	c.want("t", "c 2")
	if rows, _, err := c.chunk("t"); err != nil || lines(rows) != "r 1, r 2" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
}

// Keys of every comparable kind go on where a chunk ended, in the order of
// their own index.
func TestChunksByEveryKindOfKey(t *testing.T) {
	for typ, values := range map[string][]string{
		"bigint":                  {"-5", "0", "7"},
		"numeric(10,3)":           {"-1.5", "0", "10.25"},
		"text":                    {"''", "'B'", "'a'", "'it''s'", `E'tab\t\\'`},
		`text COLLATE "en-x-icu"`: {"'a'", "'B'", "'c'"},
		"boolean":                 {"false", "true"},
		"bytea":                   {`''`, `'\x00'`, `'\xff'`},
		"date":                    {"'0001-01-01'", "'2026-01-01'"},
		"time":                    {"'00:00'", "'23:59:59.999999'"},
		"timestamp":               {"'0001-01-01'", "'1969-12-31 23:59:59.999999'", "'9999-12-31'"},
		"timestamptz":             {"'0001-01-01 00:00+00'", "'2026-01-01'"},
		"double precision":        {"'-Infinity'", "-0.0", "0.1", "'Infinity'", "'NaN'"},
		"real":                    {"0.1", "16777216"},
		"uuid":                    {"'00000000-0000-0000-0000-000000000001'", "'ffffffff-0000-0000-0000-000000000001'"},
		"inet":                    {"'10.0.0.1'", "'10.0.0.2/8'"},
		"char(3)":                 {"'a'", "'b'"},
		"mood":                    {"'zz'", "'aa'"}, // enums order by their making
		"jsonb":                   {"'1'", `'{"a": 1}'`},
	} {
		t.Run(typ, func(t *testing.T) {
			c := newCapture(t, "t", "CREATE TYPE mood AS ENUM ('zz', 'aa')")
			c.exec("CREATE TABLE t (k " + typ + ", n int, PRIMARY KEY (k, n))")
			for _, v := range values {
				c.exec("INSERT INTO t VALUES (" + v + ", 1), (" + v + ", 2)")
			}
			c.open()
			c.sync()
			want := c.column("SELECT k::text || '|' || n FROM t ORDER BY k, n")
			var after []schemas.Cell
			rows := 0
			for end := false; !end; {
				var got []schemas.Change
				chunk, err := c.src.ReadChunk(t.Context(), c.table("t"), after, 1, func(cs []schemas.Change) error {
					for _, ch := range cs {
						ch.After = cloneRow(ch.After)
						got = append(got, ch)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				rows += len(got)
				after, end = chunk.Last, chunk.End
				if rows > len(want) {
					t.Fatal("a key was read twice")
				}
				for _, ch := range got {
					var again []schemas.Change
					_, err := c.src.ReadKeys(t.Context(), ch.Table, [][]schemas.Cell{chunk.Last}, func(cs []schemas.Change) error {
						again = append(again, schemas.Change{Table: cs[0].Table, Op: cs[0].Op, After: cloneRow(cs[0].After)})
						return nil
					})
					if err != nil || lines(again) != lines([]schemas.Change{ch}) {
						t.Fatalf("read again by its key: %s, %v; want %s", lines(again), err, lines(got))
					}
				}
			}
			if rows != len(want) {
				t.Fatalf("%d rows of %d: %v", rows, len(want), want)
			}
		})
	}
}
