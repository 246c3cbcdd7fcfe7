package deriver

import (
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

// TestWhatOwnsRowsChanges: new code under which other columns own rows leaves
// nothing of the old rows, and tables on the table follow.
func TestWhatOwnsRowsChanges(t *testing.T) {
	t.Parallel()
	const (
		byKey = `
name: analytics.customers
strategy: merge
unique_key: customer
inputs: {core.orders: {key: [customer]}}
query: SELECT customer, count(*) AS n FROM core.orders GROUP BY 1
`
		daily = `
name: analytics.daily
window: day
query: SELECT CAST(paid_at AS DATE) AS day, count(*) AS n FROM core.payments GROUP BY 1
`
	)
	for name, c := range map[string]struct {
		table, spec string
		from, to    []string // of a replacement
		want        []string
	}{
		"a key gets another name":    {"analytics.customers", byKey, []string{"unique_key: customer", "SELECT customer,"}, []string{"unique_key: who", "SELECT customer AS who,"}, []string{"1 7", "1 8"}},
		"a key gets another type":    {"analytics.customers", byKey, []string{"{key: [customer]}", "SELECT customer,"}, []string{"{dirty: \"SELECT concat('c', customer) FROM changes\"}", "SELECT concat('c', customer) AS customer,"}, []string{"1 c7", "1 c8"}},
		"a window gets another name": {"analytics.daily", daily, []string{"AS day"}, []string{"AS at"}, []string{"1 2024-03-01T00:00", "2 2024-03-03T00:00"}},
		"a window gets another type": {"analytics.daily", daily, []string{"CAST(paid_at AS DATE) AS day"}, []string{"date_trunc('day', paid_at) AS day"}, []string{"1 2024-03-01T00:00", "2 2024-03-03T00:00"}},
		"keys become windows": {
			"analytics.customers", byKey,
			[]string{"strategy: merge\nunique_key: customer\ninputs: {core.orders: {key: [customer]}}", "SELECT customer, count(*) AS n FROM core.orders GROUP BY 1"},
			[]string{"window: day", "SELECT CAST(paid_at AS DATE) AS customer, count(*) AS n FROM core.payments GROUP BY 1"},
			[]string{"1 2024-03-01T00:00", "2 2024-03-03T00:00"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, point := range []string{"", "duckdb.run.acquired", "duckdb.run.begin", "duckdb.run.staged", "duckdb.run.logged", "duckdb.run.committed"} {
				if testing.Short() && point != "" {
					continue
				}
				p := shop(t)
				above := "name: analytics.above\nquery: SELECT sum(n) AS n, count(*) AS rows FROM " + c.table
				p.derive(c.spec, above)
				p.quiet()
				next := c.spec
				for i, old := range c.from {
					if !strings.Contains(next, old) {
						t.Fatalf("%q is not in the spec", old)
					}
					next = strings.Replace(next, old, c.to[i], 1)
				}
				p.derive(next, above)
				if point != "" {
					p.plan.Fail(point, 1)
				}
				p.settle()
				p.derive(next, above)
				p.now = p.now.Add(time.Minute) // what was held is due
				p.quiet()
				p.want("SELECT n, * EXCLUDE (n) FROM "+c.table, c.want...)
				p.want("FROM analytics.above", strings.TrimSpace(p.rows("SELECT sum(n), count(*) FROM "+c.table)))
				p.core["core.orders"].loads("2024-03-06T10:00:00Z", put(4, "pot", 9))
				p.core["core.payments"].loads("2024-03-06T10:00:00Z", put(14, 4, 7, "2024-03-02T00:00:00Z"))
				p.quiet()
				p.want("SELECT count(*) FROM "+c.table, "3")
				p.want("SELECT rows FROM analytics.above", "3")
			}
		})
	}
}

// TestDirtyQueryOverKeys: the first run computes every key that the query would
// give if every row had changed, later runs the keys that it gives; what the
// query of the table returns of other keys is left out.
func TestDirtyQueryOverKeys(t *testing.T) {
	t.Parallel()
	for name, inputs := range map[string]string{
		"beside keys": "{core.orders: {dirty: SELECT id FROM changes}, core.payments: {key: [order_id]}}",
		"alone":       `{core.orders: {dirty: SELECT id FROM changes}, core.payments: {dirty: SELECT order_id FROM changes}}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := shop(t)
			p.derive(`
name: analytics.orders
strategy: merge
unique_key: k
inputs: ` + inputs + `
query: |
  SELECT o.id AS k, o.item, CAST(sum(p.amount) AS BIGINT) AS total
  FROM core.orders o LEFT JOIN core.payments p ON p.order_id = o.id GROUP BY ALL
`)
			p.quiet()
			p.want("FROM analytics.orders", "1 tea 11", "2 cup 7")
			p.core["core.orders"].loads("2024-03-05T11:00:00Z", put(3, "pot", 9), put(2, "mug", 8))
			p.quiet()
			p.want("FROM analytics.orders", "1 tea 11", "2 mug 7", "3 pot <nil>")
			p.core["core.payments"].loads("2024-03-05T12:00:00Z", put(13, 3, 4, "2024-03-03T00:00:00Z"), gone(12, 2, 7, "2024-03-03T00:00:00Z"))
			p.core["core.orders"].loads("2024-03-05T12:00:00Z", gone(1, "tea", 7))
			p.quiet()
			p.want("FROM analytics.orders", "2 mug <nil>", "3 pot 4")
			if e := p.last("analytics.orders"); e.Mode != schemas.ModeMerge {
				t.Errorf("mode %s", e.Mode)
			}
		})
	}
}
