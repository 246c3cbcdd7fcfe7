package mysql_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/producers/mysql"
	"millrace/schemas"
)

// A server that is killed in the middle of writes ends the stream with an
// error, and the checkpoint leads to exactly what the server kept.
func TestKilledServerInTheMiddleOfWrites(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("killed"), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
		c.open()
		c.ready()
		rows := map[int64]int64{}
		keep := func(changes []schemas.Change) {
			for _, ch := range changes {
				if ch.Table.Name == "t" {
					rows[ch.After[0].Int] = ch.After[1].Int
				}
			}
		}
		for round := range 3 {
			writer := make(chan struct{})
			go func() {
				defer close(writer)
				for n := 0; ; n++ {
					if _, err := c.db.Exec(fmt.Sprintf("INSERT INTO t (v) VALUES (%d), (%d)", n, n+1)); err != nil {
						return
					}
				}
			}()
			for len(c.of("t")) < 100 {
				if _, err := c.next(); err != nil {
					t.Fatal(err)
				}
			}
			srv.Kill()
			<-writer
			for {
				if _, err := c.next(); err != nil {
					break
				}
			}
			at := c.checkpoint()
			for _, ch := range c.changes { // up to the checkpoint; the rest comes again
				if !at.Last.Less(ch.Position) {
					keep([]schemas.Change{ch})
				}
			}
			srv.Start()
			c.reopen(at)
			for _, v := range c.versions {
				if !v.Since.IsZero() {
					t.Errorf("round %d: %s is snapshotted again", round, v.Table.ID())
				}
			}
			c.sync()
			keep(c.changes)
			var n, sum int64
			if err := c.db.QueryRow("SELECT COUNT(*), SUM(v) FROM t").Scan(&n, &sum); err != nil {
				t.Fatal(err)
			}
			var got int64
			for _, v := range rows {
				got += v
			}
			if int64(len(rows)) != n || got != sum {
				t.Fatalf("round %d: %d rows with sum %d, the server has %d with %d", round, len(rows), got, n, sum)
			}
		}
	})
}

// Random values of every type that has many give the same bytes in the stream
// and in the snapshot (G3).
func TestRandomValuesAgree(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		seed := rand.Uint64()
		t.Logf("seed=%d", seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		type kindOfValue struct {
			sql   string
			value func() string
		}
		types := []kindOfValue{
			{"DECIMAL(20,5)", func() string { return fmt.Sprintf("%d.%05d", rng.Int64N(1e15)-5e14, rng.IntN(1e5)) }},
			{"DECIMAL(38,30)", func() string { return fmt.Sprintf("0.%015d%015d", rng.Int64N(1e15), rng.Int64N(1e15)) }},
			{"DECIMAL(9,0)", func() string { return fmt.Sprint(rng.IntN(2e9-1) - 1e9 + 1) }},
			{"DOUBLE", func() string { return fmt.Sprintf("%e", rng.NormFloat64()*1e10) }},
			{"FLOAT", func() string { return fmt.Sprintf("%e", rng.NormFloat64()*1e10) }},
			{"BIGINT UNSIGNED", func() string { return fmt.Sprint(rng.Uint64()) }},
			{"BIGINT", func() string { return fmt.Sprint(int64(rng.Uint64())) }},
			{"MEDIUMINT", func() string { return fmt.Sprint(rng.IntN(1<<24) - 1<<23) }},
			{"BIT(37)", func() string { return fmt.Sprint(rng.Int64N(1 << 37)) }},
			{"TIME(3)", func() string { return fmt.Sprintf("SEC_TO_TIME(%d.%03d)", rng.IntN(6040798)-3020399, rng.IntN(1000)) }},
			{"TIME(5)", func() string { return fmt.Sprintf("SEC_TO_TIME(%d.%05d)", rng.IntN(6040798)-3020399, rng.IntN(100000)) }},
			{"DATETIME(2)", func() string { return fmt.Sprintf("'0001-01-01' + INTERVAL %d SECOND", rng.Int64N(315537897599)) }},
			{"DATETIME(5)", func() string {
				return fmt.Sprintf("CAST('2000-01-01' + INTERVAL %d MICROSECOND AS DATETIME(5))", rng.Int64N(1e15))
			}},
			{"TIMESTAMP(6) NULL", func() string { return fmt.Sprintf("FROM_UNIXTIME(%d.%06d)", 1+rng.Int64N(1<<31-2), rng.IntN(1e6)) }},
			{"DATE", func() string { return fmt.Sprintf("'0001-01-01' + INTERVAL %d DAY", rng.IntN(3652058)) }},
			{"VARBINARY(40)", func() string { return fmt.Sprintf("x'%x'", fmt.Sprint(rng.Uint64())[:rng.IntN(10)]) }},
			{"BINARY(20)", func() string { return fmt.Sprintf("x'%016x'", rng.Uint64()<<rng.IntN(64)) }},
			{"VARCHAR(40) CHARACTER SET latin1", func() string { return fmt.Sprintf("CAST(x'%016x' AS CHAR CHARACTER SET latin1)", rng.Uint64()) }},
			{"VARCHAR(40)", func() string { return fmt.Sprintf("CHAR(%d USING utf32)", 0x20+rng.IntN(0xd000)) }},
			{"SET('a','b','c','d','e','f','g','h','i')", func() string { return fmt.Sprint(rng.IntN(512)) }},
		}
		mariadbTypes := []kindOfValue{
			{"UUID", func() string { return "UUID()" }},
			{"INET6", func() string { return fmt.Sprintf("'%x:%x::%x'", rng.IntN(65536), rng.IntN(65536), rng.IntN(65536)) }},
		}
		if f.name == "mariadb" {
			types = append(types, mariadbTypes...)
		} else {
			types = append(types, kindOfValue{"JSON", func() string {
				return fmt.Sprintf("JSON_ARRAY(%g, %g, %de%d, %d, CAST(%d.%05d AS DECIMAL(20,5)), '2000-01-01' + INTERVAL %d MICROSECOND, CHAR(%d USING utf8mb4))",
					math.Float64frombits(rng.Uint64()&^(1<<62)), math.Round(rng.NormFloat64()*1e6)*math.Pow10(rng.IntN(30)-15), rng.IntN(100), rng.IntN(40)-20, rng.Int64()>>rng.IntN(64),
					rng.Int64N(1e15)-5e14, rng.IntN(1e5), rng.Int64N(1e17), rng.IntN(128))
			}})
		}
		columns, names := []string{"id INT PRIMARY KEY"}, []string{"id"}
		for i, ty := range types {
			columns, names = append(columns, fmt.Sprintf("c%d %s", i, ty.sql)), append(names, fmt.Sprintf("c%d", i))
		}
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t ("+strings.Join(columns, ", ")+")")
		const n = 300
		stmts := []string{"SET SESSION sql_mode = ''"}
		for id := range n {
			row := []string{fmt.Sprint(id)}
			for _, ty := range types {
				row = append(row, ty.value())
			}
			stmts = append(stmts, "INSERT INTO t VALUES ("+strings.Join(row, ", ")+")")
		}
		c.exec(stmts...)
		c.sync()
		rows, _, err := c.chunk(c.versionsOf("t")[0].Table, nil, n)
		streamed := c.of("t")
		if err != nil || len(rows) != n || len(streamed) != n {
			t.Fatalf("%d rows and %d changes, %v, halts %v", len(rows), len(streamed), err, c.halts)
		}
		for i := range rows {
			for j, name := range names {
				a, b := streamed[i].After[j], rows[i].After[j]
				if a.Kind != b.Kind || a.Int != b.Int || string(a.Bytes) != string(b.Bytes) {
					t.Fatalf("seed=%d, row %d, %s %s: %+v in the stream, %+v in the snapshot", seed, i, name, types[j-1].sql, a, b)
				}
			}
		}
	})
}

