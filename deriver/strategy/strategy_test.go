package strategy_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/deriver/audit"
	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/deriver/strategy"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/bigquery"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func column(name string, kind schemas.Kind) warehouse.ResultColumn {
	t := schemas.Type{Kind: kind}
	return warehouse.ResultColumn{Name: name, SQLType: duckdb.SQLType(t), Type: t}
}

func node(t *testing.T, d *duckdb.Dialect, text string) *graph.Node {
	t.Helper()
	s, faults := spec.Parse("x.yaml", []byte(text), nil)
	id := column("id", schemas.Int)
	g, more, err := graph.Build(t.Context(), d, []*spec.Spec{s}, []graph.Table{
		{Name: "core.orders", Key: []string{"id"}, Columns: []warehouse.ResultColumn{id, column("customer", schemas.Int), column("odd \"name", schemas.String)}},
		{Name: "core.payments", Key: []string{"id"}, EventTimes: []string{"paid_at"}, Columns: []warehouse.ResultColumn{
			id, column("order_id", schemas.Int), column("paid_at", schemas.Timestamp), column("booked", schemas.Date), column("local", schemas.DateTime),
		}},
		{Name: "core.history", Append: true, Columns: []warehouse.ResultColumn{id, column("_load", schemas.Int)}},
	})
	if err != nil || len(faults)+len(more) > 0 {
		t.Fatal(err, faults, more)
	}
	return g.Nodes[0]
}

// The SQL of every scope and mapping, to be reviewed like code.
func TestSQL(t *testing.T) {
	d, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	var b strings.Builder
	show := func(title string, lines ...string) {
		fmt.Fprintf(&b, "-- %s\n%s\n\n", title, strings.Join(lines, "\n"))
	}

	n := node(t, d, `
name: a.days
window: {size: day, timezone: America/New_York, begin: 2024-01-01}
unique_key: [day, order_id]
inputs:
  core.payments: [booked, {event_time: local, lookback: 27d}, {event_time: paid_at, lookback: 12h}]
  core.orders: {via: core.payments.order_id}
columns: [{name: day, type: DATE, required: true}, {name: order_id, type: INT64}, {name: n, type: INT64, required: true}]
audits: [{not_null: [n, day]}, {unique: [n]}, {unique: [day, order_id]}]
query: |
  SELECT @window_start AS day, p.order_id, count(*) AS n -- core.payments
  FROM core.payments p JOIN core.orders ON orders.id = p.order_id WHERE p.paid_at < CAST(@window_end AS TIMESTAMP) GROUP BY ALL
`)
	s := strategy.New(n, d)
	w := n.Spec.Window.Grid.Civil(time.Date(2024, 3, 10, 0, 0, 0, 0, time.UTC)) // 23 hours
	part := s.Window(w)
	show("a day of 23 hours, read over three spans", part.Query)
	show("what it owns", part.Owned)
	show("the least event times", s.LeastEventTimes()...)
	orders := n.Input("core.orders")
	for i, m := range orders.Mappings {
		show(fmt.Sprintf("the windows of the changed orders' payments, way %d", i), s.Changed(orders, m, 3, 5))
	}
	for _, c := range audit.Checks(n, d) {
		show("check "+c.Name, fmt.Sprintf("violated: %s; unique: %v", c.Violated, c.Unique))
	}

	n = node(t, d, `
name: a.customers
strategy: merge
unique_key: [customer, label]
inputs:
  core.orders: {key: [customer]}
  core.payments: {via: core.orders.id, on: order_id}
  core.history: {dirty: SELECT o.customer FROM core.orders o JOIN changes c ON c.id = o.id}
query: |
  SELECT o.customer, o."odd ""name" AS label, count(p.id) AS n
  FROM core.orders o LEFT JOIN core.payments p ON p.order_id = o.id LEFT JOIN core.history AS h ON h.id = o.id
  WHERE o.customer IN (SELECT customer FROM dirty) GROUP BY ALL
`)
	s = strategy.New(n, d)
	show("the dirty keys", s.Keys().Query)
	show("all keys", s.AllKeys()...)
	for _, in := range n.Inputs {
		for _, m := range in.Mappings {
			show("the keys that changes of "+in.Table+" dirty", s.Changed(in, m, 0, 7))
		}
	}

	n = node(t, d, "name: a.whole\nquery: SELECT count(*) AS n FROM core.orders, core.payments AS p")
	s = strategy.New(n, d)
	show("the whole table", s.Whole().Query, s.Whole().Owned)

	n = node(t, d, "name: a.added\nstrategy: append\nquery: SELECT h.id FROM core.history h JOIN core.orders USING (id)")
	show("the rows of loads 4 to 6", strategy.New(n, d).Rows(3, 6).Query)

	compareGolden(t, "testdata/strategies.sql", b.String())
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

// A window's bounds are written as the type of the window's column, and the span
// of an input as that of its event time.
func TestWindowsHaveTheTypeOfTheirColumn(t *testing.T) {
	d, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	for column, want := range map[string]string{
		"booked": "DATE '2024-03-10'", "paid_at": "TIMESTAMP '2024-03-10T05:00:00Z'", "local": "DATETIME '2024-03-10T00:00:00'",
	} {
		n := node(t, d, fmt.Sprintf(`
name: a.days
window: {size: day, timezone: America/New_York}
inputs: {core.payments: paid_at}
query: SELECT %s AS at, @window_start AS start FROM core.payments
`, column))
		part := strategy.New(n, bigquery.NewSpelling()).Window(n.Spec.Window.Grid.Civil(time.Date(2024, 3, 10, 0, 0, 0, 0, time.UTC)))
		if !strings.Contains(part.Query, "SELECT "+column+" AS at, "+want+" AS start") || !strings.Contains(part.Owned, "(`at` >= "+want+" AND ") {
			t.Errorf("%s: %s, which owns %s", column, part.Query, part.Owned)
		}
		if span := "`paid_at` >= TIMESTAMP '2024-03-10T05:00:00Z' AND `paid_at` < TIMESTAMP '2024-03-11T04:00:00Z'"; !strings.Contains(part.Query, span) {
			t.Errorf("%s: %s does not read %s", column, part.Query, span)
		}
	}
}
