package sourcetest

import (
	"fmt"
	"strings"
)

// Verb is what a Statement does.
type Verb int

// The verbs. Raw is a statement of SQL for a case that no other kind of database
// runs.
const (
	Raw Verb = iota
	Create
	Insert
	Update
	Delete
	Truncate
	Begin
	Commit
	Rollback
)

// Statement is one step of a case, in terms that tables and collections share.
type Statement struct {
	Verb  Verb
	Table Shape
	Rows  [][]any // Insert: in the order of the table's columns
	Set   []Field // Update
	ID    int64   // Update, Delete: the row
	Text  string  // Raw
}

// Shape is a table of the suite. Its first column is its key, a 64-bit integer.
type Shape struct {
	Name    string
	Columns []Kind
	Names   []string
}

// Kind is what a column of a Shape holds.
type Kind int

// The kinds. Null is nil, whatever the kind.
const (
	Integer Kind = iota // int64
	Text                // string
	Amount              // string: a decimal number of two digits behind the point
)

// Field is a column and its value.
type Field struct {
	Name  string
	Value any
}

var (
	itemTable       = Shape{items, []Kind{Integer, Text, Amount}, []string{"id", "name", "amount"}}
	fenceTable      = Shape{"fence", []Kind{Integer, Integer}, []string{"id", "v"}}
	otherTable      = Shape{"other", []Kind{Integer, Text}, []string{"id", "name"}}
	wideTable       = Shape{"wide", []Kind{Integer, Text}, []string{"id", "name"}} // of a big type in SQL
	nothingTable    = Shape{"nothing", []Kind{Integer}, []string{"id"}}
	uncapturedTable = Shape{"uncaptured", []Kind{Integer}, []string{"id"}}
)

func sql(format string, args ...any) Statement {
	return Statement{Text: fmt.Sprintf(format, args...)}
}

func create(t Shape) Statement { return Statement{Verb: Create, Table: t} }

func insert(t Shape, rows ...[]any) Statement { return Statement{Verb: Insert, Table: t, Rows: rows} }

// item is an Insert of one row of items.
func item(id int64, name string, amount string) Statement {
	return insert(itemTable, []any{id, name, amount})
}

// update sets one column of a row of items.
func update(id int64, column string, v any) Statement {
	return Statement{Verb: Update, Table: itemTable, ID: id, Set: []Field{{column, v}}}
}

func remove(id int64) Statement { return Statement{Verb: Delete, Table: itemTable, ID: id} }

var (
	begin    = Statement{Verb: Begin}
	commit   = Statement{Verb: Commit}
	rollback = Statement{Verb: Rollback}
)

// SQL is the statement as all SQL databases take it.
func (s Statement) SQL() string {
	key := func() string { return " WHERE id = " + literal(s.ID) }
	switch s.Verb {
	case Create:
		var columns []string
		for i, kind := range s.Table.Columns {
			columns = append(columns, s.Table.Names[i]+" "+[]string{"BIGINT", "VARCHAR(200)", "DECIMAL(12,2)"}[kind])
		}
		columns[0] += " PRIMARY KEY"
		return "CREATE TABLE " + s.Table.Name + " (" + strings.Join(columns, ", ") + ")"
	case Insert:
		var rows []string
		for _, row := range s.Rows {
			var values []string
			for i, v := range row {
				if text, ok := v.(string); ok && s.Table.Columns[i] == Amount {
					values = append(values, text)
					continue
				}
				values = append(values, literal(v))
			}
			rows = append(rows, "("+strings.Join(values, ", ")+")")
		}
		return "INSERT INTO " + s.Table.Name + " VALUES " + strings.Join(rows, ", ")
	case Update:
		var set []string
		for _, f := range s.Set {
			set = append(set, f.Name+" = "+literal(f.Value))
		}
		return "UPDATE " + s.Table.Name + " SET " + strings.Join(set, ", ") + key()
	case Delete:
		return "DELETE FROM " + s.Table.Name + key()
	case Truncate:
		return "TRUNCATE TABLE " + s.Table.Name
	case Begin:
		return "BEGIN"
	case Commit:
		return "COMMIT"
	case Rollback:
		return "ROLLBACK"
	}
	return s.Text
}

func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return fmt.Sprint(v)
}
