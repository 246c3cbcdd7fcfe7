package demo

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	shopfiles "millrace/examples/shop"
)

// configuration is the part of the example's that the demonstration changes.
type configuration struct {
	Prefix  string             `yaml:"prefix"`
	Data    string             `yaml:"data"`
	HTTP    string             `yaml:"http"`
	Sources map[string]*source `yaml:"sources"`
	Derived string             `yaml:"derived"`
	// Warehouse is what stands in for the example's, which names none.
	Warehouse map[string]any `yaml:"warehouse,omitempty"`
}

// source is a source of the configuration.
type source struct {
	Kind   string                    `yaml:"kind"`
	DSN    string                    `yaml:"dsn"`
	Tables map[string]map[string]any `yaml:"tables"`
}

// move makes it the source of another place. What is said of documents means
// nothing for tables, which have the columns.
func (s *source) move(to *place) {
	tables := make(map[string]map[string]any)
	for name, table := range s.Tables {
		_, own, _ := strings.Cut(name, ".")
		if to.documents == nil {
			delete(table, "columns")
			delete(table, "promote")
		}
		tables[to.schema+"."+own] = table
	}
	s.Kind, s.Tables = to.kind, tables
}

// defaultPrefix is that of the example's configuration.
const defaultPrefix = "shop"

// writeExample copies the example into the folder, on a port that is free, with
// each source where the shop has it.
func writeExample(dir string, at map[string]*place, prefix string, warehouse map[string]any) error {
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
	c.HTTP, c.Prefix, c.Warehouse = "127.0.0.1:0", prefix, warehouse
	for name, s := range c.Sources {
		s.move(at[name])
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

// readWarehouse reads the warehouse section that a file holds, and nothing else.
// Its times are made short, whatever it says: nobody wants to wait.
func readWarehouse(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read which warehouse is meant: %w", err)
	}
	var c struct {
		Warehouse map[string]any `yaml:"warehouse"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read %s, which should hold a configuration's section warehouse: and nothing else: %w", path, err)
	}
	if len(c.Warehouse) == 0 {
		return nil, fmt.Errorf("%s holds no section warehouse: write it as in a configuration", path)
	}
	c.Warehouse["load_every"], c.Warehouse["freshness"] = "1s", "1s"
	return c.Warehouse, nil
}

// bigQuery reports whether that is the warehouse.
func (d *demo) bigQuery() bool { return d.warehouse["kind"] == "bigquery" }

// standIn is where something else than Google answers for BigQuery; empty: Google.
func (d *demo) standIn() string {
	endpoints, _ := d.warehouse["endpoints"].(map[string]any)
	jobs, _ := endpoints["jobs"].(string)
	return jobs
}

// place is where the warehouse is, for people.
func (d *demo) place() string {
	switch {
	case d.standIn() != "":
		return "what stands in for BigQuery at " + d.standIn()
	case d.bigQuery():
		return fmt.Sprintf("BigQuery, project %v", d.warehouse["project"])
	}
	return "DuckDB"
}
