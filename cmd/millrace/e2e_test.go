package main

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/page"
	"millrace/internal/testkit"
)

// shop is a table in a database, and how its rows are read there and in the
// warehouse as the same text.
type shop struct {
	db           *sql.DB
	name         string
	days         bool // it has a column day
	source, core string
}

func (s *shop) rows(t *testing.T) []string {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), s.source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	out := []string{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *shop) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// write makes a few random changes in one transaction.
func (s *shop) write(t *testing.T, rng *rand.Rand) {
	t.Helper()
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 1 + rng.IntN(4) {
		id := rng.IntN(200)
		amount := fmt.Sprintf("%d.%02d", rng.IntN(1000), rng.IntN(100))
		statement := fmt.Sprintf("UPDATE %s SET amount = %s WHERE id = %d", s.name, amount, id)
		switch n := rng.IntN(10); {
		case n == 9 && s.days: // the row moves to another day
			statement = fmt.Sprintf("UPDATE %s SET day = DATE '2026-02-01' + %d WHERE id = %d", s.name, rng.IntN(9), id)
		case n < 2:
			statement = fmt.Sprintf("DELETE FROM %s WHERE id = %d", s.name, id)
		case n == 2: // a key change
			statement = fmt.Sprintf("UPDATE %s SET id = %d WHERE id = %d AND NOT EXISTS (SELECT 1 FROM (SELECT id FROM %s) AS x WHERE x.id = %d)",
				s.name, 200+id, id, s.name, 200+id)
		case n < 6:
			statement = fmt.Sprintf("INSERT INTO %s (id, amount, note) SELECT %d, %s, 'n%d' WHERE NOT EXISTS (SELECT 1 FROM (SELECT id FROM %s) AS x WHERE x.id = %d)",
				s.name, id, amount, rng.IntN(1e6), s.name, id)
		}
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	end := tx.Commit
	if rng.IntN(8) == 0 {
		end = tx.Rollback
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

func shops(t *testing.T) (postgres, mariadb *shop, config string) {
	t.Helper()
	pgDSN, myDSN := testkit.PostgresDatabase(t), testkit.MariaDBDatabase(t)
	myName := myDSN[strings.LastIndex(myDSN, "/")+1:]
	postgres = &shop{
		db: testkit.Open(t, pgDSN), name: "public.orders", days: true,
		source: "SELECT id || '|' || amount || '|' || coalesce(note, 'NULL') FROM public.orders ORDER BY id",
		core:   "SELECT id, amount, note FROM core.orders ORDER BY id",
	}
	mariadb = &shop{
		db: testkit.Open(t, myDSN), name: "payments",
		source: "SELECT concat(id, '|', amount, '|', coalesce(note, 'NULL')) FROM payments ORDER BY id",
		core:   "SELECT id, amount, note FROM core.payments ORDER BY id",
	}
	postgres.exec(t, "CREATE TABLE public.orders (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, note text, day date NOT NULL DEFAULT '2026-02-01')",
		"INSERT INTO public.orders SELECT g, g * 1.25, repeat('long ', g * 7), DATE '2026-02-01' + g % 9 FROM generate_series(0, 150) g")
	mariadb.exec(t, "CREATE TABLE payments (id bigint PRIMARY KEY, amount decimal(12,2) NOT NULL, note text)",
		"INSERT INTO payments SELECT seq, seq * 1.25, concat('p', seq) FROM seq_0_to_150")
	config = fmt.Sprintf(`
data: ./data
http: 127.0.0.1:0
sources:
  orders_db:
    kind: postgres
    dsn: %s
    tables:
      public.orders: {event_time: day}
  payments_db:
    kind: mariadb
    dsn: %s
    tables:
      %s.payments: {}
derived: ./derived
`, pgDSN, myDSN, myName)
	return postgres, mariadb, config
}

func (i *install) awaitEqual(t *testing.T, s *shop) {
	t.Helper()
	i.awaitEqualIn(t, i.rows, s)
}

// awaitEqualIn waits until what the warehouse answers is what the source holds,
// however many zeros end a number.
func (i *install) awaitEqualIn(t *testing.T, warehouse func(sql string) ([]string, error), s *shop) {
	t.Helper()
	want := withoutZeros(s.rows(t))
	var got []string
	var err error
	defer func() {
		if t.Failed() {
			t.Logf("%s: %v\n got %q\nwant %q", s.name, err, got, want)
		}
	}()
	i.await(s.name+" equals its table", func() bool {
		got, err = warehouse(s.core)
		return err == nil && slices.Equal(withoutZeros(got), want)
	})
}

var zeros = regexp.MustCompile(`\.(\d*[1-9])?0*(\||$)`)

func withoutZeros(rows []string) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = strings.ReplaceAll(zeros.ReplaceAllString(row+"|", ".$1|"), ".|", "|")
	}
	return out
}

// awaitVerified has millrace verify say that the tables are as they should be.
func (i *install) awaitVerified(t *testing.T, tables ...string) {
	t.Helper()
	for _, table := range tables {
		out, err := i.command("verify", "--config", "millrace.yaml", table).CombinedOutput()
		if err != nil || !strings.Contains(string(out), table+" is as it should be") {
			t.Errorf("verify %s: %v\n%s", table, err, out)
		}
	}
}

// derivedShops are two derived tables, one over each database, and what should
// be in them.
func derivedShops(postgres, mariadb *shop) (specs map[string]string, daily, notes *shop) {
	specs = map[string]string{
		"derived/daily.yaml": `
name: analytics.daily
owner: team-test
window: day
inputs:
  core.orders: day
query: SELECT day, COUNT(*) AS orders, SUM(amount) AS amount FROM core.orders GROUP BY 1
`, "derived/notes.yaml": `
name: analytics.notes
owner: team-test
strategy: merge
unique_key: note
inputs:
  core.payments: {key: [note]}
query: SELECT note, COUNT(*) AS payments, SUM(amount) AS amount FROM core.payments GROUP BY note
`,
	}
	daily = &shop{
		db: postgres.db, name: "analytics.daily", core: "SELECT day, orders, amount FROM analytics.daily ORDER BY day",
		source: "SELECT day || '|' || count(*) || '|' || sum(amount) FROM public.orders GROUP BY day ORDER BY day",
	}
	notes = &shop{
		db: mariadb.db, name: "analytics.notes", core: "SELECT note, payments, amount FROM analytics.notes ORDER BY note",
		source: "SELECT concat(note, '|', count(*), '|', sum(amount)) FROM payments GROUP BY note ORDER BY note",
	}
	return specs, daily, notes
}

// The process is killed at random moments while both databases are written to,
// and while they are snapshotted. At the end each core table is its source, and
// each derived table its recomputation.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	killAtRandomMoments(t, "e2e", 8, "")
}

