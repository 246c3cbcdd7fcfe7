package deriver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func (p *platform) status(table string) Status { return p.derived[table].Status() }

// restart gives every deriver of the specs a new life, as a new process would.
func (p *platform) restart(specs ...string) {
	p.t.Helper()
	clear(p.derived)
	p.derive(specs...)
}

func TestFirstRunWaitsForTheSnapshots(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	orders := p.table("core.orders", "id int, item text, customer int", schemas.ModeMerge)
	payments := p.table("core.payments", "id int, order_id int, amount int, paid_at ts", schemas.ModeMerge)
	p.derive(revenue, "name: analytics.counts\nquery: SELECT count(*) AS n FROM analytics.revenue")
	p.quiet()
	if s := p.status("analytics.revenue"); s.Waiting != "for the snapshot of core.orders, core.payments" {
		t.Errorf("status %+v", s)
	}
	orders.loads("2024-03-05T10:00:00Z", put(1, "tea", 7))
	p.quiet()
	if s := p.status("analytics.revenue"); s.Waiting != "for the snapshot of core.payments" {
		t.Errorf("status %+v", s)
	}
	if s := p.status("analytics.counts"); s.Waiting != "for the snapshot of analytics.revenue" {
		t.Errorf("status %+v", s)
	}
	payments.loads("2024-03-05T10:00:00Z", put(10, 1, 5, "2024-03-01T09:00:00Z"))
	p.quiet()
	p.want("FROM analytics.revenue", "2024-03-01T00:00 tea 5")
	p.want("FROM analytics.counts", "1")
}

// An input without a row says that it is ready all the same.
func TestEmptyInputs(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.table("core.orders", "id int, item text, customer int", schemas.ModeMerge).loads("2024-03-02T10:00:00Z")
	p.table("core.payments", "id int, order_id int, amount int, paid_at ts", schemas.ModeMerge).loads("2024-03-02T10:00:00Z")
	p.derive(revenue, customers, "name: analytics.counts\nquery: SELECT count(*) AS n FROM analytics.revenue, analytics.customers")
	p.quiet()
	p.want("FROM analytics.counts", "0")
}

// deaf is a warehouse that is asked for event times in vain.
type deaf struct{ warehouse.Runner }

func (deaf) Touched(context.Context, string) (schemas.Touched, error) {
	return schemas.Touched{}, errors.New("no answer")
}

func TestBeginIsTheLeastEventTime(t *testing.T) {
	t.Parallel()
	p := shop(t)
	unwritten := strings.Replace(revenue, "{size: day, begin: 2024-03-01}", "day", 1)
	p.core["core.payments"].loads("2024-03-05T10:00:00Z", put(13, 1, 1, "2024-02-11T10:00:00Z"), put(14, 1, 1, nil))
	p.derive(unwritten)
	p.quiet()
	p.want("SELECT min(day), max(day) FROM analytics.revenue", "2024-02-11T00:00 2024-03-03T00:00")
	if s := p.status("analytics.revenue"); !s.Begin.Equal(at("2024-02-11")) {
		t.Errorf("status %+v", s)
	}
	// Once found it stays: an earlier row lies outside.
	p.core["core.payments"].loads("2024-03-05T10:00:01Z", put(15, 1, 1, "2024-02-01T10:00:00Z"))
	p.quiet()
	if s := p.status("analytics.revenue"); s.Outside != 1 || s.Dirty != 0 {
		t.Errorf("status %+v", s)
	}
	// Neither a restart nor another query forgets it, or moves the begin.
	for name, text := range map[string]string{"the same": unwritten, "another query": strings.Replace(unwritten, "sum(p.amount)", "sum(2 * p.amount)", 1)} {
		p.restart(text)
		p.quiet()
		if s := p.status("analytics.revenue"); !s.Earlier.Equal(at("2024-02-01")) || !s.Begin.Equal(at("2024-02-11")) || s.Dirty != 0 {
			t.Errorf("%s: status %+v", name, s)
		}
	}
	// Nor does a warehouse that does not answer that hold the table up.
	answering := p.runner
	p.runner = deaf{answering}
	p.restart(unwritten)
	p.core["core.payments"].loads("2024-03-05T10:00:02Z", put(16, 1, 30, "2024-02-12T10:00:00Z"))
	p.quiet()
	p.want("SELECT total FROM analytics.revenue WHERE day = '2024-02-12'", "30")
	p.runner = answering
	// A begin that is written later, and earlier, brings its windows in.
	p.restart(strings.Replace(revenue, "2024-03-01", "2024-01-15", 1))
	p.quiet()
	p.want("SELECT min(day) FROM analytics.revenue", "2024-02-01T00:00")
	if s := p.status("analytics.revenue"); !s.Earlier.IsZero() {
		t.Errorf("status %+v", s)
	}
	// One that is written is meant: what lies before it is asked for by nobody.
	p.restart(revenue)
	p.quiet()
	if s := p.status("analytics.revenue"); !s.Earlier.IsZero() || !s.Begin.Equal(at("2024-03-01")) {
		t.Errorf("status %+v", s)
	}
}

