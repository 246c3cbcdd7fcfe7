package graph_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
	"millrace/schemas"
)

// TestExamplesInBigQuery: the examples' specs are sound in BigQuery's words too,
// and a fault in one is found with its line.
func TestExamplesInBigQuery(t *testing.T) {
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
	d := w.Dialect()
	column := func(name string, kind schemas.Kind) schemas.Column {
		c := schemas.Column{Name: name, Type: schemas.Type{Kind: kind}}
		if kind == schemas.Decimal {
			c.Type.Precision, c.Type.Scale = 12, 2
		}
		return c
	}
	orders := []schemas.Column{ // of documents
		column("_id", schemas.String), column("doc", schemas.JSON), column("id", schemas.Int), column("customer_id", schemas.Int), column("item_id", schemas.Int), column("quantity", schemas.Int), column("created_at", schemas.Timestamp),
	}
	payments := []schemas.Column{column("id", schemas.Int), column("order_id", schemas.Int), column("amount", schemas.Decimal), column("paid_at", schemas.Timestamp)}
	customers := []schemas.Column{column("id", schemas.Int), column("name", schemas.String), column("country", schemas.String)}
	refunds := []schemas.Column{column("id", schemas.Int), column("payment_id", schemas.Int), column("amount", schemas.Decimal), column("refunded_at", schemas.Timestamp)}
	items := []schemas.Column{column("id", schemas.Int), column("name", schemas.String), column("category", schemas.String), column("price", schemas.Decimal)}
	tables := []graph.Table{
		{Name: "core.customers", Columns: d.CoreColumns(schemas.ModeMerge, customers), Key: []string{"id"}},
		{Name: "core.refunds", Columns: d.CoreColumns(schemas.ModeMerge, refunds), Key: []string{"id"}, EventTimes: []string{"refunded_at"}},
		{Name: "core.orders", Columns: d.CoreColumns(schemas.ModeMerge, orders), Key: []string{"_id"}, EventTimes: []string{"created_at"}},
		{Name: "core.payments", Columns: d.CoreColumns(schemas.ModeMerge, payments), Key: []string{"id"}, EventTimes: []string{"paid_at"}},
		{Name: "core.items", Columns: d.CoreColumns(schemas.ModeMerge, items), Key: []string{"id"}},
		{Name: "core.payments_history", Columns: d.CoreColumns(schemas.ModeAppend, payments), Append: true, EventTimes: []string{"paid_at"}},
	}
	specs, faults, err := spec.Load(os.DirFS("../../examples/shop/derived"))
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	g, faults, err := graph.Build(t.Context(), d, specs, tables)
	if err != nil || len(faults) > 0 || len(g.Nodes) != len(specs) {
		t.Fatalf("%v, %v, %d of %d tables", err, faults, len(g.Nodes), len(specs))
	}
	for _, n := range g.Nodes {
		var columns []string
		for _, c := range n.Columns {
			columns = append(columns, c.Name+" "+c.SQLType)
		}
		t.Logf("%s (%s)", n.Spec.Name, strings.Join(columns, ", "))
	}
	// A result's decimal has no digits in BigQuery; the contract may name some.
	for contract, want := range map[string]int{"DECIMAL(12, 2)": 0, "DECIMAL(38, 9)": 0, "DECIMAL(38, 10)": 1, "INT64": 1} {
		text := fmt.Sprintf("name: a.x\ncolumns:\n  - {name: total, type: \"%s\"}\nquery: SELECT SUM(p.amount) AS total FROM core.payments AS p\n", contract)
		sized, faults := spec.Parse("x.yaml", []byte(text), nil)
		_, more, err := graph.Build(t.Context(), d, []*spec.Spec{sized}, tables)
		if faults = append(faults, more...); err != nil || len(faults) != want {
			t.Errorf("%s: %v, %v", contract, err, faults)
		}
	}
	wrong, _ := spec.Parse("x.yaml", []byte("name: a.x\nquery: |\n  SELECT o.id,\n    o.amout\n  FROM core.orders AS o\n"), nil)
	_, faults, err = graph.Build(t.Context(), d, []*spec.Spec{wrong}, tables)
	if err != nil || len(faults) != 1 || !strings.Contains(fmt.Sprint(faults), "amout") {
		t.Errorf("%v, %v", err, faults)
	}
}
