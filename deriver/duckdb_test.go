package deriver

import (
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

const revenue = `
name: analytics.revenue
window: {size: day, begin: 2024-03-01}
inputs:
  core.payments: paid_at
  core.orders: {via: core.payments.order_id}
query: |
  SELECT CAST(p.paid_at AS DATE) AS day, o.item AS item, CAST(sum(p.amount) AS BIGINT) AS total
  FROM core.payments p JOIN core.orders o ON o.id = p.order_id
  GROUP BY ALL
`

const revenueFull = `SELECT CAST(p.paid_at AS DATE) AS day, o.item AS item, CAST(sum(p.amount) AS BIGINT) AS total
FROM core.payments p JOIN core.orders o ON o.id = p.order_id GROUP BY ALL`

// shop has two orders, and payments on the first and the third of March; both
// tables are complete through the fifth.
func shop(t *testing.T) *platform {
	p := newPlatform(t)
	p.table("core.orders", "id int, item text, customer int", schemas.ModeMerge)
	p.table("core.payments", "id int, order_id int, amount int, paid_at ts", schemas.ModeMerge)
	p.core["core.orders"].loads("2024-03-05T10:00:00Z", put(1, "tea", 7), put(2, "cup", 8))
	p.core["core.payments"].loads("2024-03-05T10:00:00Z",
		put(10, 1, 5, "2024-03-01T09:00:00Z"), put(11, 1, 6, "2024-03-03T23:59:59Z"), put(12, 2, 7, "2024-03-03T00:00:00Z"))
	return p
}

func (p *platform) last(table string) schemas.LoadComplete {
	p.t.Helper()
	for i := len(p.events[table]) - 1; i >= 0; i-- {
		if p.events[table][i].Load > 0 {
			return p.events[table][i]
		}
	}
	p.t.Fatalf("nothing was announced of %s", table)
	return schemas.LoadComplete{}
}

func touched(e schemas.LoadComplete) string {
	var out []string
	for _, t := range e.Touched {
		for _, r := range t.Ranges {
			out = append(out, r[0]+".."+r[1])
		}
	}
	return strings.Join(out, " ")
}

func TestWindowsAreReplaced(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	p.want("FROM analytics.revenue", "2024-03-01T00:00 tea 5", "2024-03-03T00:00 cup 7", "2024-03-03T00:00 tea 6")
	if e := p.last("analytics.revenue"); e.Load != 1 || touched(e) != "2024-03-01..2024-03-02 2024-03-03..2024-03-04" || !e.CompleteThrough.Time.Equal(at("2024-03-05T10:00:00Z")) {
		t.Errorf("announced %+v", e)
	}
	payments, orders := p.core["core.payments"], p.core["core.orders"]

	t.Run("late row", func(t *testing.T) {
		payments.loads("2024-03-05T11:00:00Z", put(13, 2, 1, "2024-03-01T10:00:00Z"))
		p.quiet()
		p.want("FROM analytics.revenue WHERE day = '2024-03-01'", "2024-03-01T00:00 cup 1", "2024-03-01T00:00 tea 5")
		if got := touched(p.last("analytics.revenue")); got != "2024-03-01..2024-03-02" {
			t.Errorf("touched %s", got)
		}
	})
	t.Run("moved row", func(t *testing.T) {
		payments.loads("2024-03-05T11:01:00Z", put(13, 2, 1, "2024-03-04T10:00:00Z"))
		p.quiet()
		p.want("FROM analytics.revenue WHERE item = 'cup'", "2024-03-03T00:00 cup 7", "2024-03-04T00:00 cup 1")
		if got := touched(p.last("analytics.revenue")); got != "2024-03-01..2024-03-02 2024-03-04..2024-03-05" {
			t.Errorf("touched %s", got)
		}
	})
	t.Run("emptied day", func(t *testing.T) {
		payments.loads("2024-03-05T11:02:00Z", gone(13))
		p.quiet()
		p.want("FROM analytics.revenue WHERE day = '2024-03-04'")
	})
	t.Run("changed order dirties the days of its payments", func(t *testing.T) {
		before := p.last("analytics.revenue").Load
		orders.loads("2024-03-05T11:03:00Z", put(1, "pot", 7))
		p.quiet()
		p.want("FROM analytics.revenue", "2024-03-01T00:00 pot 5", "2024-03-03T00:00 cup 7", "2024-03-03T00:00 pot 6")
		if e := p.last("analytics.revenue"); e.Load != before+1 || e.Cause[0].Table != "core.orders" {
			t.Errorf("announced %+v", e)
		}
	})
	t.Run("event time null", func(t *testing.T) {
		payments.loads("2024-03-05T11:04:00Z", put(14, 1, 100, nil))
		p.quiet()
		p.want("SELECT sum(total) FROM analytics.revenue", "18")
		if s := p.derived["analytics.revenue"].Status(); s.Timeless != 1 {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("a load that changes no result", func(t *testing.T) {
		before := p.last("analytics.revenue").Load
		orders.loads("2024-03-05T11:05:00Z", put(1, "pot", 9))
		p.quiet()
		if got := p.last("analytics.revenue").Load; got != before {
			t.Errorf("load %d was announced for nothing", got)
		}
		p.want("SELECT json_extract(absorbed, '$.\"core.orders\"')::INT FROM millrace.analytics__revenue__head", "3")
	})
	t.Run("a row of the far future", func(t *testing.T) {
		payments.loads("2024-03-05T11:06:00Z", put(15, 1, 100, "2099-01-01T00:00:00Z"))
		p.quiet()
		s := p.derived["analytics.revenue"].Status()
		if s.Outside != 1 || s.Dirty != 0 || s.Waiting != "" {
			t.Errorf("status %+v", s)
		}
	})
	if p.rows("FROM analytics.revenue") != p.rows(revenueFull+" HAVING day >= '2024-03-01' AND day < '2024-03-06'") {
		t.Error("it is not a full computation")
	}
}

func TestQuietDaysEnterByCompleteness(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(`
name: analytics.days
window: {size: day, begin: 2024-03-01}
query: SELECT CAST(@window_start AS DATE) AS day, count(*) AS n FROM core.payments
`)
	p.quiet()
	p.want("FROM analytics.days", "2024-03-01T00:00 1", "2024-03-02T00:00 0", "2024-03-03T00:00 2", "2024-03-04T00:00 0", "2024-03-05T00:00 0")
	// Nothing is loaded for two days, but the source says that it is complete.
	p.derived["analytics.days"].Notify(schemas.LoadComplete{Table: "core.payments", CompleteThrough: schemas.Progress{Time: at("2024-03-07T00:00:01Z")}})
	p.quiet()
	p.want("SELECT day FROM analytics.days WHERE day > '2024-03-05'", "2024-03-06T00:00", "2024-03-07T00:00")
}

func TestDerivedOnDerived(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue, `
name: analytics.months
window: {size: month, begin: 2024-02-01}
query: SELECT date_trunc('month', day)::DATE AS month, sum(total)::BIGINT AS total FROM analytics.revenue GROUP BY ALL
`, `
name: analytics.tables
query: SELECT count(*) AS n FROM analytics.months
`)
	p.quiet()
	p.want("FROM analytics.months", "2024-03-01T00:00 18")
	p.want("FROM analytics.tables", "1")
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", gone(10), gone(11), gone(12))
	p.quiet()
	p.want("FROM analytics.months")
	p.want("FROM analytics.tables", "0")
	if e := p.last("analytics.months"); e.Cause[0].Table != "analytics.revenue" || touched(e) != "2024-03-01..2024-03-02" {
		t.Errorf("announced %+v", e)
	}
}

func TestLookback(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(`
name: analytics.trailing
window: {size: day, begin: 2024-03-01}
inputs: {core.payments: {event_time: paid_at, lookback: 2d}}
query: SELECT @window_start AS day, count(*) AS n FROM core.payments
`)
	p.quiet()
	p.want("FROM analytics.trailing", "2024-03-01T00:00 1", "2024-03-02T00:00 1", "2024-03-03T00:00 3", "2024-03-04T00:00 2", "2024-03-05T00:00 2")
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(13, 1, 1, "2024-03-02T10:00:00Z"))
	p.quiet()
	p.want("FROM analytics.trailing", "2024-03-01T00:00 1", "2024-03-02T00:00 2", "2024-03-03T00:00 4", "2024-03-04T00:00 3", "2024-03-05T00:00 2")
	if got := touched(p.last("analytics.trailing")); got != "2024-03-02..2024-03-05" {
		t.Errorf("touched %s", got)
	}
}

const customers = `
name: analytics.customers
strategy: merge
unique_key: customer
inputs:
  core.orders: {key: [customer]}
  core.payments: {via: core.orders.id, on: order_id}
query: |
  SELECT o.customer, count(DISTINCT o.id) AS orders, CAST(coalesce(sum(p.amount), 0) AS BIGINT) AS paid
  FROM core.orders o LEFT JOIN core.payments p ON p.order_id = o.id
  WHERE o.customer IS NOT NULL
  GROUP BY ALL
`

func TestKeysAreMerged(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{"merge", "replace\nscope: keys"} {
		t.Run(strategy[:5], func(t *testing.T) {
			p := shop(t)
			p.derive(strings.Replace(customers, "merge", strategy, 1))
			p.quiet()
			p.want("FROM analytics.customers", "7 1 11", "8 1 7")
			orders, payments := p.core["core.orders"], p.core["core.payments"]
			payments.loads("2024-03-05T11:00:00Z", put(13, 2, 1, nil)) // its event time does not count here
			p.quiet()
			p.want("FROM analytics.customers", "7 1 11", "8 1 8")
			if e := p.last("analytics.customers"); e.Rows.Inserted != 1 || e.Rows.Deleted != 1 {
				t.Errorf("more was written than changed: %+v", e.Rows)
			}
			orders.loads("2024-03-05T11:00:00Z", put(2, "cup", 7)) // changes hands: 8 has none left
			p.quiet()
			p.want("FROM analytics.customers", "7 2 19")
			orders.loads("2024-03-05T11:00:00Z", gone(1), gone(2), put(3, "pot", nil))
			p.quiet()
			p.want("FROM analytics.customers")
			p.want("SELECT count(*) FROM millrace.analytics__customers__dirty", "0")
		})
	}
}

func TestAppendAddsEveryLoadOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	history := p.table("core.payments_history", "id int, amount int", schemas.ModeAppend)
	history.loads("2024-03-05T10:00:00Z", put(1, 10), put(2, 20))
	p.derive(`
name: analytics.log
strategy: append
query: SELECT id, amount * 2 AS doubled FROM core.payments_history
`)
	p.quiet()
	history.loads("2024-03-05T11:00:00Z", put(1, 11))
	p.quiet()
	p.want("FROM analytics.log", "1 20 1", "1 22 2", "2 40 1")
	// The reply of a commit is lost: what it added is not added again.
	p.plan.Fail("duckdb.run.committed", 1)
	history.loads("2024-03-05T12:00:00Z", put(3, 30))
	p.settle()
	// A death just before the commit: it is added once as well.
	p.plan.Fail("duckdb.run.logged", 1)
	history.loads("2024-03-05T13:00:00Z", put(4, 40))
	p.settle()
	p.quiet()
	p.now = p.now.Add(time.Minute)
	p.quiet()
	p.want("SELECT id, doubled FROM analytics.log", "1 20", "1 22", "2 40", "3 60", "4 80")
}
