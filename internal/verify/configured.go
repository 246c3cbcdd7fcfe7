package verify

import (
	"millrace/internal/config"
	"millrace/schemas"
)

// Configured is a table as its configuration has it.
func Configured(name string, t config.Table) Table {
	table := Table{Name: name, Key: t.Key, Text: t.Text, ZeroDates: t.ZeroDates != "", Promote: t.Promote}
	for _, c := range t.Columns {
		path := c.Path
		if path == "" {
			path = c.Name
		}
		table.Fields = append(table.Fields, Field{Name: c.Name, Path: path, Type: duckDBType(c.Type)})
	}
	return table
}

// duckDBType is the type of a declared column in DuckDB's words.
func duckDBType(t schemas.Type) string {
	switch t.Kind {
	case schemas.Bool:
		return "BOOLEAN"
	case schemas.Int:
		return "BIGINT"
	case schemas.Float:
		return "DOUBLE"
	case schemas.String:
		return "VARCHAR"
	case schemas.Bytes:
		return "BLOB"
	case schemas.Timestamp:
		return "TIMESTAMP WITH TIME ZONE"
	}
	return t.String() // DECIMAL, DATE and JSON have the same name
}
