package up

import (
	"os"
	"path/filepath"
	"testing"

	"millrace/deriver/spec"
	"millrace/internal/config"
)

// The configuration of deploy/compose is one, and its core tables are those that
// the specs of the example read.
func TestConfigurationOfCompose(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("../../deploy/compose/millrace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "derived"), os.DirFS("../../examples/shop/derived")); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"CATALOG_DSN": "postgres://u:p@postgres/shop", "ORDERS_DSN": "mongodb://mongodb/",
		"PAYMENTS_DSN": "mysql://u:p@mysql/shop", "REFUNDS_DSN": "mysql://u:p@mariadb/shop",
	}
	c, err := config.Load(file, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, faults, err := spec.Load(os.DirFS(c.Derived)); err != nil || len(faults) > 0 {
		t.Errorf("%v %v", err, faults)
	}
	cores := map[string]bool{}
	for _, s := range c.Sources {
		for _, table := range s.Tables {
			cores[table.Core], cores[table.History] = true, true
		}
	}
	for _, name := range []string{"core.customers", "core.orders", "core.items", "core.payments", "core.payments_history", "core.refunds"} {
		if !cores[name] {
			t.Errorf("%s is not captured", name)
		}
	}
}
