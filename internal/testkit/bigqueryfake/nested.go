package bigqueryfake

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// The nested types, ARRAY and STRUCT, are DuckDB's lists and structs. A column of
// them has its inner types as text: so types can be compared.

func arrayOf(element columnType) (columnType, error) {
	if element.name == "ARRAY" {
		return columnType{}, invalidQuery("Cannot construct array with element type %s because nested arrays are not supported", element)
	}
	return columnType{name: "ARRAY", inner: element.String()}, nil
}

func structOf(fields []column) columnType {
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i] = f.typ.String()
		if f.name != "" {
			texts[i] = "`" + strings.ReplaceAll(f.name, "`", "\\`") + "` " + texts[i]
		}
	}
	return columnType{name: "STRUCT", inner: strings.Join(texts, ", ")}
}

func (t columnType) nested() bool { return t.inner != "" }

// fields are the fields of a STRUCT; an ARRAY has one, its element.
func (t columnType) fields() []column {
	tokens, _ := scan(t.inner) // of a text that was written here
	list, _ := nest(tokens)
	fields, _ := fieldList(list)
	for i := range fields {
		if fields[i].name == "" {
			fields[i].name = fmt.Sprintf("_field_%d", i+1)
		}
	}
	return fields
}

// fieldList reads what stands between the brackets of STRUCT<…> or ARRAY<…>.
func fieldList(list []node) (fields []column, err error) {
	for _, item := range split(list) {
		var f column
		if len(item) > 1 && item[0].open == 0 && item[0].named() && item[1].open == 0 && item[1].named() {
			f.name, item = item[0].text, item[1:]
		}
		var rest []node
		if f.typ, rest, err = parseType(item); err != nil {
			return nil, err
		}
		if len(rest) > 0 {
			return nil, refused("%s in a nested type is not in its set", rest[0].text)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// parseNested reads ARRAY<…> or STRUCT<…>.
func parseNested(list []node) (columnType, []node, error) {
	if len(list) < 2 || list[1].open != '<' {
		return columnType{}, nil, invalidQuery("Syntax error: Expected \"<\" behind %s", list[0].text)
	}
	fields, err := fieldList(list[1].list)
	if err != nil {
		return columnType{}, nil, err
	}
	if list[0].word("STRUCT") {
		return structOf(fields), list[2:], nil
	}
	if len(fields) != 1 {
		return columnType{}, nil, invalidQuery("Syntax error: an ARRAY has one element type")
	}
	typ, err := arrayOf(fields[0].typ)
	return typ, list[2:], err
}

// duckNested is the type of DuckDB that holds the values.
func (t columnType) duckNested() string {
	fields := t.fields()
	if t.name == "ARRAY" {
		return fields[0].typ.duck() + "[]"
	}
	defs := make([]string, len(fields))
	for i, f := range fields {
		defs[i] = quoteName(f.name) + " " + f.typ.duck()
	}
	return "STRUCT(" + strings.Join(defs, ", ") + ")"
}

// nestedOfDuck reads the name of a list or struct of DuckDB; ok says that it is one.
func nestedOfDuck(duck string) (typ columnType, ok bool, err error) {
	if element, ok := strings.CutSuffix(duck, "[]"); ok {
		inner, err := typeOfDuck(element)
		if err != nil {
			return inner, true, err
		}
		typ, err = arrayOf(inner)
		return typ, true, err
	}
	inside, ok := strings.CutPrefix(duck, "STRUCT(")
	if !ok {
		return typ, false, nil
	}
	var fields []column
	for _, def := range splitDuck(strings.TrimSuffix(inside, ")")) {
		f := column{}
		var rest string
		if quoted, ok := strings.CutPrefix(def, `"`); ok {
			end := strings.Index(strings.ReplaceAll(quoted, `""`, "\x00\x00"), `"`)
			f.name, rest = strings.ReplaceAll(quoted[:end], `""`, `"`), strings.TrimPrefix(quoted[end+1:], " ")
		} else {
			f.name, rest, _ = strings.Cut(def, " ")
		}
		if f.typ, err = typeOfDuck(rest); err != nil {
			return typ, true, err
		}
		fields = append(fields, f)
	}
	return structOf(fields), true, nil
}

// splitDuck cuts at the commas that stand in no parentheses and no quotes.
func splitDuck(text string) (out []string) {
	depth, quoted, from := 0, false, 0
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out, from = append(out, strings.TrimSpace(text[from:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(text[from:]))
}

// nestedField writes the inner types of a column as the REST API has them.
func (t columnType) nestedField(f *bq.TableFieldSchema) {
	if t.name == "ARRAY" {
		f.Mode, t = "REPEATED", t.fields()[0].typ
	}
	if t.name != "STRUCT" {
		element := column{typ: t}.field()
		f.Type, f.Precision, f.Scale = element.Type, element.Precision, element.Scale
		return
	}
	f.Type = "RECORD"
	for _, inner := range t.fields() {
		f.Fields = append(f.Fields, inner.field())
	}
}

// nestedOf reads the type of a column of the REST API, if it is nested.
func nestedOf(f *bq.TableFieldSchema) (typ columnType, err error) {
	element := *f
	element.Mode = ""
	if typeIs := strings.ToUpper(f.Type); typeIs == "RECORD" || typeIs == "STRUCT" {
		fields, err := columnsOf(&bq.TableSchema{Fields: f.Fields})
		if err != nil {
			return typ, err
		}
		typ = structOf(fields)
	} else {
		c, err := columnOf(&element)
		if err != nil {
			return typ, err
		}
		typ = c.typ
	}
	if f.Mode == "REPEATED" {
		return arrayOf(typ)
	}
	return typ, nil
}

// restValue is the expression of DuckDB that holds a value of the type with every
// leaf as the REST API spells it.
func restValue(t columnType, expr string, depth int) string {
	switch {
	case t.name == "ARRAY":
		item := fmt.Sprintf("bq_item%d", depth)
		return fmt.Sprintf("list_transform(coalesce(%s, []), lambda %s: %s)", expr, item, restValue(t.fields()[0].typ, item, depth+1))
	case t.name == "STRUCT":
		var parts []string
		for i, f := range t.fields() {
			parts = append(parts, fmt.Sprintf("'f%d': %s", i, restValue(f.typ, fmt.Sprintf("struct_extract(%s, %s)", expr, quoteText(f.name)), depth+1)))
		}
		return fmt.Sprintf("CASE WHEN %s IS NULL THEN NULL ELSE {%s} END", expr, strings.Join(parts, ", "))
	case t.decimal():
		return "bq_string(" + expr + ")"
	}
	return restText(t, expr)
}

// nestedCell is the value, which restValue has written as JSON, as the REST API
// has it.
func nestedCell(typ columnType, text string, micros bool) (any, error) {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("read a %s: %w", typ.name, err)
	}
	return nestedValue(typ, value, micros), nil
}

func nestedValue(typ columnType, value any, micros bool) any {
	switch v := value.(type) {
	case []any:
		element := typ.fields()[0].typ
		for i := range v {
			v[i] = map[string]any{"v": nestedValue(element, v[i], micros)}
		}
		return v
	case map[string]any:
		var cells []any
		for i, f := range typ.fields() {
			cells = append(cells, map[string]any{"v": nestedValue(f.typ, v[fmt.Sprintf("f%d", i)], micros)})
		}
		return map[string]any{"f": cells}
	case string:
		return cell(typ, sql.NullString{String: v, Valid: true}, micros).V
	}
	return value
}

// settleArrays makes the arrays that were written into a table of DuckDB what the
// service keeps: an array that is null is empty, and none has a null in it.
func (s *session) settleArrays(ctx context.Context, columns []column, physical string) error {
	for _, c := range columns {
		if c.typ.name != "ARRAY" {
			continue
		}
		name := quoteName(c.name)
		var one int
		err := s.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT 1 FROM %s WHERE len(list_filter(%s, lambda x: x IS NULL)) > 0 LIMIT 1", physical, name)).Scan(&one)
		if err == nil {
			return invalidQuery("Array cannot have a null element; error in writing field %s", c.name)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET %s = [] WHERE %s IS NULL", physical, name, name)); err != nil {
			return err
		}
	}
	return nil
}

// construct translates STRUCT(…), STRUCT<…>(…), ARRAY[…], ARRAY<…>[…] and
// ARRAY(SELECT …), and says how many nodes that was.
func (t *translator) construct(list []node) (text string, n int, err error) {
	word, rest := strings.ToUpper(list[0].text), list[1:]
	n = 2
	var typ columnType
	if len(rest) > 0 && rest[0].open == '<' {
		if typ, rest, err = parseType(list); err != nil {
			return "", 0, err
		}
		n = 3
	}
	switch {
	case len(rest) == 0 || word == "STRUCT" && !rest[0].group() || word == "ARRAY" && rest[0].open != '[' && (typ.nested() || !rest[0].group()):
		return "", 0, refused("%s without values is not in its set", word)
	case word == "STRUCT":
		text, err = t.structValue(rest[0].list, typ)
	case rest[0].group():
		text, err = t.expr(rest[0].list)
		text = "ARRAY(" + text + ")"
	default:
		text, err = t.expr(rest[0].list)
		text = "[" + text + "]"
	}
	if typ.nested() {
		text = "CAST(" + text + " AS " + typ.duck() + ")"
	}
	return text, n, err
}

// structValue translates the values of a STRUCT, whose names are their aliases, or
// those of the columns that they are, or those of the type.
func (t *translator) structValue(list []node, typ columnType) (string, error) {
	var typed []column
	if typ.nested() {
		typed = typ.fields()
	}
	parts := make([]string, 0, len(list))
	for i, item := range split(list) {
		name := fmt.Sprintf("_field_%d", i+1)
		last := len(item) - 1
		switch {
		case i < len(typed):
			name = typed[i].name
		case last > 1 && item[last-1].word("AS"):
			name, item = item[last].text, item[:last-1]
		case last >= 0 && item[last].open == 0 && item[last].named() && (last == 0 || item[last-1].word(".")) && !isKeyword(item[last]):
			name = item[last].text
		}
		value, err := t.expr(item)
		if err != nil {
			return "", err
		}
		parts = append(parts, quoteText(name)+": "+value)
	}
	return "{" + strings.Join(parts, ", ") + "}", nil
}
