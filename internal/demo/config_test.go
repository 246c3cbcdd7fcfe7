package demo

import (
	"os"
	"path/filepath"
	"testing"

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

// The example is what a reader copies: it must load as it stands.
func TestTheExampleItselfLoads(t *testing.T) {
	if _, err := config.Load(filepath.Join("..", "..", "examples", "shop", "millrace.yaml"), env); err != nil {
		t.Error(err)
	}
}
