package verify

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// mariadb reads MariaDB and MySQL; which of them it is, the server says.
type mariadb struct{}

func isMySQL(ctx context.Context, q querier) (bool, error) {
	var version string
	err := q.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	return !strings.Contains(version, "MariaDB"), err
}

func (mariadb) begin(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return err
	}
	if err := settle(ctx, conn); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	return err
}

// settle waits until what MySQL's log holds is visible: there, a transaction is
// in the log a moment before, and owns its GTID until it is visible.
func settle(ctx context.Context, conn *sql.Conn) error {
	if my, err := isMySQL(ctx, conn); err != nil || !my {
		return err
	}
	for range 1000 { // a replica's transactions own theirs for long
		var owned string
		if err := conn.QueryRowContext(ctx, "SELECT @@global.gtid_owned").Scan(&owned); err != nil || owned == "" {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (mariadb) mark(ctx context.Context, q querier) (Mark, error) {
	my, err := isMySQL(ctx, q)
	if err != nil {
		return Mark{}, err
	}
	var file string
	var offset uint64
	query, into := "SHOW MASTER STATUS", []any{&file, &offset, new(any), new(any)}
	if my {
		query, into = "SHOW BINARY LOG STATUS", append(into, new(any))
	}
	if err := q.QueryRowContext(ctx, query).Scan(into...); err != nil {
		return Mark{}, err
	}
	dot := strings.LastIndexByte(file, '.')
	number, err := strconv.ParseUint(file[dot+1:], 10, 64)
	if err != nil {
		return Mark{}, fmt.Errorf("read the number of the binary log %s: %w", file, err)
	}
	return Mark{Major: number, Minor: offset}, nil
}

func (mariadb) describe(ctx context.Context, conn *sql.Conn, table Table) (layout, error) {
	schema, name, _ := strings.Cut(table.Name, ".")
	my, err := isMySQL(ctx, conn)
	if err != nil {
		return layout{}, err
	}
	// A JSON column of MariaDB is text with a check that it makes for it.
	json := `EXISTS (SELECT 1 FROM information_schema.check_constraints j
		WHERE j.constraint_schema = c.table_schema AND j.table_name = c.table_name AND j.level = 'Column'
		  AND j.constraint_name = c.column_name AND j.check_clause LIKE 'json_valid(%')`
	if my {
		json = "c.data_type = 'json'"
	}
	rows, err := conn.QueryContext(ctx, `
		SELECT c.column_name, c.data_type, c.column_type, COALESCE(c.numeric_precision, 0), COALESCE(c.numeric_scale, 0),
		       COALESCE((SELECT k.ordinal_position FROM information_schema.key_column_usage k
		                 WHERE k.table_schema = c.table_schema AND k.table_name = c.table_name
		                   AND k.constraint_name = 'PRIMARY' AND k.column_name = c.column_name), 0),
		       `+json+`
		FROM information_schema.columns c
		WHERE c.table_schema = ? AND c.table_name = ?
		ORDER BY c.ordinal_position`, schema, name)
	if err != nil {
		return layout{}, err
	}
	defer rows.Close()
	l := layout{key: table.Key}
	var texts []string
	key := make(map[int]string)
	for rows.Next() {
		var name, typ, full string
		var precision, scale, place int
		var json bool
		if err := rows.Scan(&name, &typ, &full, &precision, &scale, &place, &json); err != nil {
			return layout{}, err
		}
		if place > 0 {
			key[place] = name
		}
		c := column{name, mariadbType(typ, full, precision, scale)}
		if json {
			c.typ = "JSON"
		}
		l.columns = append(l.columns, c)
		l.respell = append(l.respell, mariadbRespelling(typ, table.ZeroDates))
		texts = append(texts, mariadbText(backtick(name), typ, c.typ, scale))
	}
	if err := rows.Err(); err != nil {
		return layout{}, err
	}
	if len(l.columns) == 0 {
		return layout{}, errNotThere
	}
	for place := 1; len(table.Key) == 0 && len(l.key) < len(key); place++ {
		l.key = append(l.key, key[place])
	}
	l.query = fmt.Sprintf("SELECT %s FROM %s.%s", strings.Join(texts, ", "), backtick(schema), backtick(name))
	return l, nil
}

func backtick(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// mariadbText is the text of a value of the type typ, which the warehouse holds
// as the type held.
func mariadbText(name, typ, held string, scale int) string {
	text := func(value string) string { return "CAST(" + value + " AS CHAR CHARACTER SET utf8mb4)" }
	switch {
	case held == blob:
		return "HEX(" + name + ")"
	case typ == "bit":
		return text("CAST(" + name + " AS UNSIGNED)")
	case held == "DOUBLE": // the text of a float has six digits, that of a double(10,2) two behind the point
		return text("CAST(" + name + " AS DOUBLE)")
	case typ == "time": // held as microseconds: it reaches beyond a day
		return text("CAST(IF(" + name + " < TIME'0:0', -1, 1) * ((HOUR(" + name + ") * 3600 + MINUTE(" + name + ") * 60 + SECOND(" + name + ")) * 1000000 + MICROSECOND(" + name + ")) AS SIGNED)")
	case typ == "decimal" && held == "VARCHAR" && scale > 0: // too wide a number is held as its digits
		return "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM " + text(name) + "))"
	}
	return text(name)
}

// mariadbRespelling is what is left to do with the text of a value of a type.
func mariadbRespelling(typ string, zeroDates bool) respelling {
	switch typ {
	case "inet4", "inet6":
		return func(text string) (*string, error) {
			addr, err := netip.ParseAddr(text)
			out := addr.String()
			return &out, err
		}
	case "date", "datetime", "timestamp":
		return func(text string) (*string, error) {
			if _, err := time.Parse(time.DateOnly, text[:min(len(text), len(time.DateOnly))]); err != nil && zeroDates {
				return nil, nil // no calendar has it, and the configuration makes it null
			}
			if typ == "timestamp" {
				text += "+00"
			}
			return &text, nil
		}
	}
	return nil
}

// mariadbType is the type of a core table's column for one of the source.
func mariadbType(typ, full string, precision, scale int) string {
	switch typ {
	case "bigint":
		if strings.Contains(full, "unsigned") {
			return "DECIMAL(20,0)"
		}
		return "BIGINT"
	case "tinyint", "smallint", "mediumint", "int", "year", "time":
		return "BIGINT"
	case "bit":
		switch precision {
		case 1:
			return "BOOLEAN"
		case 64:
			return "DECIMAL(20,0)"
		}
		return "BIGINT"
	case "float", "double":
		return "DOUBLE"
	case "decimal":
		return decimalType(precision, scale)
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob",
		"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection",
		"vector":
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
