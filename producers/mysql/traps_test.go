package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/producers"
	"millrace/producers/mysql"
	"millrace/schemas"
)

// Trap 8: events inside one compressed transaction may end at one place. A key
// that was written three times in it must end as the last one, so the positions
// rise.
func TestTrap8CompressedTransactionKeepsItsOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t, f.compress...)
		c := newCapture(t, f, srv.CreateDatabase("trap8"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY, v INT, pad TEXT)")
		c.open()
		c.ready()
		c.exec("BEGIN", "INSERT INTO t VALUES (1, 10, REPEAT('x', 5000))", "UPDATE t SET v = 11", "UPDATE t SET v = 12", "COMMIT")
		c.sync()
		if got := c.text("t"); got != "c:1:10 u:1:11 u:1:12" {
			t.Fatalf("got %s", got)
		}
		ch := c.of("t")
		for i := 1; i < len(ch); i++ {
			if !ch[i-1].Position.Less(ch[i].Position) {
				t.Errorf("%v is not below %v", ch[i-1].Position, ch[i].Position)
			}
		}
	})
}

// Trap 9: the rows of an XA transaction stand in the log where it is prepared,
// and come true where it is committed; a snapshot in between does not show them.
func TestTrap9XAIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("trap9"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE other (id INT PRIMARY KEY)")
		c.open()
		c.ready()
		xa := func(table string, end ...string) []string {
			return append([]string{"XA START 'x'", "INSERT INTO " + table + " VALUES (1)", "XA END 'x'", "XA PREPARE 'x'"}, end...)
		}
		c.exec(xa("other", "XA COMMIT 'x'")...) // of no captured table: nothing to refuse
		c.sync()
		c.exec(xa("t", "XA COMMIT 'x'")...)
		var err error
		for err == nil {
			_, err = c.next()
		}
		wantHalt(t, err, "", "XA transaction", c.name("t"), "snapshotted again")
		if len(c.of("t")) > 0 {
			t.Errorf("rows that were only prepared were sent: %s", c.text("t"))
		}
		if _, again := c.next(); !errors.Is(again, err) {
			t.Errorf("after its end the source says %v", again)
		}
		c.close()

		// A snapshot beside a prepared transaction would miss its rows for good.

		c.exec("DELETE FROM other")
		conn, err := c.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, stmt := range xa("other") {
			if _, err := conn.ExecContext(t.Context(), stmt); err != nil {
				t.Fatal(err)
			}
		}
		c.start.Token, c.start.Tables = "", nil
		wantHalt(t, c.tryOpen(), "", "1 prepared XA", "XA RECOVER")
		if _, err := conn.ExecContext(t.Context(), "XA ROLLBACK 'x'"); err != nil {
			t.Fatal(err)
		}
		c.open()
	})
}

// Trap 10: a table that is rewritten or truncated between the read point and the
// rows fails loudly; across an instant ADD COLUMN the rows are right.
func TestTrap10RewrittenTableFailsItsChunk(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		for name, want := range map[string]error{
			"TRUNCATE t": producers.ErrRewritten,
			"ALTER TABLE t ADD COLUMN x INT NOT NULL DEFAULT 3, ALGORITHM=COPY": producers.ErrRewritten,
			"ALTER TABLE t MODIFY v BIGINT UNSIGNED":                            producers.ErrRewritten,
			"ALTER TABLE t DROP COLUMN v":                                       producers.ErrRewritten,
			"RENAME TABLE t TO u":                                               producers.ErrRewritten,
			"DROP TABLE t":                                                      producers.ErrRewritten,
			"ALTER TABLE t ADD COLUMN x INT, ALGORITHM=INSTANT":                 nil,
		} {
			t.Run(name, func(t *testing.T) {
				c := newCapture(t, f, f.database(t), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
				c.open()
				c.ready()
				mysql.AfterReadPoint(c.src, func() { c.exec(name) })
				rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, 10)
				if f.name == "mysql" && want == nil { // it reads no row across any ALTER
					want = producers.ErrRewritten
				}
				if !errors.Is(err, want) {
					t.Fatalf("%d rows, %v, want %v", len(rows), err, want)
				}
				if want == nil && len(rows) != 3 {
					t.Errorf("%d rows of 3", len(rows))
				}
			})
		}
	})
}

