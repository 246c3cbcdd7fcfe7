package bigqueryfake

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/duckdb/duckdb-go/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// store writes rows of the write path into the table.
func (f *Fake) store(ctx context.Context, t *table, rows [][]value) error {
	if len(rows) == 0 {
		return nil
	}
	f.ddl.RLock()
	defer f.ddl.RUnlock()
	f.mu.Lock()
	columns := append([]column(nil), t.columns...)
	t.streamed = f.now()
	f.mu.Unlock()
	conn, err := f.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(raw any) error { return appendTo(raw.(driver.Conn), t.physical, columns, rows) })
}

// appendTo hands rows to DuckDB in plain types, which the query makes into the
// columns' own. Rows that were read before a column was added lack it.
func appendTo(conn driver.Conn, physical string, columns []column, rows [][]value) error {
	types, names, exprs := make([]duckdb.TypeInfo, len(columns)), make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i] = fmt.Sprintf("c%d", i)
		var plain duckdb.Type
		plain, exprs[i] = carried(c.typ, names[i])
		info, err := duckdb.NewTypeInfo(plain)
		if err != nil {
			return err
		}
		types[i] = info
	}
	appender, err := duckdb.NewQueryAppender(conn, fmt.Sprintf("INSERT INTO %s SELECT %s FROM bq_appended", physical, strings.Join(exprs, ", ")), "bq_appended", types, names)
	if err != nil {
		return fmt.Errorf("append rows: %w", err)
	}
	args := make([]driver.Value, len(columns))
	for _, row := range rows {
		for i := range args {
			args[i] = nil
			if i < len(row) {
				args[i] = row[i]
			}
		}
		if err := appender.AppendRow(args...); err != nil {
			return errors.Join(fmt.Errorf("append rows: %w", err), appender.Close())
		}
	}
	if err := appender.Close(); err != nil {
		return fmt.Errorf("append rows: %w", err)
	}
	return nil
}

// carried is the plain type of DuckDB that carries values of the type, and the
// expression that makes them its own.
func carried(t columnType, name string) (duckdb.Type, string) {
	switch t.name {
	case "BOOL":
		return duckdb.TYPE_BOOLEAN, name
	case "INT64":
		return duckdb.TYPE_BIGINT, name
	case "FLOAT64":
		return duckdb.TYPE_DOUBLE, name
	case "BYTES":
		return duckdb.TYPE_BLOB, name
	case "DATE":
		return duckdb.TYPE_BIGINT, "bq_date_from_unix_date(" + name + ")"
	case "TIMESTAMP":
		return duckdb.TYPE_BIGINT, "make_timestamptz(" + name + ")"
	}
	return duckdb.TYPE_VARCHAR, "CAST(" + name + " AS " + t.duck() + ")"
}

// carrier is the name of the type that carries values.
func carrier(t columnType) string {
	plain, _ := carried(t, "")
	switch plain {
	case duckdb.TYPE_BOOLEAN:
		return "BOOLEAN"
	case duckdb.TYPE_BIGINT:
		return "BIGINT"
	case duckdb.TYPE_DOUBLE:
		return "DOUBLE"
	case duckdb.TYPE_BLOB:
		return "BLOB"
	}
	return "VARCHAR"
}

// columnAnnotation is the name of the column that a field's options give.
func columnAnnotation(options *descriptorpb.FieldOptions) string {
	if options == nil || !proto.HasExtension(options, storagepb.E_ColumnName) {
		return ""
	}
	name, _ := proto.GetExtension(options, storagepb.E_ColumnName).(string)
	return name
}
