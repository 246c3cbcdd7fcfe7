package bigquery

import (
	"slices"

	"millrace/internal/warehouse/sqlgen"
)

// columnIndex finds a column by its exact name.
func columnIndex(columns []sqlgen.Column, name string) int {
	return slices.IndexFunc(columns, func(c sqlgen.Column) bool { return c.Name == name })
}
