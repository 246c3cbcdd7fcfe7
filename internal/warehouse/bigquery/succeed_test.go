package bigquery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// generationStep is a copy of two loads whose next generation has three, of other rows.
type generationStep struct {
	p        *project
	old      *consumer
	next     *consumer
	becoming warehouse.CoreTable
}

func newGenerationStep(t *testing.T, p *project) *generationStep {
	t.Helper()
	g := &generationStep{p: p, old: newConsumer(t, p)}
	if err := p.w.SetNeeds(t.Context(), g.old.table.Name, "spec", warehouse.Kept{Changes: []string{"note"}}); err != nil {
		t.Fatal(err)
	}
	g.becoming = g.old.table
	g.becoming.Key = []string{"id", "note"}
	staged := g.becoming
	staged.Name = schemas.GenerationName(staged.Name, 2)
	if err := p.w.Ensure(t.Context(), staged); err != nil {
		t.Fatal(err)
	}
	g.next = &consumer{p: p, table: staged}
	g.next.acquire(t)
	for _, c := range []*consumer{g.old, g.old, g.next, g.next, g.next} {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *generationStep) succeed(ctx context.Context) (schemas.LoadComplete, error) {
	return g.p.w.Succeed(ctx, &warehouse.Succession{
		Table: g.becoming, Epoch: g.old.head.Epoch, Load: 3, Generation: 2, From: g.next.table.Name, FromEpoch: g.next.head.Epoch, StartedAt: time.Now(),
	})
}

// check says that the step was taken once, and that the table goes on.
func (g *generationStep) check(t *testing.T) {
	t.Helper()
	if got := len(g.p.view(t, g.becoming)); got != 3*perLoad {
		t.Fatalf("readers see %d rows, want %d", got, 3*perLoad)
	}
	n := sqlgen.Name{Dataset: "core", Table: g.next.table.Name[len("core."):]}
	for _, left := range []string{"head", "loads", "needs", "changes"} {
		if _, found, err := g.p.w.metadata(t.Context(), sqlgen.Schema, n.Own(left)); found || err != nil {
			t.Errorf("%s of what was taken in is left (%v)", left, err)
		}
	}
	if _, found, err := g.p.w.metadata(t.Context(), n.Dataset, n.Table); found || err != nil {
		t.Errorf("the view of what was taken in is left (%v)", err)
	}
	g.old.table = g.becoming
	for range 2 {
		if err := g.old.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	events, err := g.p.w.Loads(t.Context(), g.becoming.Name, 0, 10)
	if err != nil || len(events) != 5 || !events[2].All || events[2].Load != 3 || len(events[2].JobIDs) != 1 {
		t.Errorf("%+v %v", events, err)
	}
	images := g.p.images(t, g.becoming, []string{"note"})
	if len(images) == 0 || images[0].Load < 4 {
		t.Errorf("images %+v", images)
	}
}

// A succession that ends at any of its statements, and one whose reply is lost,
// is taken once in the end, and nothing is left of it.
func TestSuccessionEndsAnywhere(t *testing.T) {
	slow(t)
	for _, statement := range []string{"ASSERT", "CREATE", "BEGIN", "UPDATE", "DELETE", "INSERT", "COMMIT", "ALTER", "DROP"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			for nth := 1; succeedWithFault(t, statement, nth); nth++ {
			}
		})
	}
}

// behind are the statements that stand behind the commit.
func behind(statement string) bool { return statement == "DROP" || statement == "ALTER" }

