// Package query turns the SQL of a derived table into a form in which its
// parameters and its references to tables can be replaced.
//
// The rewrite is by tokens: strings, comments and everything that is not
// replaced stay as they were written, byte for byte. It is pure; package
// warehouse's Dialect says where the references stand.
package query

import (
	"fmt"
	"slices"
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqltoken"
)

// Problem is what is wrong with a query, and where.
type Problem struct {
	Offset  int // in bytes
	Problem string
	Cure    string
}

// The parameters that a query may use in scope window.
const (
	WindowStart = "window_start"
	WindowEnd   = "window_end"
)

// Prepare makes sql fit to be parsed: its parameters @x become $x, at the same
// offsets, and a semicolon at its end goes. Names in parameters are those that
// the query may use.
func Prepare(in warehouse.Spelling, sql string, parameters []string) (string, []Problem) {
	out := []byte(sql)
	var problems []Problem
	all := in.Tokens(sql)
	last := -1
	for i, t := range all {
		if t.Kind != sqltoken.Space {
			last = i
		}
		if t.Kind != sqltoken.Parameter {
			continue
		}
		name := sql[t.Start+1 : t.End]
		switch {
		case sql[t.Start] == '@' && slices.Contains(parameters, name):
			out[t.Start] = '$'
		case sql[t.Start] == '@' && i > 0 && all[i-1].Kind == sqltoken.Symbol && all[i-1].End == t.Start && strings.ContainsRune("<@&|~", rune(sql[t.Start-1])):
			// An operator such as <@ in front of a name.
		case sql[t.Start] == '@':
			problems = append(problems, Problem{t.Start, fmt.Sprintf("the parameter %s is not known", sql[t.Start:t.End]), parameterCure(parameters)})
		default:
			problems = append(problems, Problem{t.Start, fmt.Sprintf("the parameter %s is not the platform's", sql[t.Start:t.End]), parameterCure(parameters)})
		}
	}
	if last >= 0 && sql[all[last].Start] == ';' {
		out[all[last].Start] = ' '
	}
	return string(out), problems
}

func parameterCure(known []string) string {
	if len(known) == 0 {
		return "this scope has no parameters"
	}
	return "known are @" + strings.Join(known, ", @")
}

// Query is a query that was parsed. It is immutable.
type Query struct {
	ident  func(name string) string
	pieces []piece
	tables []Table
}

// piece is a part of the text: as it is, a parameter, or a reference.
type piece struct {
	text  string
	param string
	table int // index of tables, plus one
}

// Table is one reference to a table.
type Table struct {
	Dataset string // empty for the platform's own relations, such as dirty
	Name    string
	Alias   string // the name that the query's columns use, as written
	Offset  int
}

// ID is dataset.table, or the name alone.
func (t Table) ID() string {
	if t.Dataset == "" {
		return t.Name
	}
	return t.Dataset + "." + t.Name
}

// Tables are the references, in the order of the text. One table may be
// referred to several times.
func (q *Query) Tables() []Table { return q.tables }

