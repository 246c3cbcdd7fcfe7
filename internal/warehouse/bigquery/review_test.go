package bigquery

import (
	"math/rand/v2"
	"strconv"
	"context"
	"errors"
	"time"
	"testing"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

func appended() warehouse.DerivedTable {
	d := days()
	d.Append, d.Window = true, ""
	return d
}

func firstAppend(t *testing.T, d *deriver) {
	t.Helper()
	s := &warehouse.Step{
		Table: d.table, Epoch: d.head.Epoch, Load: d.head.Load, Head: d.head, WasHash: d.head.CodeHash, Mode: schemas.ModeAppend,
		Forget: d.head.Absorbed == nil, // as deriver.plan
		Parts:  []warehouse.Part{{Query: "SELECT DATE '2024-03-01' AS day, n FROM UNNEST(GENERATE_ARRAY(1, 2)) AS n", Owned: "TRUE"}},
	}
	s.Head.Absorbed = map[string]int64{"core.payments_history": 2}
	done, err := d.runner.Commit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	d.head.Load, d.head.Absorbed = done.Load, s.Head.Absorbed
}

// death between DROP t and RENAME t__remade of an append table
func TestReviewAppendDoubled(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, appended())
	firstAppend(t, d)
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	if err := p.w.ddl(t.Context(), n, "ALTER TABLE `analytics`.`days` RENAME TO `days__remade`"); err != nil {
		t.Fatal(err)
	}
	d.acquire(t)
	t.Logf("head %+v", d.head)
	if d.head.Absorbed == nil { // what the deriver does: start() drains the driver from 0
		firstAppend(t, d)
	}
	if rows := p.read(t, n, "SELECT n FROM analytics.days"); len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
}

// the RENAME meets a quota once: the script is repeated as another attempt
func TestReviewRemakeRetried(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 2); err != nil {
		t.Fatal(err)
	}
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	d.table.Cluster = []string{"n"}
	p.fake.On("statement ALTER", 1, bigqueryfake.Refuse(400, "rateLimitExceeded", "Exceeded rate limits: too many table update operations for this table"))
	_, err := d.runner.Acquire(t.Context(), d.table, -1)
	t.Logf("acquire: %v", err)
	for _, name := range []string{"days", "days__remade"} {
		_, found, _ := d.runner.metadata(t.Context(), "analytics", name)
		t.Logf("%s there: %v", name, found)
	}
	d.acquire(t)
	rows := p.read(t, n, "SELECT n FROM analytics.days")
	if len(rows) != 2 || d.head.Absorbed == nil {
		t.Fatalf("%d rows, head %+v", len(rows), d.head)
	}
}

// An old owner remakes the table, and is slow; the new one (whose spec is that of
// before) publishes meanwhile.
func TestReviewZombieRemake(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	old := newDeriver(t, p, days())
	old.table.Cluster = []string{"n"}
	release := make(chan struct{})
	p.fake.On("statement DROP", 2, bigqueryfake.Hang(release)) // DROP of the table
	done := make(chan error)
	go func() { _, err := old.runner.Acquire(context.Background(), old.table, -1); done <- err }()
	for len(p.fake.Fired()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	d.acquire(t)
	if err := d.commit(t.Context(), t, 2); err != nil {
		t.Fatal(err)
	}
	close(release)
	t.Logf("old: %v", <-done)
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	d.acquire(t)
	rows := p.read(t, n, "SELECT n FROM analytics.days")
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3; head %+v", len(rows), d.head)
	}
}

// The publishing job commits, and ends in an error behind that.
func TestReviewErrorBehindPublish(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	p.fake.On("statement SELECT", 100, bigqueryfake.Refuse(400, "backendError", "x"))
	p.fake.Off("statement SELECT")
	p.fake.On("job", 4+1, bigqueryfake.FailJobLate("backendError", "no"))
	for i := 1; i <= 3; i++ {
		_, err := d.runner.Commit(t.Context(), d.step(1))
		t.Logf("%v fenced=%v fired=%v", err, errors.Is(err, warehouse.ErrFenced), p.fake.Fired())
		d.acquire(t)
	}
}

// The deriver's process reads the columns of a core table before and after the
// consumer's process has added one.
func TestReviewOtherProcessSeesColumns(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	derive, err := Open(t.Context(), fakeOptions(p.fake))
	if err != nil {
		t.Fatal(err)
	}
	defer derive.Close()
	before, err := derive.Core(t.Context(), c.table.Name)
	if err != nil {
		t.Fatal(err)
	}
	c.table.Columns = append(c.table.Columns, schemas.Column{Name: "added", Type: kindOf(schemas.Date)})
	if err := p.w.Ensure(t.Context(), c.table); err != nil {
		t.Fatal(err)
	}
	after, err := derive.Core(t.Context(), c.table.Name)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Columns) != len(before.Columns)+1 {
		t.Fatalf("%d columns before, %d after", len(before.Columns), len(after.Columns))
	}
}

func TestReviewDialectRetries(t *testing.T) {
	p := newProject(t)
	p.fake.On("jobs.insert", 1, bigqueryfake.Refuse(503, "backendError", "no"))
	_, err := p.w.Dialect().Columns(t.Context(), "SELECT 1 AS n", nil)
	t.Logf("fired %v", p.fake.Fired())
	if err != nil {
		t.Fatal(err)
	}
}