// Trap 12: a reset of the log gives the file numbers away again under the same
// server_id, with the same GTIDs.
func TestTrap12ResetLogIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("trap12"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)")
		c.exec(f.reset)
		c.open()
		c.ready()
		write := func() {
			for i := range 5 {
				c.exec(fmt.Sprintf("REPLACE INTO t VALUES (%d)", i))
			}
		}
		write()
		c.sync()
		at := c.checkpoint()
		c.close()
		c.start = at

		c.exec("DO SLEEP(1.1)") // MySQL's proof is the file's time, in seconds
		c.exec(f.reset)
		wantHalt(t, c.tryOpen(), "", "the binlog ends at", "snapshotted again")
		for i := range 40 { // other GTIDs at that place, or none
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", 100+i))
		}
		wantHalt(t, c.tryOpen(), "", "the log was reset", "snapshotted again")
		// The same history once more: only the time of the file tells.
		c.exec("TRUNCATE t", "TRUNCATE fence", "DO SLEEP(1.1)", f.reset)
		write()
		c.exec("INSERT INTO fence VALUES (1)")
		wantHalt(t, c.tryOpen(), "", "the log was reset", "snapshotted again")
	})
}

func TestAnotherServerIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("moved"), nil)
		c.open()
		c.ready()
		c.sync()
		at := c.checkpoint()
		c.close()
		c.start = at
		if f.name == "mysql" {
			other := f.server(t)
			c.cfg.DSN = other.CreateDatabase("moved")
			wantHalt(t, c.tryOpen(), "", "the log belongs to the server")
			return
		}
		c.exec("SET GLOBAL server_id = 77")
		wantHalt(t, c.tryOpen(), "", "server_id 1", "77")
	})
}

// first is the first column of the first row of a query.
func (c *capture) first(query string) string {
	c.t.Helper()
	rows, err := c.db.Query(query)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		c.t.Fatalf("%s: no row, %v, %v", query, err, rows.Err())
	}
	var out string
	into := []any{&out}
	for range columns[1:] {
		into = append(into, new(any))
	}
	if err := rows.Scan(into...); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// purge removes every file of the log but the current one. The server keeps a
// file that a reader still holds, or that a crash would need, for a moment.
func (c *capture) purge() (file string) {
	c.t.Helper()
	for range 600 {
		file = c.first(c.family.status)
		c.exec("PURGE BINARY LOGS TO '" + file + "'")
		if c.first("SHOW BINARY LOGS") == file {
			return file
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal("the server does not purge its log")
	return ""
}

func TestPurgedLogIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("purged"), nil)
		c.open()
		c.ready()
		c.sync()
		at := c.checkpoint()
		c.close()
		c.exec("FLUSH BINARY LOGS", "FLUSH BINARY LOGS", "INSERT INTO fence VALUES (100)")
		file := c.purge()
		c.start = at
		wantHalt(t, c.tryOpen(), "", "purged", file, "snapshotted again")
	})
}

