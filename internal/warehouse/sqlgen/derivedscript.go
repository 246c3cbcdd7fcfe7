package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/internal/warehouse/sqltoken"
	"millrace/schemas"
)

// A warehouse that runs scripts computes a run before its transaction: the parts
// into a stage, and how they differ from the published rows into another table.
// Each run has tables of its own, so that nobody writes into them but it, and
// they expire. The transaction then needs no query of a team.

// Scratch is the dataset of those tables.
const Scratch = "millrace_scratch"

// scratchDays is how long they are kept.
const scratchDays = 1

// ReasonRevision is what an assertion gives if a later revision has the table.
const ReasonRevision = "millrace: a later revision owns the table"

// ColGone is the column of the differences that tells what goes from what comes.
const ColGone = "_gone"

// CreateScratch makes the dataset of scratch tables.
func (d *Dialect) CreateScratch() string {
	return fmt.Sprintf("CREATE SCHEMA IF NOT EXISTS %s OPTIONS (default_table_expiration_days = %d)", d.Ident(Scratch), scratchDays)
}

// Run is one run of a derived table.
type Run struct {
	*Derived
	ID    string   // names its tables
	Owned []string // per part, the condition on the rows that it owns; none if parts only add

	queried bool // Owned is a query of the run's keys
}

// Stage is the run's table, in Scratch, of the rows that it computed.
func (r *Run) Stage() string { return r.ID + "__stage" }

// Diff is the run's table, in Scratch, of the rows that go and come.
func (r *Run) Diff() string { return r.ID + "__diff" }

// Fresh is the run's table, in Scratch, of the keys that become dirty.
func (r *Run) Fresh() string { return r.ID + "__fresh" }

// Keys is the run's table, in Scratch, of the dirty keys that it recomputes.
func (r *Run) Keys() string { return r.ID + "__keys" }

func (r *Run) scratch(table string) string { return r.Qualified(Scratch, table) }

// CreateDerivedHeadRow makes the head's table with its row. Of two that do it at
// the same time, one makes it.
func (d *Dialect) CreateDerivedHeadRow(n Name) string {
	return d.CreateDerivedHead(n) + "\nAS SELECT " + d.newDerivedHead()
}

// TakeOverDerivedScript raises the epoch and gives the head's row.
func (d *Dialect) TakeOverDerivedScript(n Name, revision int64) string {
	return script(
		"BEGIN TRANSACTION",
		Bind(d.TakeOverDerived(n), fmt.Sprint(revision)),
		"ASSERT @@row_count = 1 AS "+d.Text(ReasonRevision),
		"CREATE TEMP TABLE taken AS\n"+d.ReadDerivedHead(n),
		"COMMIT TRANSACTION",
		"SELECT * FROM taken",
	)
}

// Owner asserts that the head is still of the epoch. It stands before
// definitions, which no transaction fences.
func (d *Dialect) Owner(n Name, epoch int64) string {
	return fmt.Sprintf("ASSERT (SELECT COUNT(*) FROM %s WHERE epoch = %d) = 1 AS %s", d.Head(n), epoch, d.Text(ReasonFenced))
}

// KindEmptied is the kind of the row of needs that says that rows were taken away
// which no event has named.
const KindEmptied = "emptied"

// emptied says that rows, or images, were taken away which no event has named.
func (d *Derived) emptied() string {
	return fmt.Sprintf("INSERT INTO %s (spec, kind, column_name, seen_at) VALUES ('', '%s', '', %s)", d.Needs(d.Name), KindEmptied, d.now)
}

// Restart makes of the head one that no run has touched, but for its load number:
// the table was taken away, and is made again. The first run of all tells of it.
func (d *Derived) Restart(epoch int64) []string {
	civil := d.null(schemas.Type{Kind: schemas.DateTime})
	return []string{
		d.emptied(),
		fmt.Sprintf("UPDATE %s SET fence = fence + 1, code_hash = '', absorbed = %s, window_begin = %s, window_frontier = %s, ready = FALSE\nWHERE epoch = %d",
			d.Head(d.Name), d.toJSON("'null'"), civil, civil, epoch),
		"DROP TABLE IF EXISTS " + d.Dirty(d.Name), d.CreateDirty(),
	}
}

// ForgetCode makes whatever code comes next compute everything: what an earlier one
// has left is about to be changed, and that one may come back.
func (d *Derived) ForgetCode(epoch int64) string {
	return fmt.Sprintf("UPDATE %s SET fence = fence + 1, code_hash = '' WHERE epoch = %d", d.Head(d.Name), epoch)
}