// Rewind of a table in mode upsert whose topic has changed since.
func TestReviewUpsertRewindAfterSuccession(t *testing.T) {
	t.Skip("trace")
}

// PutRemade of what an interrupted Remake has left long ago, after the table was dropped by hand.
func TestReviewStaleRemade(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	// dies between the CTAS and DROP TABLE; the spec is reverted
	if err := p.w.ddl(t.Context(), n, "CREATE TABLE `analytics`.`days__remade` (`day` DATE, `n` INT64, `gone` STRING) AS SELECT `day`, `n`, 'x' AS gone FROM `analytics`.`days`"); err != nil {
		t.Fatal(err)
	}
	d.acquire(t)
	_, left, _ := d.runner.metadata(t.Context(), "analytics", "days__remade")
	t.Logf("days__remade left after Acquire: %v", left)
	if err := p.w.ddl(t.Context(), n, "DROP TABLE `analytics`.`days`"); err != nil {
		t.Fatal(err)
	}
	d.acquire(t)
	md, _, _ := d.runner.metadata(t.Context(), "analytics", "days")
	names, _ := fieldsOf(md)
	rows := p.read(t, n, "SELECT n FROM analytics.days")
	if len(names) != 2 || len(rows) != 0 {
		t.Fatalf("columns %v, rows %v", names, rows)
	}
}

// Labels that people have put on the table
func TestReviewLabelsOfPeople(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	if err := p.w.ddl(t.Context(), n, "ALTER TABLE `analytics`.`days` SET OPTIONS (labels = [('millrace', 'derived'), ('cost_center', '7')])"); err != nil {
		t.Fatal(err)
	}
	d.table.Description = "said"
	d.acquire(t)
	md, _, _ := d.runner.metadata(t.Context(), "analytics", "days")
	if md.Labels["cost_center"] != "7" {
		t.Fatalf("labels %v", md.Labels)
	}
}

// A rewind by a few offsets, of the topic that the table reads now. Load 1 was
// of the topic before, two days ago.
func TestReviewUpsertRewindNextTopic(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	if _, err := p.w.Load(t.Context(), upserts(head, 1000, row{1, 10, "a"})); err != nil {
		t.Fatal(err)
	}
	n := p.name(t, warehouse.CoreTable{Name: "core.accounts"})
	// the step to the next generation: a load of no ranges, and the next topic's offsets
	err := p.w.ddl(t.Context(), n,
		"UPDATE millrace.core__accounts__loads SET committed_at = TIMESTAMP_MICROS(1700000000000000) WHERE TRUE",
		"UPDATE millrace.core__accounts__head SET offsets = PARSE_JSON('{\"0\":10}'), topic = 'topic.g2', load = 2 WHERE TRUE")
	if err != nil {
		t.Fatal(err)
	}
	head = takeAccounts(t, p.w)
	t.Logf("%+v", head.Offsets)
	if err := p.w.Rewind(t.Context(), "core.accounts", head.Epoch, map[int32]int64{0: 9}); err != nil {
		t.Fatal(err)
	}
}

// The buckets of a load of 100,000 rows over ten years, as the script's variable
// has them.
func TestReviewEventIsOneVariable(t *testing.T) {
	hours := map[int64]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		hours[400_000+r.Int64N(24*3653)] = true
	}
	n := 0
	for h := range hours {
		n += len(strconv.FormatInt(h, 10)) + 1
	}
	t.Logf("%d buckets, %d bytes a column", len(hours), n)
}

// New code is deployed, takes the table over, waits for an input, and is rolled
// back before its first commit.
func TestReviewRolledBackBeforeFirstCommit(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 2); err != nil {
		t.Fatal(err)
	}
	was := d.head
	d.table.Columns[1].SQLType, d.table.Columns[1].Type = "STRING", schemas.Type{Kind: schemas.String}
	d.acquire(t)
	d.table = days()
	d.acquire(t)
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	rows := p.read(t, n, "SELECT n FROM analytics.days")
	t.Logf("rows %v; head %+v, was %+v", rows, d.head, was)
	if rows[0][0] == nil && d.head.Absorbed != nil && d.head.CodeHash == was.CodeHash {
		t.Fatal("values are gone and nothing computes them again")
	}
}

// A transaction of an owner that died is open for long: Acquire's patience.
func TestReviewAcquireHasABound(t *testing.T) {
	p := newProject(t)
	head := ensureAccounts(t, p)
	release := make(chan struct{})
	defer close(release)
	p.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
	go func() { _, _ = p.w.Load(context.Background(), upserts(head, 1, row{1, 10, "a"})) }()
	for len(p.fake.Fired()) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	other, err := Open(t.Context(), func() Options { o := fakeOptions(p.fake); o.Patience = 100 * time.Millisecond; return o }())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	_, err = other.Acquire(ctx, "core.accounts", "topic", "id")
	t.Logf("after %s: %v", time.Since(began), err)
	if ctx.Err() != nil {
		t.Fatal("fifty times its patience, and no error")
	}
}
