package deriver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

var runPoints = []string{
	duckdb.PointRunAcquired, duckdb.PointRunBegin, duckdb.PointRunStaged, duckdb.PointRunHead, duckdb.PointRunPublished,
	duckdb.PointRunLogged, duckdb.PointRunCommitted,
}

// A death before or after any effect of a run repeats work and loses none; the
// numbers that are announced have no gaps.
func TestDeathAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, point := range runPoints {
		for nth := 1; nth <= 2; nth++ {
			if testing.Short() && nth > 1 {
				continue
			}
			t.Run(point, func(t *testing.T) {
				p := shop(t)
				p.derive(revenue, customers)
				p.plan.Fail(point, nth)
				die := func() { // a process that dies keeps nothing in memory
					for _, n := range p.nodes {
						p.derived[n.Spec.Name] = p.deriver(n)
					}
				}
				p.until(die)
				p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(13, 2, 1, "2024-03-01T10:00:00Z"), gone(11))
				p.until(die)
				p.core["core.orders"].loads("2024-03-06T11:00:00Z", gone(1), put(3, "pot", 8))
				p.until(die)
				if got, want := p.rows("FROM analytics.revenue"), p.rows(revenueFull); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				p.want("FROM analytics.customers", "8 2 8")
				p.contiguous("analytics.revenue")
				p.contiguous("analytics.customers")
			})
		}
	}
}

// until settles, with a death at every error.
func (p *platform) until(die func()) {
	p.t.Helper()
	for range 50 {
		clean := true
		for _, n := range p.nodes {
			for range 100 {
				again, err := p.derived[n.Spec.Name].cycle(p.t.Context())
				if err != nil {
					clean = false
					die()
					break
				}
				if p.derived[n.Spec.Name].Status().Dirty > 0 && again.After(p.now) {
					p.now = again // what is held comes again
					time.Sleep(time.Millisecond)
					clean = false
				}
				if again.IsZero() || again.After(p.now) {
					break
				}
			}
		}
		if clean {
			return
		}
	}
	p.t.Fatal("it does not settle")
}

// contiguous checks that the announced loads of a table cover 1 to the last.
func (p *platform) contiguous(table string) {
	p.t.Helper()
	next := int64(1)
	for _, e := range p.events[table] {
		if e.Load > next || e.Load > 0 && e.Load < next-1 {
			p.t.Fatalf("%s: load %d was announced, %d was expected", table, e.Load, next)
		}
		if e.Load == next {
			next++
		}
	}
	p.want("SELECT load FROM millrace."+strings.ReplaceAll(table, ".", "__")+"__head", string(rune('0'+next-1)))
}

func TestAnnouncementIsRepeated(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.deaf = errors.New("the broker is away")
	if _, err := p.derived["analytics.revenue"].cycle(t.Context()); err != nil {
		t.Fatal(err) // the start announces nothing
	}
	if _, err := p.derived["analytics.revenue"].cycle(t.Context()); !errors.Is(err, p.deaf) {
		t.Fatalf("error %v", err)
	}
	p.deaf = nil
	p.derived["analytics.revenue"] = p.deriver(p.nodes[0])
	p.quiet()
	p.contiguous("analytics.revenue")
	if p.last("analytics.revenue").Load != 1 {
		t.Error("it was not announced")
	}
}

const audited = `
name: analytics.audited
window: {size: day, begin: 2024-03-01}
query: |
  SELECT CAST(paid_at AS DATE) AS day, order_id, CAST(10 / (amount - 99) AS INT) AS ratio FROM core.payments
audits:
  - {not_null: [ratio]}
  - {unique: [day, order_id]}
`

