package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schemas"
)

// Names of the temporary tables of a run. They live on its connection. The
// stage holds what the queries gave, the difference what of it is not among the
// published rows and what of them is not in it, and Keys the dirty keys that the
// run owns.
const (
	RunStage = "temp.millrace_run_stage"
	RunDiff  = "temp.millrace_run_diff"
	RunKeys  = "temp.millrace_run_keys"
)

// ColPart is the column of the first two that names the part of the run, and
// colMore that of the difference that says how often a row comes, or below zero
// how often it goes.
const (
	ColPart = "_part"
	colMore = "_more"
)

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

// CreateKeys makes the run's table of dirty keys. Empty: no keys own rows.
func (d *Derived) CreateKeys() string {
	if len(d.Owning) == 0 {
		return ""
	}
	return fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT %s, mark FROM %s LIMIT 0", tempTable(RunKeys), d.list(d.Owning), d.Dirty(d.Name))
}

// DropRun frees what the run held.
func (d *Derived) DropRun() []string {
	out := []string{"DROP TABLE IF EXISTS " + RunStage, "DROP TABLE IF EXISTS " + RunDiff}
	if len(d.Owning) > 0 {
		out = append(out, "DROP TABLE IF EXISTS "+RunKeys)
	}
	return out
}

func tempTable(name string) string { return strings.TrimPrefix(name, "temp.") }

// StagePart runs the query of a part. The first makes the stage, with the types
// that the query gives.
func (d *Derived) StagePart(part int, query string) string {
	return d.fill(RunStage, part, fmt.Sprintf("SELECT %s, %d AS %s FROM (\n%s\n)", d.list(d.Columns), part, ColPart, query))
}

// fill puts the rows of a query of a part into a temporary table, which the first
// part makes.
func (d *Derived) fill(table string, part int, query string) string {
	if part == 0 {
		return fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS\n%s", tempTable(table), query)
	}
	return fmt.Sprintf("INSERT INTO %s\n%s", table, query)
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

// Examine goes through the staged rows of a part once: how many it does not own
// (G8), for each of the conditions how many fulfil it, and then the types of the
// columns, in their order. Owned is empty if the part only adds.
func (d *Derived) Examine(part int, owned string, violated []string) string {
	outside, from := "0", RunStage
	if owned != "" {
		// A condition may be a query of keys, which no FILTER takes.
		outside = fmt.Sprintf("count(*) FILTER (WHERE NOT coalesce(%s, FALSE))", colOwned)
		from = fmt.Sprintf("(SELECT *, %s AS %s FROM %s)", owned, colOwned, RunStage)
	}
	out := []string{outside}
	for _, v := range violated {
		out = append(out, fmt.Sprintf("count(*) FILTER (WHERE %s)", v))
	}
	for _, c := range d.Columns {
		out = append(out, fmt.Sprintf("typeof(any_value(%s))", d.Ident(c)))
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s = %d", strings.Join(out, ", "), from, ColPart, part)
}

const colOwned = "_owned"

// Repeated counts the values of the columns that several staged rows of a part
// have. Nulls are equal to each other.
func (d *Derived) Repeated(part int, columns []string) string {
	return fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s = %d GROUP BY %s HAVING count(*) > 1)", RunStage, ColPart, part, d.list(columns))
}

// Compare notes how the owned rows and the part's result differ: bags of rows, of
// which each row is there as often in one as in the other, or more often.
func (d *Derived) Compare(part int, owned string) string {
	columns := d.list(d.Columns)
	more := "count(*) FILTER (WHERE _comes) - count(*) FILTER (WHERE NOT _comes)"
	return d.fill(RunDiff, part, fmt.Sprintf(`SELECT %[1]s, %[2]d AS %[3]s, %[4]s AS %[5]s FROM (
  SELECT %[1]s, FALSE AS _comes FROM %[6]s WHERE %[7]s
  UNION ALL SELECT %[1]s, TRUE FROM %[8]s WHERE %[3]s = %[2]d
) GROUP BY %[1]s HAVING %[4]s <> 0`, columns, part, ColPart, more, colMore, d.table(), owned, RunStage))
}

// Differences counts what a part takes away and what it brings.
func (d *Derived) Differences(part int) string {
	return fmt.Sprintf("SELECT CAST(coalesce(-sum(%[1]s) FILTER (WHERE %[1]s < 0), 0) AS BIGINT), CAST(coalesce(sum(%[1]s) FILTER (WHERE %[1]s > 0), 0) AS BIGINT) FROM %[2]s WHERE %[3]s = %[4]d",
		colMore, RunDiff, ColPart, part)
}

// Replace makes the owned rows those of the part.
func (d *Derived) Replace(part int, owned string) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s", d.table(), owned),
		fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE %s = %d", d.table(), d.list(d.Columns), d.list(d.Columns), RunStage, ColPart, part),
	}
}

// Merge writes anew, by the key, what differs: of a key that a row comes or goes
// of, all of its rows.
func (d *Derived) Merge(part int) []string {
	differs := fmt.Sprintf("(%s) IN (SELECT (%s) FROM %s WHERE %s = %d)", d.list(d.Key), d.list(d.Key), RunDiff, ColPart, part)
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s", d.table(), differs),
		fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE %s = %d AND %s", d.table(), d.list(d.Columns), d.list(d.Columns), RunStage, ColPart, part, differs),
	}
}

// AppendRows adds the staged rows under the number of the run, in place of what
// an earlier attempt under that number has added.
func (d *Derived) AppendRows(load int64) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s = %d", d.table(), ColLoad, load),
		fmt.Sprintf("INSERT INTO %s (%s, %s)\nSELECT %s, %d FROM %s", d.table(), d.list(d.Columns), ColLoad, d.list(d.Columns), load, RunStage),
		d.fill(RunDiff, 0, fmt.Sprintf("SELECT *, 1 AS %s FROM %s", colMore, RunStage)),
	}
}

// RunBuckets gives the hours, or days, of a column in which rows went or came.
func (d *Derived) RunBuckets(column string, kind schemas.Kind) string {
	b := d.bucket(kind, d.Ident(column))
	return fmt.Sprintf("SELECT DISTINCT %s AS b FROM %s ORDER BY b NULLS FIRST", b, RunDiff)
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
	return fmt.Sprintf("INSERT INTO %s (%s, %s, %s)\nSELECT %d, CASE WHEN %s < 0 THEN 'old' ELSE 'new' END, %s FROM %s",
		d.Changes(d.Name), ColLoad, ColImage, columns, load, colMore, columns, RunDiff)
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
