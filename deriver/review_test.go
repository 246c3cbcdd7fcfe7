package deriver

import (
	"testing"
	"time"

	"millrace/schemas"
)

func TestReviewAppendOverLostAppend(t *testing.T) {
	p := newPlatform(t)
	history := p.table("core.payments_history", "id int, amount int", schemas.ModeAppend)
	history.loads("2024-03-05T10:00:00Z", put(1, 10), put(2, 20))
	specs := []string{`
name: analytics.log
strategy: append
query: SELECT id, amount * 2 AS doubled FROM core.payments_history
`, `
name: analytics.log2
strategy: append
query: SELECT id, doubled FROM analytics.log
`}
	p.derive(specs...)
	p.quiet()
	p.now = p.now.Add(time.Minute)
	p.quiet()
	p.want("SELECT id, doubled FROM analytics.log2", "1 20", "2 40")
	p.damage("DROP TABLE analytics.log")
	p.restart(specs...)
	for range 3 {
		p.now = p.now.Add(time.Minute)
		p.quiet()
	}
	p.want("SELECT id, doubled FROM analytics.log", "1 20", "2 40")
	p.want("SELECT id, doubled FROM analytics.log2", "1 20", "2 40")
}

func TestReviewRollbackWhileWaiting(t *testing.T) {
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
	t.Logf("v2: %+v", p.status("analytics.c").Waiting)
	p.restart(v1)
	for range 3 {
		p.now = p.now.Add(time.Minute)
		p.quiet()
	}
	p.want("SELECT c, n FROM analytics.c", "7 1")
}
