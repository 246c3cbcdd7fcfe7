package graph_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/bigquery"
	"millrace/schemas"
)

// dialects are those of all warehouses.
func dialects(t *testing.T) map[string]warehouse.Dialect {
	t.Helper()
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := bigquery.Open(t.Context(), bigquery.Options{Project: fake.Project(), Location: "US", Jobs: fake.ClientOptions(), Writes: fake.WriteOptions()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), fake.Close()); err != nil {
			t.Error(err)
		}
	})
	return map[string]warehouse.Dialect{"duckdb": dialect(t), "bigquery": w.Dialect()}
}

// TestDirtyInEveryDialect: a query may read the keys that it computes also where
// only a query of the team's own says which they are. They have the names of the
// table's key and the types of that query.
func TestDirtyInEveryDialect(t *testing.T) {
	column := func(name string, kind schemas.Kind) schemas.Column {
		return schemas.Column{Name: name, Type: schemas.Type{Kind: kind}}
	}
	for name, d := range dialects(t) {
		tables := []graph.Table{{
			Name: "core.orders", Key: []string{"id"},
			Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{column("id", schemas.Int), column("label", schemas.String), column("at", schemas.Date)}),
		}}
		build := func(query string) (*graph.Graph, string) {
			s := parse(t, fmt.Sprintf(`
name: a.labels
strategy: merge
unique_key: [name, day]
inputs:
  core.orders: {dirty: "SELECT upper(o.label), o.at FROM core.orders AS o JOIN changes AS c ON c.id = o.id"}
query: %s
`, query))
			g, faults, err := graph.Build(t.Context(), d, []*spec.Spec{s}, tables)
			if err != nil {
				t.Fatal(name, err)
			}
			return g, fmt.Sprint(faults)
		}
		g, faults := build("SELECT d.name, d.day, o.id FROM core.orders AS o JOIN dirty AS d ON d.name = o.label AND d.day = o.at")
		if len(g.Nodes) != 1 {
			t.Errorf("%s: %s", name, faults)
			continue
		}
		for i, kind := range []schemas.Kind{schemas.String, schemas.Date, schemas.Int} {
			if got := g.Nodes[0].Columns[i]; got.Type.Kind != kind {
				t.Errorf("%s: column %s has type %s, want %s", name, got.Name, got.SQLType, kind)
			}
		}
		if _, faults := build("SELECT d.nothing AS name, d.day FROM core.orders AS o JOIN dirty AS d ON d.name = o.label"); !strings.Contains(faults, "nothing") {
			t.Errorf("%s: %s", name, faults)
		}
	}
}

// TestNestedInEveryDialect: a result may have lists and structs, which have no
// place where rows are found by them.
func TestNestedInEveryDialect(t *testing.T) {
	column := func(name string, kind schemas.Kind) schemas.Column {
		return schemas.Column{Name: name, Type: schemas.Type{Kind: kind}}
	}
	values := map[string]string{"duckdb": "{'a': max(o.id)}", "bigquery": "STRUCT(max(o.id) AS a)"}
	types := map[string]string{"duckdb": "[VARCHAR[] STRUCT(a BIGINT)]", "bigquery": "[ARRAY<STRING> STRUCT<`a` INT64>]"}
	for name, d := range dialects(t) {
		tables := []graph.Table{{
			Name: "core.orders", Key: []string{"id"}, EventTimes: []string{"at"},
			Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{column("id", schemas.Int), column("label", schemas.String), column("at", schemas.Date), column("doc", schemas.JSON)}),
		}}
		build := func(head string) (*graph.Graph, string) {
			nested := parse(t, fmt.Sprintf("name: a.nested\n%squery: |\n  SELECT o.at, array_agg(o.label) AS labels, %s AS last FROM core.orders AS o GROUP BY o.at", head, values[name]))
			reader := parse(t, "name: a.reader\nquery: SELECT n.at, n.last.a AS a FROM a.nested AS n")
			g, faults, err := graph.Build(t.Context(), d, []*spec.Spec{nested, reader}, tables)
			if err != nil {
				t.Fatal(name, err)
			}
			return g, fmt.Sprint(faults)
		}
		g, faults := build("window: day\nunique_key: [at]\naudits: [{not_null: [labels, last]}, {unique: [labels]}]\n")
		if len(g.Nodes) != 2 {
			t.Errorf("%s: %s", name, faults)
			continue
		}
		columns := g.Nodes[0].Columns
		if got := fmt.Sprint([]string{columns[1].SQLType, columns[2].SQLType}); got != types[name] || !columns[1].Nested() || !columns[2].Nested() || columns[0].Nested() {
			t.Errorf("%s: %s, want %s", name, got, types[name])
		}
		if last := g.Nodes[1].Columns[1]; last.Type.Kind != schemas.Int {
			t.Errorf("%s: a field has type %s", name, last.SQLType)
		}
		for head, want := range map[string]string{
			"strategy: merge\nunique_key: [labels]\ninputs: {core.orders: {key: [label]}}\n": "the column labels of the result is a ",
			"strategy: merge\nunique_key: [at]\ninputs: {core.orders: {key: [doc]}}\n":       "the column doc of core.orders is a JSON, and rows are not found by such",
			"window: {size: day, column: last}\n":                                            "last is not a DATE, TIMESTAMP or DATETIME",
			"cluster_by: [last]\n":                                                           "the column last of the result is a ",
		} {
			if g, faults := build(head); len(g.Nodes) > 0 || !strings.Contains(faults, want) {
				t.Errorf("%s: %s\n%s, want %s", name, head, faults, want)
			}
		}
	}
}
