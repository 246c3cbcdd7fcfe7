package up

import (
	"testing"
	"time"

	"millrace/internal/page"
)

// A table that lets loads gather is not up to date, though it has nothing to compute
// yet. One that looks at once is shown so only for a moment, which nobody needs.
func TestGatheringIsShown(t *testing.T) {
	core := []page.Core{{Table: "core.orders", Load: 7}}
	drained := func(core, other int64) map[string]int64 {
		return map[string]int64{"core.orders": core, "a.other": other, "core.elsewhere": 9}
	}
	soon := time.Unix(1, 0)
	derived := []page.Derived{
		{Table: "a.other", Load: 3},
		{Table: "a.behind", Next: soon, Drained: drained(6, 3)},
		{Table: "a.behind_other", Next: soon, Drained: drained(7, 2)},
		{Table: "a.level", Next: soon, Drained: drained(7, 3)},
		{Table: "a.at_once", Drained: drained(6, 3)},
	}
	showGathering(core, derived)
	for i, want := range []bool{false, true, true, false, false} {
		if derived[i].Gathers != want {
			t.Errorf("%s gathers: %v", derived[i].Table, !want)
		}
	}
	ahead := []page.Derived{{Next: soon, Freshness: "1h"}, {Next: soon, Freshness: "1h", Gathers: true}, {Next: soon.Add(1), Freshness: "1h"}, {}}
	showAhead(ahead, soon)
	for i, want := range []page.Derived{{}, {Gathers: true}, {Next: soon.Add(1), Freshness: "1h"}, {}} {
		if got := ahead[i]; !got.Next.Equal(want.Next) || got.Freshness != want.Freshness || got.Gathers != want.Gathers {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "", time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * time.Second: "30s", time.Minute: "1m", 10 * time.Hour: "10h", 20 * time.Minute: "20m"} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
