package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// checked runs check on the install's configuration.
func (i *install) checked(t *testing.T) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), []string{"check", "--config", filepath.Join(i.dir, "millrace.yaml")}, &o, &e)
	return code, o.String(), strings.ReplaceAll(e.String(), i.dir+"/", "")
}

// Everything that is wrong at the sources is found at once, with its line, and
// nothing is made there.
func TestCheckAsksTheSources(t *testing.T) {
	pgDSN, myDSN := testkit.PostgresDatabase(t), testkit.MariaDBDatabase(t)
	myName := myDSN[strings.LastIndex(myDSN, "/")+1:]
	pg, my := &shop{db: testkit.Open(t, pgDSN)}, &shop{db: testkit.Open(t, myDSN)}
	pg.exec(t, "CREATE TABLE orders (id bigint PRIMARY KEY, created_at timestamptz, n numeric(10,2))", "CREATE TABLE keyless (a int)",
		"CREATE TABLE notes (a int)", "ALTER TABLE notes REPLICA IDENTITY FULL")
	my.exec(t, "CREATE TABLE payments (id bigint PRIMARY KEY, paid_at datetime)", "CREATE TABLE bare (a int)")
	derived := map[string]string{"derived/daily.yaml": `
name: analytics.daily
owner: t
window: day
inputs: {core.orders: created_at}
query: SELECT CAST(created_at AS DATE) AS day, SUM(amount) AS amount FROM core.orders GROUP BY 1
`}
	bad := newInstall(t, fmt.Sprintf(`prefix: chk
data: ./data
sources:
  p:
    kind: postgres
    dsn: %q
    tables:
      public.orders: {event_time: create_at}
      public.nowhere: {}
      public.keyless: {}
  m:
    kind: mariadb
    dsn: %q
    tables:
      %s.payments:
        event_time: id
      %[3]s.nowhere: {as: core.n}
      %[3]s.bare: {}
  wrong:
    kind: postgres
    dsn: %q
    tables: {public.x: {}}
derived: ./derived
`, pgDSN, myDSN, myName, strings.Replace(pgDSN, "/test", "/nosuch", 1)), derived)
	code, _, errs := bad.checked(t)
	if code == 0 {
		t.Error("check finds nothing")
	}
	for _, want := range []string{
		`millrace.yaml:8: sources.p.tables.public.orders.event_time: "create_at" is no column of the table; did you mean created_at?`,
		"millrace.yaml:9: sources.p.tables.public.nowhere: it does not exist; create it",
		"millrace.yaml:10: sources.p.tables.public.keyless: it has no primary key",
		"millrace.yaml:16: sources.m.tables." + myName + `.payments.event_time: "id" has the type`,
		"millrace.yaml:17: sources.m.tables." + myName + ".nowhere: ",
		"millrace.yaml:18: sources.m.tables." + myName + ".bare: it has no primary key; ",
		"millrace.yaml:21: sources.wrong.dsn: ",
		`derived/daily.yaml:6: query: Binder Error: Referenced column "amount" not found in FROM clause!; there are created_at, id, n`,
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("check does not say %q:\n%s", want, errs)
		}
	}
	if n := strings.Count(errs, "\n"); n != 8 {
		t.Errorf("%d lines:\n%s", n, errs)
	}
	good := newInstall(t, fmt.Sprintf(`prefix: chk
data: ./data
sources:
  p: {kind: postgres, dsn: %q, tables: {public.orders: {event_time: created_at}, public.notes: {}}}
  away: {kind: mariadb, dsn: "mysql://u@127.0.0.1:1/db", tables: {db.t: {}}}
derived: ./derived
`, pgDSN), map[string]string{"derived/daily.yaml": strings.ReplaceAll(derived["derived/daily.yaml"], "amount", "n")})
	code, out, errs := good.checked(t)
	if code != 0 {
		t.Errorf("check ends with %d: %s", code, errs)
	}
	for _, want := range []string{
		"no faults in 1 of 2 sources, 2 of 3 tables and 1 spec\n", "note: public.notes of p has no key: core.notes is append-only",
		"not checked: source away and its tables: ", "127.0.0.1:1", "not checked: the columns of core.t: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	var made int
	if err := pg.db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())").Scan(&made); err != nil || made != 0 {
		t.Errorf("check made %d things at the source (%v)", made, err)
	}
}

// A mistyped table is one fault, not one more for each spec that reads it.
func TestCheckOfAMistypedTable(t *testing.T) {
	dsn := testkit.PostgresDatabase(t)
	(&shop{db: testkit.Open(t, dsn)}).exec(t, "CREATE TABLE trips (id bigint PRIMARY KEY, started_at timestamptz, fare numeric(10,2))")
	i := newInstall(t, fmt.Sprintf(`prefix: typo
sources:
  p: {kind: postgres, dsn: %q, tables: {public.tirps: {event_time: started_at}}}
derived: ./derived
`, dsn), map[string]string{"derived/daily.yaml": `
name: analytics.daily
owner: t
window: day
query: SELECT CAST(started_at AS DATE) AS day, SUM(fare) AS fare FROM core.trips GROUP BY 1
`, "derived/other.yaml": `
name: analytics.other
owner: t
window: day
query: SELECT CAST(started_at AS DATE) AS day FROM core.drivers GROUP BY 1
`})
	code, _, errs := i.checked(t)
	want := []string{
		"derived/other.yaml:5: query: there is no table core.drivers",
		"millrace.yaml:3: sources.p.tables.public.tirps: it does not exist; did you mean public.trips? create it, or take it out",
	}
	if lines := strings.Split(strings.TrimSpace(errs), "\n"); code == 0 || len(lines) != len(want) ||
		!strings.HasPrefix(lines[0], want[0]) || !strings.HasPrefix(lines[1], want[1]) {
		t.Errorf("check ends with %d:\n%s", code, errs)
	}
}

// What the servers themselves lack is found too, beside the faults of tables.
func TestCheckFindsSettings(t *testing.T) {
	pg, my := testkit.Postgres(t, "-c", "wal_level=replica"), testkit.MariaDB(t, "--binlog-format=MIXED", "--binlog-row-image=MINIMAL")
	i := newInstall(t, fmt.Sprintf(`sources:
  p: {kind: postgres, dsn: %q, tables: {public.nowhere: {}}}
  m: {kind: mariadb, dsn: %q, tables: {shop.nowhere: {as: core.m}}}
`, pg.CreateDatabase("one"), my.CreateDatabase("one")), nil)
	code, _, errs := i.checked(t)
	for _, want := range []string{
		"millrace.yaml:2: sources.p.dsn: wal_level is replica: the log does not hold rows; ALTER SYSTEM SET wal_level = 'logical'",
		"millrace.yaml:2: sources.p.tables.public.nowhere: it does not exist",
		"binlog_format=MIXED; SET GLOBAL binlog_format = 'ROW'", "binlog_row_image=MINIMAL; SET GLOBAL",
		"millrace.yaml:3: sources.m.tables.shop.nowhere: ",
	} {
		if code == 0 || !strings.Contains(errs, want) {
			t.Errorf("check ends with %d and does not say %q:\n%s", code, want, errs)
		}
	}
}
