package bigquery

import (
	"cmp"
	"slices"
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqltoken"
)

// parse finds what a query refers to by its tokens alone. It knows where tables
// stand in GoogleSQL (behind FROM, JOIN and the commas of FROM), which names WITH
// defines there, and which names are arrays of a table in the same FROM; whether
// the text is valid otherwise is for a dry run to say. A reference that it did
// not see would be one in that run. ends says where the name ends that starts at
// an offset.
func parse(sql string) (parsed warehouse.Parsed, ends map[int]int, err error) {
	r := &reader{sql: sql, ends: map[int]int{}}
	for _, t := range sqltoken.Google(sql) {
		if t.Kind != sqltoken.Space {
			r.tokens = append(r.tokens, t)
		}
	}
	for {
		for r.is(";") {
			r.at++
		}
		if r.at == len(r.tokens) {
			break
		}
		if !r.is("SELECT") && !r.is("WITH") && !r.is("FROM") && !r.is("(") {
			return r.out, nil, r.refuse(notSelect)
		}
		r.out.Statements++
		r.group(nil, nil)
		if r.is(")") {
			return r.out, nil, r.refuse("syntax error: a parenthesis is closed that was not opened")
		}
	}
	if r.depth > 0 {
		r.at = r.open
		return r.out, nil, r.refuse("syntax error: a parenthesis is not closed")
	}
	if n := len(r.tokens); n > 0 && !r.closed(r.tokens[n-1]) {
		r.at = n - 1
		return r.out, nil, r.refuse("syntax error: a text or a name in quotes is not closed")
	}
	return r.out, r.ends, nil
}

// notSelect refuses a statement of another kind.
const notSelect = "only a SELECT can define a table"

// reader walks the tokens, one group between parentheses inside the other.
type reader struct {
	sql    string
	tokens []sqltoken.Token
	at     int
	depth  int
	open   int // the last parenthesis that was opened
	out    warehouse.Parsed
	ends   map[int]int
}

func (r *reader) refuse(message string) error {
	at := -1
	if r.at < len(r.tokens) {
		at = r.tokens[r.at].Start
	}
	return &warehouse.QueryError{Offset: at, Message: message}
}

func (r *reader) closed(t sqltoken.Token) bool {
	text := r.sql[t.Start:t.End]
	if t.Kind != sqltoken.Text && t.Kind != sqltoken.Quoted {
		return true
	}
	body := strings.TrimLeft(text, "rRbB")
	return len(body) > 1 && body[len(body)-1] == body[0]
}

func (r *reader) text(i int) string {
	if i >= len(r.tokens) {
		return ""
	}
	return r.sql[r.tokens[i].Start:r.tokens[i].End]
}

// is reports whether the token at hand is the keyword or symbol.
func (r *reader) is(word string) bool { return r.word(r.at, word) }

func (r *reader) word(i int, words ...string) bool {
	if i < 0 || i >= len(r.tokens) || r.tokens[i].Kind != sqltoken.Word && r.tokens[i].Kind != sqltoken.Symbol {
		return false
	}
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(r.text(i), w) })
}

// afterFrom are the words that end a FROM.
var afterFrom = []string{"WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT", "UNION", "INTERSECT", "EXCEPT", "SELECT"}

// group reads up to the parenthesis that closes it, or to the end of the
// statement. ctes are the names that WITH has defined, ranges those by which the
// tables around are known.
func (r *reader) group(ctes, ranges []string) {
	query := r.is("SELECT") || r.is("WITH") || r.is("FROM") || r.is("(")
	if r.is("WITH") {
		ctes = append(slices.Clip(ctes), r.defined()...)
	}
	var from bool
	mark := len(r.out.Tables)
	for r.at < len(r.tokens) && !r.is(")") && !r.is(";") {
		switch {
		case query && r.is("FROM") && !r.word(r.at-1, "DISTINCT"):
			from = true
			r.at++
			ranges = r.tables(ctes, slices.Clip(ranges))
		case from && r.is("JOIN"), from && r.is(","):
			r.at++
			ranges = r.tables(ctes, ranges)
		case r.is("JOIN") && query: // behind a pipe
			from = true
			r.at++
			ranges = r.tables(ctes, ranges)
		case from && (r.word(r.at, afterFrom...) || r.is("|") && r.word(r.at+1, ">")):
			from = false
			r.at++
		case r.is("("):
			r.nested(ctes, ranges)
		default:
			r.expression()
		}
	}
	// What stood before FROM may be an array of a table behind it.
	inside := slices.DeleteFunc(r.out.Tables[mark:], func(t warehouse.TableRef) bool {
		first, _, _ := strings.Cut(cmp.Or(t.Catalog, t.Dataset), ".")
		return first != "" && among(first, ranges)
	})
	r.out.Tables = r.out.Tables[:mark+len(inside)]
}

// nested reads a group in parentheses.
func (r *reader) nested(ctes, ranges []string) {
	r.open = r.at
	r.depth++
	r.at++
	r.group(ctes, ranges)
	if r.is(")") {
		r.depth--
		r.at++
	}
}

// defined are the names that the WITH at hand defines.
func (r *reader) defined() (names []string) {
	depth := 0
	for i := r.at + 1; i < len(r.tokens); i++ {
		switch {
		case r.word(i, "("):
			depth++
		case r.word(i, ")"):
			depth--
		case depth == 0 && r.word(i, "SELECT", "FROM", ";"):
			return names
		case depth == 0 && r.word(i+1, "AS") && r.word(i+2, "("):
			names = append(names, unquote(r.text(i)))
		}
		if depth < 0 {
			return names
		}
	}
	return names
}

