package verify

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

type postgres struct{}

// begin settles how the server writes values: intervals, money, dates and names
// have many spellings, of which the warehouse holds one.
func (postgres) begin(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "+
		"SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL bytea_output = 'hex'; "+
		"SET LOCAL extra_float_digits = 1; SET LOCAL lc_monetary = 'C'; SET LOCAL xmloption = 'content'; "+
		"SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; SET LOCAL statement_timeout = 0")
	return err
}

func (postgres) mark(ctx context.Context, q querier) (Mark, error) {
	var lsn int64
	err := q.QueryRowContext(ctx, "SELECT CAST(pg_current_wal_flush_lsn() - '0/0' AS bigint)").Scan(&lsn)
	return Mark{Major: uint64(lsn)}, err
}

func (postgres) describe(ctx context.Context, conn *sql.Conn, table Table) (layout, error) {
	schema, name, _ := strings.Cut(table.Name, ".")
	rows, err := conn.QueryContext(ctx, `
		WITH RECURSIVE base(attnum, typ, typmod) AS (
			SELECT a.attnum, a.atttypid, a.atttypmod FROM pg_attribute a
			WHERE a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)
			AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
			UNION ALL SELECT b.attnum, t.typbasetype, t.typtypmod FROM base b JOIN pg_type t ON t.oid = b.typ WHERE t.typtype = 'd'
		), elements(typ, elem) AS (
			SELECT t.oid, t.typelem FROM pg_type t WHERE t.typcategory = 'A' AND t.typlen = -1 AND t.typtype = 'b' AND t.typdelim = ','
			UNION ALL SELECT e.typ, t.typbasetype FROM elements e JOIN pg_type t ON t.oid = e.elem WHERE t.typtype = 'd'
		)
		SELECT a.attname, b.typ::regtype::text, b.typmod, COALESCE(e.elem::regtype::text, ''), COALESCE(et.typtype = 'c', false),
		       COALESCE((SELECT array_position(i.indkey::int[], a.attnum::int) FROM pg_index i
		                 WHERE i.indrelid = a.attrelid AND i.indisprimary), -1)
		FROM base b JOIN pg_type t ON t.oid = b.typ AND t.typtype <> 'd'
		JOIN pg_attribute a ON a.attnum = b.attnum
			AND a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)
		LEFT JOIN (elements e JOIN pg_type et ON et.oid = e.elem AND et.typtype <> 'd') ON e.typ = b.typ
		ORDER BY a.attnum`, schema, name)
	if err != nil {
		return layout{}, err
	}
	defer rows.Close()
	l := layout{key: table.Key}
	var texts []string
	key := make(map[int]string)
	for rows.Next() {
		var name, typ, elem string
		var mod, place int
		var composite bool
		if err := rows.Scan(&name, &typ, &mod, &elem, &composite, &place); err != nil {
			return layout{}, err
		}
		if place >= 0 {
			key[place] = name
		}
		c, text := column{name, postgresType(typ, mod)}, printed(ident(name))
		var respell respelling
		switch {
		case slices.Contains(table.Text, name):
			c.typ = "VARCHAR"
		case elem != "":
			c.typ, text = "JSON", arrayText(ident(name), elem, composite)
			if elem != "json" && elem != "jsonb" {
				respell = longEscapes
			}
		case c.typ == blob:
			text = "encode(" + ident(name) + ", 'hex')"
		case typ == "real":
			text = printed("CAST(" + ident(name) + " AS double precision)")
		case typ == "numeric" && mod >= 4 && c.typ == "VARCHAR":
			text = printed("trim_scale(" + ident(name) + ")") // too wide a number is held as its digits
		}
		l.columns, l.respell, texts = append(l.columns, c), append(l.respell, respell), append(texts, text)
	}
	if err := rows.Err(); err != nil {
		return layout{}, err
	}
	if len(l.columns) == 0 {
		return layout{}, errNotThere
	}
	for place := 0; len(table.Key) == 0 && len(l.key) < len(key); place++ {
		if name, ok := key[place]; ok {
			l.key = append(l.key, name)
		}
	}
	l.query = fmt.Sprintf("SELECT %s FROM %s.%s", strings.Join(texts, ", "), ident(schema), ident(name))
	return l, nil
}

// printed is the text of a value as its type's own output function writes it. A
// cast to text is another function: it cuts the blanks of a char(n) and gives an
// inet a mask. A row of nulls is no null, though IS NULL says so.
func printed(value string) string {
	return "CASE WHEN " + value + " IS DISTINCT FROM NULL THEN pg_catalog.concat(" + value + ") END"
}

// arrayText is an array as JSON. Values of types that JSON has not are their own
// text, not the server's JSON spelling of them; an array whose bounds do not
// begin at 1 is a string of its text.
func arrayText(name, elem string, composite bool) string {
	values := name
	switch {
	case elem == "oid":
		values = "CAST(" + name + " AS bigint[])"
	case composite, elem == "date", strings.HasPrefix(elem, "timestamp"):
		values = "CAST(" + name + " AS text[])"
	}
	return "CASE WHEN pg_catalog.concat(" + name + ") LIKE '[%' THEN CAST(to_json(pg_catalog.concat(" + name + ")) AS text) " +
		"ELSE CAST(array_to_json(" + values + ") AS text) END"
}

// longEscapes writes every control character of a JSON text as \u00XX.
func longEscapes(text string) (*string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		b.WriteByte(text[i])
		if text[i] != '\\' || i+1 == len(text) {
			continue
		}
		i++
		if at := strings.IndexByte("btn\x00fr", text[i]); at >= 0 && text[i] != 0 {
			fmt.Fprintf(&b, "u%04x", '\b'+at)
			continue
		}
		b.WriteByte(text[i])
	}
	out := b.String()
	return &out, nil
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
		if mod < 4 { // any number of digits
			return "VARCHAR"
		}
		precision, scale := (mod-4)>>16&0xffff, (mod-4)&0x7ff
		if scale >= 1024 { // a negative scale: zeros before the point
			precision, scale = precision+2048-scale, 0
		}
		return decimalType(max(precision, scale), scale)
	}
	return "VARCHAR"
}

// decimalType is a DECIMAL, or text for a number of more digits than that has.
func decimalType(precision, scale int) string {
	if precision > 38 {
		return "VARCHAR"
	}
	return fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)
}
