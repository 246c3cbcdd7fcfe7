package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/config"
)

// env has a DSN for each source, of the kind at which it is.
func env(at map[string]*place) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		for _, s := range services() {
			if s.env == name {
				return at[s.source].dsn, true
			}
		}
		return "", false
	}
}

// placed are the services, each at the nth database that can hold it, or at its last.
func placed(n int) map[string]*place {
	known := map[string]*place{
		config.KindPostgres: {dsn: "postgres://me@localhost/shop", schema: "public"},
		config.KindMySQL:    {dsn: "mysql://me@localhost/shop", schema: "shop"},
		config.KindMariaDB:  {dsn: "mysql://me@localhost/shop", schema: "shop"},
		config.KindMongoDB:  {dsn: "mongodb://localhost/?replicaSet=rs0", schema: "shop_1", documents: &documents{}},
	}
	at := make(map[string]*place)
	for _, s := range services() {
		kind := s.kinds[min(n, len(s.kinds)-1)]
		known[kind].kind = kind
		at[s.source] = known[kind]
	}
	return at
}

// What the platform reads is the example, but for the port and for the databases
// in which the shop's services are.
func TestWriteExample(t *testing.T) {
	for n := range 3 {
		at, dir := placed(n), t.TempDir()
		if err := writeExample(dir, at, defaultPrefix, nil); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(filepath.Join(dir, "millrace.yaml"), env(at))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Sources) != len(services()) {
			t.Errorf("place %d: the sources are %v", n, c.Sources)
		}
		var cores []string
		for _, table := range captured(c) {
			place := at[table.source]
			if c.Sources[table.source].Kind != place.kind || !strings.HasPrefix(table.name, place.schema+".") {
				t.Errorf("place %d: %s of %s is in a %s, want one in a %s", n, table.name, table.source, c.Sources[table.source].Kind, place.kind)
			}
			if documents := place.documents != nil; table.Promote != documents || len(table.Columns) > 0 != documents {
				t.Errorf("place %d: %s has the columns %v", n, table.name, table.Columns)
			}
			cores = append(cores, table.Core)
			if table.History != "" {
				cores = append(cores, table.History)
			}
		}
		if want := "core.customers core.items core.orders core.payments core.payments_history core.refunds"; strings.Join(cores, " ") != want {
			t.Errorf("place %d: the core tables are %v", n, cores)
		}
		if times := eventTimes(c); times["core.orders"] != "created_at" || times["core.payments"] != "paid_at" || times["core.refunds"] != "refunded_at" {
			t.Errorf("place %d: the event times are %v", n, times)
		}
		if c.HTTP != "127.0.0.1:0" || c.Data != filepath.Join(dir, "data") || c.Derived != filepath.Join(dir, "derived") {
			t.Errorf("place %d: %+v", n, c)
		}
		if specs, err := os.ReadDir(c.Derived); err != nil || len(specs) == 0 {
			t.Errorf("place %d: %d specs, %v", n, len(specs), err)
		}
	}
}

// The warehouse of a file takes the place of the example's, and its times are
// short.
func TestWarehouseOfAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "warehouse.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("warehouse: {kind: bigquery, project: acme, location: EU, load_every: 5m}\n")
	d := &demo{Options: Options{Warehouse: path}}
	if err := d.chooseWarehouse(); err != nil {
		t.Fatal(err)
	}
	if err := writeExample(dir, placed(0), d.prefix, d.warehouse); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(dir, "millrace.yaml"), env(placed(0)))
	if err != nil {
		t.Fatal(err)
	}
	w := c.Warehouse
	if w.Kind != config.KindBigQuery || w.BigQuery.Project != "acme" || w.LoadEvery != time.Second || w.Freshness != time.Second || !d.bigQuery() {
		t.Errorf("%+v", w)
	}
	if !strings.HasPrefix(c.Prefix, defaultPrefix+"_") {
		t.Errorf("prefix %s, which another demonstration may have", c.Prefix)
	}
	if got := d.place(); got != "BigQuery, project acme" || d.standIn() != "" {
		t.Errorf("it is %s, in place of it %q", got, d.standIn())
	}
	write("warehouse: {kind: bigquery, project: acme, location: EU, endpoints: {jobs: 'http://127.0.0.1:1', writes: '127.0.0.1:2'}}\n")
	if err := d.chooseWarehouse(); err != nil || d.place() != "what stands in for BigQuery at http://127.0.0.1:1" {
		t.Errorf("%v: %s", err, d.place())
	}
	for text, want := range map[string]string{
		"": "EOF", "warehouse: {}": "holds no section", "warehouse: {kind: bigquery}\nsources: {}": "sources not found", "- a": "nothing else",
	} {
		write(text)
		if err := d.chooseWarehouse(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
	d.Warehouse = filepath.Join(dir, "none")
	if err := d.chooseWarehouse(); err == nil {
		t.Error("a file that is not there was read")
	}
	d.Warehouse = ""
	if err := d.chooseWarehouse(); err != nil || d.warehouse != nil || d.prefix != defaultPrefix {
		t.Errorf("without a file: %v, %v, %s", err, d.warehouse, d.prefix)
	}
}

// The example is what a reader copies: it must load as it stands.
func TestTheExampleItselfLoads(t *testing.T) {
	if _, err := config.Load(filepath.Join("..", "..", "examples", "shop", "millrace.yaml"), env(placed(0))); err != nil {
		t.Error(err)
	}
}
