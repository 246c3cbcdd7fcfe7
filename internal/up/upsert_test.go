package up

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/schemas"
)

const upsertConfig = `
warehouse: {kind: bigquery, project: p, location: EU}
sources:
  db:
    kind: postgres
    dsn: postgres://x@y/z
    tables:
      public.accounts: {mode: upsert}
      public.orders: {}
`

// A check says of a table in mode upsert what would become dead letters, and what
// every load of it makes be computed.
func TestCheckOfModeUpsert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(file, []byte(upsertConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	table := schemas.Table{Schema: "public", Name: "accounts", Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "bio", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
	}}
	note, faults := upsertable(conf, "db", &table)
	if len(faults) > 0 || !strings.Contains(note, "a long value of bio") || !strings.Contains(note, "ALTER TABLE public.accounts REPLICA IDENTITY FULL") {
		t.Errorf("%q, %v", note, faults)
	}
	other := table
	other.Name = "orders"
	if note, faults := upsertable(conf, "db", &other); note != "" || len(faults) > 0 {
		t.Errorf("of another mode: %q, %v", note, faults)
	}
	table.Columns[1].Unsettable = false
	if note, faults := upsertable(conf, "db", &table); note != "" || len(faults) > 0 {
		t.Errorf("whole rows: %q, %v", note, faults)
	}
	table.Key = nil
	if _, faults := upsertable(conf, "db", &table); len(faults) != 1 || faults[0].Line != 8 || faults[0].Cure == "" {
		t.Errorf("without a key: %v", faults)
	}

	p := &process{Options: Options{Config: conf}}
	p.names.Prefix = conf.Prefix
	tables, _, err := p.graphTables(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	reads := func(table string, kind graph.MappingKind) *graph.Input {
		return &graph.Input{Table: table, Mappings: []graph.Mapping{{Kind: kind}}}
	}
	g := &graph.Graph{Nodes: []*graph.Node{{Spec: &spec.Spec{Name: "a.daily"}, Inputs: []*graph.Input{reads("core.accounts", graph.Partitions), reads("core.orders", graph.Partitions)}}}}
	if notes := wholesale(g, tables); len(notes) != 1 || !strings.Contains(notes[0], "a.daily computes every window again with each load of core.accounts") {
		t.Errorf("%q", notes)
	}
	g.Nodes[0].Inputs = []*graph.Input{reads("core.accounts", graph.Everything)}
	if notes := wholesale(g, tables); len(notes) > 0 {
		t.Errorf("%q", notes)
	}
}
