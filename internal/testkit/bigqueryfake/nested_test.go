package bigqueryfake_test

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/bigquery"

	"millrace/internal/testkit/bigqueryfake"
)

// Columns of lists and structs are made, written, described and read back.
func TestNestedColumns(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core",
		"CREATE TABLE core.n (id INT64, tags ARRAY<STRING>, at STRUCT<day DATE, `by` STRUCT<n NUMERIC(10, 2), ok BOOL>>, lines ARRAY<STRUCT<item STRING, sold ARRAY<TIMESTAMP>>>)",
		`INSERT INTO core.n VALUES
(1, ['a', 'it\'s'], STRUCT(DATE '2024-03-01' AS day, STRUCT(NUMERIC '1.50' AS n, TRUE AS ok) AS `+"`by`"+`), [STRUCT('x' AS item, [TIMESTAMP '2024-03-01 10:00:00.000001+00'] AS sold), STRUCT<item STRING, sold ARRAY<TIMESTAMP>>('y', [])]),
(2, NULL, NULL, ARRAY<STRUCT<item STRING, sold ARRAY<TIMESTAMP>>>[])`)
	md, err := b.bq.Dataset("core").Table("n").Metadata(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var show func(s bigquery.Schema) string
	show = func(s bigquery.Schema) string {
		var out []string
		for _, f := range s {
			text := f.Name + " " + string(f.Type)
			if f.Repeated {
				text += " repeated"
			}
			if len(f.Schema) > 0 {
				text += " (" + show(f.Schema) + ")"
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	const want = "id INTEGER, tags STRING repeated, at RECORD (day DATE, by RECORD (n NUMERIC, ok BOOLEAN)), lines RECORD repeated (item STRING, sold TIMESTAMP repeated)"
	if got := show(md.Schema); got != want {
		t.Errorf("schema %s, want %s", got, want)
	}
	b.want("SELECT * FROM core.n ORDER BY id",
		"[1 [a it's] [2024-03-01 [3/2 true]] [[x [2024-03-01 10:00:00.000001 +0000 UTC]] [y []]]]", "[2 [] <nil> []]")
	// A result's own types, also of what is computed.
	it, err := b.bq.Query("SELECT ARRAY_AGG(STRUCT(q.id, l.item AS what) ORDER BY q.id) AS all_of, ARRAY(SELECT 1) AS one, ARRAY_LENGTH([1, 2]) AS two FROM core.n AS q, UNNEST(q.lines) AS l").Read(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var row []bigquery.Value
	if err := it.Next(&row); err != nil || fmt.Sprint(row) != "[[[1 x] [1 y]] [1] 2]" {
		t.Errorf("%v, %v", row, err)
	}
	if got, want := show(it.Schema), "all_of RECORD repeated (id INTEGER, what STRING), one INTEGER repeated, two INTEGER"; got != want {
		t.Errorf("schema %s, want %s", got, want)
	}
	b.want("SELECT q.at.by.n, TO_JSON_STRING(q.tags), tag FROM core.n AS q CROSS JOIN UNNEST(q.tags) AS tag WHERE q.id = 1 ORDER BY tag", `[3/2 ["a","it's"] a]`, `[3/2 ["a","it's"] it's]`)
	b.do("MERGE INTO core.n AS t USING (SELECT 2 AS id, ['new'] AS tags UNION ALL SELECT 3, CAST(NULL AS ARRAY<STRING>)) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET tags = s.tags WHEN NOT MATCHED THEN INSERT (id, tags) VALUES (s.id, s.tags)",
		"CREATE TABLE core.made AS SELECT id, tags, CAST(NULL AS STRUCT<a INT64>) AS s FROM core.n", "ALTER TABLE core.made ADD COLUMN more ARRAY<NUMERIC>")
	b.want("SELECT id, tags, s FROM core.made WHERE id > 1 ORDER BY id", "[2 [new] <nil>]", "[3 [] <nil>]")
	b.fails("UPDATE core.n AS id SET id = 1 WHERE TRUE", "invalidQuery", "updating the entire row")
	b.fails("INSERT INTO core.n (id, tags) VALUES (4, ['a', NULL])", "invalidQuery", "Array cannot have a null element; error in writing field tags")
	b.fails("CREATE TABLE core.bad (a ARRAY<ARRAY<INT64>>)", "invalidQuery", "nested arrays are not supported")
	b.fails("SELECT STRUCT<INT64>", "notImplemented", "STRUCT without values")
	b.fails("CREATE TABLE core.bad (a ARRAY<GEOGRAPHY>)", "notImplemented", "GEOGRAPHY")
}
