package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"millrace/producers"
	"millrace/schemas"
)

// Trap 1: what rewrites the table between the slot and the read leaves no row
// that the snapshot could see, without an error.
func TestTrap1RewriteBetweenSnapshotAndRead(t *testing.T) {
	for name, ddl := range map[string]string{
		"alter type":    "ALTER TABLE t ALTER COLUMN v TYPE bigint USING v + 1",
		"same type":     "ALTER TABLE t ALTER COLUMN v TYPE int USING v + 1",
		"truncate":      "TRUNCATE t",
		"vacuum full":   "VACUUM FULL t",
		"drop column":   "ALTER TABLE t DROP COLUMN v",
		"swap":          "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int PRIMARY KEY, v int)",
		"rename column": "ALTER TABLE t RENAME COLUMN v TO w",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i").open()
			c.sync()
			c.src.snapshots.exported = func() { c.exec(ddl) }
			rows, _, err := c.chunk("t")
			if !errors.Is(err, producers.ErrRewritten) {
				t.Fatalf("%d rows, error %v; want ErrRewritten", len(rows), err)
			}
		})
	}
}

// A column that is added after the read point is none of this version's
// business: the chunk is whole without it.
func TestColumnAddedBetweenSnapshotAndRead(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)").open()
	c.sync()
	c.src.snapshots.exported = func() { c.exec("ALTER TABLE t ADD COLUMN w int") }
	rows, _, err := c.chunk("t")
	if err != nil || lines(rows) != "r 1|1" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
	// Before the read point, the stream must first bring the new version.
	c.src.snapshots.exported = nil
	if _, _, err := c.chunk("t"); !errors.Is(err, producers.ErrRewritten) {
		t.Fatalf("want ErrRewritten, got %v", err)
	}
	c.exec("INSERT INTO t VALUES (2, 2, 2)")
	c.sync()
	if rows, _, err := c.chunk("t"); err != nil || lines(rows) != "r 1|1|null, r 2|2|2" {
		t.Fatalf("%s, %v", lines(rows), err)
	}
}

// Trap 2: chunks at several read points with VACUUM FULL between them.
func TestTrap2VacuumFullBetweenChunks(t *testing.T) {
	const n = 5000
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v text)",
		fmt.Sprintf("INSERT INTO t SELECT i, 'x' FROM generate_series(1, %d) i ORDER BY random()", n)).open()
	c.sync()
	seen := map[int64]int{}
	var after []schemas.Cell
	for end := false; !end; {
		chunk, err := c.src.ReadChunk(t.Context(), c.table("t"), after, 1000, func(cs []schemas.Change) error {
			for _, ch := range cs {
				seen[ch.After[0].Int]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		after, end = chunk.Last, chunk.End
		c.exec("DELETE FROM t WHERE id = 1", "VACUUM FULL t")
	}
	for i := int64(1); i <= n; i++ {
		if seen[i] != 1 {
			t.Fatalf("row %d was seen %d times", i, seen[i])
		}
	}
	// VACUUM FULL changes no row: nothing is snapshotted for it.
	c.drain(2)
	c.notRaised("t")
}

// Trap 3: DDL that rewrites every row has no row event; and when no change
// follows it, no relation message either.
func TestTrap3RewritingDDLOnAnIdleTable(t *testing.T) {
	for name, ddl := range map[string]string{
		"default":            "ALTER TABLE t ADD COLUMN w int NOT NULL DEFAULT 7",
		"default, then none": "ALTER TABLE t ADD COLUMN w int DEFAULT 7; ALTER TABLE t ALTER COLUMN w DROP DEFAULT",
		"volatile default":   "ALTER TABLE t ADD COLUMN w float DEFAULT random()",
		"using":              "ALTER TABLE t ALTER COLUMN v TYPE int USING v * 2",
		"rename":             "ALTER TABLE t RENAME COLUMN v TO w",
		"drop":               "ALTER TABLE t DROP COLUMN v",
		"drop and add":       "ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD COLUMN v int",
		"swap":               "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n VALUES (1, 100); ALTER TABLE t RENAME TO o; ALTER TABLE n RENAME TO t",
		"label":              "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCapture(t, "t", "CREATE TYPE mood AS ENUM ('sad')", "CREATE TABLE t (id int PRIMARY KEY, v int, m mood)", "INSERT INTO t VALUES (1, 1, 'sad')").open()
			c.sync()
			c.drain(1)
			c.notRaised("t")
			c.exec("INSERT INTO t VALUES (2, 2, 'sad')")
			c.sync()
			c.exec(ddl)
			c.watch("the version behind the DDL", func() bool {
				vs := c.versions("t")
				return !vs[len(vs)-1].Since.IsZero()
			})
			since := c.raised("t")
			if at := c.of("t"); len(at) != 1 || !at[0].Position.Less(since) {
				t.Fatalf("since %v is not above the change before the DDL", since)
			}
			rows, chunk, err := c.chunk("t")
			if err != nil || !since.Less(chunk.ReadPoint) {
				t.Fatalf("since %v, read at %v, %v", since, chunk.ReadPoint, err)
			}
			if name == "swap" && lines(rows) != "r 1|100" {
				t.Fatalf("got %s", lines(rows))
			}
			before := len(c.versions("t"))
			c.exec("UPDATE t SET id = id + 10") // the changes behind it come as the new version
			c.sync()
			if len(c.versions("t")) != before {
				t.Fatalf("announced again: %s", c.tables[len(c.tables)-1].State)
			}
			if got := c.of("t"); len(got) < 3 || got[len(got)-1].Table != c.table("t") {
				t.Fatalf("got %s", lines(got))
			}
		})
	}
}

