package coretable

import (
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Columns are those of a core table as a query sees them.
func Columns(d *sqlgen.Dialect, mode schemas.Mode, columns []schemas.Column) (out []warehouse.ResultColumn) {
	add := func(name string, t schemas.Type) {
		out = append(out, warehouse.ResultColumn{Name: name, SQLType: d.Type(t), Type: d.Held(t)})
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