// A window that fails is held, and its published rows stay; the others of its
// group publish.
func TestFailingWindowIsHeld(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]change{
		"unique":   put(20, 1, 6, "2024-03-03T10:00:00Z"),
		"not null": put(20, 3, nil, "2024-03-03T10:00:00Z"),
	} {
		t.Run(name, func(t *testing.T) {
			p := shop(t)
			p.derive(audited)
			p.quiet()
			payments := p.core["core.payments"]
			payments.loads("2024-03-05T11:00:00Z", bad, put(21, 2, 6, "2024-03-02T10:00:00Z"), put(12, 2, 8, "2024-03-03T00:00:00Z"))
			p.settle()
			p.want("SELECT day, count(*) FROM analytics.audited GROUP BY 1", "2024-03-01T00:00 1", "2024-03-02T00:00 1", "2024-03-03T00:00 2")
			s := p.derived["analytics.audited"].Status()
			if len(s.Held) != 1 || !strings.Contains(s.Held[0].Error, "audit") || !s.Held[0].Window.Equal(at("2024-03-03")) || !strings.Contains(s.Waiting, "failed") {
				t.Fatalf("status %+v", s)
			}
			// It is held across a death, with its reason, and comes again later.
			p.derived["analytics.audited"] = p.deriver(p.nodes[0])
			again, err := p.derived["analytics.audited"].cycle(t.Context())
			if err != nil || again.IsZero() || again.Sub(p.now) > time.Second {
				t.Fatalf("it comes again at %s: %v", again, err)
			}
			p.now = again
			p.settle()
			if s := p.derived["analytics.audited"].Status(); s.Held[0].Failures != 2 {
				t.Errorf("status %+v", s)
			}
			// Mended at the source, it is computed at once.
			payments.loads("2024-03-05T11:01:00Z", gone(20))
			p.settle()
			if s := p.derived["analytics.audited"].Status(); len(s.Held) != 0 || s.Dirty != 0 {
				t.Errorf("status %+v", s)
			}
			p.want("SELECT count(*) FROM analytics.audited", "4")
		})
	}
}

// A query that fails as such is held like one that fails an audit.
func TestFailingQueryIsHeld(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(audited, "10 / (amount - 99)", "error('no')", 1), strings.Replace(customers, "count(DISTINCT o.id)", "error('no')", 1))
	p.settle()
	if s := p.derived["analytics.audited"].Status(); len(s.Held) != 2 || s.Held[0].Failures < 1 || s.Dirty != 2 {
		t.Errorf("status %+v", s)
	}
	if s := p.derived["analytics.customers"].Status(); len(s.Held) != 1 || s.Dirty != 2 {
		t.Errorf("status %+v", s)
	}
	p.want("SELECT count(*) FROM analytics.audited", "0")
	p.want("SELECT count(*) FROM analytics.customers", "0")
}

// What a query returns outside of its window is never published (G8).
func TestResultOutsideOfItsWindow(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(`
name: analytics.shifted
window: {size: day, begin: 2024-03-01}
query: SELECT CAST(paid_at AS DATE) + 1 AS day, id FROM core.payments
`, `
name: analytics.stray
strategy: merge
unique_key: customer
inputs: {core.orders: {key: [customer]}}
query: SELECT customer + 1 AS customer, id FROM core.orders
`)
	p.settle()
	p.want("SELECT count(*) FROM analytics.shifted", "0")
	p.want("SELECT count(*) FROM analytics.stray", "0")
	for _, name := range []string{"analytics.shifted", "analytics.stray"} {
		if s := p.derived[name].Status(); len(s.Held) == 0 || !strings.Contains(s.Held[0].Error, "of other windows or keys") {
			t.Errorf("status %+v", s)
		}
	}
}

// An earlier owner that comes back writes nothing, also if its transaction was
// under way when it lost the table (G5).
func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	zombie := p.derived["analytics.revenue"]
	heir := p.deriver(p.nodes[0])
	if _, err := heir.cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", gone(10))
	if _, err := zombie.cycle(t.Context()); !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("the zombie ran: %v", err)
	}
	p.want("SELECT count(*) FROM analytics.revenue", "3")
	if err := zombie.Run(t.Context()); !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("the zombie came back: %v", err)
	}

	late := p.deriver(p.nodes[0])
	if _, err := late.cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.want("SELECT count(*) FROM analytics.revenue", "2")
	p.core["core.payments"].loads("2024-03-05T11:01:00Z", gone(11))
	p.plan.On(duckdb.PointRunStaged, 1, func(ctx context.Context) error {
		_, err := p.runner.Acquire(ctx, late.table, -1) // while it computes
		return err
	})
	if _, err := late.cycle(t.Context()); !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("the zombie published: %v", err)
	}
	p.want("SELECT count(*) FROM analytics.revenue", "2")
}