// What changes no row calls for no snapshot.
func TestHarmlessDDL(t *testing.T) {
	c := newCapture(t, "t", "CREATE TYPE mood AS ENUM ('sad')",
		"CREATE TABLE t (id int PRIMARY KEY, v varchar(10), n numeric(10,2), m mood)", "INSERT INTO t VALUES (1, 'a', 1, 'sad')").open()
	c.sync()
	for _, ddl := range []string{
		"ALTER TABLE t ALTER COLUMN v TYPE varchar(20)", "ALTER TABLE t ALTER COLUMN n TYPE numeric(12,2)", "ALTER TABLE t ADD COLUMN w text",
		"COMMENT ON COLUMN t.w IS 'words'", "ALTER TABLE t ALTER COLUMN v SET NOT NULL", "ALTER TABLE t ALTER COLUMN v SET STATISTICS 10",
		"ALTER TYPE mood ADD VALUE 'ok'", "ANALYZE t", "VACUUM FULL t", "CLUSTER t USING t_pkey", "GRANT SELECT ON t TO PUBLIC", "CREATE INDEX ON t (v)",
		"TRUNCATE t", "ALTER TABLE t REPLICA IDENTITY FULL", "VACUUM FULL pg_attribute", "VACUUM FULL pg_class",
	} {
		c.exec(ddl)
		c.drain(2)
		for _, v := range c.versions("t") {
			if !v.Since.IsZero() {
				t.Fatalf("%s calls for a snapshot: %s", ddl, v.State)
			}
		}
	}
	c.exec("INSERT INTO t VALUES (2, 'b', 1234567890.5, 'ok', 'w')")
	c.sync()
	c.notRaised("t")
	c.want("t", "t , c 2|b|1234567890.50|ok|w")
	table := c.table("t")
	if w := table.Columns[4]; w.Description != "words" || w.Unsettable {
		t.Errorf("column %+v; its comment is words, and under FULL nothing is left out", w)
	}
	if n := table.Columns[2]; n.Type.Precision != 12 {
		t.Errorf("column %+v, want 12 digits", n)
	}
}

