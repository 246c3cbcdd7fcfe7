package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

type mariadb struct{}

func (mariadb) begin(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	return err
}

func (mariadb) mark(ctx context.Context, q querier) (Mark, error) {
	var file string
	var offset uint64
	var do, ignore sql.NullString
	if err := q.QueryRowContext(ctx, "SHOW MASTER STATUS").Scan(&file, &offset, &do, &ignore); err != nil {
		return Mark{}, err
	}
	dot := strings.LastIndexByte(file, '.')
	number, err := strconv.ParseUint(file[dot+1:], 10, 64)
	if err != nil {
		return Mark{}, fmt.Errorf("read the number of the binary log %s: %w", file, err)
	}
	return Mark{Major: number, Minor: offset}, nil
}

func (mariadb) describe(ctx context.Context, conn *sql.Conn, table string) (layout, error) {
	schema, name, _ := strings.Cut(table, ".")
	rows, err := conn.QueryContext(ctx, `
		SELECT c.column_name, c.data_type, c.column_type, COALESCE(c.numeric_precision, 0), COALESCE(c.numeric_scale, 0),
		       COALESCE((SELECT k.ordinal_position FROM information_schema.key_column_usage k
		                 WHERE k.table_schema = c.table_schema AND k.table_name = c.table_name
		                   AND k.constraint_name = 'PRIMARY' AND k.column_name = c.column_name), 0)
		FROM information_schema.columns c
		WHERE c.table_schema = ? AND c.table_name = ?
		ORDER BY c.ordinal_position`, schema, name)
	if err != nil {
		return layout{}, err
	}
	defer rows.Close()
	var l layout
	var texts []string
	key := make(map[int]string)
	for rows.Next() {
		var name, typ, full string
		var precision, scale, place int
		if err := rows.Scan(&name, &typ, &full, &precision, &scale, &place); err != nil {
			return layout{}, err
		}
		if place > 0 {
			key[place] = name
		}
		c := column{name, mariadbType(typ, full, precision, scale)}
		quoted := backtick(name)
		text := "CAST(" + quoted + " AS CHAR CHARACTER SET utf8mb4)"
		switch c.typ {
		case blob:
			text = "HEX(" + quoted + ")"
		case "TIMESTAMP WITH TIME ZONE":
			text = "CONCAT(" + quoted + ", '+00')"
		}
		l.columns, texts = append(l.columns, c), append(texts, text)
	}
	if err := rows.Err(); err != nil {
		return layout{}, err
	}
	if len(l.columns) == 0 {
		return layout{}, errors.New("it is not there")
	}
	for place := 1; len(l.key) < len(key); place++ {
		l.key = append(l.key, key[place])
	}
	l.query = fmt.Sprintf("SELECT %s FROM %s.%s", strings.Join(texts, ", "), backtick(schema), backtick(name))
	return l, nil
}

func backtick(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// mariadbType is the type of a core table's column for one of the source.
func mariadbType(typ, full string, precision, scale int) string {
	switch typ {
	case "bigint":
		if strings.Contains(full, "unsigned") {
			return "DECIMAL(20,0)"
		}
		return "BIGINT"
	case "tinyint", "smallint", "mediumint", "int", "year":
		return "BIGINT"
	case "float", "double":
		return "DOUBLE"
	case "decimal":
		return decimalType(precision, scale)
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return blob
	case "date":
		return "DATE"
	case "datetime":
		return "TIMESTAMP"
	case "timestamp":
		return "TIMESTAMP WITH TIME ZONE"
	}
	return "VARCHAR"
}
