package duckdb

import (
	"context"
	"fmt"
	"slices"

	"millrace/internal/warehouse/sqlgen"
)

// Prepare is described at warehouse.Warehouse.
func (w *Warehouse) Prepare(ctx context.Context, datasets []string) (made, there []string, err error) {
	w.ddl.Lock()
	defer w.ddl.Unlock()
	core := sqlgen.Name{Dataset: "core"}
	for _, name := range slices.Concat([]string{sqlgen.Schema, core.Dataset, core.BaseDataset()}, datasets) {
		var n int
		if err := w.db.QueryRowContext(ctx, "SELECT count(*) FROM information_schema.schemata WHERE catalog_name = current_database() AND schema_name = ?", name).Scan(&n); err != nil {
			return made, there, fmt.Errorf("look for the dataset %s: %w", name, err)
		}
		if n > 0 {
			there = append(there, name)
			continue
		}
		if _, err := w.db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+w.dialect.Ident(name)); err != nil {
			return made, there, fmt.Errorf("make the dataset %s: %w", name, err)
		}
		made = append(made, name)
	}
	return made, there, nil
}
