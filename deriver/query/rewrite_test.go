package query_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/deriver/query"
	"millrace/internal/warehouse/duckdb"
)

func newDialect(t testing.TB) *duckdb.Dialect {
	t.Helper()
	d, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// rewrite is what the deriver does to a query: every table becomes a span.
func rewrite(t testing.TB, d *duckdb.Dialect, sql string) (string, []string, error) {
	prepared, problems := query.Prepare(sql, []string{query.WindowStart, query.WindowEnd})
	parsed, err := d.Parse(t.Context(), prepared)
	if err != nil {
		return "", nil, err
	}
	q, more := query.Compile(prepared, parsed, "dirty")
	if problems = append(problems, more...); len(problems) > 0 {
		return "", nil, fmt.Errorf("%d: %s; %s", problems[0].Offset, problems[0].Problem, problems[0].Cure)
	}
	params := map[string]string{query.WindowStart: "DATE '2024-01-01'", query.WindowEnd: "DATE '2024-01-02'"}
	return q.Render(params, func(t query.Table) string { return "(SPAN " + t.ID() + ")" }), q.IDs(), nil
}

func TestRewriteOfReferences(t *testing.T) {
	d := newDialect(t)
	for _, c := range []struct{ in, want, tables string }{
		{"SELECT * FROM core.payments", `SELECT * FROM (SPAN core.payments) AS "payments"`, "core.payments"},
		{"SELECT p.id FROM core.payments AS p;", `SELECT p.id FROM (SPAN core.payments) AS p `, "core.payments"},
		{
			"SELECT p.id FROM core.payments p WHERE p.at>=@window_start AND p.at<@window_end",
			`SELECT p.id FROM (SPAN core.payments) p WHERE p.at>=DATE '2024-01-01' AND p.at<DATE '2024-01-02'`, "core.payments",
		},
		{
			`SELECT * FROM "Core" . "pay""ments" JOIN core.orders USING (id)`,
			`SELECT * FROM (SPAN Core.pay"ments) AS "pay""ments" JOIN (SPAN core.orders) AS "orders" USING (id)`, `Core.pay"ments core.orders`,
		},
		{
			"WITH payments AS (SELECT * FROM core.payments) SELECT * FROM payments",
			`WITH payments AS (SELECT * FROM (SPAN core.payments) AS "payments") SELECT * FROM payments`, "core.payments",
		},
		{
			"WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n, (SELECT max(id) FROM core.orders) FROM r",
			`WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n, (SELECT max(id) FROM (SPAN core.orders) AS "orders") FROM r`, "core.orders",
		},
		{
			"SELECT 'core.payments @window_start', \"@x\" /* core.payments /* @x */ $y */ FROM core.payments -- core.payments @x $1",
			"SELECT 'core.payments @window_start', \"@x\" /* core.payments /* @x */ $y */ FROM (SPAN core.payments) AS \"payments\" -- core.payments @x $1", "core.payments",
		},
		{
			"SELECT e'it\\'s @x', $$ @x $1 $$, $a$ core.z $a$ FROM core.a, core.a AS b, unnest([1,2]) AS u(v)",
			`SELECT e'it\'s @x', $$ @x $1 $$, $a$ core.z $a$ FROM (SPAN core.a) AS "a", (SPAN core.a) AS b, unnest([1,2]) AS u(v)`, "core.a",
		},
		{
			"SELECT payments.id FROM core.payments QUALIFY row_number() OVER (PARTITION BY payments.k ORDER BY id) = 1 UNION ALL SELECT o.id FROM core.orders o",
			`SELECT payments.id FROM (SPAN core.payments) AS "payments" QUALIFY row_number() OVER (PARTITION BY payments.k ORDER BY id) = 1 UNION ALL SELECT o.id FROM (SPAN core.orders) o`, "core.orders core.payments",
		},
		{
			"SELECT s.a.b, 'ä' AS \"ü\" FROM core.straße s LEFT JOIN LATERAL (SELECT * FROM core.z WHERE z.i = s.i) l ON true",
			`SELECT s.a.b, 'ä' AS "ü" FROM (SPAN core.straße) s LEFT JOIN LATERAL (SELECT * FROM (SPAN core.z) AS "z" WHERE z.i = s.i) l ON true`, "core.straße core.z",
		},
		{
			"SELECT * FROM core.orders WHERE id IN (FROM dirty) AND tags @> [1] AND [2] <@ tags",
			`SELECT * FROM (SPAN core.orders) AS "orders" WHERE id IN (FROM (SPAN dirty) AS "dirty") AND tags @> [1] AND [2] <@ tags`, "core.orders",
		},
		{"FROM core.a SELECT x", `FROM (SPAN core.a) AS "a" SELECT x`, "core.a"},
		{"SELECT 1 AS x", "SELECT 1 AS x", ""},
	} {
		got, tables, err := rewrite(t, d, c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got != c.want || strings.Join(tables, " ") != c.tables {
			t.Errorf("%s\n got %s %v\nwant %s %s", c.in, got, tables, c.want, c.tables)
		}
	}
}

func TestRefusedForms(t *testing.T) {
	d := newDialect(t)
	for in, want := range map[string]string{
		"SELECT core.payments.id FROM core.payments":        "names the dataset of its table; write payments.id",
		"SELECT 1; SELECT 2":                                "has 2 statements; write one SELECT",
		"SELECT $x FROM core.a":                             "the parameter $x is not the platform's; known are @window_start",
		"SELECT ? FROM core.a":                              "the parameter ? is not the platform's",
		"SELECT @day FROM core.a":                           "the parameter @day is not known",
		"SELECT * FROM payments":                            `"payments" is a table without a dataset`,
		"SELECT * FROM 'file.csv'":                          "without a dataset",
		"SELECT * FROM other.core.payments":                 "names a database",
		"SELECT * FROM core.a TABLESAMPLE 10%":              "a sample",
		"SELECT * FROM read_csv('/etc/passwd')":             "the table function read_csv reads what the platform does not follow",
		"SELECT * FROM core.a WHERE d = current_date":       "current_date gives another result each time",
		"SELECT now() FROM core.a":                          "now gives another result each time",
		"SELECT * FROM core.a WHERE ts > CURRENT_TIMESTAMP": "gives another result each time",
		"SELECT random()":                                   "random gives another result",
		"INSERT INTO core.a VALUES (1)":                     "only a SELECT can define a table",
		"SELECT FROM WHERE":                                 "syntax error",
		"PIVOT core.a ON x USING sum(y)":                    "only a SELECT can define a table",
	} {
		got, _, err := rewrite(t, d, in)
		if err == nil {
			t.Errorf("%s became %s", in, got)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", in, err, want)
		}
	}
}

// Whatever the query, the rewrite replaces the references and nothing else:
// put back as they were, they give the text again.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{
		"SELECT * FROM core.a", "SELECT 'x' FROM core . a AS b, \"c\".\"d\"", "WITH a AS (FROM core.a) FROM a -- x", "SELECT $$a$$ FROM a.b;",
		"SELECT e'\\'' , @window_start FROM x.y", "SELECT /* /* */ */ 1 FROM a.b JOIN a.c USING (x)", "FROM a.b.c", "FROM B.A*A", "FROM ONLY (a.b)", "SELECT '",
	} {
		f.Add(s)
	}
	d := newDialect(f)
	f.Fuzz(func(t *testing.T, sql string) {
		if strings.ContainsRune(sql, 0) {
			return
		}
		prepared, problems := query.Prepare(sql, []string{query.WindowStart})
		if len(prepared) != len(sql) {
			t.Fatal("offsets moved")
		}
		parsed, err := d.Parse(t.Context(), prepared)
		if err != nil || len(problems) > 0 {
			return
		}
		q, problems := query.Compile(prepared, parsed)
		if len(problems) > 0 {
			return
		}
		if len(q.Tables()) != len(parsed.Tables) {
			t.Fatalf("%d references, %d replaced", len(parsed.Tables), len(q.Tables()))
		}
		out := q.Render(map[string]string{query.WindowStart: "$" + query.WindowStart}, func(query.Table) string { return "(SELECT 1)" })
		again, err := d.Parse(t.Context(), out)
		if err != nil {
			t.Fatalf("%q became %q, which does not parse: %v", sql, out, err)
		}
		if len(again.Tables) != 0 {
			t.Fatalf("%q became %q, which still refers to %v", sql, out, again.Tables)
		}
	})
}
