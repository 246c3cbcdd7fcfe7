package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/internal/warehouse/sqltoken"
	"millrace/schemas"
)

// Dialect reads queries in a scratch database in memory, which has no access
// to files or the network. It is safe for concurrent use.
type Dialect struct {
	db *sql.DB
	// describing is held by Columns: two transactions cannot make one relation.
	describing sync.Mutex
}

var _ warehouse.Dialect = (*Dialect)(nil)

// OpenDialect opens the scratch database.
func OpenDialect(ctx context.Context) (*Dialect, error) {
	db, err := sql.Open("duckdb", "?threads=1&autoinstall_known_extensions=false&autoload_known_extensions=false")
	if err != nil {
		return nil, fmt.Errorf("open the scratch database: %w", err)
	}
	if _, err := db.ExecContext(ctx, "SET GLOBAL TimeZone = 'UTC'; SET enable_external_access = false"); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the scratch database: %w", err), db.Close())
	}
	return &Dialect{db: db}, nil
}

// Close closes the scratch database.
func (d *Dialect) Close() error { return d.db.Close() }

// Parse is described at warehouse.Dialect. It uses the parser alone: tables
// and functions need not exist.
func (d *Dialect) Parse(ctx context.Context, query string) (warehouse.Parsed, error) {
	var text string
	err := d.db.QueryRowContext(ctx, "SELECT json_serialize_sql("+quoteText(query)+")::VARCHAR").Scan(&text)
	if err != nil {
		return warehouse.Parsed{}, fmt.Errorf("parse query: %w", err)
	}
	var tree struct {
		Error      bool   `json:"error"`
		Message    string `json:"error_message"`
		Position   string `json:"position"`
		Statements []any  `json:"statements"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return warehouse.Parsed{}, fmt.Errorf("read the parsed query: %w", err)
	}
	if tree.Error {
		at := -1
		if tree.Position != "" {
			_, _ = fmt.Sscan(tree.Position, &at)
		}
		if strings.HasPrefix(tree.Message, "Only SELECT statements") {
			tree.Message = "only a SELECT can define a table"
		}
		return warehouse.Parsed{}, &warehouse.QueryError{Offset: at, Message: tree.Message}
	}
	w := walker{out: warehouse.Parsed{Statements: len(tree.Statements)}}
	w.walk(tree.Statements)
	slices.SortStableFunc(w.out.Tables, func(a, b warehouse.TableRef) int { return cmp.Compare(a.Offset, b.Offset) })
	slices.SortStableFunc(w.out.Columns, func(a, b warehouse.ColumnRef) int { return cmp.Compare(a.Offset, b.Offset) })
	slices.SortStableFunc(w.out.Functions, func(a, b warehouse.FunctionRef) int { return cmp.Compare(a.Offset, b.Offset) })
	return w.out, nil
}

// walker collects references from the tree that json_serialize_sql gives,
// with the names of the CTEs in scope.
type walker struct {
	out   warehouse.Parsed
	scope []string
}

func (w *walker) walk(node any) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			w.walk(child)
		}
	case map[string]any:
		depth := len(w.scope)
		w.scope = append(w.scope, defined(node)...)
		w.note(node)
		for _, child := range node {
			w.walk(child)
		}
		w.scope = w.scope[:depth]
	}
}

// defined returns the CTEs that a node of a query defines.
func defined(node map[string]any) []string {
	var names []string
	if m, ok := node["cte_map"].(map[string]any); ok {
		entries, _ := m["map"].([]any)
		for _, e := range entries {
			if entry, ok := e.(map[string]any); ok {
				names = append(names, str(entry, "key"))
			}
		}
	}
	for _, key := range []string{"cte_name", "ctename"} {
		if name := str(node, key); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func (w *walker) note(node map[string]any) {
	at := offset(node)
	switch str(node, "type") {
	case "BASE_TABLE":
		ref := warehouse.TableRef{
			Catalog: str(node, "catalog_name"), Dataset: str(node, "schema_name"), Table: str(node, "table_name"),
			Alias: str(node, "alias"), Sampled: node["sample"] != nil || node["at_clause"] != nil, Offset: at,
		}
		inScope := func(name string) bool { return strings.EqualFold(name, ref.Table) }
		if ref.Dataset != "" || !slices.ContainsFunc(w.scope, inScope) {
			w.out.Tables = append(w.out.Tables, ref)
		}
	case "TABLE_FUNCTION":
		if f, ok := node["function"].(map[string]any); ok {
			w.out.Functions = append(w.out.Functions, warehouse.FunctionRef{Name: str(f, "function_name"), Table: true, Offset: at})
		}
	case "FUNCTION":
		if operator, _ := node["is_operator"].(bool); !operator {
			w.out.Functions = append(w.out.Functions, warehouse.FunctionRef{Name: str(node, "function_name"), Offset: at})
		}
	case "COLUMN_REF":
		var names []string
		list, _ := node["column_names"].([]any)
		for _, n := range list {
			if name, ok := n.(string); ok {
				names = append(names, name)
			}
		}
		w.out.Columns = append(w.out.Columns, warehouse.ColumnRef{Names: names, Offset: at})
		if len(names) == 1 && slices.Contains(keywordFunctions, strings.ToLower(names[0])) {
			w.out.Functions = append(w.out.Functions, warehouse.FunctionRef{Name: names[0], Offset: at})
		}
	}
}

// keywordFunctions are calls that the parser gives as columns: they have no
// parentheses.
var keywordFunctions = []string{"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "session_user"}

func str(node map[string]any, key string) string {
	s, _ := node[key].(string)
	return s
}

// offset is where a node stands, or 0: the parser writes -1, unsigned, where
// it does not know.
func offset(node map[string]any) int {
	n, ok := node["query_location"].(json.Number)
	if !ok {
		return 0
	}
	v, err := n.Int64()
	if err != nil {
		return 0
	}
	return int(v)
}

// Tokens is described at warehouse.Spelling.
func (d *Dialect) Tokens(sql string) []sqltoken.Token { return sqltoken.DuckDB(sql) }

// Type is described at warehouse.Spelling.
func (d *Dialect) Type(t schemas.Type) string { return SQLType(t) }

// Ident is described at warehouse.Spelling.
func (d *Dialect) Ident(name string) string { return quoteName(name) }

// Literal is described at warehouse.Spelling.
func (d *Dialect) Literal(kind schemas.Kind, text string) string {
	return SQLType(schemas.Type{Kind: kind}) + " " + quoteText(text)
}

// DirtyKeys is described at warehouse.Spelling.
func (d *Dialect) DirtyKeys() string { return sqlgen.RunKeys }

// DirtyKeyList is described at warehouse.Spelling.
func (d *Dialect) DirtyKeyList(owning []string) string {
	return sqlgen.KeyList(sqlgen.DuckDB(), owning, sqlgen.RunKeys)
}

// Text is described at warehouse.Spelling.
func (d *Dialect) Text(s string) string { return quoteText(s) }

// Changes is described at warehouse.Spelling.
func (d *Dialect) Changes(table string, after, through int64) string {
	return fmt.Sprintf("(SELECT * EXCLUDE (_load, _image) FROM %s WHERE _load > %d AND _load <= %d)", ownTable(table, "changes"), after, through)
}

// ownTable is the table with the suffix that belongs to a table.
func ownTable(table, suffix string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return quoteName("millrace") + "." + quoteName(dataset+"__"+name+"__"+suffix)
}

// Columns is described at warehouse.Dialect.
func (d *Dialect) Columns(ctx context.Context, query string, over []warehouse.Relation) (cols []warehouse.ResultColumn, err error) {
	d.describing.Lock()
	defer d.describing.Unlock()
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("describe query: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }() // the relations go with it
	for _, r := range over {
		dataset, table, _ := strings.Cut(r.Name, ".")
		defs := make([]string, len(r.Columns))
		for i, c := range r.Columns {
			defs[i] = quoteName(c.Name) + " " + c.SQLType
		}
		for _, stmt := range []string{
			"CREATE SCHEMA IF NOT EXISTS " + quoteName(dataset),
			"CREATE TABLE " + quoteName(dataset) + "." + quoteName(table) + " (" + strings.Join(defs, ", ") + ")",
		} {
			if _, err := tx.ExecContext(ctx, stmt); err != nil {
				return nil, fmt.Errorf("describe query: make %s: %w", r.Name, err)
			}
		}
	}
	return describe(ctx, tx, query)
}

// queryer is a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// describe returns the columns of a query's result. What the warehouse says
// against the query is a *warehouse.QueryError.
func describe(ctx context.Context, q queryer, query string) ([]warehouse.ResultColumn, error) {
	rows, err := q.QueryContext(ctx, "DESCRIBE ("+"\n"+query+"\n)")
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &warehouse.QueryError{Offset: lineOffset(query, err.Error()), Message: firstLine(err.Error())}
	}
	defer rows.Close()
	var cols []warehouse.ResultColumn
	for rows.Next() {
		var c warehouse.ResultColumn
		var null, key, def, extra sql.NullString
		if err := rows.Scan(&c.Name, &c.SQLType, &null, &key, &def, &extra); err != nil {
			return nil, fmt.Errorf("describe query: %w", err)
		}
		c.Type = typeOf(c.SQLType)
		cols = append(cols, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("describe query: %w", err)
	}
	return cols, nil
}

var messageLine = regexp.MustCompile(`\nLINE (\d+): `)

// lineOffset is where the line begins that a message about the query names, or
// -1. The first line is DESCRIBE's.
func lineOffset(query, message string) int {
	m := messageLine.FindStringSubmatch(message)
	if m == nil {
		return -1
	}
	var line int
	_, _ = fmt.Sscan(m[1], &line)
	at := 0
	for ; line > 2; line-- {
		next := strings.IndexByte(query[at:], '\n')
		if next < 0 {
			return -1
		}
		at += next + 1
	}
	return at
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
