package mysql_test

import (
	"log/slog"
	"strings"
	"testing"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/producers/mysql"
)

// What Open finds one by one, a survey finds at once.
func TestSurveyFindsEverythingAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f family) {
		srv := f.server(t)
		c := newCapture(t, f, srv.CreateDatabase("survey"), []mysql.Table{{Name: "bare"}, {Name: "nowhere"}},
			"CREATE TABLE bare (a INT)", "CREATE USER cdc@'%' IDENTIFIED BY 'x'", "GRANT SELECT ON survey.bare TO cdc@'%'", "SET GLOBAL binlog_row_image = 'MINIMAL'")
		c.cfg.DSN = "mysql://cdc:x@" + srv.Addr() + "/"
		survey := func() (faults string, tables int) {
			t.Helper()
			s, err := c.cfg.Survey(t.Context(), producers.Env{
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
		check := func(wantTables int, want ...string) {
			t.Helper()
			faults, tables := survey()
			if n := len(strings.FieldsFunc(faults, func(r rune) bool { return r == '\n' })); n != len(want) || tables != wantTables {
				t.Errorf("%d tables, faults\n%s", tables, faults)
			}
			for _, w := range want {
				if !strings.Contains(faults, w) {
					t.Errorf("%q is not among\n%s", w, faults)
				}
			}
		}
		want := []string{
			"GRANT " + f.monitor + " ON *.* TO `cdc`@`%`", "GRANT REPLICATION SLAVE ON *.* TO `cdc`@`%`", "binlog_row_image=MINIMAL",
			"survey.fence|", "survey.bare|it has no primary key", "survey.nowhere|",
		}
		grants := "GRANT " + f.monitor + ", REPLICATION SLAVE, SELECT ON *.* TO cdc@'%'"
		if f.name == "mysql" {
			want = append(want, "GRANT XA_RECOVER_ADMIN ON *.* TO `cdc`@`%`")
			grants = strings.Replace(grants, "SELECT", "SELECT, XA_RECOVER_ADMIN", 1)
		}
		check(0, want...)
		c.exec(grants, "SET GLOBAL binlog_row_image = 'FULL'",
			"ALTER TABLE bare ADD PRIMARY KEY (a)", "CREATE TABLE nowhere (a INT PRIMARY KEY)")
		check(3)
	})
}

// The name of a table that is not there is compared with those that are.
func TestSurveyGuessesNames(t *testing.T) {
	srv := testkit.MariaDB(t)
	c := newCapture(t, mariadb, srv.CreateDatabase("guess"), []mysql.Table{{Name: "guess.tripps"}, {Name: "guess.order"}, {Name: "guess.orders"}},
		"CREATE TABLE trips (a INT PRIMARY KEY)", "CREATE TABLE orders (a INT PRIMARY KEY)")
	s, err := c.cfg.Survey(t.Context(), producers.Env{
		Source: "s", Prefix: "p", Log: slog.New(slog.DiscardHandler),
		Topic: func(schema, table string, _ int) string { return schema + "." + table },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Faults) != 2 || !strings.HasPrefix(s.Faults[0].Hint, "did you mean guess.trips? create it, or") || strings.Contains(s.Faults[1].Hint, "mean") {
		t.Errorf("faults: %v", s.Faults)
	}
	if len(s.Meant) != 1 || s.Meant["guess.tripps"] != "guess.trips" {
		t.Errorf("meant: %v", s.Meant)
	}
}
