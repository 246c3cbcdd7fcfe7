package demo

import (
	"testing"

	"millrace/internal/privateserver"
	"millrace/internal/testkit"
)

// Without the platform: everything that the demonstration counts happens, and
// the days and customers that were emptied stay empty.
func TestWorkload(t *testing.T) {
	var mariadb *privateserver.Server
	for _, split := range []bool{false, true} {
		postgres := testkit.Postgres(t).Server
		if split {
			mariadb = testkit.MariaDB(t).Server
		}
		s, err := openShop(t.Context(), postgres, mariadb)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
		w := newWorkload(s, 3)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("seed=3 split=%v: %v", split, err)
			}
		}
		must(s.createTables(t.Context()))
		must(w.seed(t.Context()))
		w.counts = Counts{Kills: 1} // that is for the platform
		for n := range 400 {
			switch n {
			case 50:
				must(w.emptyDay(t.Context(), emptiedDays[0]))
				must(w.emptyCustomer(t.Context(), emptiedCustomers[0]))
			case 200:
				must(w.changeSchema(t.Context()))
			}
			must(w.step(t.Context()))
		}
		before := w.counts.Changes
		probes, err := w.openLoop(t.Context(), 40, nil)
		must(err)
		if len(probes) != 40 || w.counts.Changes != before+40 {
			t.Errorf("%d probes, %d changes", len(probes), w.counts.Changes-before)
		}
		for _, p := range probes {
			if p.committed.IsZero() || p.late < 0 {
				t.Errorf("probe %+v", p)
			}
		}
		w.counts.QuietDays, err = w.quietDays(t.Context())
		must(err)
		if missing := w.counts.missing(); len(missing) > 0 || w.counts.QuietDays != len(quietDays) {
			t.Errorf("seed=3 split=%v: missing %v, quiet days %d", split, missing, w.counts.QuietDays)
		}
		var left int
		must(s.orders.QueryRowContext(t.Context(), "SELECT count(*) FROM orders WHERE customer_id = $1", emptiedCustomers[0]).Scan(&left))
		if left > 0 {
			t.Errorf("seed=3 split=%v: the emptied customer has %d orders", split, left)
		}
	}
}