// The warehouse is no part of what is killed: what it was doing for a process
// that is gone, it goes on to do.
func TestKilledAtRandomMomentsOnBigQuery(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
	_, section := startBigQuery(t)
	killAtRandomMoments(t, "e2ebigquery", 4, section)
}

// killAtRandomMoments names slots by its prefix, which no test beside it may have.
func killAtRandomMoments(t *testing.T, prefix string, rounds int, warehouse string) {
	t.Helper()
	postgres, mariadb, config := shops(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	specs, daily, notes := derivedShops(postgres, mariadb)
	// Each group of consumers has its table.
	i := newInstall(t, "prefix: "+prefix+"\ngroups: {big: core.pay*}\n"+config+warehouse, specs)
	for round := range rounds {
		i.start()
		for end := time.Now().Add(time.Duration(rng.IntN(1500)) * time.Millisecond); time.Now().Before(end); {
			postgres.write(t, rng)
			mariadb.write(t, rng)
		}
		if round == rounds/2-1 {
			postgres.exec(t, "ALTER TABLE public.orders ADD COLUMN extra int NOT NULL DEFAULT 5")
		}
		i.kill()
	}
	equal := func() {
		t.Helper()
		for _, s := range []*shop{postgres, mariadb, daily, notes} {
			i.awaitEqual(t, s)
		}
	}
	i.start()
	equal()
	// And a process that was asked to end has nothing to repeat.
	i.stop()
	postgres.write(t, rng)
	mariadb.write(t, rng)
	i.start()
	equal()
	i.awaitVerified(t, "core.orders", "core.payments", daily.name, notes.name)
}

// A table that cannot be captured holds up no derived table of others.
func TestHaltedTableHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	dsn := testkit.PostgresDatabase(t)
	s := &shop{
		db: testkit.Open(t, dsn), name: "analytics.daily", core: "SELECT day, n FROM analytics.daily ORDER BY day",
		source: "SELECT day || '|' || count(*) FROM public.good GROUP BY day ORDER BY day",
	}
	s.exec(t, "CREATE TABLE public.good (id int PRIMARY KEY, day date NOT NULL)", "CREATE TABLE public.bad (a int)",
		"INSERT INTO public.good VALUES (1, '2026-01-01'), (2, '2026-01-01'), (3, '2026-01-02')")
	i := newInstall(t, fmt.Sprintf(`
prefix: halt
data: ./data
http: 127.0.0.1:0
sources:
  s: {kind: postgres, dsn: %q, tables: {public.good: {event_time: day}, public.bad: {}}}
derived: ./derived
`, dsn), map[string]string{
		"derived/daily.yaml": "name: analytics.daily\nowner: t\nwindow: day\ninputs: {core.good: day}\nquery: SELECT day, COUNT(*) AS n FROM core.good GROUP BY 1\n",
		"derived/bad.yaml":   "name: analytics.bad\nowner: t\nquery: SELECT COUNT(*) AS n FROM core.bad\n",
	})
	i.start()
	i.awaitEqual(t, s)
	status, err := i.client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range status.Derived {
		if d.Table == "analytics.bad" && !strings.Contains(d.Waits, "core.bad") {
			t.Errorf("analytics.bad waits for %q", d.Waits)
		}
	}
	if tables := status.Sources[0].Tables; !slices.ContainsFunc(tables, func(x page.SourceTable) bool { return x.Table == "public.bad" && x.Halted != "" }) {
		t.Errorf("public.bad is not shown as halted: %+v", tables)
	}
	for _, c := range status.Core {
		if want := c.Table == "core.bad"; strings.Contains(c.Halted, "public.bad is not captured: it has no primary key") != want {
			t.Errorf("%s is shown as %q", c.Table, c.Halted)
		}
	}
}

// Rows without a key are kept, each once, through a kill in their snapshot.
func TestTablesWithoutKey(t *testing.T) {
	t.Parallel()
	pgDSN := testkit.PostgresDatabase(t)
	s := &shop{
		db: testkit.Open(t, pgDSN), name: "public.notes", core: "SELECT a FROM core.notes ORDER BY a",
		source: "SELECT coalesce(a::text, 'NULL') FROM public.notes ORDER BY a",
	}
	s.exec(t, "CREATE TABLE public.notes (a int)", "ALTER TABLE public.notes REPLICA IDENTITY FULL",
		"INSERT INTO public.notes SELECT g / 2 FROM generate_series(1, 50000) g")
	i := newInstall(t, fmt.Sprintf("prefix: nk\ndata: ./data\nhttp: 127.0.0.1:0\nsources:\n  s: {kind: postgres, dsn: %q, tables: {public.notes: {}}}\n", pgDSN), nil)
	i.start()
	s.exec(t, "INSERT INTO public.notes SELECT 7 FROM generate_series(1, 10)")
	i.kill()
	s.exec(t, "INSERT INTO public.notes VALUES (NULL)")
	i.start()
	i.awaitEqual(t, s)
}
