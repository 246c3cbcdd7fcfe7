package deriver

import (
	"testing"
	"time"

	"millrace/schemas"
)

// A run of keys names the loads that dirtied them, also those whose dirt was written
// down before it was time to run, by this process or by one before.
func TestCausesOfKeysThatWaited(t *testing.T) {
	t.Parallel()
	p := shop(t)
	paced := customers + "freshness: 10m\n"
	p.derive(paced)
	p.quiet()
	payments := p.core["core.payments"]
	caused := func(when string, want ...schemas.Cause) {
		t.Helper()
		p.now = p.now.Add(10 * time.Minute)
		p.quiet()
		got := map[string]int64{}
		for _, c := range p.last("analytics.customers").Cause {
			got[c.Table] = c.Load
		}
		for _, c := range want {
			if got[c.Table] != c.Load {
				t.Errorf("%s: the run was caused by %v, want load %d of %s", when, got, c.Load, c.Table)
			}
		}
		if p.now = p.now.Add(time.Minute); len(want) == 1 && len(got) != 1 {
			t.Errorf("%s: the run was caused by %v", when, got)
		}
	}
	late := func(id int) schemas.Cause {
		t.Helper()
		before := p.last("analytics.customers").Load
		payments.loads("2024-03-05T11:00:00Z", put(id, 1, 1, "2024-03-02T00:00:00Z"))
		p.quiet()
		if got := p.last("analytics.customers").Load; got != before {
			t.Fatalf("run %d did not wait", got)
		}
		return schemas.Cause{Table: "core.payments", Load: p.status("analytics.customers").Absorbed["core.payments"]}
	}
	p.now = p.now.Add(time.Hour)
	payments.loads("2024-03-05T11:00:00Z", put(19, 1, 1, "2024-03-02T00:00:00Z"))
	p.quiet() // at once; what follows waits
	caused("one load", late(20))
	late(21)
	caused("two loads", late(22))
	waited := late(23)
	p.restart(paced)
	caused("a load that the process before wrote down", waited, schemas.Cause{Table: "core.orders", Load: 1})
	caused("a load after that", late(24))
}
