package duckdb

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// typeOf is the platform's type for one of DuckDB's, or the zero Type.
func typeOf(sqlType string) schemas.Type {
	t := schemas.Type{}
	switch name, args, _ := strings.Cut(sqlType, "("); name {
	case "BOOLEAN":
		t.Kind = schemas.Bool
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		t.Kind = schemas.Int
	case "FLOAT", "DOUBLE":
		t.Kind = schemas.Float
	case "HUGEINT", "UBIGINT":
		t = schemas.Type{Kind: schemas.Decimal, Precision: 38}
	case "DECIMAL":
		t.Kind = schemas.Decimal
		_, _ = fmt.Sscanf(args, "%d,%d)", &t.Precision, &t.Scale) // DuckDB's own text
	case "VARCHAR", "UUID":
		t.Kind = schemas.String
	case "BLOB":
		t.Kind = schemas.Bytes
	case "DATE":
		t.Kind = schemas.Date
	case "TIME":
		t.Kind = schemas.Time
	case "TIMESTAMP WITH TIME ZONE":
		t.Kind = schemas.Timestamp
	case "TIMESTAMP":
		t.Kind = schemas.DateTime
	case "JSON":
		t.Kind = schemas.JSON
	}
	return t
}

// SQLType is DuckDB's type for one of the platform's.
func SQLType(t schemas.Type) string {
	switch t.Kind {
	case schemas.Bool:
		return "BOOLEAN"
	case schemas.Int:
		return "BIGINT"
	case schemas.Float:
		return "DOUBLE"
	case schemas.Decimal:
		if t.Precision > 38 {
			return "VARCHAR"
		}
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case schemas.Bytes:
		return "BLOB"
	case schemas.Date:
		return "DATE"
	case schemas.Time:
		return "TIME"
	case schemas.Timestamp:
		return "TIMESTAMPTZ"
	case schemas.DateTime:
		return "TIMESTAMP"
	case schemas.JSON:
		return "JSON"
	default:
		return "VARCHAR"
	}
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