// Close ends everything, whatever the source was doing, and twice is as once.
func TestCloseBesideABlockedReader(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		c := captureT(t, f, mysql.Table{}, "CREATE TABLE t (id INT PRIMARY KEY, pad LONGTEXT)")
		for i := range 8 { // more than is read ahead
			c.exec(fmt.Sprintf("INSERT INTO t VALUES (%d, REPEAT('x', 3000000))", i))
		}
		done := make(chan struct{})
		go func() { c.close(); close(done) }()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("Close hangs")
		}
		if err := c.tryOpen(); err != nil { // the same replica's name is free again
			t.Fatal(err)
		}
	})
}

// The first batch of a new source says where it begins, before anything is
// written.
func TestFirstBatchHasTablesAndToken(t *testing.T) {
	c := newCapture(t, mariadb, testkit.MariaDBDatabase(t), []mysql.Table{{Name: "t"}}, "CREATE TABLE t (id INT PRIMARY KEY, u UUID, j JSON)")
	c.open()
	b, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Tables) != 2 || b.Resume == "" || b.Complete.Pos.IsZero() || len(b.Changes) != 0 {
		t.Fatalf("%+v", b)
	}
	v := c.versionsOf("t")[0]
	if string(v.State) != `{"forms":{"j":"json","u":"uuid"}}` || !v.Since.IsZero() || v.Table.Generation != 1 || v.Table.Topic == "" {
		t.Errorf("version %+v, state %s", v, v.State)
	}
	// What the binlog does not say of columns is known after a restart.
	c.reopen(c.checkpoint())
	c.exec("INSERT INTO t VALUES (1, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '[]')")
	c.sync()
	if vs := c.versionsOf("t"); len(vs) > 0 {
		t.Errorf("announced again: %+v", vs)
	}
	if got := c.text("t"); got != "c:1:6ba7b810-9dad-11d1-80b4-00c04fd430c8" {
		t.Errorf("got %s", got)
	}
	// A new epoch after a gap: what was known no longer holds.
	at := c.checkpoint()
	c.reopen(producers.Start{Epoch: 2, Tables: at.Tables})
	c.ready()
	if vs := c.versionsOf("t"); len(vs) != 1 || vs[0].Since.Epoch != 2 {
		t.Errorf("a new epoch: %+v", vs)
	}
}
