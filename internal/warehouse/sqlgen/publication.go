package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schemas"
)

// Publication is what a run's transaction does.
type Publication struct {
	Head    []string // the literals of AdvanceDerived, in its order
	Load    int64    // the run's
	Changed []int    // the parts that changed
	// Forget takes away what the old code has left.
	Forget bool
	// Logged says that the run is in the log: it changed rows.
	Logged bool
	Mode   schemas.Mode
	// FreshKeys puts the fresh keys into the dirt, under KeyMark; ByKeys takes the
	// captured ones out of it.
	FreshKeys, ByKeys bool
	KeyMark           int64
	Dirt              []string // statements that leave the dirt as it is to be
	CommittedUs       int64
	Event             string
}

// Publish is the run's transaction as a script (G4). It gives what specs need.
func (r *Run) Publish(p Publication) string {
	out := []string{"BEGIN TRANSACTION", Bind(r.AdvanceDerived(r.Name), p.Head...), "ASSERT @@row_count = 1 AS " + r.Text(ReasonFenced)} // G5
	if p.Forget {
		if orphans := r.Orphans(); orphans != "" {
			out = append(out, orphans)
		}
		out = append(out, r.Told())
	}
	if len(p.Changed) > 0 {
		switch {
		case r.Append:
			out = append(out, fmt.Sprintf("INSERT INTO %s (%s, %s)\nSELECT %s, %d FROM %s", r.table(), r.list(r.Columns), ColLoad, r.list(r.Columns), p.Load, r.scratch(r.Stage())))
		case p.Mode == schemas.ModeMerge:
			out = append(out, r.merge())
		default:
			out = append(out, r.replace(p.Changed)...)
		}
		if r.KeepImages {
			out = append(out, r.keepImages(p.Load))
		}
	}
	if p.FreshKeys {
		keys := r.list(r.Owning)
		out = append(out,
			fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT (%s) FROM %s)", r.Dirty(r.Name), keys, keys, r.scratch(r.Fresh())),
			fmt.Sprintf("INSERT INTO %s (%s, %s)\nSELECT %s, %d, FALSE, %s, %s, '', 0, NULL FROM %s",
				r.Dirty(r.Name), keys, dirtNames, keys, p.KeyMark, r.now, r.toJSON("'[]'"), r.scratch(r.Fresh())))
	}
	if p.ByKeys {
		same := make([]string, len(r.Owning))
		for i, c := range r.Owning {
			same[i] = "k." + r.Ident(c) + " = t." + r.Ident(c)
		}
		out = append(out, fmt.Sprintf("DELETE FROM %s AS t WHERE EXISTS (SELECT 1 FROM %s AS k WHERE %s AND t.mark <= k.mark)",
			r.Dirty(r.Name), r.scratch(r.Keys()), strings.Join(same, " AND ")))
	}
	out = append(out, p.Dirt...)
	if p.Logged {
		out = append(out, Bind(r.LogLoad(r.Name), fmt.Sprint(p.Load), r.instant(p.CommittedUs), r.Text(p.Event)))
	}
	return script(append(out, "COMMIT TRANSACTION", "SELECT "+r.needsText(r.Name)+" AS needs")...)
}

// replace makes the owned rows of the parts those of their results.
func (r *Run) replace(parts []int) []string {
	owned, list := make([]string, len(parts)), make([]string, len(parts))
	for i, p := range parts {
		owned[i], list[i] = r.Owned[p], fmt.Sprint(p)
	}
	remove := fmt.Sprintf("DELETE FROM %s WHERE %s", r.table(), strings.Join(owned, " OR "))
	if len(parts) == 1 && owned[0] == "TRUE" {
		remove = "TRUNCATE TABLE " + r.table()
	}
	return []string{remove, fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE %s IN (%s)",
		r.table(), r.list(r.Columns), r.list(r.Columns), r.scratch(r.Stage()), ColPart, strings.Join(list, ", "))}
}