// A deriver of an earlier revision stays out and changes nothing, not even the
// table's columns.
func TestEarlierRevisionStaysOut(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.rev = 5
	p.derive(revenue)
	p.quiet()
	p.rev = 4
	older := p.deriver(p.build(strings.Replace(revenue, " AS total", " AS sum_total", 1))[0])
	if err := older.Run(t.Context()); !errors.Is(err, warehouse.ErrRevision) {
		t.Fatalf("error %v", err)
	}
	if owner := p.derived["analytics.revenue"]; older.Status().Acquired || !owner.Status().Acquired {
		t.Errorf("the table is shown as the earlier revision's: %v, as the later's: %v", older.Status().Acquired, owner.Status().Acquired)
	}
	p.want("SELECT sum(total) FROM analytics.revenue", "18")
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", gone(10))
	p.quiet()
	p.want("SELECT sum(total) FROM analytics.revenue", "13")
}

// Whatever fails, Run goes on, and ends with its context.
func TestRunSurvivesFailures(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.plan.On(duckdb.PointRunAcquired, 1, func(context.Context) error { return fault.ErrInjected })
	ctx, cancel := context.WithCancel(t.Context())
	d := p.derived["analytics.revenue"]
	d.opts.Now = time.Now
	published := make(chan struct{})
	d.opts.Announce = func(_ context.Context, e schemas.LoadComplete) error {
		if e.Load == 1 {
			close(published)
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	<-published
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The scopes table and rows hold the whole of what they own. What an append
// table could not add is added once its query is mended.
func TestFailingTableAndRowsAreHeld(t *testing.T) {
	t.Parallel()
	p := shop(t)
	history := p.table("core.payments_history", "id int, amount int", schemas.ModeAppend)
	history.loads("2024-03-05T10:00:00Z", put(1, 10))
	const whole, added = "name: analytics.whole\nquery: SELECT max(id) AS x, error('no') AS e FROM core.orders",
		"name: analytics.added\nstrategy: append\nquery: SELECT id, error('no') AS e FROM core.payments_history"
	p.derive(whole, added)
	p.settle()
	for _, name := range []string{"analytics.whole", "analytics.added"} {
		if s := p.status(name); len(s.Held) != 1 || s.Held[0].Failures < 1 || s.Waiting != "for 1 that failed" {
			t.Errorf("status %+v", s)
		}
	}
	history.loads("2024-03-05T11:00:00Z", put(2, 20))
	p.settle()
	p.want("SELECT count(*) FROM analytics.added", "0")
	p.restart(strings.Replace(whole, "error('no')", "1", 1), strings.Replace(added, "error('no')", "1", 1))
	p.now = p.now.Add(time.Hour)
	p.quiet()
	p.want("SELECT x FROM analytics.whole", "2")
	p.want("SELECT id FROM analytics.added", "1", "2")
	for _, name := range []string{"analytics.whole", "analytics.added"} {
		if s := p.status(name); len(s.Held) != 0 || s.Dirty != 0 {
			t.Errorf("status %+v", s)
		}
	}
}

// A window that is held keeps nobody waiting: the table is said to be complete
// beyond it, and its rows come as a correction once it is cured.
func TestHeldWindowKeepsBackNoCompleteness(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(audited)
	p.quiet()
	payments := p.core["core.payments"]
	payments.loads("2024-03-05T11:00:00Z", put(20, 3, nil, "2024-03-03T10:00:00Z"), put(21, 4, 6, "2024-03-03T12:00:00Z"))
	p.core["core.orders"].loads("2024-03-05T11:00:00Z", put(9, "pot", 7))
	p.settle()
	if s := p.status("analytics.audited"); len(s.Held) != 1 || !s.Complete.Equal(at("2024-03-05T11:00:00Z")) {
		t.Errorf("status %+v", s)
	}
	payments.loads("2024-03-05T12:00:00Z", gone(20))
	p.settle()
	if e := p.last("analytics.audited"); !strings.Contains(touched(e), "2024-03-03") || len(p.status("analytics.audited").Held) != 0 {
		t.Errorf("it was not corrected: %+v", e)
	}
}