// AddColumns adds columns in one statement.
func (d *Derived) AddColumns(names []string) string {
	adds := make([]string, len(names))
	for i, name := range names {
		adds[i] = "\n  ADD COLUMN IF NOT EXISTS " + d.Ident(name) + " " + d.typeOf(name)
	}
	return "ALTER TABLE " + d.table() + strings.Join(adds, ",")
}

// Told takes back that rows were taken away: the run's event tells of it.
func (d *Derived) Told() string {
	return fmt.Sprintf("DELETE FROM %s WHERE kind = '%s'", d.Needs(d.Name), KindEmptied)
}

// Remade is the table that is to take the place of the table.
func (d *Derived) Remade() string { return d.Name.Table + "__remade" }

// DropRemade takes away what a process has left that died before PutRemade.
func (d *Derived) DropRemade() string {
	return "DROP TABLE IF EXISTS " + d.Qualified(d.Name.Dataset, d.Remade())
}

// Remake makes the table anew aside, with the values of the columns that are kept: a
// column that was dropped cannot be made again under its name, and a table is
// kept by the columns by which it was made.
func (d *Derived) Remake(kept func(column string) bool) []string {
	values := make([]string, 0, len(d.Columns)+1)
	all := d.Columns
	if d.Append {
		all = append(slices.Clone(all), ColLoad)
	}
	for _, c := range all {
		value := d.Ident(c)
		if !kept(c) {
			value = "CAST(NULL AS " + d.typeOf(c) + ")"
		}
		values = append(values, value+" AS "+d.Ident(c))
	}
	next := *d
	next.Name.Table = d.Remade()
	return []string{d.DropRemade(), next.CreateTable() + "\nAS SELECT " + strings.Join(values, ", ") + " FROM " + d.table()}
}

// PutRemade puts the remade table into the place of the table. It is not to be
// tried twice: it would drop what it has put there.
func (d *Derived) PutRemade() []string {
	return []string{
		"DROP TABLE IF EXISTS " + d.table(),
		fmt.Sprintf("ALTER TABLE %s RENAME TO %s", d.Qualified(d.Name.Dataset, d.Remade()), d.Ident(d.Name.Table)),
	}
}

// Describe writes down what the table is for.
func (d *Derived) Describe() string {
	return fmt.Sprintf("ALTER TABLE %s SET%s", d.table(), strings.ReplaceAll(d.layout(layout{kind: "derived", description: d.Description, labels: d.Labels}), "\n", " "))
}

// Explain writes down what columns mean.
func (d *Derived) Explain(columns []string) string {
	sets := make([]string, len(columns))
	for i, c := range columns {
		sets[i] = "\n  ALTER COLUMN " + d.Ident(c) + " SET" + d.remark(d.Remarks[c])
	}
	return "ALTER TABLE " + d.table() + strings.Join(sets, ",")
}

// Layout are the columns by which the table is kept.
func (d *Derived) Layout() (partition string, cluster []string) {
	for _, c := range d.Columns {
		if l := d.tableLayout(); d.Ident(c) == l.partition {
			partition = c
		}
	}
	for _, c := range d.Cluster {
		if slices.Contains(d.tableLayout().cluster, d.Ident(c)) {
			cluster = append(cluster, c)
		}
	}
	return partition, cluster
}

// AddRunImages adds columns to the table of images.
func (d *Derived) AddRunImages(names []string) string {
	adds := make([]string, len(names))
	for i, name := range names {
		adds[i] = "\n  ADD COLUMN IF NOT EXISTS " + d.Ident(name) + " " + d.typeOf(name)
	}
	return "ALTER TABLE " + d.Changes(d.Name) + strings.Join(adds, ",")
}

// FreshKeys is the query of the keys that queries give, whatever they call them.
// A key with a null in it owns nothing.
func (r *Run) FreshKeys(queries []string) string {
	nulls, present := make([]string, len(r.Owning)), make([]string, len(r.Owning))
	for i, c := range r.Owning {
		nulls[i] = "CAST(NULL AS " + r.typeOf(c) + ") AS " + r.Ident(c)
		present[i] = r.Ident(c) + " IS NOT NULL"
	}
	text := "(SELECT " + strings.Join(nulls, ", ") + " LIMIT 0)" // the names
	for _, q := range queries {
		text += "\nUNION ALL (\n" + q + "\n)"
	}
	return fmt.Sprintf("SELECT DISTINCT %s FROM (\n%s\n)\nWHERE %s", r.list(r.Owning), text, strings.Join(present, " AND "))
}