// Rotation changes the major part of positions, a purge behind the stream does
// no harm, and a token of an idle source follows the log into new files.
func TestRotation(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("rotate"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)")
		c.open()
		c.ready()
		for i := range 6 {
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i), "FLUSH BINARY LOGS")
		}
		c.sync()
		want := c.text("t")
		if want != "c:0 c:1 c:2 c:3 c:4 c:5" {
			t.Fatalf("got %s", want)
		}
		ch, tokens, last := c.of("t"), c.tokens, c.changes[len(c.changes)-1].Position
		for i := 1; i < len(ch); i++ {
			if ch[i].Position.Major != ch[i-1].Position.Major+1 {
				t.Errorf("positions %v and %v over a rotation", ch[i-1].Position, ch[i].Position)
			}
		}
		// Every token gives the same changes at the same positions (G3).
		for _, at := range tokens {
			if at.Last == last {
				continue
			}
			c.reopen(at)
			c.awaitFence()
			got := c.of("t")
			rest := ch[len(ch)-len(got):]
			for i := range got {
				if got[i].Position != rest[i].Position || got[i].TxID != rest[i].TxID || got[i].TsUs != rest[i].TsUs || got[i].After[0].Int != rest[i].After[0].Int {
					t.Fatalf("resumed at %s: %+v, was %+v", at.Token, got[i], rest[i])
				}
			}
			if len(got) > 0 && !at.Last.Less(got[0].Position) {
				t.Fatalf("resumed behind %v: %v came again", at.Last, got[0].Position)
			}
		}
		c.exec("FLUSH BINARY LOGS")
		c.drained()
		c.drained()
		at := c.checkpoint()
		c.close()
		if file := c.purge(); !strings.Contains(string(at.Token), file) {
			t.Fatalf("the token of an idle source is %s, the log is at %s", at.Token, file)
		}
		c.reopen(at)
		c.sync()
	})
}

// A snapshot's rows and the stream meet at the read point: what the chunk shows
// lies at or below it, and the rest comes above.
func TestReadPointDividesTheLog(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := newCapture(t, f, f.database(t), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY)")
		c.open()
		c.ready()
		table := c.versionsOf("t")[0].Table
		for i := range 20 {
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			rows, chunk, err := c.chunk(table, nil, 100)
			if err != nil {
				t.Fatal(err)
			}
			c.exec("DELETE FROM t WHERE id = -1", fmt.Sprintf("INSERT INTO t VALUES (%d)", 1000+i))
			c.sync()
			below := 0
			for _, ch := range c.of("t") {
				if ch.Position.Compare(chunk.ReadPoint) <= 0 {
					below++
				}
			}
			if below != len(rows) {
				t.Fatalf("round %d: %d changes at or below the read point, %d rows", i, below, len(rows))
			}
		}
		if rows, chunk, err := c.chunk(table, []schemas.Cell{schemas.IntCell(5)}, 3); err != nil || len(rows) != 3 || rows[0].After[0].Int != 6 || chunk.End {
			t.Fatalf("rows above 5: %v, %+v, %v", rows, chunk, err)
		}
	})
}

// Whoever wants no more rows of a chunk does not wait for those that are left: they
// can be very many, and the table's DDL waits with it.
func TestChunkThatIsNotWantedIsNotReadToItsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it writes some tens of megabytes")
	}
	onBoth(t, func(t *testing.T, f family) {
		const rows, wide = 24, 1_000_000
		c := newCapture(t, f, f.database(t), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
		for i := range rows {
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, REPEAT('x', %d))", i, wide))
		}
		c.open()
		c.ready()
		sent := func() (n int) {
			var name string
			if err := c.db.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Bytes_sent'").Scan(&name, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		unwanted := errors.New("unwanted")
		for answer, want := range map[error]error{unwanted: unwanted, producers.ErrEnough: nil} {
			before := sent()
			chunk, err := c.src.ReadChunk(t.Context(), c.versionsOf("t")[0].Table, nil, rows, func([]schemas.Change) error { return answer })
			if !errors.Is(err, want) || err == nil && (chunk.End || len(chunk.Last) != 1 || chunk.Last[0].Int != 1) {
				t.Fatalf("%v: %+v, %v", answer, chunk, err)
			}
			if n := sent() - before; n > rows*wide/2 {
				t.Errorf("%v: %d bytes were sent after the first row was too many", answer, n)
			}
		}
		if rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, 2); err != nil || len(rows) != 2 {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
}