func TestTooManyWindowsWithoutAWrittenBegin(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.core["core.payments"].loads("2024-03-05T10:00:00Z", put(13, 1, 1, "1970-01-01T00:00:00Z"))
	p.derive(strings.Replace(revenue, "{size: day, begin: 2024-03-01}", "day", 1))
	p.quiet()
	if s := p.status("analytics.revenue"); !strings.Contains(s.Waiting, "write window.begin") {
		t.Errorf("status %+v", s)
	}
	p.want("SELECT count(*) FROM analytics.revenue", "0")
}

func TestNewCodeComputesEverything(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	p.want("SELECT sum(total) FROM analytics.revenue", "18")
	for _, c := range []struct{ name, from, to, query, want string }{
		{"another expression", "sum(p.amount)", "sum(2 * p.amount)", "SELECT sum(total) FROM analytics.revenue", "36"},
		{"another column", "AS item,", "AS item, count(*) AS n,", "SELECT sum(n) FROM analytics.revenue", "3"},
		{"another type", "CAST(sum(p.amount) AS BIGINT) AS total", "CAST(sum(p.amount) AS VARCHAR) AS total", "SELECT max(total) FROM analytics.revenue", "7"},
		{"another grid", "CAST(p.paid_at AS DATE) AS day", "CAST(date_trunc('month', p.paid_at) AS DATE) AS day", "SELECT day, sum(total) FROM analytics.revenue GROUP BY 1", "2024-03-01T00:00 18"},
		{
			"only columns that were not there", "CAST(p.paid_at AS DATE) AS day, o.item AS item, CAST(sum(p.amount) AS BIGINT) AS total",
			"CAST(p.paid_at AS DATE) AS d, o.item AS i, CAST(sum(p.amount) AS BIGINT) AS t", "SELECT sum(t) FROM analytics.revenue", "18",
		},
	} {
		text := strings.Replace(revenue, c.from, c.to, 1)
		if c.name == "another grid" {
			text = strings.Replace(text, "size: day", "size: month", 1)
		}
		p.restart(text)
		p.quiet()
		if got := p.rows(c.query); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if s := p.status("analytics.revenue"); s.Dirty != 0 {
			t.Errorf("%s: status %+v", c.name, s)
		}
	}
	// Another scope has another kind of dirt.
	p.restart("name: analytics.revenue\nquery: SELECT sum(amount)::BIGINT AS total FROM core.payments")
	p.quiet()
	p.want("FROM analytics.revenue", "18")
	p.restart(strings.Replace(customers, "analytics.customers", "analytics.revenue", 1))
	p.quiet()
	p.want("FROM analytics.revenue", "7 1 11", "8 1 7")
	p.restart(revenue)
	p.quiet()
	p.want("SELECT sum(total) FROM analytics.revenue", "18")
}

// Windows of a day in New York: a row belongs to the local day, on the day on
// which the clocks jump too.
func TestLocalDays(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	payments := p.table("core.payments", "id int, paid_at ts", schemas.ModeMerge)
	payments.loads("2024-03-12T12:00:00Z",
		put(1, "2024-03-10T04:59:59Z"), put(2, "2024-03-10T05:00:00Z"), put(3, "2024-03-11T03:59:59Z"), put(4, "2024-03-11T04:00:00Z"))
	p.derive(`
name: analytics.days
window: {size: day, timezone: America/New_York, begin: 2024-03-09, column: day}
query: SELECT CAST(@window_start AS DATE) AS day, count(*) AS n, CAST(@window_end AS DATE) AS next FROM core.payments
`)
	p.quiet()
	p.want("FROM analytics.days", "2024-03-09T00:00 1 2024-03-10T00:00", "2024-03-10T00:00 2 2024-03-11T00:00", "2024-03-11T00:00 1 2024-03-12T00:00", "2024-03-12T00:00 0 2024-03-13T00:00")
	payments.loads("2024-03-12T13:00:00Z", gone(3))
	p.quiet()
	if got := touched(p.last("analytics.days")); got != "2024-03-10..2024-03-11" {
		t.Errorf("touched %s", got)
	}
}

