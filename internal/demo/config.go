package demo

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	shopfiles "millrace/examples/shop"
)

// configuration is the part of the example's that the demonstration changes.
type configuration struct {
	Prefix  string               `yaml:"prefix"`
	Data    string               `yaml:"data"`
	HTTP    string               `yaml:"http"`
	Sources map[string]yaml.Node `yaml:"sources"`
	Derived string               `yaml:"derived"`
}

// source is a source of the configuration.
type source struct {
	Kind   string               `yaml:"kind"`
	DSN    string               `yaml:"dsn"`
	Tables map[string]yaml.Node `yaml:"tables"`
}

// Names of the example's configuration.
const (
	ordersSource   = "orders_db"
	paymentsSource = "payments_db"
)

// writeExample copies the example into the folder, on a port that is free. If
// the shop is not split, payments are a table of the orders' source.
func writeExample(dir string, split bool) error {
	if err := os.CopyFS(dir, shopfiles.Files); err != nil {
		return fmt.Errorf("copy the example: %w", err)
	}
	path := filepath.Join(dir, "millrace.yaml")
	text, err := fs.ReadFile(shopfiles.Files, "millrace.yaml")
	if err != nil {
		return fmt.Errorf("read the example: %w", err)
	}
	var c configuration
	if err := yaml.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read the example: %w", err)
	}
	c.HTTP = "127.0.0.1:0"
	if !split {
		if err := c.join(); err != nil {
			return fmt.Errorf("read the example: %w", err)
		}
	}
	if text, err = yaml.Marshal(c); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // the embedded file cannot be written
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// join moves the payments to the orders' source.
func (c *configuration) join() error {
	var orders, payments source
	ordersNode, paymentsNode := c.Sources[ordersSource], c.Sources[paymentsSource]
	if err := ordersNode.Decode(&orders); err != nil {
		return err
	}
	if err := paymentsNode.Decode(&payments); err != nil {
		return err
	}
	orders.Tables["public.payments"] = payments.Tables["shop.payments"]
	if err := ordersNode.Encode(orders); err != nil {
		return err
	}
	c.Sources = map[string]yaml.Node{ordersSource: ordersNode}
	return nil
}
