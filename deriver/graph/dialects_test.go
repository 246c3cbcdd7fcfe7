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
