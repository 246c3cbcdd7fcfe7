package duckdb

import (
	"context"
	"fmt"
)

// Count is the number of rows that readers see of a table.
func (w *Warehouse) Count(ctx context.Context, table string) (n int64, err error) {
	name, err := w.dialect.ParseName(table)
	if err != nil {
		return 0, err
	}
	rows, err := w.Query(ctx, "SELECT count(*) FROM "+w.dialect.View(name))
	if err != nil {
		return 0, fmt.Errorf("count rows of %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, fmt.Errorf("count rows of %s: %w", table, err)
		}
	}
	return n, rows.Err()
}