func TestRebuildAndDirtyQuery(t *testing.T) {
	t.Parallel()
	p := shop(t)
	rates := p.table("core.rates", "item text, rate int", schemas.ModeMerge)
	rates.loads("2024-03-05T10:00:00Z", put("tea", 2), put("cup", 3))
	p.derive(`
name: analytics.valued
freshness: 0
window: {size: day, begin: 2024-03-01}
inputs:
  core.payments: paid_at
  core.orders:
    dirty: SELECT p.paid_at FROM core.payments p JOIN changes c ON p.order_id = c.id
  core.rates: {on_change: rebuild}
query: |
  SELECT p.paid_at, p.id, p.amount * r.rate AS value
  FROM core.payments p JOIN core.orders o ON o.id = p.order_id JOIN core.rates r ON upper(r.item) = upper(o.item)
`)
	p.quiet()
	p.want("SELECT id, value FROM analytics.valued", "10 10", "11 12", "12 21")
	p.core["core.orders"].loads("2024-03-05T11:00:00Z", put(1, "CUP", 7))
	p.quiet()
	p.want("SELECT id, value FROM analytics.valued", "10 15", "11 18", "12 21")
	if got := touched(p.last("analytics.valued")); got != "2024-03-01T09:00:00Z..2024-03-01T10:00:00Z 2024-03-03T23:00:00Z..2024-03-04T00:00:00Z" {
		t.Errorf("touched %s", got)
	}
	rates.loads("2024-03-05T11:00:00Z", put("cup", 4))
	p.quiet()
	p.want("SELECT id, value FROM analytics.valued", "10 20", "11 24", "12 28")
}

func TestPace(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(revenue, "window:", "freshness: 10m\nwindow:", 1))
	p.quiet()
	late := func(id int) {
		p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(id, 1, 1, "2024-03-02T00:00:00Z"))
		p.quiet()
	}
	late(20)
	p.want("SELECT sum(total) FROM analytics.revenue", "18")
	if again, err := p.derived["analytics.revenue"].cycle(t.Context()); err != nil || again.Sub(p.now) != 10*time.Minute {
		t.Errorf("it comes again at %s, %v", again, err)
	}
	late(21)
	p.now = p.now.Add(10 * time.Minute)
	p.quiet()
	p.want("SELECT sum(total) FROM analytics.revenue", "20")
	p.now = p.now.Add(time.Hour) // it was idle: at once
	late(22)
	p.want("SELECT sum(total) FROM analytics.revenue", "21")
}

// A table that waits for its freshness or its schedule says until when, of windows
// and of keys; one that is in the middle of a round does not wait.
func TestNextRunIsTold(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(revenue, "window:", "freshness: 10m\nwindow:", 1), customers+"freshness: 1h\n")
	p.quiet()
	says := func(when, table string, dirty bool, next time.Time, freshness time.Duration) {
		t.Helper()
		if s := p.status(table); !s.Next.Equal(next) || s.Freshness != freshness || (s.Dirty > 0) != dirty {
			t.Errorf("%s: %s has %d dirty, runs next at %s, freshness %s; want %s and %s", when, table, s.Dirty, s.Next, s.Freshness, next, freshness)
		}
	}
	began := p.now
	says("after a run", "analytics.revenue", false, began.Add(10*time.Minute), 10*time.Minute)
	says("after a run", "analytics.customers", false, began.Add(time.Hour), time.Hour)
	p.now = p.now.Add(time.Minute)
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(20, 1, 1, "2024-03-02T00:00:00Z"))
	p.quiet()
	says("after a load", "analytics.revenue", true, began.Add(10*time.Minute), 10*time.Minute)
	says("after a load", "analytics.customers", true, began.Add(time.Hour), time.Hour)
	p.now = began.Add(10 * time.Minute)
	p.quiet()
	says("after the next run", "analytics.revenue", false, p.now.Add(10*time.Minute), 10*time.Minute)
	p.now = p.now.Add(time.Hour)
	p.quiet()
	p.now = p.now.Add(time.Hour)
	p.quiet()
	says("idle", "analytics.revenue", false, time.Time{}, 0)
	says("idle", "analytics.customers", false, time.Time{}, 0)

	p.restart(strings.NewReplacer("window:", "freshness: 1h\nwindow:", "2024-03-01", "2023-12-01").Replace(revenue))
	d := p.derived["analytics.revenue"]
	rounds := 0
	for again := p.now; !again.After(p.now) && !again.IsZero(); {
		var err error
		if again, err = d.cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := d.Status(); s.Dirty > 0 {
			if rounds++; !s.Next.IsZero() {
				t.Errorf("in the middle of a round, %d dirty, it runs next at %s", s.Dirty, s.Next)
			}
		}
	}
	if rounds < 2 {
		t.Errorf("%d cycles had dirt left", rounds)
	}

	p = shop(t)
	p.now = at("2024-03-05T12:00:00Z")
	p.derive(strings.Replace(revenue, "window:", "schedule: \"0 6 * * *\"\nwindow:", 1))
	p.quiet()
	says("by the clock", "analytics.revenue", true, at("2024-03-06T06:00:00Z"), 0)
	p.now = at("2024-03-06T06:00:00Z")
	p.quiet()
	p.now = p.now.Add(time.Minute)
	p.quiet()
	says("until tomorrow", "analytics.revenue", false, at("2024-03-07T06:00:00Z"), 0)
}

