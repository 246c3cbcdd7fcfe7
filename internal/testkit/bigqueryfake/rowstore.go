package bigqueryfake

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/duckdb/duckdb-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// applyChanges joins rows with the table by its key, at once: the greatest
// sequence number wins, and of equal ones the last.
func (c *connection) applyChanges(ctx context.Context, rows [][]value) *status.Status {
	t := c.stream.table
	var keys []int
	c.mu.Lock()
	for _, name := range t.key {
		keys = append(keys, t.index(name))
	}
	latest := map[string][]value{}
	for _, row := range rows {
		var key strings.Builder
		for _, i := range keys {
			fmt.Fprintf(&key, "%T:%q,", row[i], fmt.Sprint(row[i]))
		}
		kind, _ := row[c.shape.change].(string)
		if kind != "UPSERT" && kind != "DELETE" {
			c.mu.Unlock()
			return status.Newf(codes.InvalidArgument, "%s %q is neither UPSERT nor DELETE", changeType, kind)
		}
		sequence := ""
		if c.shape.sequence >= 0 {
			text, _ := row[c.shape.sequence].(string)
			var err error
			if sequence, err = sequenceOf(text); err != nil {
				c.mu.Unlock()
				return status.New(codes.InvalidArgument, err.Error())
			}
		}
		if have, ok := t.changes[key.String()]; ok && have > sequence {
			continue
		}
		t.changes[key.String()] = sequence
		latest[key.String()] = row
	}
	c.mu.Unlock()
	if err := c.replace(ctx, t, c.shape.columns, keys, latest); err != nil {
		return status.New(codes.Internal, err.Error())
	}
	return nil
}

// replace puts rows in the place of those with their keys.
func (f *Fake) replace(ctx context.Context, t *table, columns []column, keys []int, rows map[string][]value) error {
	var live [][]value
	f.ddl.RLock()
	conn, err := f.db.Conn(ctx)
	if err != nil {
		f.ddl.RUnlock()
		return err
	}
	for _, row := range rows {
		var where []string
		var args []any
		for _, i := range keys {
			_, expr := carried(columns[i].typ, "CAST($"+strconv.Itoa(len(args)+1)+" AS "+carrier(columns[i].typ)+")")
			where = append(where, quoteName(columns[i].name)+" IS NOT DISTINCT FROM "+expr)
			args = append(args, row[i])
		}
		if _, err = conn.ExecContext(ctx, "DELETE FROM "+t.physical+" WHERE "+strings.Join(where, " AND "), args...); err != nil {
			break
		}
		if row[len(columns)] == "UPSERT" {
			live = append(live, row[:len(columns)])
		}
	}
	err = errors.Join(err, conn.Close())
	f.ddl.RUnlock()
	if err != nil {
		return err
	}
	return f.store(ctx, t, live)
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

// sequenceOf brings a sequence number into a form whose order is its own: up to
// four sections of up to 16 hexadecimal digits.
func sequenceOf(text string) (string, error) {
	sections := strings.Split(text, "/")
	if text == "" || len(sections) > 4 {
		return "", fmt.Errorf("invalid %s %q", changeSequence, text)
	}
	var out bytes.Buffer
	for _, section := range sections {
		padded := strings.Repeat("0", max(0, 16-len(section))) + section
		raw, err := hex.DecodeString(padded)
		if err != nil || section == "" || len(section) > 16 {
			return "", fmt.Errorf("invalid %s %q", changeSequence, text)
		}
		out.Write(raw)
	}
	return out.String(), nil
}

// columnAnnotation is the name of the column that a field's options give.
func columnAnnotation(options *descriptorpb.FieldOptions) string {
	if options == nil || !proto.HasExtension(options, storagepb.E_ColumnName) {
		return ""
	}
	name, _ := proto.GetExtension(options, storagepb.E_ColumnName).(string)
	return name
}