// succeedWithFault takes the step, of which the nth such statement fails, and
// reports whether there is one.
func succeedWithFault(t *testing.T, statement string, nth int) bool {
	t.Helper()
	p := newProject(t)
	g := newGenerationStep(t, p)
	p.fake.On("statement "+statement, nth, bigqueryfake.Refuse(400, "invalid", "no"))
	_, err := g.succeed(t.Context())
	if len(p.fake.Fired()) == 0 {
		if err != nil || nth == 1 {
			t.Fatalf("%s %d: %v", statement, nth, err)
		}
		return false
	}
	if err == nil {
		t.Fatalf("%s %d failed, and the succession did not", statement, nth)
	}
	p.crash(t)
	g.old.acquire(t)
	if (g.old.head.Load == 3) != behind(statement) {
		t.Fatalf("after %s %d the head is at load %d", statement, nth, g.old.head.Load)
	}
	if g.old.head.Load == 2 {
		g.next.acquire(t)
		if rows, seen := len(p.rows(t, g.old.table)), len(p.view(t, g.old.table)); rows != 2*perLoad || seen != rows {
			t.Fatalf("after %s %d the table has %d rows, and readers see %d", statement, nth, rows, seen)
		}
		if _, err := g.succeed(t.Context()); err != nil {
			t.Fatalf("after %s %d: %v", statement, nth, err)
		}
		g.old.head.Load = 3
	}
	g.check(t)
	return true
}

// A history keeps its rows, whatever of the step fails, and each of them once.
func TestSuccessionOfAHistoryEndsAnywhere(t *testing.T) {
	slow(t)
	for _, statement := range []string{"ASSERT", "CREATE", "BEGIN", "UPDATE", "DELETE", "INSERT", "COMMIT", "ALTER", "DROP"} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			for nth := 1; keepWithFault(t, statement, nth); nth++ {
			}
		})
	}
}

func keepWithFault(t *testing.T, statement string, nth int) bool {
	t.Helper()
	p := newProject(t)
	_, table := fixture(schemas.ModeAppend)
	c := &consumer{p: p, table: table}
	if err := p.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	c.acquire(t)
	for range 2 {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	next := table
	next.Key = []string{"note"}
	next.Columns = append([]schemas.Column{}, table.Columns...)
	next.Columns[0].Type = kindOf(schemas.String) // what the table is kept by
	step := func() error {
		_, err := p.w.Succeed(t.Context(), &warehouse.Succession{
			Table: next, Epoch: c.head.Epoch, Load: 3, Generation: 2, Topic: "topic.g2", TopicID: "id-2", StartedAt: time.Now(),
		})
		return err
	}
	p.fake.On("statement "+statement, nth, bigqueryfake.Refuse(400, "invalid", "no"))
	err := step()
	if len(p.fake.Fired()) == 0 {
		if err != nil || nth == 1 {
			t.Fatalf("%s %d: %v", statement, nth, err)
		}
		return false
	}
	if err == nil {
		t.Fatalf("%s %d failed, and the succession did not", statement, nth)
	}
	p.crash(t)
	c.acquire(t)
	if c.head.Load == 2 {
		if got := len(p.view(t, table)); got != 2*perLoad {
			t.Fatalf("after %s %d readers see %d rows", statement, nth, got)
		}
		if err := step(); err != nil {
			t.Fatalf("after %s %d: %v", statement, nth, err)
		}
		c.acquire(t)
	}
	if c.head.Topic != "topic.g2" || len(c.head.Offsets) > 0 {
		t.Fatalf("head %+v", c.head)
	}
	next.Columns = append(next.Columns, schemas.Column{Name: "id__g1", Type: kindOf(schemas.Int)})
	kept := map[int64]bool{}
	for _, row := range p.view(t, next) {
		kept[row[len(row)-1].Int] = row[0].Kind == schemas.Null
	}
	if len(kept) != 2*perLoad || !kept[100] || !kept[203] {
		t.Fatalf("after %s %d: kept %v", statement, nth, kept)
	}
	return true
}

func TestFaultsOfASuccession(t *testing.T) {
	slow(t)
	for name, c := range map[string]struct {
		point string
		fault bigqueryfake.Fault
		fails bool
	}{
		"insert: reply lost":  {"jobs.insert", bigqueryfake.LoseReply(), false},
		"insert: 503":         {"jobs.insert", bigqueryfake.Refuse(503, "backendError", "no"), false},
		"results: reply lost": {"jobs.getQueryResults", bigqueryfake.LoseReply(), false},
		"job: error before":   {"job", bigqueryfake.FailJob("backendError", "no"), false},
		"job: error behind":   {"job", bigqueryfake.FailJobLate("backendError", "no"), true}, // it was committed
		"COMMIT: conflict":    {"statement COMMIT", bigqueryfake.Refuse(400, "invalidQuery", "Transaction is aborted due to concurrent update against table x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGenerationStep(t, newProject(t))
			g.p.fake.On(c.point, 1, c.fault)
			done, err := g.succeed(t.Context())
			if (err != nil) != c.fails || err == nil && (done.Load != 3 || len(done.JobIDs) != 1) {
				t.Fatalf("%+v %v; fired: %v", done, err, g.p.fake.Fired())
			}
			g.old.acquire(t)
			if g.old.head.Load != 3 {
				t.Fatalf("head %+v", g.old.head)
			}
			g.check(t)
		})
	}
}

// An owner whose job hangs before its commit has lost the table when it goes on:
// the rows of neither generation are touched.
func TestHangingSuccessionIsFenced(t *testing.T) {
	slow(t)
	g := newGenerationStep(t, newProject(t))
	release := make(chan struct{})
	g.p.fake.On("statement BEGIN", 1, bigqueryfake.Hang(release))
	if _, err := g.succeed(givesUpWhenFired(t, g.p.fake)); !errors.Is(err, errGivenUp) {
		t.Fatalf("got %v", err)
	}
	late := *g
	old, next := *g.old, *g.next
	late.old, late.next = &old, &next
	g.p.crash(t)
	g.old.acquire(t)
	g.next.acquire(t)
	close(release)
	if _, err := late.succeed(t.Context()); !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("the old owner: %v", err)
	}
	if _, err := g.succeed(t.Context()); err != nil {
		t.Fatal(fmt.Errorf("the new owner: %w", err))
	}
	g.old.head.Load = 3
	g.check(t)
}

