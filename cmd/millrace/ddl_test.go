package main

import (
	"fmt"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// Whatever is done to a table while it is captured, the core table ends as its
// source, in the columns that the source has.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	pgDSN, myDSN := testkit.PostgresDatabase(t), testkit.MariaDBDatabase(t)
	postgres := &shop{db: testkit.Open(t, pgDSN), name: "public.things"}
	mariadb := &shop{db: testkit.Open(t, myDSN), name: "things"}
	derived := &shop{db: postgres.db, name: "what is derived"}
	postgres.exec(t, "CREATE TABLE public.things (id int PRIMARY KEY, amount numeric(8,2), name varchar(20), note text)",
		"INSERT INTO public.things SELECT g, g, 'n' || g, 'x' FROM generate_series(1, 500) g")
	mariadb.exec(t, "CREATE TABLE things (id int PRIMARY KEY, amount decimal(8,2), name varchar(20), note text)",
		"INSERT INTO things SELECT seq, seq, concat('n', seq), 'x' FROM seq_1_to_500")
	i := newInstall(t, fmt.Sprintf(`
prefix: ddl
data: ./data
http: 127.0.0.1:0
sources:
  p: {kind: postgres, dsn: %q, tables: {public.things: {as: core.pg, history: core.pg_history}}}
  m: {kind: mariadb, dsn: %q, tables: {%s.things: {as: core.my}}}
derived: ./derived
`, pgDSN, myDSN, myDSN[strings.LastIndex(myDSN, "/")+1:]), map[string]string{"derived/state.yaml": `
name: analytics.state
owner: team
strategy: merge
unique_key: name
inputs: {core.pg: {key: [name]}}
query: SELECT name, COUNT(*) AS n, SUM(amount) AS amount FROM core.pg GROUP BY name
`})
	i.start()
	compare := func(columns string) {
		t.Helper()
		list := "coalesce(cast(" + strings.ReplaceAll(columns, ", ", " as char(30)), 'NULL'), '|', coalesce(cast(") + " as char(30)), 'NULL')"
		mariadb.source = "SELECT concat(" + list + ") FROM things ORDER BY id"
		mariadb.core = "SELECT " + columns + " FROM core.my ORDER BY id"
		postgres.source = "SELECT concat(" + strings.ReplaceAll(list, "char(30)", "text") + ") FROM public.things ORDER BY id"
		postgres.core = "SELECT " + columns + " FROM core.pg ORDER BY id"
		i.awaitEqual(t, postgres)
		i.awaitEqual(t, mariadb)
		derived.source = "SELECT concat(name, '|', count(*), '|', sum(amount)) FROM public.things GROUP BY name ORDER BY name"
		derived.core = "SELECT name, n, amount FROM analytics.state ORDER BY name"
		i.awaitEqual(t, derived)
	}
	compare("id, amount, name, note")
	for _, step := range []struct {
		what, postgres, mariadb, columns string
	}{
		{"a nullable column", "ALTER TABLE public.things ADD COLUMN a int", "ALTER TABLE things ADD COLUMN a int", "id, amount, a"},
		{"a column with a default", "ALTER TABLE public.things ADD COLUMN b int NOT NULL DEFAULT 7", "ALTER TABLE things ADD COLUMN b int NOT NULL DEFAULT 7", "id, a, b"},
		{"its values", "UPDATE public.things SET a = id", "UPDATE things SET a = id", "id, a, b"},
		{"a wider integer", "ALTER TABLE public.things ALTER COLUMN a TYPE bigint", "ALTER TABLE things MODIFY a bigint", "id, a, b"},
		{"a wider decimal", "ALTER TABLE public.things ALTER COLUMN amount TYPE numeric(14,2)", "ALTER TABLE things MODIFY amount decimal(14,2)", "id, amount"},
		{"a longer text", "ALTER TABLE public.things ALTER COLUMN name TYPE text", "ALTER TABLE things MODIFY name text", "id, name"},
		{"a rename", "ALTER TABLE public.things RENAME COLUMN note TO remark", "ALTER TABLE things CHANGE note remark text", "id, remark"},
		{
			"another key", "ALTER TABLE public.things DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id, b)",
			"ALTER TABLE things DROP PRIMARY KEY, ADD PRIMARY KEY (id, b)", "id, b, amount",
		},
		{"a number that becomes text", "ALTER TABLE public.things ALTER COLUMN a TYPE text", "ALTER TABLE things MODIFY a varchar(30)", "id, a, b"},
		{
			"more decimals, and the key as before", "ALTER TABLE public.things ALTER COLUMN amount TYPE numeric(14,4), DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id)",
			"ALTER TABLE things MODIFY amount decimal(14,4), DROP PRIMARY KEY, ADD PRIMARY KEY (id)", "id, amount",
		},
		{"a column that goes", "ALTER TABLE public.things DROP COLUMN remark", "ALTER TABLE things DROP COLUMN remark", "id, amount, name"},
	} {
		t.Log(step.what)
		postgres.exec(t, step.postgres, "UPDATE public.things SET amount = amount + 1 WHERE id % 7 = 0", "DELETE FROM public.things WHERE id % 50 = 3")
		mariadb.exec(t, step.mariadb, "UPDATE things SET amount = amount + 1 WHERE id % 7 = 0", "DELETE FROM things WHERE id % 50 = 3")
		compare(step.columns)
	}
	postgres.exec(t, "TRUNCATE public.things", "INSERT INTO public.things (id, amount, name, b) VALUES (1, 1234567890.25, 'after', 1)")
	mariadb.exec(t, "TRUNCATE things", "INSERT INTO things (id, amount, name, b) VALUES (1, 1234567890.25, 'after', 1)")
	compare("id, amount, name, a, b")
	if out, err := i.command("verify", "core.pg_history").CombinedOutput(); err != nil {
		t.Errorf("verify the history: %v\n%s", err, out)
	}
	if out, err := i.command("verify", "core.nope").CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "millrace: core.nope is neither") {
		t.Errorf("verify of a table that is not there: %v\n%s", err, out)
	}
	for n := range 3 { // rows that have just changed are told from wrong ones
		postgres.exec(t, fmt.Sprintf("UPDATE public.things SET amount = %d", n))
		if out, err := i.command("verify", "core.pg").CombinedOutput(); err != nil {
			t.Errorf("verify: %v\n%s", err, out)
		}
	}
	for what, query := range map[string]string{
		"the history has the rows of the first generation": "SELECT count(DISTINCT id) = 500 FROM core.pg_history WHERE _op = 'r'",
		"and the values of a column before it became text": "SELECT count(a__g2) > 0 FROM core.pg_history",
		"nothing else is left of earlier generations":      "SELECT count(*) = 0 FROM duckdb_views() WHERE schema_name = 'core' AND view_name NOT IN ('pg', 'pg_history', 'my')",
	} {
		if got, err := i.rows(query); err != nil || len(got) != 1 || got[0] != "true" {
			t.Errorf("%s: %v %v", what, got, err)
		}
	}
}
