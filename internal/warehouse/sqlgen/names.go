package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// Schema is the schema of everything that is Millrace's own.
const Schema = "millrace"

// Names of the columns that Millrace adds to a table.
const (
	ColPos      = "_pos"
	ColDeleted  = "_deleted"
	ColLoad     = "_load"
	ColUnset    = "_unset"
	ColBorn     = "_born"
	ColLoadedAt = "_loaded_at"
	ColExtra    = "_extra"
	ColOp       = "_op"
	ColTs       = "_ts"
	ColImage    = "_image"
)

// IsReserved reports whether a source's column cannot have the name. Case does
// not count: most warehouses do not see it.
func IsReserved(name string) bool {
	switch strings.ToLower(name) {
	case ColPos, ColDeleted, ColLoad, ColUnset, ColBorn, ColLoadedAt, ColExtra, ColOp, ColTs, ColImage:
		return true
	}
	return false
}

// Name is the name of a table, dataset.table.
type Name struct {
	Dataset, Table string
	// Generation is that of a core table's rows; 0 is as good as 1.
	Generation int
}

// ParseName splits a name at its first dot, and refuses what the dialect cannot
// make or what would collide with Millrace's own names.
func (d *Dialect) ParseName(s string) (Name, error) {
	dataset, table, ok := strings.Cut(s, ".")
	switch {
	case !ok || dataset == "" || table == "":
		return Name{}, fmt.Errorf("table name %q: want dataset.table", s)
	case strings.Contains(dataset, "__"):
		return Name{}, fmt.Errorf("table name %q: a dataset's name cannot hold two underscores in a row", s)
	case strings.ContainsRune(s, 0):
		return Name{}, fmt.Errorf("table name %q: a name cannot hold a zero byte", s)
	}
	for _, r := range d.reserved {
		if strings.EqualFold(r, dataset) {
			return Name{}, fmt.Errorf("table name %q: the dataset's name %q is taken", s, r)
		}
	}
	return Name{Dataset: dataset, Table: table}, nil
}

func (n Name) String() string { return n.Dataset + "." + n.Table }

// BaseDataset is where the rows are; the dataset itself holds the reader's view.
func (n Name) BaseDataset() string { return n.Dataset + "__base" }

// BaseTable is the table of the rows, in BaseDataset.
func (n Name) BaseTable() string {
	if n.Generation > 1 {
		return schemas.GenerationName(n.Table, n.Generation)
	}
	return n.Table
}

// Own is the table's own table with the suffix in Millrace's schema.
func (n Name) Own(suffix string) string { return n.Dataset + "__" + n.Table + "__" + suffix }

// Qualified is schema and table, quoted.
func (d *Dialect) Qualified(schema, table string) string {
	return d.Ident(schema) + "." + d.Ident(table)
}

// View is the reader's view of a core table.
func (d *Dialect) View(n Name) string { return d.Qualified(n.Dataset, n.Table) }

// Base is a core table's rows.
func (d *Dialect) Base(n Name) string { return d.Qualified(n.BaseDataset(), n.BaseTable()) }

// Head is the one row that says how far the table is.
func (d *Dialect) Head(n Name) string { return d.Qualified(Schema, n.Own("head")) }

// Loads is the log of loads.
func (d *Dialect) Loads(n Name) string { return d.Qualified(Schema, n.Own("loads")) }

// Changes holds old and new images of changed rows.
func (d *Dialect) Changes(n Name) string { return d.Qualified(Schema, n.Own("changes")) }

// Needs holds what specs want kept.
func (d *Dialect) Needs(n Name) string { return d.Qualified(Schema, n.Own("needs")) }

// UnsetName is a column's name inside _unset, which is empty or holds names
// between commas.
func UnsetName(column string) string {
	return strings.NewReplacer("%", "%25", ",", "%2C").Replace(column)
}

// ParseUnset is the columns that _unset names.
func ParseUnset(s string) []string {
	s = strings.Trim(s, ",")
	if s == "" {
		return nil
	}
	names := strings.Split(s, ",")
	for i, n := range names {
		names[i] = strings.NewReplacer("%2C", ",", "%25", "%").Replace(n)
	}
	return names
}

// HeadOf is the name of the core table that has the head, of the dataset core.
func HeadOf(head string) string {
	return "core." + strings.TrimSuffix(strings.TrimPrefix(head, "core__"), "__head")
}