// Trap 4: a change of the key does not log a TOASTed value that it leaves
// alone.
func TestTrap4KeyChangeWithUnchangedToast(t *testing.T) {
	big := "repeat(md5(random()::text), 4000)"
	c := newCapture(t, "t f", "CREATE TABLE t (id int PRIMARY KEY, big text)", "CREATE TABLE f (id int PRIMARY KEY, big text)",
		"ALTER TABLE t ALTER big SET STORAGE EXTERNAL", "ALTER TABLE f ALTER big SET STORAGE EXTERNAL", "ALTER TABLE f REPLICA IDENTITY FULL").open()
	for _, name := range []string{"t", "f"} {
		c.exec("INSERT INTO "+name+" VALUES (1, "+big+")", "UPDATE "+name+" SET id = 2")
	}
	c.exec("ALTER TABLE t ADD COLUMN v int DEFAULT 5", "UPDATE t SET id = 3", "UPDATE t SET v = 6")
	c.sync()
	got := c.of("t")
	if len(got) != 6 || got[2].After[1].Kind != schemas.Unset || got[4].After[1].Kind != schemas.Unset || got[5].After[1].Kind != schemas.Unset {
		t.Fatalf("got %s", lines(got))
	}
	if got[1].OtherKey[0].Int != 2 || got[2].OtherKey[0].Int != 1 || got[1].Op != schemas.Delete || got[2].Op != schemas.Create {
		t.Fatalf("the halves of a key change: %s", lines(got[1:3]))
	}
	since := c.raised("t")
	if !got[2].Since.IsZero() || got[4].Since != since || got[5].Since != since || got[4].Position.Less(since) {
		t.Fatalf("since %v; on the changes %v, %v, %v", since, got[2].Since, got[4].Since, got[5].Since)
	}
	if f := c.of("f"); len(f) != 3 || len(f[2].After[1].Bytes) != 128000 || len(f[1].Before[1].Bytes) != 128000 {
		t.Fatalf("under FULL the old row has the value: %s", lines(f))
	}
	if c.table("f").Columns[1].Unsettable || !c.table("t").Columns[1].Unsettable || c.table("t").Columns[0].Unsettable {
		t.Error("Unsettable: only the TOASTable column without FULL")
	}
}

// Trap 5: two spellings of one key are one key.
func TestTrap5KeySpelledAnew(t *testing.T) {
	c := newCapture(t, "n d", "CREATE TABLE d (k numeric(10,2) PRIMARY KEY, v int)",
		"CREATE TABLE n (k double precision PRIMARY KEY, v int)").open()
	c.exec("INSERT INTO n VALUES (0, 1)", "UPDATE n SET k = '-0'", "INSERT INTO d VALUES (1, 1)", "UPDATE d SET k = 1.00, v = 2", "UPDATE d SET k = 1.01")
	c.sync()
	if got := c.of("n"); len(got) != 2 || got[1].Op != schemas.Update {
		t.Fatalf("0 to -0: %s", lines(got))
	}
	c.want("d", "c 1.00|1, u 1.00|2, d 1.00|?, c 1.01|2")
}

// Trap 6: a key that the log does not carry with every change, or that one
// statement may pass through another row's, is refused with what cures it.
func TestTrap6KeyOutsideTheReplicaIdentity(t *testing.T) {
	for _, tc := range []struct{ name, row, ddl, says string }{
		{"using index", "1, 'a'", "CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL UNIQUE); ALTER TABLE t REPLICA IDENTITY USING INDEX t_email_key", "not in the replica identity"},
		{"nothing", "1", "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING", "not in the replica identity"},
		{"deferrable", "1", "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE)", "deferrable"},
		{"deferrable and full", "1", "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE); ALTER TABLE t REPLICA IDENTITY FULL", "deferrable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCapture(t, "t", tc.ddl).open()
			if len(c.halts) != 1 {
				t.Fatalf("%d halts", len(c.halts))
			}
			h := halted(t, c.halts[0], "public.t", tc.says, "ALTER TABLE")
			c.sync() // the other tables go on
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%s)", tc.row), "DELETE FROM t")
			c.close()
			c.exec(strings.Replace(h.Hint, " (or FULL)", "", 1)) // the cure is a statement that cures
			c.halts, c.start.Token = nil, ""
			c.open()
			if len(c.halts) > 0 {
				t.Fatalf("after %s: %v", h.Hint, c.halts[0])
			}
		})
	}
}

