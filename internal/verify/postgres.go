package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

type postgres struct{}

func (postgres) begin(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "+
		"SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1")
	return err
}

func (postgres) mark(ctx context.Context, q querier) (Mark, error) {
	var lsn int64
	err := q.QueryRowContext(ctx, "SELECT CAST(pg_current_wal_flush_lsn() - '0/0' AS bigint)").Scan(&lsn)
	return Mark{Major: uint64(lsn)}, err
}

func (postgres) describe(ctx context.Context, conn *sql.Conn, table string) (layout, error) {
	schema, name, _ := strings.Cut(table, ".")
	rows, err := conn.QueryContext(ctx, `
		SELECT a.attname, CAST(a.atttypid AS regtype)::text, a.atttypmod,
		       COALESCE((SELECT array_position(i.indkey::int[], a.attnum::int) FROM pg_index i
		                 WHERE i.indrelid = a.attrelid AND i.indisprimary), -1)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		ORDER BY a.attnum`, schema, name)
	if err != nil {
		return layout{}, err
	}
	defer rows.Close()
	var l layout
	var texts []string
	key := make(map[int]string)
	for rows.Next() {
		var name, typ string
		var mod, place int
		if err := rows.Scan(&name, &typ, &mod, &place); err != nil {
			return layout{}, err
		}
		if place >= 0 {
			key[place] = name
		}
		c := column{name, postgresType(typ, mod)}
		text := "CAST(" + ident(name) + " AS text)"
		if c.typ == blob {
			text = "encode(" + ident(name) + ", 'hex')"
		}
		l.columns, texts = append(l.columns, c), append(texts, text)
	}
	if err := rows.Err(); err != nil {
		return layout{}, err
	}
	if len(l.columns) == 0 {
		return layout{}, errors.New("it is not there")
	}
	for place := 0; len(l.key) < len(key); place++ {
		if name, ok := key[place]; ok {
			l.key = append(l.key, name)
		}
	}
	l.query = fmt.Sprintf("SELECT %s FROM %s.%s", strings.Join(texts, ", "), ident(schema), ident(name))
	return l, nil
}

// postgresType is the type of a core table's column for one of the source.
func postgresType(typ string, mod int) string {
	switch typ {
	case "smallint", "integer", "bigint", "oid":
		return "BIGINT"
	case "real", "double precision":
		return "DOUBLE"
	case "boolean":
		return "BOOLEAN"
	case "bytea":
		return blob
	case "date":
		return "DATE"
	case "time without time zone":
		return "TIME"
	case "timestamp without time zone":
		return "TIMESTAMP"
	case "timestamp with time zone":
		return "TIMESTAMP WITH TIME ZONE"
	case "json", "jsonb":
		return "JSON"
	case "numeric":
		if mod < 0 { // any number of digits
			return "VARCHAR"
		}
		precision, scale := (mod-4)>>16&0xffff, (mod-4)&0x7ff
		return decimalType(precision, scale)
	}
	return "VARCHAR"
}

// decimalType is a DECIMAL, or text for a number of more digits than that has.
func decimalType(precision, scale int) string {
	if precision > 38 || scale > precision {
		return "VARCHAR"
	}
	return fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)
}
