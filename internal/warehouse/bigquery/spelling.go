package bigquery

import (
	"strings"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Spelling is how BigQuery writes what the deriver puts into queries.
type Spelling struct{ dialect *sqlgen.Dialect }

var _ warehouse.Spelling = Spelling{}

// NewSpelling returns it.
func NewSpelling() Spelling { return Spelling{sqlgen.BigQuery()} }

// Ident is described at warehouse.Spelling.
func (s Spelling) Ident(name string) string { return s.dialect.Ident(name) }

// Literal is described at warehouse.Spelling.
func (s Spelling) Literal(kind schemas.Kind, text string) string {
	return s.dialect.Type(schemas.Type{Kind: kind}) + " " + s.dialect.Text(text)
}

// DirtyKeys is described at warehouse.Spelling. The Runner puts the keys in its
// place.
func (s Spelling) DirtyKeys() string { return sqlgen.AnyDirtyKeys }

// DirtyKeyList is described at warehouse.Spelling. The Runner puts the keys or a
// query of them in its place.
func (s Spelling) DirtyKeyList([]string) string { return sqlgen.AnyDirtyKeyList }

// Text is described at warehouse.Spelling.
func (s Spelling) Text(text string) string { return s.dialect.Text(text) }

// Changes is described at warehouse.Spelling.
func (s Spelling) Changes(table string, after, through int64) string {
	dataset, name, _ := strings.Cut(table, ".")
	return s.dialect.ChangesBetween(sqlgen.Name{Dataset: dataset, Table: name}, after, through)
}
