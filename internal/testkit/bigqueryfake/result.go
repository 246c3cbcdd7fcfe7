package bigqueryfake

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// result is the rows of a query. Values are texts as the REST API has them, but
// for a TIMESTAMP, which is in microseconds.
type result struct {
	columns []column
	rows    [][]sql.NullString
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// describe gives the columns of a query in DuckDB's words.
func (s *session) describe(ctx context.Context, text string) (columns []column, err error) {
	rows, err := s.conn.QueryContext(ctx, "DESCRIBE "+text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, typ string
		var null, key, def, extra sql.NullString
		if err := rows.Scan(&name, &typ, &null, &key, &def, &extra); err != nil {
			return nil, err
		}
		c := column{name: name}
		if c.typ, err = typeOfDuck(typ); err != nil {
			return nil, refused("column %s: %s", name, err)
		}
		if !plainName.MatchString(name) && strings.ContainsAny(name, "()+*' ") && !s.isColumn(name) {
			c.name = fmt.Sprintf("f%d_", len(columns))
		}
		columns = append(columns, c)
	}
	s.wide(columns)
	return columns, rows.Err()
}

// isColumn reports whether a table that was read has a column of the name: what
// looks like an expression may be the name of a column.
func (s *session) isColumn(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.stats.referenced, func(t *table) bool { return t.index(name) >= 0 })
}

// wide finds the columns that are a BIGNUMERIC although DuckDB holds text: those
// that bear the name of one in a table that was read.
func (s *session) wide(columns []column) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range columns {
		for _, t := range s.stats.referenced {
			at := t.index(c.name)
			if at < 0 || c.typ.name != "STRING" || !t.columns[at].typ.decimal() {
				continue
			}
			if _, _, asText := t.columns[at].typ.bounds(); asText {
				columns[i].typ = columnType{name: "BIGNUMERIC"}
			}
		}
	}
}

// query runs a query and keeps its rows.
func (s *session) query(ctx context.Context, nodes []node) error {
	text, err := s.translator().statement(nodes)
	if err != nil {
		return err
	}
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	const name = "bq_result"
	if _, err := s.conn.ExecContext(ctx, "CREATE OR REPLACE TEMP TABLE "+name+" AS "+text); err != nil {
		return err
	}
	columns, err := s.describe(ctx, "SELECT * FROM temp."+name)
	if err != nil {
		return err
	}
	s.last, err = s.read(ctx, columns, "temp."+name)
	if err == nil {
		s.rows = int64(len(s.last.rows))
	}
	return err
}

// read gives the rows of a table in DuckDB, in its order.
func (s *session) read(ctx context.Context, columns []column, from string) (*result, error) {
	names, texts := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i] = fmt.Sprintf("c%d", i)
		texts[i] = restText(c.typ, names[i])
	}
	rows, err := s.conn.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM %s AS q(%s)", strings.Join(texts, ", "), from, strings.Join(names, ", ")))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := &result{columns: columns}
	for rows.Next() {
		row, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		for i, c := range columns {
			if c.typ.decimal() && row[i].Valid && strings.Contains(row[i].String, ".") {
				row[i].String = strings.TrimRight(strings.TrimRight(row[i].String, "0"), ".")
			}
		}
		out.rows = append(out.rows, row)
	}
	return out, rows.Err()
}

// restText is the expression of DuckDB that spells a value as the REST API does.
func restText(t columnType, expr string) string {
	switch t.name {
	case "ARRAY", "STRUCT":
		return "CAST(to_json(" + restValue(t, expr, 0) + ") AS VARCHAR)"
	case "BYTES":
		return "to_base64(" + expr + ")"
	case "TIMESTAMP":
		return "CAST(epoch_us(" + expr + ") AS VARCHAR)"
	case "DATETIME":
		return "replace(CAST(" + expr + " AS VARCHAR), ' ', 'T')"
	case "FLOAT64":
		return "CASE WHEN isnan(" + expr + ") THEN 'NaN' WHEN isinf(" + expr + ") THEN CASE WHEN " + expr + " > 0 THEN 'Infinity' ELSE '-Infinity' END ELSE CAST(" + expr + " AS VARCHAR) END"
	}
	return "CAST(" + expr + " AS VARCHAR)"
}