// tables reads what stands where a table does, with its alias, and returns the
// ranges with its name.
func (r *reader) tables(ctes, ranges []string) []string {
	switch {
	case r.is("("):
		r.open = r.at
		r.depth++
		r.at++
		if r.is("SELECT") || r.is("WITH") || r.is("FROM") {
			r.group(ctes, ranges)
		} else { // a join in parentheses
			ranges = r.tables(ctes, ranges)
			for r.at < len(r.tokens) && !r.is(")") && !r.is(";") {
				switch {
				case r.is("JOIN"), r.is(","):
					r.at++
					ranges = r.tables(ctes, ranges)
				case r.is("("):
					r.nested(ctes, ranges)
				default:
					r.expression()
				}
			}
		}
		if r.is(")") {
			r.depth--
			r.at++
		}
		return append(ranges, r.alias())
	case r.word(r.at+1, "(") && r.word(r.at, "UNNEST"):
		r.at++
		r.nested(ctes, ranges)
		return append(ranges, r.alias())
	}
	first := r.at
	names := r.path(true)
	if len(names) == 0 {
		return ranges
	}
	offset, end := r.tokens[first].Start, r.tokens[r.at-1].End
	if r.is("(") {
		r.out.Functions = append(r.out.Functions, warehouse.FunctionRef{Name: strings.Join(names, "."), Table: true, Offset: offset})
		r.nested(ctes, ranges)
		return append(ranges, r.alias())
	}
	ref := warehouse.TableRef{Table: names[len(names)-1], Offset: offset}
	if len(names) > 1 {
		ref.Dataset = names[len(names)-2]
	}
	if len(names) > 2 {
		ref.Catalog = strings.Join(names[:len(names)-2], ".")
	}
	ref.Alias = r.alias()
	ref.Sampled = r.sampled()
	switch {
	case len(names) == 1 && among(names[0], ctes): // as WITH defines it
	case len(names) > 1 && among(names[0], ranges): // an array of a table beside it
	default:
		r.ends[offset] = end
		r.out.Tables = append(r.out.Tables, ref)
	}
	return append(ranges, cmp.Or(ref.Alias, ref.Table))
}

func among(name string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// path reads a name with its dots. A project's name may have dashes.
func (r *reader) path(dashes bool) (names []string) {
	for r.at < len(r.tokens) {
		switch r.tokens[r.at].Kind {
		case sqltoken.Word:
			name := r.text(r.at)
			for dashes && len(names) == 0 && r.touches(r.at+1) && r.word(r.at+1, "-") && r.touches(r.at+2) {
				name += "-" + r.text(r.at+2)
				r.at += 2
			}
			names = append(names, name)
		case sqltoken.Quoted:
			names = append(names, strings.Split(unquote(r.text(r.at)), ".")...)
		default:
			return names
		}
		if r.at++; !r.is(".") {
			return names
		}
		r.at++
	}
	return names
}

// touches reports whether nothing stands between the token and the one before.
func (r *reader) touches(i int) bool {
	return i < len(r.tokens) && r.tokens[i].Start == r.tokens[i-1].End
}

func unquote(name string) string {
	if strings.HasPrefix(name, "`") && len(name) > 1 {
		return name[1 : len(name)-1]
	}
	return name
}

// noAlias are the words that may follow a table and are not its alias.
var noAlias = append([]string{
	"JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "OUTER", "NATURAL", "ON", "USING", "TABLESAMPLE", "FOR", "WITH", "PIVOT", "UNPIVOT", "MATCH_RECOGNIZE",
}, afterFrom...)

// alias reads the alias of what stands before it, and that of its offsets; empty:
// it has none.
func (r *reader) alias() (name string) {
	for range 2 {
		switch {
		case r.is("AS"):
			name = unquote(r.text(r.at + 1))
			r.at += 2
		case r.at < len(r.tokens) && r.tokens[r.at].Kind == sqltoken.Quoted,
			r.at < len(r.tokens) && r.tokens[r.at].Kind == sqltoken.Word && !r.word(r.at, noAlias...) && !r.word(r.at+1, "("):
			name = unquote(r.text(r.at))
			r.at++
		}
		if !r.is("WITH") || !r.word(r.at+1, "OFFSET") {
			return name
		}
		r.at += 2
	}
	return name
}

// sampled reads what makes a reference one to a sample, or to the past.
func (r *reader) sampled() bool {
	switch {
	case r.is("TABLESAMPLE"):
		r.at++
		return true
	case r.is("FOR") && r.word(r.at+1, "SYSTEM_TIME", "SYSTEM"):
		r.at += 4 // with AS OF
		return true
	}
	return false
}

// bare are the functions that are called without parentheses.
var bare = []string{"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_DATETIME"}

// expression reads a name, or a token of anything else.
func (r *reader) expression() {
	first := r.at
	names := r.path(false)
	if len(names) == 0 {
		r.at++
		return
	}
	offset := r.tokens[first].Start
	switch {
	case r.is("(") || len(names) == 1 && r.word(first, bare...):
		r.out.Functions = append(r.out.Functions, warehouse.FunctionRef{Name: names[len(names)-1], Offset: offset})
	case len(names) > 1:
		r.out.Columns = append(r.out.Columns, warehouse.ColumnRef{Names: names, Offset: offset})
	}
}
