package bigqueryfake

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// variable is a variable of a script. Its value is a literal of DuckDB.
type variable struct {
	typ     columnType
	literal string
}

// maxVariable is how large the value of a variable may be.
const maxVariable = 1 << 20

// literal is the value as a literal of the type.
func (t columnType) literal(value sql.NullString) (string, error) {
	switch {
	case !value.Valid:
		return "CAST(NULL AS " + t.duck() + ")", nil
	case len(value.String) > maxVariable:
		return "", invalidQuery("The value of a variable has %d bytes, and %d is the most", len(value.String), maxVariable)
	}
	return "CAST(" + quoteText(value.String) + " AS " + t.duck() + ")", nil
}

// declare makes variables: DECLARE a, b INT64 DEFAULT 0.
func (s *session) declare(ctx context.Context, list []node) error {
	var names []string
	for len(list) > 0 && list[0].named() && list[0].open == 0 {
		names, list = append(names, list[0].text), list[1:]
		if !skipWords(&list, ",") {
			break
		}
	}
	typ, rest, err := parseType(list)
	if err != nil {
		return err
	}
	literal := "CAST(NULL AS " + typ.duck() + ")"
	if skipWords(&rest, "DEFAULT") {
		if literal, err = s.evaluate(ctx, typ, rest); err != nil {
			return err
		}
	}
	for _, name := range names {
		if s.vars[strings.ToLower(name)] != nil {
			return invalidQuery("Variable '%s' redeclaration", name)
		}
		s.vars[strings.ToLower(name)] = &variable{typ, literal}
	}
	return nil
}

// evaluate gives an expression's value as a literal of the type.
func (s *session) evaluate(ctx context.Context, typ columnType, list []node) (string, error) {
	text, err := s.translator().statement(list)
	if err != nil {
		return "", err
	}
	return s.literal(ctx, typ, "("+text+")")
}

func (s *session) literal(ctx context.Context, typ columnType, expr string) (string, error) {
	var value sql.NullString
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	err := s.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT CAST(CAST(%s AS %s) AS VARCHAR)", expr, typ.duck())).Scan(&value)
	if err != nil {
		return "", err
	}
	return typ.literal(value)
}

// set assigns: SET a = expression, or SET (a, b) = a row.
func (s *session) set(ctx context.Context, list []node) error {
	if len(list) < 3 || !list[1].word("=") {
		return invalidQuery("Syntax error in SET")
	}
	if !list[0].group() {
		v := s.vars[strings.ToLower(list[0].text)]
		if v == nil {
			return invalidQuery("Undeclared variable: %s", list[0].text)
		}
		literal, err := s.evaluate(ctx, v.typ, list[2:])
		if err == nil {
			v.literal = literal
		}
		return err
	}
	var vars []*variable
	for _, name := range split(list[0].list) {
		v := s.vars[strings.ToLower(name[0].text)]
		if v == nil {
			return invalidQuery("Undeclared variable: %s", name[0].text)
		}
		vars = append(vars, v)
	}
	if !list[2].group() || len(list) != 3 {
		return refused("SET of several variables takes a subquery")
	}
	text, err := s.translator().statement(list[2].list)
	if err != nil {
		return err
	}
	return s.setRow(ctx, vars, text)
}

func (s *session) setRow(ctx context.Context, vars []*variable, query string) error {
	names, casts := make([]string, len(vars)), make([]string, len(vars))
	values, targets := make([]sql.NullString, len(vars)), make([]any, len(vars))
	for i, v := range vars {
		names[i] = fmt.Sprintf("c%d", i)
		casts[i] = fmt.Sprintf("CAST(CAST(c%d AS %s) AS VARCHAR)", i, v.typ.duck())
		targets[i] = &values[i]
	}
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	err := s.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM (%s) AS q(%s)", strings.Join(casts, ", "), query, strings.Join(names, ", "))).Scan(targets...)
	if err != nil {
		return err
	}
	for i, v := range vars {
		if v.literal, err = v.typ.literal(values[i]); err != nil {
			return err
		}
	}
	return nil
}
