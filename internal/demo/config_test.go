package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/config"
)

func env(name string) (string, bool) {
	dsn, ok := map[string]string{"ORDERS_DSN": "postgres://me@localhost/shop", "PAYMENTS_DSN": "mysql://me@localhost/shop"}[name]
	return dsn, ok
}

// What the platform reads is the example, but for the port and, if the shop is
// not split, for the place of the payments.
func TestWriteExample(t *testing.T) {
	for _, split := range []bool{true, false} {
		dir := t.TempDir()
		if err := writeExample(dir, split, defaultPrefix, nil); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(filepath.Join(dir, "millrace.yaml"), env)
		if err != nil {
			t.Fatal(err)
		}
		payments := c.Sources[paymentsSource].Tables["shop.payments"]
		if !split {
			payments = c.Sources[ordersSource].Tables["public.payments"]
		}
		if payments.Core != "core.payments" || payments.History != history || len(payments.EventTime) != 1 || payments.EventTime[0] != "paid_at" {
			t.Errorf("split %v: payments are %+v", split, payments)
		}
		if _, ok := c.Sources[paymentsSource]; ok != split {
			t.Errorf("split %v: the sources are %v", split, c.Sources)
		}
		if c.HTTP != "127.0.0.1:0" || c.Data != filepath.Join(dir, "data") || c.Derived != filepath.Join(dir, "derived") {
			t.Errorf("split %v: %+v", split, c)
		}
		if specs, err := os.ReadDir(c.Derived); err != nil || len(specs) == 0 {
			t.Errorf("split %v: %d specs, %v", split, len(specs), err)
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
	if err := writeExample(dir, true, d.prefix, d.warehouse); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(dir, "millrace.yaml"), env)
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
	if _, err := config.Load(filepath.Join("..", "..", "examples", "shop", "millrace.yaml"), env); err != nil {
		t.Error(err)
	}
}
