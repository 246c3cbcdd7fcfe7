package postgres

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"millrace/producers"
	"millrace/schemas"
)

// few reads a chunk of t until its first batch, behind which then happens what is to.
func (c *capture) few(limit int, then func()) (rows int, _ producers.Chunk, _ error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	chunk, err := c.src.ReadChunk(ctx, c.table("t"), nil, limit, func(cs []schemas.Change) error {
		rows += len(cs)
		then()
		return producers.ErrEnough
	})
	return rows, chunk, err
}

// counted counts what comes through a connection.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// What is left of a chunk that has enough rows is not sent, and its connections
// serve the next.
func TestChunkThatHasEnoughIsNotReadToItsEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it writes some tens of megabytes")
	}
	const rows, wide = 64, 1_000_000
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, repeat('x', 1000000) FROM generate_series(1, 64) i").open()
	c.sync()
	cfg, err := pgx.ParseConfig(c.cfg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(cfg.RuntimeParams, settings)
	var n atomic.Int64
	through := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := through(ctx, network, addr)
		return counted{conn, &n}, err
	}
	r, err := c.src.snapshots.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = r.sql.Close(t.Context())
	if r.sql, err = pgx.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	c.src.snapshots.put(r, nil)
	if got, chunk, err := c.few(rows, func() {}); err != nil || got != 2 || chunk.End || chunk.Last[0].Int != 2 {
		t.Fatalf("%d rows, %+v, %v", got, chunk, err)
	}
	if n := n.Load(); n > rows*wide/2 {
		t.Errorf("%d bytes came after the first row was enough", n)
	}
	if got, _, err := c.chunk("t"); err != nil || len(got) != rows {
		t.Errorf("%d rows, %v", len(got), err)
	}
	if idle := c.src.snapshots.idle; len(idle) != 1 || idle[0] != r || r.sql.IsClosed() {
		t.Errorf("other connections read the next chunk: %v", idle)
	}
}

// A server that has sent all before it is asked to stop does not stop what comes
// next: the end of the chunk, or the next one.
func TestCancelThatIsLateStopsNothing(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 1030)").open()
	c.sync()
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		if rows, chunk, err := c.few(2000, func() { time.Sleep(time.Duration(i%4) * time.Millisecond) }); err != nil || rows != emitRows || chunk.End || chunk.Last[0].Int != emitRows {
			t.Fatalf("round %d: %d rows, %+v, %v", i, rows, chunk, err)
		}
	}
}

// A chunk that ends early is thrown away as any is whose table was rewritten between
// the read point and the rows: of a partition that was truncated there are none.
func TestRewriteBeforeAChunkThatHasEnough(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
		"CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100)", "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (10000)",
		"INSERT INTO t SELECT generate_series(1, 5000)").open()
	c.sync()
	c.src.snapshots.exported = func() { c.exec("TRUNCATE t1") }
	if rows, _, err := c.few(5000, func() {}); rows != emitRows || !errors.Is(err, producers.ErrRewritten) {
		t.Fatalf("%d rows, error %v; want ErrRewritten", rows, err)
	}
	c.src.snapshots.exported = nil
	if rows, chunk, err := c.few(5000, func() {}); err != nil || rows != emitRows || chunk.Last[0].Int != 99+emitRows {
		t.Fatalf("%d rows, %+v, %v", rows, chunk, err)
	}
}

// What rewrites the table while its rows are read waits for the chunk's end, also
// for an early one: until then the table is locked, and so the chunk counts.
func TestRewriteBesideAChunkThatHasEnough(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 5000)").open()
	c.sync()
	other, truncated := connect(t, c.cfg.DSN), make(chan error, 1)
	rows, chunk, err := c.few(5000, func() {
		go func() {
			_, err := other.Exec(context.Background(), "TRUNCATE t")
			truncated <- err
		}()
		for c.one("SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 't'::regclass") == "0" {
			time.Sleep(time.Millisecond)
		}
	})
	if err != nil || rows != emitRows || chunk.End {
		t.Errorf("%d rows, %+v, %v", rows, chunk, err)
	}
	if err := <-truncated; err != nil {
		t.Fatal(err)
	}
	if rows, _, err := c.chunk("t"); err != nil || len(rows) != 0 {
		t.Errorf("%d rows behind the truncate, %v", len(rows), err)
	}
}