// The rows of a history without a key come under the number of the step, and no
// old owner gives them another one later.
func TestRowsComeUnderTheNumberOfTheSuccession(t *testing.T) {
	slow(t)
	p := newProject(t)
	_, table := fixture(schemas.ModeAppend)
	table.Key = nil
	staged := table
	staged.Name = schemas.GenerationName(table.Name, 2)
	old, next := &consumer{p: p, table: table}, &consumer{p: p, table: staged}
	for _, c := range []*consumer{old, next, next} {
		if c.head.Epoch == 0 {
			if err := p.w.Ensure(t.Context(), c.table); err != nil {
				t.Fatal(err)
			}
			c.acquire(t)
		}
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	step := warehouse.Succession{Table: table, Epoch: old.head.Epoch, Load: 2, Generation: 2, From: staged.Name, FromEpoch: next.head.Epoch, StartedAt: time.Now()}
	release := make(chan struct{})
	p.fake.On("statement BEGIN", 1, bigqueryfake.Hang(release)) // behind the first assertions
	if _, err := p.w.Succeed(givesUpWhenFired(t, p.fake), &step); !errors.Is(err, errGivenUp) {
		t.Fatalf("got %v", err)
	}
	p.crash(t)
	old.acquire(t)
	step.Epoch = old.head.Epoch
	if _, err := p.w.Succeed(t.Context(), &step); err != nil {
		t.Fatal(err)
	}
	old.head.Load = 2
	close(release)
	if err := old.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	loads := map[int64]int{}
	for _, r := range p.rows(t, table) {
		loads[r.Load]++
	}
	if len(loads) != 2 || loads[2] != 2*perLoad || loads[3] != perLoad {
		t.Errorf("rows by load: %v", loads)
	}
}

// A process that derives alone sees the next generation's key.
func TestCoreSeesTheNextGeneration(t *testing.T) {
	p := newProject(t)
	g := newGenerationStep(t, p)
	derive, err := Open(t.Context(), fakeOptions(p.fake))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = derive.Close() }()
	seen := func(want warehouse.CoreTable) {
		t.Helper()
		core, err := derive.Core(t.Context(), want.Name)
		if err != nil || !slices.Equal(core.Key, want.Key) {
			t.Errorf("the key is %v, want %v: %v", core.Key, want.Key, err)
		}
	}
	seen(g.old.table)
	if _, err := g.succeed(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen(g.becoming)
}
