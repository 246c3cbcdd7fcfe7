package bigqueryfake

import (
	"fmt"
	"strings"
)

// translator writes a statement of GoogleSQL in DuckDB's words, token by token.
// It knows a closed set, and refuses the rest.
type translator struct {
	// table resolves the path of a table, and gives what stands for it in DuckDB's
	// FROM.
	table func(path []string) (text string, found *table, err error)
	// variable gives the literal of a variable of the script.
	variable func(name string) (literal string, ok bool)
	params   map[string]string // literals of the query's parameters, by name
	system   func(name string) (literal string, ok bool)
	nowUs    int64
	ctes     map[string]bool
	has      func(t *table, column string) bool
	tables   []*table        // that were resolved
	used     map[string]bool // variables, by name
}

// keywords are words that are neither names of columns nor functions, although
// a parenthesis may follow them.
var keywords = wordSet(`ALL AND ANY AS ASC BETWEEN BY CASE CROSS CURRENT DEFAULT DESC DISTINCT ELSE END EXCEPT EXISTS FALSE FIRST FOLLOWING FOR FROM
FULL GROUP HAVING IN INNER INSERT INTERSECT INTERVAL INTO IS JOIN LAST LEFT LIKE LIMIT MATCHED MERGE NOT NULL NULLS OFFSET ON OR ORDER
OUTER OVER PARTITION PRECEDING QUALIFY RANGE RIGHT ROW ROWS SELECT SET THEN TRUE UNBOUNDED UNION UPDATE USING VALUES WHEN WHERE WINDOW WITH DELETE`)

// notAlias are the keywords that may follow a table in place of an alias.
var notAlias = wordSet(`WHERE GROUP HAVING ORDER LIMIT QUALIFY WINDOW JOIN INNER LEFT RIGHT FULL CROSS ON USING UNION EXCEPT INTERSECT SET
WHEN VALUES SELECT FOR TABLESAMPLE PIVOT UNPIVOT WITH OFFSET`)

// strangers are DuckDB's own words, which GoogleSQL does not know.
var strangers = wordSet(`ILIKE EXCLUDE FILTER SIMILAR GLOB ASOF POSITIONAL RETURNING SUMMARIZE`)

// unsupported are words of GoogleSQL that this fake does not know.
var unsupported = wordSet(`PIVOT UNPIVOT TABLESAMPLE RECURSIVE COLLATE ROLLUP GROUPING`)

// duckReserved are names in GoogleSQL that DuckDB keeps for itself.
var duckReserved = wordSet(`COLUMN USER PRIMARY REFERENCES CHECK PLACING ONLY DO ANALYZE ANALYSE CONSTRAINT FOREIGN SYMMETRIC ASYMMETRIC
VARIADIC INITIALLY DEFERRABLE LEADING TRAILING BOTH TABLE UNIQUE SHOW DESCRIBE GRANT`)

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

func isKeyword(n node) bool {
	return n.open == 0 && n.kind == tokenWord && keywords[strings.ToUpper(n.text)]
}

// statement translates a whole statement, whose CTEs are then known.
func (t *translator) statement(list []node) (string, error) {
	if t.ctes == nil {
		t.ctes = map[string]bool{}
	}
	t.collectCTEs(list)
	text, err := t.expr(list)
	for _, read := range t.tables {
		for name := range t.used {
			if err == nil && t.has(read, name) {
				err = refused("variable %s has the name of a column of %s", name, read.id)
			}
		}
	}
	return text, err
}

func (t *translator) collectCTEs(list []node) {
	with := false
	for i, n := range list {
		if n.open != 0 {
			t.collectCTEs(n.list)
			continue
		}
		with = with || n.word("WITH")
		if with && n.named() && i+2 < len(list) && list[i+1].word("AS") && list[i+2].group() {
			t.ctes[strings.ToLower(n.text)] = true
		}
	}
}

