package bigqueryfake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// streamingBuffer is how long rows of the write path count as recent.
const streamingBuffer = 30 * time.Minute

// target reads the table that a statement changes, and returns what follows.
func (s *session) target(list []node) (t *table, temp bool, rest []node, err error) {
	path, n := tablePath(list)
	if n == 0 {
		return nil, false, nil, invalidQuery("Syntax error: the statement names no table")
	}
	if t := s.temps[path[0]]; len(path) == 1 && t != nil {
		return t, true, list[n:], nil
	}
	t, err = s.lookup(path)
	if err != nil {
		return nil, false, nil, err
	}
	if t.isView() {
		return nil, false, nil, invalidQuery("%s.%s is a view; only tables can be changed", t.dataset, t.id)
	}
	s.mu.Lock()
	streamed := len(t.changes.byKey) > 0
	s.mu.Unlock()
	if streamed {
		return nil, false, nil, invalidQuery("UPDATE, DELETE and MERGE are not supported on table %s.%s, which takes streamed changes", t.dataset, t.id)
	}
	s.stats.referenced = append(s.stats.referenced, t)
	return t, false, list[n:], nil
}

// alias reads the name that a statement gives its table.
func alias(t *table, rest []node) (string, []node) {
	if skipWords(&rest, "AS") || len(rest) > 0 && rest[0].open == 0 && rest[0].named() && !notAlias[strings.ToUpper(rest[0].text)] {
		return rest[0].text, rest[1:]
	}
	return t.id, rest
}

func (s *session) dml(ctx context.Context, kind string, nodes []node) error {
	rest := nodes[1:]
	switch kind {
	case "INSERT", "MERGE":
		skipWords(&rest, "INTO")
	case "DELETE":
		skipWords(&rest, "FROM")
	case "TRUNCATE":
		if !skipWords(&rest, "TABLE") {
			return invalidQuery("Syntax error: Expected keyword TABLE")
		}
	}
	t, temp, rest, err := s.target(rest)
	if err != nil {
		return err
	}
	var text, check string
	switch kind {
	case "INSERT":
		text, err = s.insert(t, rest)
	case "UPDATE":
		text, check, err = s.update(t, rest)
	case "DELETE":
		text, err = s.remove(t, rest)
	case "TRUNCATE":
		text = "DELETE FROM " + t.physical
	case "MERGE":
		text, check, err = s.merge(t, rest)
	}
	if err != nil {
		return err
	}
	return s.apply(ctx, kind, t, temp, text, check)
}

