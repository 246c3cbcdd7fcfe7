package demo

import (
	"context"
	"slices"
	"strings"
	"testing"

	"millrace/internal/config"
	"millrace/internal/privateserver"
	"millrace/internal/testkit"
	"millrace/internal/testkit/mongofake"
)

// somePlaces are on servers of the test; what is missing is not installed.
func somePlaces(t *testing.T, mongoDB string, missing ...string) *places {
	t.Helper()
	p, err := newPlaces(nil, mongoDB, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.start = func(_ context.Context, kind privateserver.Kind, _ ...string) (*privateserver.Server, error) {
		if slices.Contains(missing, string(kind)) {
			return nil, &privateserver.MissingError{What: string(kind), Package: "its package"}
		}
		switch kind {
		case privateserver.MariaDB:
			return testkit.MariaDB(t).Server, nil
		case privateserver.MySQL:
			return testkit.MySQL(t).Server, nil
		default:
			return testkit.Postgres(t).Server, nil
		}
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func someMongoDB(t *testing.T) string {
	t.Helper()
	fake, err := mongofake.Start(t.Context(), mongofake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return fake.URI()
}

// Whatever is missing, the shop finds a place for everything, and says what it
// does without.
func TestPlaces(t *testing.T) {
	const myDSN = "mysql://"
	for name, c := range map[string]struct {
		mongoDB bool
		missing []string
		at      map[string]string // the kind of each source's database
		said    []string
	}{
		"all four": {
			true, nil,
			map[string]string{"catalog_db": "postgres", "orders_db": "mongodb", "payments_db": "mysql", "refunds_db": "mariadb"},
			[]string{"customers, items", "MongoDB's stand-in   orders"},
		},
		"without MongoDB and MySQL": {
			false,
			[]string{"mysql"},
			map[string]string{"catalog_db": "postgres", "orders_db": "postgres", "payments_db": "mariadb", "refunds_db": "mariadb"},
			[]string{"customers, items, orders", "payments, refunds", "mongodb              left out: MONGODB_URI", "mysql                left out: mysql is missing; install"},
		},
		"PostgreSQL alone": {
			false,
			[]string{"mysql", "mariadb"},
			map[string]string{"catalog_db": "postgres", "orders_db": "postgres", "payments_db": "postgres", "refunds_db": "postgres"},
			[]string{"customers, items, orders, payments, refunds"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			mongoDB := ""
			if c.mongoDB {
				mongoDB = someMongoDB(t)
			}
			s, err := openShop(t.Context(), somePlaces(t, mongoDB, c.missing...))
			if err != nil {
				t.Fatal(err)
			}
			for source, kind := range c.at {
				if got := s.at[source].kind; got != kind {
					t.Errorf("%s is in a %s, want %s", source, got, kind)
				}
			}
			said := strings.Join(s.held(), "\n")
			for _, want := range c.said {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			if kind := s.at["payments_db"].kind; (kind != config.KindPostgres) != strings.HasPrefix(s.at["payments_db"].dsn, myDSN) {
				t.Errorf("the DSN of a %s is %s", kind, s.at["payments_db"].dsn)
			}
			runWorkload(t, s)
		})
	}
}

func TestPostgreSQLCannotBeLeftOut(t *testing.T) {
	if _, err := newPlaces(nil, "", []string{"mysql", "postgres"}); err == nil || !strings.Contains(err.Error(), "mongodb, mysql, mariadb") {
		t.Errorf("%v", err)
	}
	p := somePlaces(t, "", "postgres")
	if _, err := openShop(t.Context(), p); err == nil || !strings.Contains(err.Error(), "postgres is missing") {
		t.Errorf("without PostgreSQL: %v", err)
	}
}

// A MongoDB that was named and does not answer is not done without.
func TestMongoDBThatDoesNotAnswer(t *testing.T) {
	p := somePlaces(t, "mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=100")
	if at, err := p.find(t.Context(), services()[1]); err == nil || !strings.Contains(err.Error(), "MONGODB_URI") {
		t.Errorf("%+v, %v", at, err)
	}
}

// runWorkload writes without the platform: everything that the demonstration
// counts happens, and the days and customers that were emptied stay empty.
func runWorkload(t *testing.T, s *shop) {
	t.Helper()
	const seed = 3
	w := newWorkload(s, seed)
	w.perDay = 5
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
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
		case 300:
			must(s.orders.images(t.Context(), true))
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
		t.Errorf("seed=%d: missing %v, quiet days %d", seed, missing, w.counts.QuietDays)
	}
	if n, err := s.orders.removeOf(t.Context(), emptiedCustomers[0]); err != nil || n > 0 {
		t.Errorf("seed=%d: the emptied customer has %d orders, %v", seed, n, err)
	}
	checkBooks(t, w)
}

// checkBooks: the databases hold what the workload believes, so none of its
// statements has missed its row.
func checkBooks(t *testing.T, w *workload) {
	t.Helper()
	for _, c := range []struct {
		*database
		table string
		want  int
	}{
		{w.shop.catalog, "customers", len(w.customers)},
		{w.shop.catalog, "items", items},
		{w.shop.payments, "payments", len(w.payments) + 20},
		{w.shop.refunds, "refunds", len(w.refunds) + 5}, // and those of the open loop
	} {
		if n, err := c.count(t.Context(), "SELECT count(*) FROM "+c.table); err != nil || n != c.want {
			t.Errorf("%s has %d rows, want %d: %v", c.table, n, c.want, err)
		}
	}
	for _, o := range w.orders {
		if n, err := w.shop.orders.remove(t.Context(), o.id); err != nil || n != 1 {
			t.Fatalf("order %d is there %d times: %v", o.id, n, err)
		}
	}
}