// The same while the stream runs: the table halts, and its own updates must
// not fail because it is published.
func TestTrap6KeyLostWhileRunning(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)").open()
	c.sync()
	c.exec("ALTER TABLE t DROP CONSTRAINT t_pkey")
	c.watch("the halt", func() bool { return len(c.halts) > 0 })
	halted(t, c.halts[0], "public.t", "no primary key")
	c.exec("UPDATE t SET v = 2")
	c.sync()
	c.want("t", "")
	c.exec("ALTER TABLE t ADD PRIMARY KEY (id)")
	c.halts = nil
	c.reopen()
	c.sync()
	c.raised("t")
	c.exec("UPDATE t SET v = 3")
	c.sync()
	c.want("t", "u 1|3")
	if len(c.halts) > 0 {
		t.Fatal(c.halts[0])
	}
}

// Trap 7: a chunk holds exactly the transactions below its read point.
func TestTrap7ReadPointIsABoundary(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i").open()
	c.sync()
	stop, done := make(chan struct{}), make(chan error, 2)
	for range 2 {
		w := connect(t, c.dsn)
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				tx := fmt.Sprintf("BEGIN; UPDATE t SET v = v + 1 WHERE id = %d; UPDATE t SET v = v + 1 WHERE id = %d; COMMIT", 1+rand.IntN(10), 11+rand.IntN(10))
				if _, err := w.Exec(context.Background(), tx); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	type at struct {
		point schemas.Position
		rows  string
	}
	var chunks []at
	for range 40 {
		rows, chunk, err := c.chunk("t")
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, at{chunk.ReadPoint, lines(rows)})
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	c.sync()
	log := c.of("t")
	state := map[int64]int64{}
	for i := int64(1); i <= 20; i++ {
		state[i] = 0
	}
	n := 0
	for _, ch := range chunks {
		for ; n < len(log) && log[n].Position.Less(ch.point); n++ {
			state[log[n].After[0].Int] = log[n].After[1].Int
		}
		var want []string
		for i := int64(1); i <= 20; i++ {
			want = append(want, fmt.Sprintf("r %d|%d", i, state[i]))
		}
		if ch.rows != strings.Join(want, ", ") {
			t.Fatalf("at %v the log says\n%s\nand the chunk\n%s", ch.point, strings.Join(want, ", "), ch.rows)
		}
	}
}

// Trap 11: however long the source idles and answers keepalives, the slot
// stays where Ack left it.
func TestTrap11KeepalivesAcknowledgeNothing(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	confirmed := func() uint64 {
		lsn, err := pglogrepl.ParseLSN(c.one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'pg_orders_db'"))
		if err != nil {
			t.Fatal(err)
		}
		return uint64(lsn)
	}
	acked := c.src.token.lsn
	if got := confirmed(); got > acked {
		t.Fatalf("confirmed %x before any Ack, the slot was made at %x", got, acked)
	}
	c.exec("CREATE TABLE other AS SELECT generate_series(1, 10000)")
	c.drain(2)
	if err := c.src.wire.status(true); err != nil {
		t.Fatal(err)
	}
	c.drain(1)
	if got := confirmed(); got > acked {
		t.Fatalf("confirmed %x, acknowledged %x", got, acked)
	}
	token, err := parseToken(c.resume)
	if err != nil {
		t.Fatal(err)
	}
	if token.lsn <= acked {
		t.Fatal("idle progress has no token")
	}
	if err := c.src.Ack(t.Context(), c.resume); err != nil {
		t.Fatal(err)
	}
	c.until("the acknowledgement", func(producers.Batch) bool { return confirmed() == token.lsn })
	if err := c.src.Ack(t.Context(), token.at(token.lsn+1<<40)); err == nil {
		t.Fatal("what was never read was acknowledged")
	}
	c.reopen()
	c.sync()
}