// DueKeys is the query of the keys that the run owns: those that are due, and
// those that are fresh, under the mark.
func (r *Run) DueKeys(fresh bool, mark int64) string {
	text := fmt.Sprintf("SELECT %s, mark FROM %s WHERE %s", r.list(r.Owning), r.Dirty(r.Name), r.isDue())
	if fresh {
		text += fmt.Sprintf("\nUNION ALL\nSELECT %s, %d FROM %s", r.list(r.Owning), mark, r.scratch(r.Fresh()))
	}
	return fmt.Sprintf("SELECT %s, MAX(mark) AS mark FROM (\n%s\n)\nGROUP BY %s", r.list(r.Owning), text, r.list(r.Owning))
}

// ReadKeys reads the keys that the run owns, at most so many.
func (r *Run) ReadKeys(most int) string {
	return fmt.Sprintf("SELECT %s FROM %s LIMIT %d", r.list(r.Owning), r.scratch(r.Keys()), most)
}

// What stands in the text of a query for the keys that its run owns: the relation
// of them, and what is behind IN where they are compared with.
const (
	AnyDirtyKeys    = "`millrace_dirty_keys`"
	AnyDirtyKeyList = "`millrace_dirty_key_list`"
)

// KeyList is the list of the keys in a relation, for IN.
func KeyList(d *Dialect, owning []string, relation string) string {
	keys := (&Derived{Dialect: d}).list(owning)
	return fmt.Sprintf("(SELECT (%s) FROM %s)", keys, relation)
}

// OwnKeys puts the run's keys into a query, in place of the names that stand for
// them. Where it compares with them, it compares with the literals, if there are
// any: only by those can the warehouse tell what it need not read.
func (r *Run) OwnKeys(query, literals string) string {
	if literals == "" {
		literals = KeyList(r.Dialect, r.Owning, r.scratch(r.Keys()))
	}
	var b strings.Builder
	for _, t := range sqltoken.Google(query) {
		switch text := query[t.Start:t.End]; text {
		case AnyDirtyKeyList:
			b.WriteString(literals)
		case AnyDirtyKeys:
			b.WriteString(r.scratch(r.Keys()))
		default:
			b.WriteString(text)
		}
	}
	return b.String()
}

// OwnBy makes the run's keys own the one part: by literals, or, without them, by
// their table.
func (r *Run) OwnBy(literals string) {
	r.queried = literals == ""
	r.Owned = []string{r.OwnKeys(fmt.Sprintf("(%s) IN %s", r.list(r.Owning), AnyDirtyKeyList), literals)}
}

