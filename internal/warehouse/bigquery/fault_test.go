package bigquery

import (
	"context"
	"errors"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// consumer loads batches of its own keys one after the other, and after an error
// does what a consumer does: it acquires, and compares.
type consumer struct {
	p     *project
	table warehouse.CoreTable
	head  warehouse.Head
	// unknown counts the loads whose error came although they were committed.
	unknown int
	// snapshot says that the rows are a snapshot's.
	snapshot bool
}

const perLoad = 4

func newConsumer(t *testing.T, p *project) *consumer {
	t.Helper()
	_, table := fixture(schemas.ModeMerge)
	c := &consumer{p: p, table: table}
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	c.acquire(t)
	return c
}

func (c *consumer) acquire(t *testing.T) {
	t.Helper()
	var err error
	if c.head, err = c.p.w.Acquire(t.Context(), c.table.Name, "topic", "id"); err != nil {
		t.Fatal(err)
	}
}

func (c *consumer) load(t *testing.T, within time.Duration) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), within)
	defer stop()
	return c.loadUntil(ctx, t)
}

// loadUntil is load until the context ends.
func (c *consumer) loadUntil(ctx context.Context, t *testing.T) error {
	t.Helper()
	err := c.try(ctx, t)
	if err == nil {
		return nil
	}
	before := c.head
	c.acquire(t)
	if errors.Is(err, warehouse.ErrFenced) && c.head.Epoch == before.Epoch+1 {
		t.Fatalf("a consumer stays out for good, and nobody else has acquired: %v", err)
	}
	if c.head.Load > before.Load {
		c.unknown++
	}
	return err
}

// try makes the next load.
func (c *consumer) try(ctx context.Context, t *testing.T) error {
	t.Helper()
	n := c.head.Load + 1
	done, err := c.p.w.Load(ctx, c.batch(n))
	if err != nil {
		return err
	}
	if done.Load != n || done.Rows.Inserted != perLoad {
		t.Fatalf("load %d: %+v", n, done)
	}
	c.head.Load = n
	return nil
}

// batch is the nth load.
func (c *consumer) batch(n int64) *warehouse.Batch {
	rows := &listed{}
	for i := range int64(perLoad) {
		key := n*100 + i
		rows.folds = append(rows.folds, warehouse.Folded{Op: schemas.Create, Pos: at(uint64(key))}) //nolint:gosec // small
		rows.write = append(rows.write, func(s warehouse.Sink) { s.Int(0, key); s.Bytes(1, []byte("x")) })
	}
	return &warehouse.Batch{
		Table: c.table, Epoch: c.head.Epoch, Load: n, Partitions: 1, Rows: rows, Counts: schemas.RowCounts{Read: perLoad}, StartedAt: time.Now(),
		Snapshotting: c.snapshot, Ranges: []schemas.Range{{Topic: "topic", From: (n - 1) * perLoad, To: n * perLoad}},
	}
}

// remove deletes rows by a load.
func (c *consumer) remove(t *testing.T, keys ...int64) error {
	t.Helper()
	n := c.head.Load + 1
	b, rows := c.batch(n), &listed{}
	for _, key := range keys {
		rows.folds = append(rows.folds, warehouse.Folded{Op: schemas.Delete, Pos: at(uint64(key) + 1_000_000)}) //nolint:gosec // small
		rows.write = append(rows.write, func(s warehouse.Sink) { s.Int(0, key) })
	}
	b.Rows, b.Counts.Read = rows, int64(len(keys))
	done, err := c.p.w.Load(t.Context(), b)
	if err == nil {
		c.head.Load = done.Load
	}
	return err
}

// check says that everything was loaded once.
func (c *consumer) check(t *testing.T, loads int64) {
	t.Helper()
	if c.head.Load != loads {
		t.Fatalf("the head is at load %d, want %d", c.head.Load, loads)
	}
	if got := int64(len(c.p.rows(t, c.table))); got != loads*perLoad {
		t.Errorf("%d rows, want %d", got, loads*perLoad)
	}
	events, err := c.p.w.Loads(t.Context(), c.table.Name, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Load != int64(i)+1 || e.Rows.Inserted != perLoad || len(e.JobIDs) != 1 {
			t.Errorf("event %d is %+v", i+1, e)
		}
	}
	if int64(len(events)) != loads {
		t.Errorf("%d events, want %d", len(events), loads)
	}
}

