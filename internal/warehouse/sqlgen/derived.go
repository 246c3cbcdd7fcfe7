package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schemas"
)

// Names of the temporary tables of a run. They live on its connection. The
// stage holds what the queries gave, Gone and Come what differs from the
// published rows, and Keys the dirty keys that the run owns.
const (
	RunStage = "temp.millrace_run_stage"
	RunGone  = "temp.millrace_run_gone"
	RunCome  = "temp.millrace_run_come"
	RunKeys  = "temp.millrace_run_keys"
)

// ColPart is the column of those tables that names the part of the run.
const ColPart = "_part"

// Derived is a derived table, with what a run needs to know of it. Its methods
// give one statement each.
type Derived struct {
	*Dialect
	Name    Name
	Columns []string
	Types   []string // in the warehouse's own words
	Key     []string // identify a row; may be empty
	Owning  []string // a prefix of Key; empty unless dirty keys own rows
	Window  string   // the column whose windows own rows; empty: none do
	Append  bool
	// Partition and Cluster are the columns by which the table is kept, where the
	// warehouse asks; those that cannot be are left out.
	Partition string
	Cluster   []string
	// Description, Labels and, by column, Remarks are for people.
	Description string
	Labels      map[string]string
	Remarks     map[string]string
	// Changed are the columns beside Key of which runs keep old and new values;
	// KeepImages says that they keep any.
	Changed    []string
	KeepImages bool
}

func (d *Derived) table() string { return d.View(d.Name) }

func (d *Derived) list(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = d.Ident(c)
	}
	return strings.Join(quoted, ", ")
}

// CreateTable makes the table.
func (d *Derived) CreateTable() string {
	var defs []string
	for i, c := range d.Columns {
		defs = append(defs, "  "+d.Ident(c)+" "+d.Types[i]+d.remark(d.Remarks[c]))
	}
	if d.Append {
		defs = append(defs, "  "+ColLoad+" "+d.kind(schemas.Int))
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n%s\n)%s", d.table(), strings.Join(defs, ",\n"), d.layout(d.tableLayout()))
}

// tableLayout is how the table is kept: by its windows, and together what has
// near values of some columns.
func (d *Derived) tableLayout() layout {
	l := layout{kind: "derived", description: d.Description, labels: d.Labels}
	for i, c := range d.Columns {
		if t, ok := d.parseType(d.Types[i]); ok && c == d.Partition && t.Kind.IsEventTime() {
			l.partition, l.partKind = d.Ident(c), t.Kind
		}
	}
	for _, c := range d.Cluster {
		t, ok := d.parseType(d.typeOf(c))
		if ok && clusters(t.Kind) && len(l.cluster) < maxCluster && d.Ident(c) != l.partition {
			l.cluster = append(l.cluster, d.Ident(c))
		}
	}
	return l
}

// AddColumn and DropColumn change the table's columns.
func (d *Derived) AddColumn(name, sqlType string) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", d.table(), d.Ident(name), sqlType)
}

// DropColumn takes a column away.
func (d *Derived) DropColumn(name string) string {
	return fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", d.table(), d.Ident(name))
}

// CreateTemp makes the run's empty temporary tables.
func (d *Derived) CreateTemp() []string {
	var out []string
	for _, t := range []string{RunStage, RunGone, RunCome} {
		out = append(out, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT %s, 0 AS %s FROM %s LIMIT 0", tempTable(t), d.list(d.Columns), ColPart, d.table()))
	}
	if len(d.Owning) > 0 {
		out = append(out, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT %s, mark FROM %s LIMIT 0", tempTable(RunKeys), d.list(d.Owning), d.Dirty(d.Name)))
	}
	return out
}

// DropRun frees what the run held.
func (d *Derived) DropRun() []string {
	var out []string
	for _, t := range []string{RunStage, RunGone, RunCome, RunKeys} {
		out = append(out, "DROP TABLE IF EXISTS "+t)
	}
	return out
}

func tempTable(name string) string { return strings.TrimPrefix(name, "temp.") }

// StagePart runs the query of a part.
func (d *Derived) StagePart(part int, query string) string {
	return fmt.Sprintf("INSERT INTO %s\nSELECT %s, %d FROM (\n%s\n)", RunStage, d.list(d.Columns), part, query)
}

// Orphans deletes the rows that nothing owns: a row of what the table was before
// has no value in a column that owns rows now. No run publishes such a row.
// Empty: the table is owned as a whole, or only added to.
func (d *Derived) Orphans() string {
	orphaned := d.orphaned()
	if orphaned == "" {
		return ""
	}
	return fmt.Sprintf("DELETE FROM %s WHERE %s", d.table(), orphaned)
}

// orphaned is the condition that nothing owns a row.
func (d *Derived) orphaned() string {
	owners := d.Owning
	if d.Window != "" {
		owners = []string{d.Window}
	}
	if len(owners) == 0 {
		return ""
	}
	absent := make([]string, len(owners))
	for i, c := range owners {
		absent[i] = d.Ident(c) + " IS NULL"
	}
	return strings.Join(absent, " OR ")
}

// Outside counts the staged rows of a part that it does not own (G8).
func (d *Derived) Outside(part int, owned string) string {
	return fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = %d AND NOT coalesce(%s, FALSE)", RunStage, ColPart, part, owned)
}

// Violating counts the staged rows of a part for which the condition holds.
func (d *Derived) Violating(part int, violated string) string {
	return fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = %d AND (%s)", RunStage, ColPart, part, violated)
}

// Repeated counts the values of the columns that several staged rows of a part
// have. Nulls are equal to each other.
func (d *Derived) Repeated(part int, columns []string) string {
	return fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s = %d GROUP BY %s HAVING count(*) > 1)", RunStage, ColPart, part, d.list(columns))
}

// Compare fills Gone with the owned rows that the part's result does not have,
// and Come with those that only the result has.
func (d *Derived) Compare(part int, owned string) []string {
	published := fmt.Sprintf("SELECT %s FROM %s WHERE %s", d.list(d.Columns), d.table(), owned)
	staged := fmt.Sprintf("SELECT %s FROM %s WHERE %s = %d", d.list(d.Columns), RunStage, ColPart, part)
	return []string{
		fmt.Sprintf("INSERT INTO %s\nSELECT *, %d FROM (%s EXCEPT ALL %s)", RunGone, part, published, staged),
		fmt.Sprintf("INSERT INTO %s\nSELECT *, %d FROM (%s EXCEPT ALL %s)", RunCome, part, staged, published),
	}
}

// Differences counts what a part takes away and what it brings.
func (d *Derived) Differences(part int) string {
	return fmt.Sprintf("SELECT (SELECT count(*) FROM %s WHERE %s = %d), (SELECT count(*) FROM %s WHERE %s = %d)", RunGone, ColPart, part, RunCome, ColPart, part)
}

// Replace makes the owned rows those of the part.
func (d *Derived) Replace(part int, owned string) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s", d.table(), owned),
		fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE %s = %d", d.table(), d.list(d.Columns), d.list(d.Columns), RunStage, ColPart, part),
	}
}