// apply runs a statement that changes rows of t. check is a query that gives a
// row if the statement must fail.
func (s *session) apply(ctx context.Context, kind string, t *table, temp bool, text, check string) (err error) {
	if kind != "INSERT" && !temp {
		done, err := s.own(ctx, t)
		if err != nil {
			return err
		}
		committed := false
		defer func() { done(committed) }()
		defer func() { committed = err == nil && s.txn == nil }()
	}
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	if check != "" {
		var one int
		switch err := s.conn.QueryRowContext(ctx, check).Scan(&one); {
		case err == nil:
			return invalidQuery("UPDATE/MERGE must match at most one source row for each target row")
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
	}
	done, err := s.conn.ExecContext(ctx, text)
	if err != nil {
		return conflict(err, t.dataset+"."+t.id)
	}
	if s.rows, err = done.RowsAffected(); err != nil {
		return err
	}
	if kind == "INSERT" || kind == "UPDATE" || kind == "MERGE" {
		if err := s.settleArrays(ctx, s.columnsOfTable(t), t.physical); err != nil {
			return err
		}
	}
	s.affected += s.rows
	switch kind {
	case "INSERT":
		s.mu.Lock()
		t.modified = s.now()
		s.mu.Unlock()
		s.stats.inserted += s.rows
	case "DELETE", "TRUNCATE":
		s.stats.deleted += s.rows
	default:
		s.stats.updated += s.rows
	}
	return nil
}

func (s *session) insert(t *table, rest []node) (string, error) {
	text := "INSERT INTO " + t.physical
	if len(rest) > 0 && rest[0].group() && len(rest) > 1 {
		names, err := s.columnList(t, rest[0].list)
		if err != nil {
			return "", err
		}
		text += " (" + strings.Join(names, ", ") + ")"
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return "", invalidQuery("Syntax error: INSERT without rows")
	}
	rows, err := s.translator().statement(rest)
	return text + " " + rows, err
}

// columnList reads names of the table's columns.
func (s *session) columnList(t *table, list []node) ([]string, error) {
	var names []string
	for _, item := range split(list) {
		if len(item) != 1 || !item[0].named() || item[0].open != 0 {
			return nil, invalidQuery("Syntax error in a list of columns")
		}
		if !s.has(t, item[0].text) {
			return nil, invalidQuery("Column %s is not present in table %s.%s", item[0].text, t.dataset, t.id)
		}
		names = append(names, quoteName(item[0].text))
	}
	return names, nil
}

// assignments translates a = x, b = y. The table's alias means its whole row.
func (s *session) assignments(tr *translator, t *table, alias string, list []node) (string, error) {
	var out []string
	for _, item := range split(list) {
		eq := find(item, "=")
		if eq < 1 {
			return "", invalidQuery("Syntax error in SET")
		}
		name := item[eq-1] // behind the table's alias, if there is one
		if eq == 1 && strings.EqualFold(name.text, alias) {
			return "", invalidQuery("UPDATE ... SET does not support updating the entire row")
		}
		if !s.has(t, name.text) {
			return "", invalidQuery("Unrecognized name: %s", name.text)
		}
		value, err := tr.expr(item[eq+1:])
		if err != nil {
			return "", err
		}
		out = append(out, quoteName(name.text)+" = "+value)
	}
	return strings.Join(out, ", "), nil
}

// update translates an UPDATE. check is as in merge.
func (s *session) update(t *table, rest []node) (text, check string, err error) {
	name, rest := alias(t, rest)
	where := find(rest, "WHERE")
	if where < 0 {
		return "", "", invalidQuery("UPDATE must have a WHERE clause")
	}
	if !words(rest, "SET") {
		return "", "", invalidQuery("Syntax error: Expected keyword SET")
	}
	end := where
	if from := find(rest[:where], "FROM"); from > 0 {
		end = from
	}
	tr := s.translator()
	set, err := s.assignments(tr, t, name, rest[1:end])
	if err != nil {
		return "", "", err
	}
	condition, err := tr.statement(rest[end:]) // with the FROM before it
	if err != nil {
		return "", "", err
	}
	if end < where {
		check, err = tr.statement(rest[where+1:])
		if err != nil {
			return "", "", err
		}
		source := strings.TrimPrefix(strings.TrimSuffix(condition, "WHERE "+check), "FROM ")
		check = fmt.Sprintf("SELECT 1 FROM %s AS %s, %s WHERE %s GROUP BY %s.rowid HAVING count(*) > 1 LIMIT 1",
			t.physical, quoteName(name), source, check, quoteName(name))
	}
	return fmt.Sprintf("UPDATE %s AS %s SET %s %s", t.physical, quoteName(name), set, condition), check, nil
}

func (s *session) remove(t *table, rest []node) (string, error) {
	name, rest := alias(t, rest)
	if !words(rest, "WHERE") {
		return "", invalidQuery("DELETE must have a WHERE clause")
	}
	condition, err := s.translator().statement(rest)
	return fmt.Sprintf("DELETE FROM %s AS %s %s", t.physical, quoteName(name), condition), err
}

// merge translates a MERGE, and gives the query that finds a row of the target
// that two rows of the source would change.
func (s *session) merge(t *table, rest []node) (text, check string, err error) {
	name, rest := alias(t, rest)
	tr := s.translator()
	on := find(rest, "ON")
	if !words(rest, "USING") || on < 0 {
		return "", "", invalidQuery("Syntax error: Expected USING and ON")
	}
	clauses := splitClauses(rest[on+1:])
	source, err := tr.statement(append([]node{{token: token{kind: tokenWord, text: "FROM"}}}, rest[1:on]...))
	if err != nil {
		return "", "", err
	}
	source = strings.TrimPrefix(source, "FROM ")
	condition, err := tr.expr(clauses[0])
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "MERGE INTO %s AS %s USING %s ON (%s)", t.physical, quoteName(name), source, condition)
	var matched []string
	for _, clause := range clauses[1:] {
		then := thenOf(clause)
		if then < 0 {
			return "", "", invalidQuery("Syntax error: Expected keyword THEN")
		}
		head, err := tr.expr(clause[:then])
		if err != nil {
			return "", "", err
		}
		action, err := s.mergeAction(tr, t, name, clause[then+1:])
		if err != nil {
			return "", "", err
		}
		if words(clause, "WHEN", "MATCHED") {
			extra := "TRUE"
			if after, ok := strings.CutPrefix(head, "WHEN MATCHED AND "); ok {
				extra = after
			}
			matched = append(matched, "("+extra+")")
		}
		fmt.Fprintf(&b, " %s THEN %s", head, action)
	}
	if len(matched) > 0 {
		check = fmt.Sprintf("SELECT 1 FROM %s AS %s JOIN %s ON (%s) WHERE %s GROUP BY %s.rowid HAVING count(*) > 1 LIMIT 1",
			t.physical, quoteName(name), source, condition, strings.Join(matched, " OR "), quoteName(name))
	}
	return b.String(), check, nil
}

// splitClauses cuts at each WHEN that is not in a CASE.
func splitClauses(list []node) [][]node {
	out := [][]node{nil}
	depth := 0
	for _, n := range list {
		switch {
		case n.word("CASE"):
			depth++
		case n.word("END"):
			depth--
		case n.word("WHEN") && depth == 0:
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], n)
	}
	return out
}

// thenOf finds the THEN that is not in a CASE.
func thenOf(list []node) int {
	depth := 0
	for i, n := range list {
		switch {
		case n.word("CASE"):
			depth++
		case n.word("END"):
			depth--
		case n.word("THEN") && depth == 0:
			return i
		}
	}
	return -1
}

func (s *session) mergeAction(tr *translator, t *table, alias string, list []node) (string, error) {
	switch {
	case skipWords(&list, "UPDATE", "SET"):
		set, err := s.assignments(tr, t, alias, list)
		return "UPDATE SET " + set, err
	case len(list) == 1 && list[0].word("DELETE"):
		return "DELETE", nil
	case skipWords(&list, "INSERT") && len(list) == 3 && list[0].group() && list[1].word("VALUES") && list[2].group():
		names, err := s.columnList(t, list[0].list)
		if err != nil {
			return "", err
		}
		values, err := tr.each(split(list[2].list))
		return "INSERT (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")", err
	}
	return "", refused("this action of MERGE is not in its set")
}
