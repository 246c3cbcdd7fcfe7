package duckdb

import (
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// CoreColumns are the columns that readers see of a core table with the given
// columns.
func (d *Dialect) CoreColumns(mode schemas.Mode, columns []schemas.Column) []warehouse.ResultColumn {
	spell := sqlgen.DuckDB()
	var out []warehouse.ResultColumn
	add := func(name string, t schemas.Type) {
		out = append(out, warehouse.ResultColumn{Name: name, SQLType: spell.Type(t), Type: spell.Held(t)})
	}
	for _, c := range columns {
		add(c.Name, c.Type)
	}
	if mode == schemas.ModeAppend {
		add(sqlgen.ColOp, schemas.Type{Kind: schemas.String})
		add(sqlgen.ColPos, schemas.Type{Kind: schemas.String})
		add(sqlgen.ColTs, schemas.Type{Kind: schemas.Timestamp})
		add(sqlgen.ColLoad, schemas.Type{Kind: schemas.Int})
		add(sqlgen.ColUnset, schemas.Type{Kind: schemas.String})
	}
	return out
}