// Merge writes the differences alone, by the key.
func (d *Derived) Merge(part int) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT (%s) FROM %s WHERE %s = %d)", d.table(), d.list(d.Key), d.list(d.Key), RunGone, ColPart, part),
		fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE %s = %d", d.table(), d.list(d.Columns), d.list(d.Columns), RunCome, ColPart, part),
	}
}

// AppendRows adds the staged rows under the number of the run, in place of what
// an earlier attempt under that number has added.
func (d *Derived) AppendRows(load int64) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s = %d", d.table(), ColLoad, load),
		fmt.Sprintf("INSERT INTO %s (%s, %s)\nSELECT %s, %d FROM %s", d.table(), d.list(d.Columns), ColLoad, d.list(d.Columns), load, RunStage),
		fmt.Sprintf("INSERT INTO %s SELECT * FROM %s", RunCome, RunStage),
	}
}

// RunBuckets gives the hours, or days, of a column in which rows went or came.
func (d *Derived) RunBuckets(column string, kind schemas.Kind) string {
	b := d.bucket(kind, d.Ident(column))
	return fmt.Sprintf("SELECT DISTINCT b FROM (SELECT %s AS b FROM %s UNION ALL SELECT %s FROM %s) ORDER BY b NULLS FIRST", b, RunGone, b, RunCome)
}

// QueryBuckets gives the hours, or days, of the one column of a query.
func (d *Dialect) QueryBuckets(query, column string, kind schemas.Kind) string {
	return fmt.Sprintf("SELECT DISTINCT %s AS b FROM (\n%s\n) AS q ORDER BY b NULLS FIRST", d.bucket(kind, d.Ident(column)), query)
}

// CreateRunChanges makes the table of images.
func (d *Derived) CreateRunChanges() string {
	defs := []string{ColLoad + " " + d.kind(schemas.Int), ColImage + " " + d.kind(schemas.String)}
	for _, c := range d.imageColumns() {
		defs = append(defs, d.Ident(c)+" "+d.typeOf(c))
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)%s", d.Changes(d.Name), strings.Join(defs, ", "), d.imageLayout())
}

// AddRunImage adds a column to the table of images.
func (d *Derived) AddRunImage(column string) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", d.Changes(d.Name), d.Ident(column), d.typeOf(column))
}

// ImagesFit reports whether a table of images with such columns holds the values
// of the table's.
func (d *Derived) ImagesFit(names, types []string) bool {
	for i, name := range names {
		if slices.Contains(d.Columns, name) && types[i] != d.typeOf(name) {
			return false
		}
	}
	return true
}

// RemakeImages makes the table of images anew, with the types that its columns are
// to have. Who has not read what was in it is told by the next run of new code,
// whose event touches everything.
func (d *Derived) RemakeImages(names, types []string) []string {
	defs := make([]string, len(names))
	for i, name := range names {
		defs[i] = d.Ident(name) + " " + types[i]
		if slices.Contains(d.Columns, name) {
			defs[i] = d.Ident(name) + " " + d.typeOf(name)
		}
	}
	return []string{d.emptied(), fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)%s", d.Changes(d.Name), strings.Join(defs, ", "), d.imageLayout())}
}

func (d *Derived) imageLayout() string {
	return d.layout(layout{kind: "changes", cluster: []string{ColLoad}})
}

// KeepRunChanges writes the old and new images of what the run changed.
func (d *Derived) KeepRunChanges(load int64) string {
	columns := d.list(d.imageColumns())
	return fmt.Sprintf("INSERT INTO %s (%s, %s, %s)\nSELECT %d, 'old', %s FROM %s\nUNION ALL\nSELECT %d, 'new', %s FROM %s",
		d.Changes(d.Name), ColLoad, ColImage, columns, load, columns, RunGone, load, columns, RunCome)
}

func (d *Derived) imageColumns() []string {
	return append(append([]string(nil), d.Key...), d.Changed...)
}

func (d *Derived) typeOf(column string) string {
	for i, c := range d.Columns {
		if c == column {
			return d.Types[i]
		}
	}
	if column == ColLoad {
		return d.kind(schemas.Int)
	}
	return d.kind(schemas.String)
}
