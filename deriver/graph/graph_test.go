package graph_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// shop is what the platform captures in these tests.
func shop() []graph.Table {
	column := func(name string, kind schemas.Kind) warehouse.ResultColumn {
		t := schemas.Type{Kind: kind}
		return warehouse.ResultColumn{Name: name, SQLType: duckdb.SQLType(t), Type: t}
	}
	id := column("id", schemas.Int)
	payments := []warehouse.ResultColumn{
		id, column("order_id", schemas.Int), column("amount", schemas.Int), column("paid_at", schemas.Timestamp), column("booked", schemas.Date),
	}
	return []graph.Table{
		{Name: "core.orders", Columns: []warehouse.ResultColumn{id, column("customer", schemas.Int), column("item", schemas.String)}, Key: []string{"id"}},
		{Name: "core.payments", Columns: payments, Key: []string{"id"}, EventTimes: []string{"paid_at"}},
		{Name: "core.payments_history", Columns: append(payments[:len(payments):len(payments)], column("_load", schemas.Int)), Append: true, EventTimes: []string{"paid_at"}},
		{Name: "core.log", Columns: []warehouse.ResultColumn{id, column("_load", schemas.Int)}, Append: true},
		{Name: "core.pairs", Columns: []warehouse.ResultColumn{id, column("b", schemas.Int)}, Key: []string{"id", "b"}},
		{Name: "core.unknown"},
	}
}

