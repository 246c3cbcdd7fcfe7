package strategy_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/deriver/strategy"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/bigquery"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// TestExamplesInBigQuery writes everything that the deriver asks of BigQuery for
// the examples into a golden file, behind the tables that it reads: GoogleSQL's
// analyzer reads the file, and the fake runs it.
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
		return schemas.Column{Name: name, Type: schemas.Type{Kind: kind}}
	}
	amount := func(name string) schemas.Column {
		return schemas.Column{Name: name, Type: schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}}
	}
	id := column("id", schemas.Int)
	payments := []schemas.Column{id, column("order_id", schemas.Int), amount("amount"), column("paid_at", schemas.Timestamp)}
	tables := []graph.Table{
		{Name: "core.customers", Key: []string{"id"}, Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{id, column("name", schemas.String), column("country", schemas.String)})},
		{Name: "core.refunds", Key: []string{"id"}, EventTimes: []string{"refunded_at"}, Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{
			id, column("payment_id", schemas.Int), amount("amount"), column("refunded_at", schemas.Timestamp),
		})},
		{Name: "core.orders", Key: []string{"id"}, EventTimes: []string{"created_at"}, Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{
			id, column("customer_id", schemas.Int), column("item_id", schemas.Int), column("quantity", schemas.Int), column("created_at", schemas.Timestamp),
		})},
		{Name: "core.payments", Key: []string{"id"}, EventTimes: []string{"paid_at"}, Columns: d.CoreColumns(schemas.ModeMerge, payments)},
		{Name: "core.items", Key: []string{"id"}, Columns: d.CoreColumns(schemas.ModeMerge, []schemas.Column{id, column("name", schemas.String), column("category", schemas.String), amount("price")})},
		{Name: "core.payments_history", Append: true, EventTimes: []string{"paid_at"}, Columns: d.CoreColumns(schemas.ModeAppend, payments)},
	}
	specs, faults, err := spec.Load(os.DirFS("../../examples/shop/derived"))
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	g, faults, err := graph.Build(t.Context(), d, specs, tables)
	if err != nil || len(faults) > 0 || len(g.Nodes) != len(specs) {
		t.Fatal(err, faults)
	}
	var out []string
	create := func(name string, columns []warehouse.ResultColumn, more ...string) {
		for _, c := range columns {
			more = append(more, d.Ident(c.Name)+" "+c.SQLType)
		}
		out = append(out, fmt.Sprintf("CREATE TABLE %s (%s)", name, strings.Join(more, ", ")))
	}
	read := map[string][]warehouse.ResultColumn{}
	for _, table := range tables {
		read[table.Name] = table.Columns
	}
	for _, n := range g.Nodes {
		read[n.Spec.Name] = n.Columns
	}
	sql := sqlgen.BigQuery()
	for _, name := range slices.Sorted(maps.Keys(read)) {
		n, err := sql.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		create(sql.View(n), read[name])
		images := slices.DeleteFunc(slices.Clone(read[name]), func(c warehouse.ResultColumn) bool { return strings.HasPrefix(c.Name, "_") })
		create(sql.Changes(n), images, "_load INT64", "_image STRING")
	}
	for _, n := range g.Nodes {
		out = append(out, statementsOf(t, n)...)
	}
	compareGolden(t, "testdata/bigquery.sql", strings.Join(out, ";\n\n")+";\n")
}

// statementsOf are the queries of a node's runs, and of what its inputs dirty.
func statementsOf(t *testing.T, n *graph.Node) []string {
	t.Helper()
	spelling := bigquery.NewSpelling()
	s := strategy.New(n, spelling)
	name, err := sqlgen.BigQuery().ParseName(n.Spec.Name)
	if err != nil {
		t.Fatal(err)
	}
	run := &sqlgen.Run{Derived: &sqlgen.Derived{Dialect: sqlgen.BigQuery(), Name: name, Owning: s.Table().Owning}, ID: name.Own("run")}
	for _, c := range n.Columns {
		run.Columns, run.Types = append(run.Columns, c.Name), append(run.Types, c.SQLType)
	}
	out := []string{}
	part := func(p warehouse.Part) {
		var names []string
		for _, c := range n.Columns {
			names = append(names, spelling.Ident(c.Name))
		}
		list := strings.Join(names, ", ")
		out = append(out, "-- "+n.Spec.Name+"\n"+run.Compute([]string{p.Query}), fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM (\n%s\n)", s.Name(n.Spec.Name), list, list, p.Query))
		if p.Owned != "" {
			out = append(out, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE %s", s.Name(n.Spec.Name), p.Owned))
		}
	}
	switch n.Spec.Scope {
	case spec.ScopeWindow:
		part(s.Window(n.Spec.Window.Grid.Civil(time.Date(2024, 3, 10, 0, 0, 0, 0, time.UTC))))
		out = append(out, s.LeastEventTimes()...)
	case spec.ScopeKeys:
		keys := s.Keys()
		run.OwnBy("(1, 2)")
		part(warehouse.Part{Query: run.OwnKeys(keys.Query, "(1, 2)"), Owned: run.Owned[0]})
		out = append(out, run.FreshKeys(s.AllKeys()))
	case spec.ScopeRows:
		part(s.Rows(3, 5))
	default:
		part(s.Whole())
	}
	for _, in := range n.Inputs {
		for _, m := range in.Mappings {
			if m.Kind == graph.Via || m.Kind == graph.Keys || m.Kind == graph.Asked {
				out = append(out, s.Changed(in, m, 3, 5))
			}
		}
	}
	return out
}