// merge writes the differences alone, by the key. The source's columns are
// numbered: the conditions on owned rows name columns of the table. Only the key's
// are told apart: not every type can be.
func (r *Run) merge() string {
	var come, keys, gone, values, on, same, sets []string
	for i, c := range r.Columns {
		n := fmt.Sprintf("_c%d", i)
		come, values = append(come, r.Ident(c)+" AS "+n), append(values, "s."+n)
		null := "CAST(NULL AS " + r.typeOf(c) + ")"
		if !slices.Contains(r.Key, c) {
			gone, sets = append(gone, null+" AS "+n), append(sets, r.assigned(c)+" = s."+n)
			continue
		}
		keys, gone = append(keys, "g."+r.Ident(c)+" AS "+n), append(gone, n)
		t, _ := r.parseType(r.typeOf(c))
		on, same = append(on, r.equal(t, "t."+r.Ident(c), "s."+n)), append(same, r.equal(t, "g."+r.Ident(c), "c."+r.Ident(c)))
	}
	// What is joined cannot be restricted by a query, and need not be.
	if owned := strings.Join(r.Owned, " OR "); owned != "TRUE" && !r.queried {
		on = append(on, "("+owned+")")
	}
	diff := r.scratch(r.Diff())
	update := ""
	if len(sets) > 0 {
		update = "\nWHEN MATCHED THEN UPDATE SET " + strings.Join(sets, ", ")
	}
	return fmt.Sprintf(`MERGE INTO %s AS t
USING (
  SELECT %s, FALSE AS gone FROM %s WHERE NOT %s
  UNION ALL
  SELECT %s, TRUE AS gone FROM (
    SELECT DISTINCT %s FROM %s AS g
    WHERE g.%s AND NOT EXISTS (SELECT 1 FROM %s AS c WHERE NOT c.%s AND %s)
  )
) AS s
ON %s
WHEN MATCHED AND s.gone THEN DELETE%s
WHEN NOT MATCHED AND NOT s.gone THEN INSERT (%s) VALUES (%s)`,
		r.table(), strings.Join(come, ", "), diff, ColGone, strings.Join(gone, ", "), strings.Join(keys, ", "), diff, ColGone, diff, ColGone, strings.Join(same, " AND "),
		strings.Join(on, " AND "), update, r.list(r.Columns), strings.Join(values, ", "))
}

// keepImages writes the old and new images of what the run changed.
func (r *Run) keepImages(load int64) string {
	columns := r.list(r.imageColumns())
	image, from := "CASE WHEN "+ColGone+" THEN 'old' ELSE 'new' END", r.scratch(r.Diff())
	if r.Append {
		image, from = "'new'", r.scratch(r.Stage())
	}
	return fmt.Sprintf("INSERT INTO %s (%s, %s, %s)\nSELECT %d, %s, %s FROM %s", r.Changes(r.Name), ColLoad, ColImage, columns, load, image, columns, from)
}

// ClearWindows takes windows out of the dirt, unless their marks have risen.
func (d *Derived) ClearWindows(windows []DirtyWindow) string {
	cleared := make([]string, len(windows))
	for i, w := range windows {
		cleared[i] = fmt.Sprintf("(window_start = %s AND mark <= %d)", d.civil(w.Window), w.Mark)
	}
	return fmt.Sprintf("DELETE FROM %s WHERE %s", d.Dirty(d.Name), strings.Join(cleared, " OR "))
}

// Marks is the scratch table of windows that are to become dirty, if they are too
// many for the text of a script.
func (r *Run) Marks() string { return r.ID + "__marks" }

// PutMarks writes windows into Marks, which it makes. What is put twice counts
// once.
func (r *Run) PutMarks(dirt []DirtyWindow) string {
	what := "window_start " + r.kind(schemas.DateTime) + ", " + strings.Replace(r.dirtColumns(), "cause "+r.kind(schemas.JSON), "cause "+r.kind(schemas.String), 1)
	rows := make([]string, len(dirt))
	for i, w := range dirt {
		rows[i] = r.dirtRow(w, r.Text(w.Cause))
	}
	out := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)", r.scratch(r.Marks()), what)}
	for at := range slices.Chunk(rows, rowsAtOnce) {
		out = append(out, fmt.Sprintf("INSERT INTO %s (window_start, %s) VALUES\n%s", r.scratch(r.Marks()), dirtNames, strings.Join(at, ",\n")))
	}
	return script(out...)
}

// rowsAtOnce bounds the length of a statement.
const rowsAtOnce = 500

// TakeMarks writes the windows of Marks into the dirt, as MarkWindows does.
func (r *Run) TakeMarks() []string {
	names := strings.Replace(dirtNames, "cause", r.toJSON("cause"), 1)
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE window_start IN (SELECT window_start FROM %s)", r.Dirty(r.Name), r.scratch(r.Marks())),
		fmt.Sprintf("INSERT INTO %s (window_start, %s)\nSELECT window_start, %s FROM (SELECT DISTINCT window_start, %s FROM %s)",
			r.Dirty(r.Name), dirtNames, names, dirtNames, r.scratch(r.Marks())),
	}
}