var errGivenUp = errors.New("given up")

// givesUpWhenFired ends when a fault of the fake has happened.
func givesUpWhenFired(t *testing.T, fake *bigqueryfake.Fake) context.Context {
	t.Helper()
	ctx, give := context.WithCancelCause(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil && len(fake.Fired()) == 0 {
			time.Sleep(time.Millisecond)
		}
		give(errGivenUp)
	}()
	t.Cleanup(func() { give(nil); <-watched })
	return ctx
}

// Whatever the service does at one of the calls or statements of a load, every
// row is loaded once, and no number is left out (G4, G6).
func TestEveryFaultOnce(t *testing.T) {
	slow(t)
	for name, c := range map[string]struct {
		point string
		fault bigqueryfake.Fault
		fails bool // the load returns an error; the consumer goes on
	}{
		"insert: reply lost":             {"jobs.insert", bigqueryfake.LoseReply(), false},
		"insert: connection cut":         {"jobs.insert", bigqueryfake.Cut(), false},
		"insert: 500":                    {"jobs.insert", bigqueryfake.Refuse(500, "internalError", "no"), false},
		"insert: 503":                    {"jobs.insert", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"insert: 429":                    {"jobs.insert", bigqueryfake.Refuse(429, "rateLimitExceeded", "no"), false},
		"insert: quota":                  {"jobs.insert", bigqueryfake.Quota("no"), false},
		"insert: 401":                    {"jobs.insert", bigqueryfake.Refuse(401, "authError", "expired"), true},
		"results: reply lost":            {"jobs.getQueryResults", bigqueryfake.LoseReply(), false},
		"results: 503":                   {"jobs.getQueryResults", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"job: error before":              {"job", bigqueryfake.FailJob("backendError", "no"), false},
		"job: error behind":              {"job", bigqueryfake.FailJobLate("backendError", "no"), true}, // it was committed
		"job: fatal error":               {"job", bigqueryfake.FailJob("invalid", "no"), true},
		"MERGE: conflict":                {"statement MERGE", bigqueryfake.Refuse(400, "invalidQuery", "Transaction is aborted due to concurrent update against table x"), false},
		"COMMIT: conflict":               {"statement COMMIT", bigqueryfake.Refuse(400, "invalidQuery", "Transaction is aborted due to concurrent update against table x"), false},
		"COMMIT: error":                  {"statement COMMIT", bigqueryfake.Refuse(400, "backendError", "no"), false},
		"append: stream gone":            {"AppendRows", bigqueryfake.StreamGone(), false},
		"append: reply lost":             {"AppendRows", bigqueryfake.LoseReply(), false},
		"append: connection cut":         {"AppendRows", bigqueryfake.Cut(), false},
		"append: 503":                    {"AppendRows", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"append: quota":                  {"AppendRows", bigqueryfake.Refuse(429, "quotaExceeded", "no"), false},
		"append: permission was taken":   {"AppendRows", bigqueryfake.Refuse(403, "accessDenied", "no"), true},
		"append: no such table, not yet": {"AppendRows", bigqueryfake.Refuse(404, "notFound", "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProject(t)
			c2 := newConsumer(t, p)
			if err := c2.load(t, time.Minute); err != nil {
				t.Fatal(err)
			}
			p.fake.On(c.point, 1, c.fault)
			if err := c2.load(t, time.Minute); (err != nil) != c.fails {
				t.Fatalf("got %v; fired: %v", err, p.fake.Fired())
			}
			if fired := p.fake.Fired(); len(fired) != 1 {
				t.Fatalf("fired: %v", fired)
			}
			for c2.head.Load < 3 {
				if err := c2.load(t, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			c2.check(t, 3)
		})
	}
}

// A job hangs behind its MERGE until the consumer gives up; another consumer
// takes the table over. What hangs has no effect any more.
func TestHangingJobIsFenced(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	release := make(chan struct{})
	p.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
	if err := c.loadUntil(givesUpWhenFired(t, p.fake), t); !errors.Is(err, errGivenUp) {
		t.Fatalf("got %v", err)
	}
	close(release)
	for c.head.Load < 2 {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.check(t, 2)
}