// Loads gather while nothing new may run; who has heard of none does not rest.
func TestRest(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(revenue, "window:", "freshness: 20s\nwindow:", 1))
	p.quiet()
	d := p.derived["analytics.revenue"]
	p.now = p.now.Add(time.Hour)
	p.quiet()
	if until := d.rest(time.Time{}); until.After(p.now) {
		t.Errorf("nothing has come, and it rests until %s", until)
	}
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(20, 1, 1, "2024-03-02T00:00:00Z"))
	p.quiet()
	for _, c := range []struct{ again, want time.Time }{
		{time.Time{}, p.now.Add(20 * time.Second)}, {p.now.Add(time.Second), p.now.Add(time.Second)}, {p.now.Add(time.Hour), p.now.Add(20 * time.Second)},
	} {
		if got := d.rest(c.again); !got.Equal(c.want) {
			t.Errorf("planned for %s, it rests until %s, want %s", c.again, got, c.want)
		}
	}
	d.pace.freshness = time.Hour
	if got := d.rest(time.Time{}); !got.Equal(p.now.Add(maxRest)) {
		t.Errorf("it rests until %s", got)
	}
	d.pace.freshness = 0
	if got := d.rest(p.now.Add(time.Second)); !got.IsZero() {
		t.Errorf("without a freshness it rests until %s", got)
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.now = at("2024-03-05T12:00:00Z")
	morning := strings.NewReplacer("window: {size: day,", "schedule: \"0 6 * * *\"\nwindow: {size: day, timezone: Europe/Berlin,",
		"p.paid_at AS DATE", "p.paid_at AT TIME ZONE 'Europe/Berlin' AS DATE").Replace(revenue)
	p.derive(morning)
	p.quiet()
	// The first computation too waits for its hour, 6 in Berlin.
	p.want("SELECT count(*) FROM analytics.revenue", "0")
	p.now = at("2024-03-06T04:59:59Z")
	p.quiet()
	p.want("SELECT count(*) FROM analytics.revenue", "0")
	p.now = at("2024-03-06T05:00:00Z")
	p.quiet()
	p.want("SELECT count(*) FROM analytics.revenue", "3")
	if s := p.status("analytics.revenue"); !s.Frontier.Equal(at("2024-03-07")) {
		t.Errorf("the frontier is not by the clock: %+v", s)
	}
	p.core["core.payments"].loads("2024-03-06T06:00:00Z", gone(10))
	p.now = at("2024-03-06T23:00:00Z")
	p.restart(morning)
	p.quiet()
	p.want("SELECT count(*) FROM analytics.revenue", "3")
	p.now = at("2024-03-07T05:00:01Z")
	p.quiet()
	p.want("SELECT count(*) FROM analytics.revenue", "2")
}

func TestCompleteWaits(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(revenue, "window:", "complete: true\nwindow:", 1))
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(20, 1, 1, "2024-03-05T00:00:00Z"))
	p.quiet()
	p.want("SELECT max(day) FROM analytics.revenue", "2024-03-03T00:00")
	if s := p.status("analytics.revenue"); s.Dirty != 1 || !strings.Contains(s.Waiting, "complete") {
		t.Errorf("status %+v", s)
	}
	p.want("SELECT ready FROM millrace.analytics__revenue__head", "true") // what can be there is
	for _, table := range []string{"core.payments", "core.orders"} {
		p.derived["analytics.revenue"].Notify(schemas.LoadComplete{Table: table, CompleteThrough: schemas.Progress{Time: at("2024-03-06T00:00:00Z")}})
	}
	p.quiet()
	p.want("SELECT max(day) FROM analytics.revenue", "2024-03-05T00:00")
}