// each translates expressions.
func (t *translator) each(lists [][]node) ([]string, error) {
	var out []string
	for _, list := range lists {
		if len(list) == 0 {
			return nil, invalidQuery("Syntax error: an expression is missing")
		}
		text, err := t.expr(list)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// expr translates any list of nodes.
func (t *translator) expr(list []node) (string, error) {
	var b strings.Builder
	for i := 0; i < len(list); {
		text, n, err := t.next(list, i)
		if err != nil {
			return "", err
		}
		if b.Len() > 0 && text != "" && text != "." && !strings.HasSuffix(b.String(), ".") {
			b.WriteByte(' ')
		}
		b.WriteString(text)
		i += n
	}
	return b.String(), nil
}

// next translates what begins at i, and says how many nodes that was.
func (t *translator) next(list []node, i int) (text string, n int, err error) {
	at := list[i]
	if at.open == '<' {
		return "", 0, invalidQuery("Syntax error: Unexpected \"<\" at [%d:%d]", at.line, at.col)
	}
	if at.open != 0 {
		text, err = t.expr(at.list)
		return string(at.open) + text + map[byte]string{'(': ")", '[': "]"}[at.open], 1, err
	}
	if opensTable(list, i) {
		text, n, err := t.from(list[i+1:], list[i].word("INTO") && i > 0 && list[i-1].word("INSERT"))
		return strings.ToUpper(at.text) + " " + text, n + 1, err
	}
	switch at.kind {
	case tokenString:
		return quoteText(at.text), 1, nil
	case tokenBytes:
		return quoteBytes(at.text), 1, nil
	case tokenNumber:
		return at.text, 1, nil
	case tokenIdent:
		return quoteName(at.text), 1, nil
	case tokenParam:
		literal, ok := t.params[strings.ToLower(at.text)]
		if !ok {
			return "", 0, invalidQuery("Query parameter '%s' not found at [%d:%d]", at.text, at.line, at.col)
		}
		return literal, 1, nil
	case tokenSystem:
		literal, ok := t.system(strings.ToLower(at.text))
		if !ok {
			return "", 0, refused("@@%s is not in its set", at.text)
		}
		return literal, 1, nil
	case tokenSymbol:
		if at.text == ":" || at.text == "<=>" || at.text == "=>" || at.text == "?" {
			return "", 0, refused("%s at [%d:%d] is not in its set", at.text, at.line, at.col)
		}
		return at.text, 1, nil
	}
	return t.word(list, i)
}

// word translates what begins with an unquoted word.
func (t *translator) word(list []node, i int) (text string, n int, err error) {
	at, upper := list[i], strings.ToUpper(list[i].text)
	var next node
	if i+1 < len(list) {
		next = list[i+1]
	}
	member := i > 0 && list[i-1].word(".")
	switch {
	case member:
		return quoteName(at.text), 1, nil
	case strangers[upper] && (next.group() || upper == "ILIKE"), unsupported[upper] && (next.open != 0 || upper == "PIVOT"):
		return "", 0, refused("%s at [%d:%d] is not in its set", upper, at.line, at.col)
	case (upper == "STRUCT" || upper == "ARRAY") && next.open != 0:
		return t.construct(list[i:])
	case upper == "UNION" || upper == "INTERSECT" || upper == "EXCEPT":
		return t.set(list, i)
	case upper == "SELECT" && words(list[i+1:], "AS", "STRUCT"):
		return "SELECT", 3, nil // a row, for who asks for one
	case upper == "REPLACE" && next.group() && i > 0 && list[i-1].word("*"):
		text, err = t.expr(next.list)
		return "REPLACE (" + text + ")", 2, err
	case upper == "IN" && next.word("UNNEST") && i+2 < len(list) && list[i+2].group():
		text, err = t.expr(list[i+2].list)
		return "IN (SELECT unnest(" + text + "))", 3, err
	case next.open == 0 && next.kind == tokenString && i+1 < len(list):
		if typ, ok := typeNamed(upper); ok {
			text, err := typedLiteral(typ, next.text)
			return text, 2, err
		}
	case next.group() && !isKeyword(at):
		text, err = t.call(at.text, next.list)
		return text, 2, err
	}
	named := i > 0 && list[i-1].word("AS")
	if keywords[upper] && (!named || upper == "SELECT") {
		return upper, 1, nil
	}
	if !named && (upper == "CURRENT_TIMESTAMP" || upper == "CURRENT_DATE") {
		text, err = t.special(upper, nil)
		return text, 1, err
	}
	if literal, ok := t.variable(at.text); ok && !named && !next.word(".") {
		t.used[strings.ToLower(at.text)] = true
		return literal, 1, nil
	}
	if duckReserved[upper] || named {
		return quoteName(at.text), 1, nil
	}
	return at.text, 1, nil
}

// set translates UNION and its kin, and the EXCEPT of SELECT *.
func (t *translator) set(list []node, i int) (string, int, error) {
	upper := strings.ToUpper(list[i].text)
	rest := list[i+1:]
	switch {
	case upper == "EXCEPT" && len(rest) > 0 && rest[0].group() && i > 0 && list[i-1].word("*"):
		text, err := t.expr(rest[0].list)
		return "EXCLUDE (" + text + ")", 2, err
	case upper == "UNION" && words(rest, "ALL"):
		return "UNION ALL", 2, nil
	case words(rest, "DISTINCT"):
		return upper, 2, nil
	}
	return "", 0, invalidQuery("Syntax error: Expected keyword ALL or keyword DISTINCT after %s at [%d:%d]", upper, list[i].line, list[i].col)
}

// opensTable reports whether a table follows the word at i.
func opensTable(list []node, i int) bool {
	at := list[i]
	if at.kind != tokenWord || i+1 >= len(list) || list[i+1].group() || i > 0 && list[i-1].word(".") {
		return false
	}
	switch strings.ToUpper(at.text) {
	case "FROM":
		return i == 0 || !list[i-1].word("DISTINCT") // IS DISTINCT FROM
	case "JOIN", "INTO", "USING":
		return true
	case "UPDATE":
		return i == 0 || !list[i-1].word("THEN")
	}
	return false
}

// from translates the tables behind FROM and its like, up to an alias. insert
// says that the table is the target of an INSERT, which has no alias.
func (t *translator) from(list []node, insert bool) (text string, n int, err error) {
	if len(list) > 1 && list[0].word("UNNEST") && list[1].group() {
		return t.unnest(list)
	}
	path, n := tablePath(list)
	if n == 0 {
		return "", 0, invalidQuery("Syntax error: Unexpected %q at [%d:%d]", list[0].text, list[0].line, list[0].col)
	}
	var alias string
	if len(path) == 1 && t.ctes[strings.ToLower(path[0])] {
		text, alias = quoteName(path[0]), path[0]
	} else {
		var found *table
		if text, found, err = t.table(path); err != nil {
			return "", 0, err
		}
		alias = found.id
		t.tables = append(t.tables, found)
	}
	if n < len(list) && words(list[n:], "FOR", "SYSTEM_TIME") {
		return "", 0, refused("FOR SYSTEM_TIME AS OF is not in its set")
	}
	named := n < len(list) && (list[n].word("AS") || list[n].named() && !notAlias[strings.ToUpper(list[n].text)] && list[n].open == 0)
	if !insert && !named {
		text += " AS " + quoteName(alias)
	}
	if n < len(list) && named {
		if list[n].word("AS") {
			n++
		}
		text += " AS " + quoteName(list[n].text)
		n++
	}
	if n+1 < len(list) && list[n].word(",") && !insert {
		if more, used := tablePath(list[n+1:]); used > 0 && len(more) > 1 || list[n+1].word("UNNEST") {
			next, used, err := t.from(list[n+1:], false)
			return text + ", " + next, n + 1 + used, err
		}
	}
	return text, n, nil
}

func (t *translator) unnest(list []node) (string, int, error) {
	text, err := t.expr(list[1].list)
	if err != nil {
		return "", 0, err
	}
	n, alias := 2, "unnest"
	if n < len(list) && list[n].word("AS") {
		n++
	}
	if n < len(list) && list[n].named() && list[n].open == 0 && !notAlias[strings.ToUpper(list[n].text)] {
		alias = list[n].text
		n++
	}
	return fmt.Sprintf("(SELECT unnest(%s) AS %s) AS %s", text, quoteName(alias), quoteName(alias)), n, nil
}

// tablePath reads a path of names, and says how many nodes it has.
func tablePath(list []node) (path []string, n int) {
	for n < len(list) && list[n].open == 0 && list[n].named() {
		if list[n].kind == tokenIdent {
			path = append(path, strings.Split(list[n].text, ".")...)
		} else {
			path = append(path, list[n].text)
		}
		n++
		if n >= len(list) || !list[n].word(".") {
			return path, n
		}
		n++
	}
	return nil, 0
}

// typedLiteral is a literal such as DATE '2024-03-01'.
func typedLiteral(typ columnType, text string) (string, error) {
	switch typ.name {
	case "JSON":
		return "bq_parse_json(" + quoteText(text) + ")", nil
	case "DATE", "TIME", "TIMESTAMP", "DATETIME", "NUMERIC", "BIGNUMERIC":
		return "CAST(" + quoteText(text) + " AS " + typ.duck() + ")", nil
	}
	return "", invalidQuery("Syntax error: Unexpected string literal %q", text)
}

// parseType reads a type, and returns what stands behind it.
func parseType(list []node) (columnType, []node, error) {
	if len(list) == 0 || list[0].open != 0 || list[0].kind != tokenWord {
		return columnType{}, nil, invalidQuery("Syntax error: a type is missing")
	}
	if list[0].word("ARRAY", "STRUCT") {
		return parseNested(list)
	}
	typ, ok := typeNamed(list[0].text)
	if !ok {
		return columnType{}, nil, refused("type %s is not in its set", list[0].text)
	}
	rest := list[1:]
	if len(rest) == 0 || !rest[0].group() {
		return typ, rest, nil
	}
	args := split(rest[0].list)
	for i, arg := range args {
		var v int64
		if _, err := fmt.Sscan(arg[0].text, &v); err != nil || len(arg) != 1 || i > 1 || !typ.decimal() {
			return columnType{}, nil, refused("the arguments of type %s are not in its set", typ.name)
		}
		if i == 0 {
			typ.precision = v
		} else {
			typ.scale = v
		}
	}
	if err := typ.check(); err != nil {
		return columnType{}, nil, invalidQuery("%s", err)
	}
	return typ, rest[1:], nil
}