// IDs are the distinct tables of dataset and name, sorted.
func (q *Query) IDs() []string {
	var ids []string
	for _, t := range q.tables {
		if t.Dataset != "" {
			ids = append(ids, t.ID())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Compile joins a prepared text with what a Dialect says about it. relations
// are the names without a dataset that the query may read.
func Compile(in warehouse.Spelling, prepared string, parsed warehouse.Parsed, relations ...string) (*Query, []Problem) {
	problems := refused(parsed, relations)
	q := &Query{ident: in.Ident}
	all := in.Tokens(prepared)
	at := 0
	next := 0 // of parsed.Tables
	literal := func(to int) {
		if at < to {
			q.pieces = append(q.pieces, piece{text: prepared[at:to]})
		}
	}
	for i := 0; i < len(all); i++ {
		t := all[i]
		switch {
		case t.Kind == sqltoken.Parameter && prepared[t.Start] == '$':
			literal(t.Start)
			q.pieces = append(q.pieces, piece{param: prepared[t.Start+1 : t.End]})
			at = t.End
		case next < len(parsed.Tables) && t.Start == parsed.Tables[next].Offset:
			ref := parsed.Tables[next]
			next++
			last, ok := nameEnd(prepared, all, i, ref)
			if !ok {
				problems = append(problems, Problem{ref.Offset, fmt.Sprintf("the reference to %s cannot be found in the text", ref.Table), "write it as dataset.table"})
				continue
			}
			if inherits(prepared, all, i, last) {
				problems = append(problems, Problem{ref.Offset, fmt.Sprintf("ONLY and * beside the table %s mean nothing here", ref.Table), "leave them out"})
			}
			literal(t.Start)
			q.tables = append(q.tables, Table{ref.Dataset, ref.Table, ref.Alias, ref.Offset})
			q.pieces = append(q.pieces, piece{table: len(q.tables)})
			at, i = all[last].End, last
		}
	}
	literal(len(prepared))
	if next < len(parsed.Tables) {
		problems = append(problems, Problem{parsed.Tables[next].Offset, "a reference to a table stands inside another token", "write it as dataset.table"})
	}
	return q, problems
}

// nameEnd returns the last token of the name that starts at token i. In
// GoogleSQL one pair of quotes may hold all of it.
func nameEnd(sql string, all []sqltoken.Token, i int, ref warehouse.TableRef) (last int, ok bool) {
	parts := []string{ref.Table}
	if ref.Dataset != "" {
		parts = []string{ref.Dataset, ref.Table}
	}
	if sql[all[i].Start] == '`' && sameName(sql[all[i].Start:all[i].End], strings.Join(parts, ".")) {
		return i, true
	}
	for n, part := range parts {
		if n > 0 {
			if i = skipSpace(all, i+1); i == len(all) || sql[all[i].Start] != '.' {
				return 0, false
			}
			i = skipSpace(all, i+1)
		}
		if i == len(all) || !sameName(sql[all[i].Start:all[i].End], part) {
			return 0, false
		}
		last = i
	}
	return last, true
}

// inherits reports whether the name at tokens first to last has PostgreSQL's
// marks of inheritance, which parse but cannot stand beside a subquery.
func inherits(sql string, all []sqltoken.Token, first, last int) bool {
	next := skipSpace(all, last+1)
	if next < len(all) && sql[all[next].Start] == '*' {
		return true
	}
	for first--; first >= 0 && (all[first].Kind == sqltoken.Space || sql[all[first].Start] == '('); first-- {
	}
	return first >= 0 && strings.EqualFold(sql[all[first].Start:all[first].End], "only")
}

func skipSpace(all []sqltoken.Token, i int) int {
	for i < len(all) && all[i].Kind == sqltoken.Space {
		i++
	}
	return i
}

func sameName(written, name string) bool {
	switch {
	case len(written) < 2:
	case written[0] == '"':
		written = strings.ReplaceAll(written[1:len(written)-1], `""`, `"`)
	case written[0] == '`':
		written = written[1 : len(written)-1]
	}
	return strings.EqualFold(written, name)
}

// Render writes the query with its parameters and references replaced. table
// returns a relation in parentheses; the reference's name, if it has no other,
// becomes its alias.
func (q *Query) Render(params map[string]string, table func(t Table) string) string {
	var b strings.Builder
	for _, p := range q.pieces {
		switch {
		case p.param != "":
			b.WriteString(params[p.param])
		case p.table > 0:
			t := q.tables[p.table-1]
			b.WriteString(table(t))
			if t.Alias == "" {
				b.WriteString(" AS " + q.ident(t.Name))
			}
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// UsesParameters reports whether the query has any.
func (q *Query) UsesParameters() bool {
	return slices.ContainsFunc(q.pieces, func(p piece) bool { return p.param != "" })
}