// What reads a derived table writes down what it needs of it, also of one that
// has been there for long.
func TestNeedsOfADerivedTable(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	if err := p.runner.SetNeeds(t.Context(), "analytics.revenue", "analytics.weekly", warehouse.Kept{EventTimes: []string{"day"}, Changes: []string{"total"}}); err != nil {
		t.Fatal(err)
	}
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(20, 1, 1, "2024-03-04T00:00:00Z"))
	p.quiet()
	if got := p.last("analytics.revenue").Covers; !slices.Contains(got.EventTimes, "day") || !slices.Contains(got.Changes, "total") {
		t.Errorf("the run covers %+v", got)
	}
}

// A load that did not keep what a mapping needs dirties everything.
func TestLoadsBeforeTheNeeds(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	if err := p.runner.SetNeeds(t.Context(), "core.orders", "analytics.revenue", Needs(p.nodes[0])["core.payments"]); err != nil {
		t.Fatal(err) // as a writer that has not taken them up
	}
	p.core["core.orders"].loads("2024-03-05T11:00:00Z", put(1, "pot", 7))
	p.quiet()
	p.want("SELECT count(*) FROM analytics.revenue WHERE item = 'pot'", "2")
}

// Eighty windows take three runs, and what is live goes first.
func TestLiveDirtGoesBeforeBackfill(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(strings.Replace(revenue, "2024-03-01", "2023-12-15", 1))
	d := p.derived["analytics.revenue"]
	for range 2 { // the start, and the first 32 windows
		if _, err := d.cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(20, 1, 1, "2024-03-04T00:00:00Z"))
	if s := d.Status(); s.Dirty != 82-32 {
		t.Fatalf("status %+v", s)
	}
	for range 3 {
		if _, err := d.cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.quiet()
	p.want("SELECT sum(total) FROM analytics.revenue", "19")
}

// Changes go when all who need them have absorbed them. Who comes back after
// that computes everything.
func TestSweepOfChanges(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue, strings.ReplaceAll(revenue, "analytics.revenue", "analytics.other"))
	p.quiet()
	orders := p.core["core.orders"]
	orders.loads("2024-03-05T11:00:00Z", put(1, "pot", 7))
	run := func(table string) {
		t.Helper()
		for range 5 {
			if _, err := p.derived[table].cycle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	const kept = "SELECT DISTINCT _load FROM millrace.core__orders__changes"
	later := func() { p.now = p.now.Add(7 * time.Hour) }

	run("analytics.revenue")
	later()
	run("analytics.revenue")
	p.want(kept, "2") // the other has not seen it
	run("analytics.other")
	orders.loads("2024-03-05T11:01:00Z", put(2, "mug", 7))
	p.core["core.payments"].loads("2024-03-05T11:01:00Z", put(19, 1, 0, "2024-03-04T10:00:00Z")) // so that both heads move
	run("analytics.revenue")
	run("analytics.other")
	later()
	run("analytics.revenue")
	p.want(kept)

	orders.loads("2024-03-05T11:02:00Z", put(1, "tin", 7))
	run("analytics.revenue")
	p.damage("UPDATE millrace.core__orders__needs SET seen_at = now() - INTERVAL 31 DAY WHERE spec = 'analytics.other'")
	run("analytics.revenue")
	later()
	run("analytics.revenue") // the other is silent
	p.want(kept)
	run("analytics.other")
	p.want("SELECT DISTINCT item FROM analytics.other", "mug", "tin")
}

// New code takes the table over, waits for an input, and is rolled back: the code
// before computes again what the new one has taken away.
func TestRolledBackWhileWaiting(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	orders := p.table("core.orders", "id int, item text, customer int", schemas.ModeMerge)
	orders.loads("2024-03-05T10:00:00Z", put(1, "tea", 7))
	p.table("core.late", "id int, item text, customer int", schemas.ModeMerge) // its snapshot runs still
	v1 := "name: analytics.c\nquery: SELECT customer AS c, count(*) AS n FROM core.orders GROUP BY 1"
	v2 := "name: analytics.c\nquery: SELECT CAST(o.customer AS VARCHAR) AS c, count(*) AS n FROM core.orders o LEFT JOIN core.late l ON l.id = o.id GROUP BY 1"
	p.derive(v1)
	p.quiet()
	p.want("SELECT c, n FROM analytics.c", "7 1")
	p.restart(v2)
	p.quiet()
	if s := p.status("analytics.c"); len(s.Waiting) == 0 {
		t.Fatalf("the new code does not wait: %+v", s)
	}
	p.restart(v1)
	p.quiet()
	p.want("SELECT c, n FROM analytics.c", "7 1")
}
