package bigquery

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/internal/warehouse"
)

func TestReferences(t *testing.T) {
	for _, c := range []struct{ sql, tables, functions string }{
		{"SELECT * FROM core.payments", "core.payments", ""},
		{"SELECT p.id FROM core.payments AS p;", "core.payments p", ""},
		{"SELECT 1 FROM core.a a, `core`.`b` JOIN `core.c` c USING (x, y), core.d", "core.a a core.b core.c c core.d", ""},
		{"SELECT * FROM `my-project.core.t`, my-project.core.u", "my-project/core.t my-project/core.u", ""},
		{"WITH o AS (SELECT * FROM core.orders), p AS (SELECT * FROM o) SELECT * FROM o JOIN p ON o.i = p.i JOIN dirty ON TRUE", "core.orders .dirty", ""},
		{"WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r", "", ""},
		{"SELECT EXTRACT(DAY FROM t.at), TRIM('a'), a IS DISTINCT FROM b FROM core.t t", "core.t t", "EXTRACT TRIM"},
		{"SELECT x FROM core.t AS t, t.items AS i, UNNEST(t.tags) g WITH OFFSET AS o, core.u", "core.t t core.u", ""},
		{"SELECT (SELECT max(id) FROM core.a) AS m, ARRAY(SELECT AS STRUCT b.x FROM core.b b), EXISTS(SELECT 1 FROM t.items) FROM core.t t", "core.a core.b b core.t t", "max ARRAY EXISTS"},
		{"(SELECT 1 FROM core.a) UNION ALL (SELECT 2 FROM core.b EXCEPT DISTINCT SELECT 3 FROM core.c)", "core.a core.b core.c", ""},
		{"SELECT * FROM (core.a a JOIN core.b ON a.x = core.b.x), (SELECT * EXCEPT (y) FROM core.c) c", "core.a a core.b core.c", ""},
		{"SELECT 'FROM core.x', r\"\\\" FROM core.y\", \"\"\" \" FROM core.z\"\"\" # FROM core.q\n -- FROM core.r\n /* FROM core.s */ FROM core.t", "core.t", ""},
		{"SELECT * FROM core.a TABLESAMPLE SYSTEM (10 PERCENT)", "~core.a", ""},
		{"SELECT * FROM core.a FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01' WHERE x", "~core.a", ""},
		{"SELECT day FROM core.a WHERE d = CURRENT_DATE AND RAND() < 1 AND NET.HOST(u) = 'x'", "core.a", "CURRENT_DATE RAND HOST"},
		{"SELECT * FROM ml.predict(MODEL a.b, TABLE core.t)", "", "ml.predict()"},
		{"FROM core.a |> JOIN core.b USING (x) |> WHERE y > 1 |> SELECT x, z", "core.a core.b", ""},
		{"SELECT a.x || b.y FROM core.a a LEFT JOIN core.b b ON a.x || '1' = b.x, core.c", "core.a a core.b b core.c", ""},
		{"SELECT SUM(x) OVER w FROM core.a WINDOW w AS (PARTITION BY y)", "core.a", "SUM"},
		{"SELECT * FROM core.q PIVOT(SUM(n) FOR k IN ('a', 'b')) AS p, core.r", "core.q core.r", "PIVOT SUM"},
		{"SELECT @x, $y FROM core.a WHERE z = ?", "core.a", ""},
		{"SELECT if(a, b, c), x[OFFSET(0)] FROM core.a", "core.a", "if OFFSET"},
	} {
		got, _, err := parse(c.sql)
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		var tables []string
		functions := map[string]bool{}
		for _, r := range got.Tables {
			text := fmt.Sprintf("%s.%s", r.Dataset, r.Table)
			if r.Catalog != "" {
				text = r.Catalog + "/" + text
			}
			if r.Sampled {
				text = "~" + text
			}
			if r.Alias != "" {
				text += " " + r.Alias
			}
			tables = append(tables, text)
			if at := strings.TrimPrefix(c.sql[r.Offset:], "`"); !strings.HasPrefix(at, r.Table) && (r.Dataset == "" || !strings.HasPrefix(at, r.Dataset)) && (r.Catalog == "" || !strings.HasPrefix(at, r.Catalog)) {
				t.Errorf("%s: %s stands at %q", c.sql, text, at)
			}
		}
		for _, f := range got.Functions {
			if f.Table {
				f.Name += "()"
			}
			functions[f.Name] = true
		}
		if strings.Join(tables, " ") != c.tables || got.Statements != 1 {
			t.Errorf("%s\n got %q, %d statements\nwant %q", c.sql, strings.Join(tables, " "), got.Statements, c.tables)
		}
		for _, name := range strings.Fields(c.functions) {
			if !functions[name] {
				t.Errorf("%s: %s is not among %v", c.sql, name, functions)
			}
		}
	}
}

func TestReferencesAreRefused(t *testing.T) {
	for sql, want := range map[string]string{
		"DELETE FROM core.a WHERE TRUE":      "only a SELECT",
		"SELECT (1 FROM core.a":              "not closed (at byte 7)",
		"SELECT 1) FROM core.a":              "not opened (at byte 8)",
		"SELECT 'x FROM core.a":              "quotes is not closed (at byte 7)",
		"SELECT 1 FROM `core.a":              "quotes is not closed (at byte 14)",
		"DECLARE x INT64; SELECT x":          "only a SELECT",
		"SELECT 1 FROM core.a; DROP TABLE x": "only a SELECT",
	} {
		_, _, err := parse(sql)
		var refused *warehouse.QueryError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", sql, err, want)
		}
	}
	if got, _, err := parse("SELECT 1; SELECT 2;"); err != nil || got.Statements != 2 {
		t.Errorf("%d statements, %v", got.Statements, err)
	}
}

// Whatever the text, reading it ends.
func FuzzReferences(f *testing.F) {
	for _, s := range []string{"SELECT * FROM a.b", "WITH a AS (SELECT 1) SELECT * FROM a, (b.c JOIN d.e)", "FROM (", "SELECT FOR FROM x FOR SYSTEM_TIME", "SELECT x AS", "FROM `a.b` AS"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		got, _, err := parse(sql)
		if err != nil {
			return
		}
		for _, r := range got.Tables {
			if r.Offset < 0 || r.Offset >= len(sql) || r.Table == "" && !strings.Contains(sql, "`") {
				t.Fatalf("%+v", r)
			}
		}
	})
}
