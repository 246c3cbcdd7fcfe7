package warehouse

import (
	"context"
	"fmt"
	"strings"

	"millrace/internal/warehouse/sqltoken"
	"millrace/schemas"
)

// Dialect reads queries as a warehouse reads them, without its data.
type Dialect interface {
	// Parse returns what a query refers to. A parameter is written $x in it. A query that the warehouse cannot
	// parse is a *QueryError.
	Parse(ctx context.Context, query string) (Parsed, error)

	// Columns returns the columns of the query's result over empty relations.
	// Every relation that the query reads must be among them.
	Columns(ctx context.Context, query string, over []Relation) ([]ResultColumn, error)

	// CoreColumns are the columns that a query sees of a core table.
	CoreColumns(mode schemas.Mode, columns []schemas.Column) []ResultColumn

	Spelling

	Close() error
}

// Spelling is how a warehouse writes what the deriver puts into queries.
type Spelling interface {
	// Tokens cuts a text.
	Tokens(sql string) []sqltoken.Token
	// Ident quotes a name.
	Ident(name string) string
	// Type writes a type.
	Type(t schemas.Type) string
	// Literal writes a date, an instant or a civil time, in the layouts of
	// schemas.Touched, as a value of the kind.
	Literal(kind schemas.Kind, text string) string
	// Text writes a text.
	Text(s string) string
	// DirtyKeys is the relation in which a run finds the keys that it owns. Its
	// columns are named as the owning columns of the table.
	DirtyKeys() string
	// DirtyKeyList is what stands behind IN where a key is compared with those: a
	// warehouse may put the keys themselves there.
	DirtyKeyList(owning []string) string
	// Changes is the relation of a table's changes in the loads above after, up
	// to and including through: the key's and the kept columns of old and new
	// images.
	Changes(table string, after, through int64) string
}

// Parsed is what a query refers to, in the order of the text. Offsets are in
// bytes.
type Parsed struct {
	Statements int
	Tables     []TableRef // without those that a CTE in scope defines
	Columns    []ColumnRef
	Functions  []FunctionRef
}

// TableRef is a table that a query names.
type TableRef struct {
	Catalog string
	Dataset string
	Table   string
	Alias   string // empty: none
	Sampled bool   // TABLESAMPLE, or a version of the past
	Offset  int
}

// ColumnRef is a column, or a field of one, by all the names before it.
type ColumnRef struct {
	Names  []string
	Offset int
}

// FunctionRef is a call. Table says that it stands where a table does.
type FunctionRef struct {
	Name   string
	Table  bool
	Offset int
}

// Relation is a table by its columns.
type Relation struct {
	Name    string // dataset.table
	Columns []ResultColumn
}

// ResultColumn is a column in the warehouse's own words. Its Type is the zero
// Type if schemas has no name for it, such as a list.
type ResultColumn struct {
	Name        string
	SQLType     string
	Type        schemas.Type
	Description string // for people; of a result's column there is none
}

// Nested reports whether values of the column are lists, or have fields or keys:
// rows are not found by such, as not every warehouse can compare them.
func (c ResultColumn) Nested() bool {
	for _, word := range []string{"ARRAY<", "STRUCT<", "STRUCT(", "MAP(", "UNION("} {
		if strings.HasPrefix(c.SQLType, word) {
			return true
		}
	}
	return strings.HasSuffix(c.SQLType, "]")
}

// QueryError is a query that the warehouse refuses.
type QueryError struct {
	Offset  int // -1 if it is not known
	Message string
}

func (e *QueryError) Error() string {
	if e.Offset < 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (at byte %d)", e.Message, e.Offset)
}
