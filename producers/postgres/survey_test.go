package postgres

import (
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"millrace/internal/testkit"
	"millrace/producers"
)

// A role that may not do what the source would do is found, with the statement
// that someone else must run; and nothing is left at the server.
func TestSurveyOfAPlainRole(t *testing.T) {
	srv := testkit.Postgres(t)
	dsn := srv.CreateDatabase("survey")
	db := testkit.Open(t, dsn)
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("CREATE TABLE orders (id int PRIMARY KEY, at timestamptz)")
	exec("CREATE ROLE plain LOGIN")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("plain")
	config := &Config{DSN: u.String(), Tables: []TableConfig{{Name: "public.orders"}}}
	survey := func() (faults string, tables int) {
		t.Helper()
		s, err := config.Survey(t.Context(), producers.Env{
			Source: "s", Prefix: "p", Log: slog.New(slog.DiscardHandler),
			Topic: func(schema, table string, _ int) string { return schema + "." + table },
		})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range s.Faults {
			lines = append(lines, f.Table+"|"+f.Err.Error()+"|"+f.Hint)
		}
		return strings.Join(lines, "\n"), len(s.Tables)
	}
	for _, step := range []struct {
		statement string // that cures what was found before
		faults    []string
		tables    int
	}{
		{"SELECT 1", []string{"ALTER ROLE \"plain\" REPLICATION", "public.orders|the role plain may not read it|GRANT USAGE"}, 0},
		{"GRANT SELECT ON orders TO plain", []string{"ALTER ROLE \"plain\" REPLICATION", "|the role plain may not create the publication p_s|run as a role that may"}, 1},
		{"ALTER ROLE plain REPLICATION", []string{"|the role plain may not create the publication p_s|run as a role that may"}, 1},
		{`CREATE PUBLICATION "p_s" FOR TABLE ONLY orders WITH (` + publishOptions + ")", nil, 1},
	} {
		exec(step.statement)
		faults, tables := survey()
		if n := strings.Count(faults, "\n"); tables != step.tables || faults != "" && n+1 != len(step.faults) || faults == "" && step.faults != nil {
			t.Errorf("after %s: %d tables, faults\n%s", step.statement, tables, faults)
		}
		for _, want := range step.faults {
			if !strings.Contains(faults, want) {
				t.Errorf("after %s: %q is not among\n%s", step.statement, want, faults)
			}
		}
	}
	var left int
	if err := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication WHERE pubname <> 'p_s')").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d things are left at the server (%v)", left, err)
	}
}

// What a typo leaves out is not called superfluous: to take it out of the
// publication would be a gap.
func TestSurveyOfMistypedNames(t *testing.T) {
	srv := testkit.Postgres(t)
	dsn := srv.CreateDatabase("typos")
	db := testkit.Open(t, dsn)
	for _, statement := range []string{
		"CREATE TABLE trips (id int PRIMARY KEY)", "CREATE TABLE drivers (id int PRIMARY KEY, hired date)", "CREATE TABLE orders (id int PRIMARY KEY)",
		"CREATE ROLE typist LOGIN REPLICATION", "GRANT SELECT ON trips, drivers, orders TO typist",
		`CREATE PUBLICATION "p_s" FOR TABLE ONLY trips, ONLY drivers, ONLY orders WITH (` + publishOptions + ")",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("typist")
	trips, drivers, orders := TableConfig{Name: "public.trips"}, TableConfig{Name: "public.drivers", Text: []string{"hired"}}, TableConfig{Name: "public.orders"}
	mistyped, elsewhere := TableConfig{Name: "public.tirps"}, TableConfig{Name: "public.order"}
	badText := TableConfig{Name: "public.drivers", Text: []string{"hirred"}}
	for _, c := range []struct {
		tables []TableConfig
		want   string
		meant  string
	}{
		{[]TableConfig{trips, drivers, orders}, "", ""},
		{[]TableConfig{mistyped, drivers, orders}, "public.tirps|did you mean public.trips? create it, or take it out of the configuration", "public.trips"},
		{[]TableConfig{trips, badText, orders}, "public.drivers|correct the name under text; did you mean hired?", ""},
		{[]TableConfig{trips, drivers, orders, elsewhere}, "public.order|create it, or take it out of the configuration", ""}, // orders is configured
		{[]TableConfig{trips, drivers}, `|run as a role that may, such as the tables' owner: ALTER PUBLICATION "p_s" DROP TABLE "public"."orders"`, ""},
	} {
		s, err := (&Config{DSN: u.String(), Tables: c.tables}).Survey(t.Context(), producers.Env{
			Source: "s", Prefix: "p", Log: slog.New(slog.DiscardHandler),
			Topic: func(schema, table string, _ int) string { return schema + "." + table },
		})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range s.Faults {
			lines = append(lines, f.Table+"|"+f.Hint)
		}
		if got := strings.Join(lines, "\n"); got != c.want || s.Meant["public.tirps"] != c.meant {
			t.Errorf("%v: meant %v, faults\n%s\nwant\n%s", c.tables, s.Meant, got, c.want)
		}
	}
}
