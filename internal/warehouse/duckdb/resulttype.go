package duckdb

import (
	"strings"

	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// typeOf is the platform's type for one that a query can give, or the zero
// Type.
func typeOf(sqlType string) schemas.Type {
	if t, ok := sqlgen.DuckDB().ParseType(sqlType); ok {
		return t
	}
	var t schemas.Type
	switch sqlType {
	case "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER":
		t.Kind = schemas.Int
	case "FLOAT":
		t.Kind = schemas.Float
	case "HUGEINT", "UBIGINT":
		t = schemas.Type{Kind: schemas.Decimal, Precision: 38}
	case "UUID":
		t.Kind = schemas.String
	}
	return t
}

// SQLType is DuckDB's type for one of the platform's.
func SQLType(t schemas.Type) string { return sqlgen.DuckDB().Type(t) }

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