// Compute is the query of all parts.
func (r *Run) Compute(queries []string) string {
	parts := make([]string, len(queries))
	for i, q := range queries {
		parts[i] = fmt.Sprintf("SELECT %s, %d AS %s FROM (\n%s\n)", r.list(r.Columns), i, ColPart, q)
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// Differ is the query of the published rows that a part's result does not have,
// and of those that only the result has. Rows are compared as bags, by their
// text: not every type has an equality.
func (r *Run) Differ() string {
	texts := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		texts[i] = "TO_JSON_STRING(" + r.Ident(c) + ")"
	}
	part := "0"
	if len(r.Owned) > 1 {
		part = "CASE"
		for i, owned := range r.Owned {
			part += fmt.Sprintf(" WHEN %s THEN %d", owned, i)
		}
		part += " END"
	}
	numbered := func(from, part string) string {
		return fmt.Sprintf("SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (\n  SELECT %s, %s AS _part, CONCAT(%s) AS _row\n  FROM %s\n)",
			r.list(r.Columns), part, strings.Join(texts, ", ',', "), from)
	}
	side := func(of, other string, gone string) string {
		columns := make([]string, len(r.Columns))
		for i, c := range r.Columns {
			columns[i] = of + "." + r.Ident(c) + " AS " + r.Ident(c)
		}
		return fmt.Sprintf("SELECT %[1]s, %[2]s._part AS _part, %[4]s AS %[5]s\nFROM %[2]s LEFT JOIN %[3]s ON %[2]s._part = %[3]s._part AND %[2]s._row = %[3]s._row AND %[2]s._n = %[3]s._n\nWHERE %[3]s._row IS NULL",
			strings.Join(columns, ", "), of, other, gone, ColGone)
	}
	return fmt.Sprintf("WITH published AS (\n%s\n), staged AS (\n%s\n)\n%s\nUNION ALL\n%s",
		numbered(r.table()+"\n  WHERE "+strings.Join(r.Owned, " OR "), part), numbered(r.scratch(r.Stage()), ColPart),
		side("published", "staged", "TRUE"), side("staged", "published", "FALSE"))
}

// What a row of Inspect is about.
const (
	InspectStaged  = 0 // part, rows
	InspectCheck   = 1 // part, check, rows that violate it; check 0: outside of what the part owns (G8)
	InspectChanged = 2 // part, rows that go, rows that come
	InspectBucket  = 3 // event time, bucket
	InspectOrphans = 4 // rows that the old code has left, whether it has taken some away
)

// RunCheck is what a result must fulfil: no row for which Violated holds, no two
// rows with the same values of Unique.
type RunCheck struct {
	Violated string
	Unique   []string
}

// Time is an event-time column.
type Time struct {
	Column string
	Kind   schemas.Kind
}

// Inspect is the query of all that is to be known of a run's result, and with
// forget of what the old code has left. Its rows are four numbers, the first of
// which says what the others are. Without parts, there is no stage.
func (r *Run) Inspect(parts int, checks []RunCheck, times []Time, forget bool) string {
	var out []string
	if parts > 0 {
		out = r.inspectParts(checks, times)
	}
	if forget {
		orphans := "0"
		if orphaned := r.orphaned(); orphaned != "" {
			orphans = fmt.Sprintf("(SELECT COUNT(*) FROM %s WHERE %s)", r.table(), orphaned)
		}
		out = append(out, fmt.Sprintf("SELECT %d AS what, %s AS a, (SELECT COUNT(*) FROM %s WHERE kind = '%s') AS b, 0 AS c", InspectOrphans, orphans, r.Needs(r.Name), KindEmptied))
	}
	return strings.Join(out, "\nUNION ALL\n")
}

// groups are the columns, to group rows by: those whose type cannot be grouped, by
// their text.
func (r *Run) groups(columns []string) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		if out[i] = r.Ident(c); !r.groupable(c) {
			out[i] = r.jsonText(out[i])
		}
	}
	return strings.Join(out, ", ")
}

func (d *Derived) groupable(column string) bool {
	t, known := d.parseType(BareType(d.typeOf(column)))
	return known && t.Kind != schemas.JSON || strings.HasSuffix(BareType(d.typeOf(column)), "NUMERIC")
}

func (r *Run) inspectParts(checks []RunCheck, times []Time) []string {
	stage := r.scratch(r.Stage())
	row := func(what int, a, b, c, from string) string {
		return fmt.Sprintf("SELECT %d AS what, %s AS a, %s AS b, %s AS c FROM %s", what, a, b, c, from)
	}
	out := []string{row(InspectStaged, ColPart, "COUNT(*)", "0", stage+" GROUP BY "+ColPart)}
	if len(r.Owned) > 0 {
		owned := r.Owned[0]
		if len(r.Owned) > 1 {
			owned = "CASE " + ColPart
			for i, o := range r.Owned {
				owned += fmt.Sprintf(" WHEN %d THEN %s", i, o)
			}
			owned += " END"
		}
		out = append(out, row(InspectCheck, ColPart, "0", "COUNT(*)", fmt.Sprintf("%s WHERE NOT COALESCE(%s, FALSE) GROUP BY %s", stage, owned, ColPart)))
	}
	for i, c := range checks {
		number := fmt.Sprint(i + 1)
		if len(c.Unique) == 0 {
			out = append(out, row(InspectCheck, ColPart, number, "COUNT(*)", fmt.Sprintf("%s WHERE (%s) GROUP BY %s", stage, c.Violated, ColPart)))
			continue
		}
		out = append(out, row(InspectCheck, ColPart, number, "COUNT(*)",
			fmt.Sprintf("(SELECT %s FROM %s GROUP BY %s, %s HAVING COUNT(*) > 1) GROUP BY %s", ColPart, stage, ColPart, r.groups(c.Unique), ColPart)))
	}
	changed := stage
	if !r.Append {
		changed = r.scratch(r.Diff())
		out = append(out, row(InspectChanged, ColPart, r.countIf(ColGone), r.countIf("NOT "+ColGone), changed+" GROUP BY "+ColPart))
	}
	for i, t := range times {
		out = append(out, row(InspectBucket, fmt.Sprint(i), "b", "0", fmt.Sprintf("(SELECT DISTINCT %s AS b FROM %s)", r.bucket(t.Kind, r.Ident(t.Column)), changed)))
	}
	return out
}