func dialect(t *testing.T) *duckdb.Dialect {
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

func load(t *testing.T, folder string) []*spec.Spec {
	t.Helper()
	specs, faults, err := spec.Load(os.DirFS(folder))
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	return specs
}

func golden(t *testing.T, path, got string) {
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

// Every folder is a set of specs, with all its faults beside it.
func TestFaults(t *testing.T) {
	d := dialect(t)
	for _, name := range []string{"bad", "cycle", "faulty"} {
		specs, faults, err := spec.Load(os.DirFS(filepath.Join("testdata", name)))
		if err != nil || (len(faults) > 0) != (name == "faulty") {
			t.Fatal(err, faults)
		}
		_, more, err := graph.Build(t.Context(), d, specs, shop())
		if err != nil {
			t.Fatal(err)
		}
		faults = append(faults, more...)
		golden(t, filepath.Join("testdata", name+".txt"), faults.Err().Error()+"\n")
	}
}

func TestGraph(t *testing.T) {
	g, faults, err := graph.Build(t.Context(), dialect(t), load(t, "testdata/good"), shop())
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	var b strings.Builder
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s (%s, %s) window %v\n", n.Spec.Name, n.Spec.Scope, n.Spec.Strategy, n.Window)
		for _, c := range n.Columns {
			fmt.Fprintf(&b, "  %s %s\n", c.Name, c.SQLType)
		}
		for _, in := range n.Inputs {
			fmt.Fprintf(&b, "  reads %s bounded %t driver %t\n", in.Table, in.Bounded(), in.Driver)
			for _, m := range in.Mappings {
				m.Dirty = nil
				fmt.Fprintf(&b, "    %+v\n", m)
			}
		}
	}
	golden(t, "testdata/good.txt", b.String())
}

func parse(t *testing.T, text string) *spec.Spec {
	t.Helper()
	s, faults := spec.Parse("x.yaml", []byte(text), nil)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return s
}

// What needs to know which rows a load changed cannot be asked of a table whose
// loads do not say so; what can do with everything, can.
func TestInputsInModeUpsert(t *testing.T) {
	d, tables := dialect(t), shop()
	accounts := tables[1]
	accounts.Name, accounts.Upsert = "core.accounts", true
	tables = append(tables, accounts)
	for text, want := range map[string]string{
		"unique_key: [order_id]\nstrategy: merge\ninputs:\n  core.accounts: {key: [order_id]}\nquery: SELECT order_id FROM core.accounts":                                   "inputs.core.accounts.key: core.accounts is of mode upsert",
		"window: day\ninputs:\n  core.accounts: {via: core.payments.order_id}\nquery: SELECT p.booked FROM core.payments p JOIN core.accounts a ON p.order_id = a.id":       "inputs.core.accounts.via: core.accounts is of mode upsert",
		"window: day\ninputs:\n  core.accounts: {dirty: SELECT booked FROM changes}\nquery: SELECT p.booked FROM core.payments p JOIN core.accounts a ON p.order_id = a.id": "inputs.core.accounts.dirty: core.accounts is of mode upsert",
		"strategy: append\nquery: SELECT id FROM core.accounts":    "core.accounts is of mode upsert: write history:",
		"window: day\nquery: SELECT booked, id FROM core.accounts": "",
		"window: day\ninputs:\n  core.orders: {via: core.accounts.order_id}\nquery: SELECT a.booked FROM core.accounts a JOIN core.orders o ON a.order_id = o.id": "",
		"window: day\ninputs:\n  core.accounts: {on_change: rebuild}\nquery: SELECT p.booked FROM core.payments p JOIN core.accounts a ON p.order_id = a.id":      "",
		"query: SELECT count(*) AS n FROM core.accounts":                                                        "",
		"strategy: append\nquery: SELECT h.id FROM core.payments_history h JOIN core.accounts a ON h.id = a.id": "",
	} {
		_, faults, err := graph.Build(t.Context(), d, []*spec.Spec{parse(t, "name: a.x\n"+text)}, tables)
		switch {
		case err != nil:
			t.Fatal(err)
		case want == "" && len(faults) > 0 || want != "" && (len(faults) != 1 || !strings.Contains(faults.Err().Error(), want) || faults[0].Cure == ""):
			t.Errorf("%s\ngot %v, want %q", text, faults, want)
		}
	}
}

// A table is left out with its faults, and so is what reads it; others are not.
func TestOnlySoundTablesAreInTheGraph(t *testing.T) {
	g, faults, err := graph.Build(t.Context(), dialect(t), []*spec.Spec{
		parse(t, "name: a.broken\nquery: SELECT nothing FROM core.orders"),
		parse(t, "name: a.reader\nquery: SELECT count(*) AS n FROM a.broken"),
		parse(t, "name: a.sound\nquery: SELECT count(*) AS n FROM core.orders"),
	}, shop())
	if err != nil || len(faults) != 1 || len(g.Nodes) != 1 || g.Nodes[0].Spec.Name != "a.sound" {
		t.Fatalf("%v, %v, %d nodes", err, faults, len(g.Nodes))
	}
}

// What cannot be checked is said, and not refused.
func TestUnknownColumns(t *testing.T) {
	g, faults, err := graph.Build(t.Context(), dialect(t), []*spec.Spec{
		parse(t, "name: a.x\nquery: SELECT whatever FROM core.unknown"),
		parse(t, "name: a.y\nquery: SELECT * FROM a.x"),
		parse(t, "name: a.z\nwindow: day\ninputs:\n  core.payments: paid_at\n  core.unknown: {via: core.payments.order_id}\nquery: SELECT booked FROM core.payments JOIN core.unknown USING (id)"),
	}, shop())
	if err != nil || len(faults) > 0 || strings.Join(g.Unchecked, " ") != "a.x a.y a.z" || g.Nodes[0].Columns != nil {
		t.Fatalf("%v, %v, unchecked %v", err, faults, g.Unchecked)
	}
}

// The hash is that of what decides the rows.
func TestHash(t *testing.T) {
	d := dialect(t)
	const base = "name: a.x\nwindow: day\nowner: me\nquery: SELECT booked, sum(amount) AS total FROM core.payments GROUP BY 1\n"
	hash := func(text string) string {
		g, faults, err := graph.Build(t.Context(), d, []*spec.Spec{parse(t, text)}, shop())
		if err != nil || len(faults) > 0 {
			t.Fatal(err, faults)
		}
		return g.Nodes[0].Hash
	}
	same := hash(base)
	for _, r := range [][2]string{{"owner: me", "owner: you"}, {"owner: me", "freshness: 1h"}, {"window: day", "window: {size: day, begin: 2024-01-01}"}} {
		if hash(strings.Replace(base, r[0], r[1], 1)) != same {
			t.Errorf("%s changes the hash", r[1])
		}
	}
	for _, r := range [][2]string{
		{"sum(amount)", "max(amount)"},
		{"window: day", "window: week"},
		{"window: day", "window: {size: day, timezone: Europe/Berlin}"},
		{"owner: me", "unique_key: booked"},
		{"owner: me", "inputs: {core.payments: booked}"},
	} {
		if hash(strings.Replace(base, r[0], r[1], 1)) == same {
			t.Errorf("%s does not change the hash", r[1])
		}
	}
}

type deadDialect struct{ warehouse.Dialect }

var errDead = errors.New("the database is gone")

func (deadDialect) Parse(context.Context, string) (warehouse.Parsed, error) {
	return warehouse.Parsed{}, errDead
}

func TestTroubleOfTheDialectIsNoFault(t *testing.T) {
	_, faults, err := graph.Build(t.Context(), deadDialect{dialect(t)}, []*spec.Spec{parse(t, "name: a.x\nquery: SELECT 1")}, nil)
	if !errors.Is(err, errDead) || len(faults) > 0 {
		t.Fatalf("%v, %v", err, faults)
	}
}
