package verify

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/internal/page"
)

// bigqueryIdent quotes a name.
func bigqueryIdent(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// fromDuckDB are the types of BigQuery that hold what those of DuckDB hold. Of a
// number it is not told how many digits it may have: an expression has no such
// bound.
var fromDuckDB = map[string]string{
	"TINYINT": "INT64", "SMALLINT": "INT64", "INTEGER": "INT64", "BIGINT": "INT64", "HUGEINT": "INT64",
	"UTINYINT": "INT64", "USMALLINT": "INT64", "UINTEGER": "INT64", "UBIGINT": "INT64",
	"DECIMAL": "NUMERIC", "FLOAT": "FLOAT64", "DOUBLE": "FLOAT64", "BOOLEAN": "BOOL", "VARCHAR": "STRING", blob: "BYTES",
	"DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "DATETIME", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP", "JSON": "JSON",
}

// inBigQuery tells what DuckDB and BigQuery have answered in the same words:
// types without digits, and of each value one of its spellings.
func inBigQuery(duck, big *page.Table) (_, _ *page.Table) {
	duck, big = spelled(duck, func(t string) string {
		name, _, _ := strings.Cut(t, "(")
		if known, ok := fromDuckDB[name]; ok {
			return known
		}
		return t
	}, unescape), spelled(big, func(t string) string {
		name, _, _ := strings.Cut(t, "(")
		return strings.TrimPrefix(name, "BIG")
	}, unbase64)
	// A number of more digits than DuckDB's are its digits there.
	for i, name := range duck.Columns {
		j := slices.Index(big.Columns, name)
		if j >= 0 && duck.Types[i] == "STRING" && big.Types[j] == "NUMERIC" {
			duck.Types[i] = "NUMERIC"
		}
	}
	return duck, big
}

// spelled is the table in BigQuery's words.
func spelled(t *page.Table, name func(string) string, bytes func(string) (string, bool)) *page.Table {
	out := &page.Table{Columns: t.Columns, Types: make([]string, len(t.Types)), Rows: make([][]*string, len(t.Rows))}
	for i, typ := range t.Types {
		out.Types[i] = name(typ)
	}
	for r, row := range t.Rows {
		out.Rows[r] = make([]*string, len(row))
		for i, v := range row {
			if v == nil {
				continue
			}
			respell := bytes
			if typ := out.Types[i]; typ != "BYTES" {
				respell = func(text string) (string, bool) { return respelled(typ, text) }
			}
			text, ok := respell(*v)
			if !ok {
				text = *v // as it is, it differs from whatever is right
			}
			out.Rows[r][i] = &text
		}
	}
	return out
}

// respelled is the one spelling of a value that comparing knows, and whether
// the text is a value of the type at all.
func respelled(typ, text string) (string, bool) {
	switch typ {
	case "NUMERIC":
		return shortDecimal(text), true
	case "FLOAT64":
		f, err := strconv.ParseFloat(text, 64)
		return strconv.FormatFloat(f, 'g', -1, 64), err == nil
	case "TIME":
		return shortSeconds(text), true
	case "DATETIME":
		return shortSeconds(strings.Replace(text, "T", " ", 1)), true
	case "TIMESTAMP":
		instant, ok := strings.CutSuffix(text, "+00")
		return shortSeconds(instant) + "+00", ok
	case "JSON":
		return oneJSON(text)
	}
	return text, true
}

// shortDecimal is a number without zeros at its end that say nothing.
func shortDecimal(text string) string {
	if strings.Contains(text, ".") {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" || text == "" || text == "-" {
		return "0"
	}
	return text
}

func shortSeconds(text string) string {
	if strings.Contains(text, ".") {
		return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// unbase64 is the text of bytes in an answer of BigQuery, as digits.
func unbase64(text string) (string, bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	return hex.EncodeToString(b), err == nil
}

// unescape is the text of bytes in DuckDB, as digits: what is not plain in it is
// \xHH.
func unescape(text string) (string, bool) {
	var b []byte
	for len(text) > 0 {
		if text[0] != '\\' {
			b, text = append(b, text[0]), text[1:]
			continue
		}
		if len(text) < 4 {
			return "", false
		}
		one, err := hex.DecodeString(text[2:4])
		if err != nil {
			return "", false
		}
		b, text = append(b, one...), text[4:]
	}
	return hex.EncodeToString(b), true
}

// inDuckDB are columns of BigQuery as DuckDB can hold them, with the texts of
// their rows spelled for it.
func inDuckDB(t *page.Table) ([]column, [][]*string, error) {
	columns := make([]column, len(t.Columns))
	for i, typ := range t.Types {
		columns[i] = column{t.Columns[i], ""}
		switch name, _, _ := strings.Cut(typ, "("); name {
		case "NUMERIC", "BIGNUMERIC":
			held, err := heldDecimal(t, i)
			if err != nil {
				return nil, nil, err
			}
			columns[i].typ = held
		case "INT64":
			columns[i].typ = "BIGINT"
		case "FLOAT64":
			columns[i].typ = "DOUBLE"
		default:
			for duck, big := range fromDuckDB {
				if big == typ {
					columns[i].typ = duck
				}
			}
		}
		if columns[i].typ == "" {
			return nil, nil, fmt.Errorf("column %s is of type %s, which cannot be computed with outside of BigQuery", t.Columns[i], typ)
		}
	}
	return columns, spelled(t, func(typ string) string {
		name, _, _ := strings.Cut(typ, "(")
		return strings.TrimPrefix(name, "BIG")
	}, unbase64).Rows, nil
}

// compareAnew compares a table with what BigQuery itself computes now: the
// whole query in one statement, or one statement for each window, whose query is
// written by the deriver. It proves that what was computed bit by bit is what
// the query gives at once, and nothing of BigQuery.
func (on On) compareAnew(ctx context.Context, s *Spec, c Calendar, why error) (Report, error) {
	fail := func(err error) (Report, error) {
		return Report{}, fmt.Errorf("verify %s: it cannot be computed outside of BigQuery (%w), nor anew in it: %w", s.Name, why, err)
	}
	note := "computed anew by BigQuery itself, in one statement"
	var want *page.Table
	var err error
	if s.Window == nil {
		want, err = on.Query(ctx, s.Query)
	} else {
		note = "computed anew by BigQuery itself, in a statement for each window"
		want, err = on.showAll(ctx, s, c)
	}
	if err != nil {
		return fail(err)
	}
	got, err := on.rows(ctx, s.Name)
	if err != nil {
		return fail(err)
	}
	if s.Append {
		got = without(got, loadColumn)
	}
	report := Compare(s.Name, want, got, s.UniqueKey)
	reason, _, _ := strings.Cut(why.Error(), "\n") // behind it is the query
	report.Note = note + ", because DuckDB cannot compute it as BigQuery does: " + reason
	return report, nil
}

// showAll computes every window of a table alone.
func (on On) showAll(ctx context.Context, s *Spec, c Calendar) (*page.Table, error) {
	if on.Show == nil {
		return nil, errors.New("nothing shows its windows")
	}
	var out *page.Table
	for start := s.Window.start(c.Begin); start.Before(c.End); start = s.Window.next(start) {
		window, err := on.Show(ctx, s.Name, start.Format("2006-01-02T15:04"))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = window
			continue
		}
		out.Rows = append(out.Rows, window.Rows...)
	}
	if out == nil {
		return nil, errors.New("it has no windows yet")
	}
	return out, nil
}

// heldDecimal is a type of DuckDB for the numbers of a column: BigQuery does not
// say how many digits it has declared.
func heldDecimal(t *page.Table, i int) (string, error) {
	whole, scale := 0, 0
	for _, row := range t.Rows {
		if row[i] == nil {
			continue
		}
		before, after, _ := strings.Cut(strings.TrimPrefix(shortDecimal(*row[i]), "-"), ".")
		whole, scale = max(whole, len(before)), max(scale, len(after))
	}
	if whole+scale > 38 {
		return "", fmt.Errorf("column %s has numbers of more than 38 digits, which cannot be computed with outside of BigQuery", t.Columns[i])
	}
	return fmt.Sprintf("DECIMAL(38,%d)", max(scale, min(9, 38-whole))), nil
}
