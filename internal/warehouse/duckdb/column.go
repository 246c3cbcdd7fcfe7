package duckdb

import (
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// CoreColumns are the columns that readers see of a core table with the given
// columns.
func (d *Dialect) CoreColumns(mode schemas.Mode, columns []schemas.Column) []warehouse.ResultColumn {
	return coretable.Columns(sqlgen.DuckDB(), mode, columns)
}
