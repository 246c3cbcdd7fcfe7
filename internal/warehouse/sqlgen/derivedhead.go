package sqlgen

import (
	"fmt"
	"strings"
	"time"

	"millrace/schemas"
)

// Dirty is the table of what has to be computed again.
func (d *Dialect) Dirty(n Name) string { return d.Qualified(Schema, n.Own("dirty")) }

// CreateDerivedHead makes the head's table of a derived table; its one row is
// made by InsertDerivedHead.
func (d *Dialect) CreateDerivedHead(n Name) string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %[1]s (
  epoch %[2]s, fence %[2]s, load %[2]s, revision %[2]s, code_hash %[3]s, absorbed %[4]s,
  window_begin %[5]s, window_frontier %[5]s, complete_time %[6]s, ready %[7]s
)%[8]s`, d.Head(n), d.kind(schemas.Int), d.kind(schemas.String), d.kind(schemas.JSON), d.kind(schemas.DateTime), d.kind(schemas.Timestamp),
		d.kind(schemas.Bool), d.layout(layout{kind: "head"}))
}

// InsertDerivedHead makes the head of a table that no run has touched, unless
// there is one.
func (d *Dialect) InsertDerivedHead(n Name) string {
	return fmt.Sprintf("INSERT INTO %s\nSELECT %s\nWHERE NOT EXISTS (SELECT 1 FROM %s)", d.Head(n), d.newDerivedHead(), d.Head(n))
}

// newDerivedHead is the row of a head that no run has touched.
func (d *Dialect) newDerivedHead() string {
	civil, instant := d.null(schemas.Type{Kind: schemas.DateTime}), d.null(schemas.Type{Kind: schemas.Timestamp})
	return fmt.Sprintf(`0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, %s AS absorbed,
  %s AS window_begin, %s AS window_frontier, %s AS complete_time, FALSE AS ready`, d.toJSON("'null'"), civil, civil, instant)
}

// ReadDerivedHead reads the head's row.
func (d *Dialect) ReadDerivedHead(n Name) string {
	return fmt.Sprintf("SELECT epoch, load, revision, code_hash, %s AS absorbed, window_begin, window_frontier, complete_time, ready\nFROM %s", d.jsonText("absorbed"), d.Head(n))
}

// ReadInput reads how far a table is, for those that read it: its last load, up
// to when it is complete, whether it can be read, and up to which load its
// changes were swept.
func (d *Dialect) ReadInput(n Name, derived bool) string {
	ready := "snapshot_done AND NOT snapshot_running"
	if derived {
		ready = "ready"
	}
	return fmt.Sprintf("SELECT load, complete_time, %s AS ready,\n  (SELECT COALESCE(MAX(CAST(column_name AS %s)), 0) FROM %s WHERE kind = '%s') AS swept\nFROM %s",
		ready, d.kind(schemas.Int), d.Needs(n), KindSwept, d.Head(n))
}

// ReadInputs is ReadInput of several tables at once, numbered by i: derived says
// of what kind each is, and those of no kind are left out.
func (d *Dialect) ReadInputs(names []Name, derived func(i int) (is, there bool)) string {
	var out []string
	for i, n := range names {
		if is, there := derived(i); there {
			out = append(out, fmt.Sprintf("SELECT %d AS i, load, complete_time, ready, swept FROM (\n%s\n)", i, d.ReadInput(n, is)))
		}
	}
	return strings.Join(out, "\nUNION ALL\n")
}

// ChangesBetween is the relation of the images of the loads above after, up to and
// including through.
func (d *Dialect) ChangesBetween(n Name, after, through int64) string {
	return fmt.Sprintf("(SELECT * EXCEPT (%s, %s) FROM %s WHERE %s > %d AND %s <= %d)", ColLoad, ColImage, d.Changes(n), ColLoad, after, ColLoad, through)
}

// KindSwept is the kind of the row of needs that names, in place of a column,
// the load up to which changes were swept.
const KindSwept = "swept"

// LiveNeeds are the specs that need the changes of a table and were there since
// a moment, in microseconds since 1970.
func (d *Dialect) LiveNeeds(n Name, since int64) string {
	return fmt.Sprintf("SELECT DISTINCT spec FROM %s WHERE kind = 'change' AND seen_at >= %s ORDER BY spec", d.Needs(n), d.instant(since))
}

// SweepChanges removes the changes of the loads up to one, and says so.
func (d *Dialect) SweepChanges(n Name, through int64) []string {
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE %s <= %d", d.Changes(n), ColLoad, through),
		fmt.Sprintf("DELETE FROM %s WHERE kind = '%s'", d.Needs(n), KindSwept),
		fmt.Sprintf("INSERT INTO %s (spec, kind, column_name, seen_at) VALUES ('', '%s', '%d', %s)", d.Needs(n), KindSwept, through, d.now),
	}
}

// SweptSoFar says that there are no changes of the loads until now.
func (d *Dialect) SweptSoFar(n Name) string {
	return fmt.Sprintf("INSERT INTO %s (spec, kind, column_name, seen_at)\nSELECT '', '%s', CAST(load AS %s), %s FROM %s WHERE load > 0",
		d.Needs(n), KindSwept, d.kind(schemas.String), d.now, d.Head(n))
}

// TakeOverDerived raises the epoch and sets the revision, unless the head's is
// later. Parameter: the revision, negative to keep the head's.
func (d *Dialect) TakeOverDerived(n Name) string {
	return d.put(1, `UPDATE %[2]s SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(%[1]s AS %[3]s))
WHERE CAST(%[1]s AS %[3]s) < 0 OR revision <= CAST(%[1]s AS %[3]s)`, d.Head(n), d.kind(schemas.Int))
}

// AdvanceDerived moves the head, if the writer still owns it and knows it (G5).
// See Advance for fence. Parameters: load, code hash, absorbed, begin,
// frontier, complete time, ready, epoch, the load before, the hash before.
func (d *Dialect) AdvanceDerived(n Name) string {
	return d.put(10, `UPDATE %[11]s SET load = %[1]s, fence = fence + 1, code_hash = %[2]s, absorbed = %[12]s,
  window_begin = CAST(%[4]s AS %[13]s), window_frontier = CAST(%[5]s AS %[13]s), complete_time = CAST(%[6]s AS %[14]s), ready = %[7]s
WHERE epoch = %[8]s AND load = %[9]s AND code_hash = %[10]s`, d.Head(n), d.toJSON(d.param(3)), d.kind(schemas.DateTime), d.kind(schemas.Timestamp))
}

// dirtColumns stand behind what is dirty, a window or a key.
func (d *Dialect) dirtColumns() string {
	integer, text, instant := d.kind(schemas.Int), d.kind(schemas.String), d.kind(schemas.Timestamp)
	return fmt.Sprintf("mark %[1]s, backfill %[2]s, since %[3]s, cause %[4]s, error %[5]s, failures %[1]s, retry_at %[3]s",
		integer, d.kind(schemas.Bool), instant, d.kind(schemas.JSON), text)
}

// CreateDirty makes the table of what has to be computed: of windows, or of the
// owning keys.
func (d *Derived) CreateDirty() string {
	what := "window_start " + d.kind(schemas.DateTime)
	if len(d.Owning) > 0 {
		defs := make([]string, len(d.Owning))
		for i, c := range d.Owning {
			defs[i] = d.Ident(c) + " " + d.typeOf(c)
		}
		what = strings.Join(defs, ", ")
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, %s)%s", d.Dirty(d.Name), what, d.dirtColumns(), d.layout(layout{kind: "dirty"}))
}

// ReadDirty reads the dirty windows.
func (d *Derived) ReadDirty() string {
	return fmt.Sprintf(`SELECT window_start, mark, backfill, since, %s AS cause, error, failures, retry_at
FROM %s ORDER BY window_start`, d.jsonText("cause"), d.Dirty(d.Name))
}

// SumDirty sums up the dirty keys: how many, the greatest mark, whether any is
// due at once, the least time of a retry, the oldest, and why one is held.
func (d *Derived) SumDirty() string {
	return fmt.Sprintf("SELECT COUNT(*) AS n, COALESCE(MAX(mark), 0) AS mark, %s > 0 AS due, MIN(retry_at) AS retry_at, MIN(since) AS since, COALESCE(MAX(error), '') AS error\nFROM %s",
		d.countIf("retry_at IS NULL"), d.Dirty(d.Name))
}

// ClearWindow takes a window out of the dirt, unless its mark has risen.
// Parameters: the window, the mark.
func (d *Derived) ClearWindow() string {
	return fmt.Sprintf("DELETE FROM %s WHERE window_start = CAST(%s AS %s) AND mark <= %s", d.Dirty(d.Name), d.param(1), d.kind(schemas.DateTime), d.param(2))
}

// DirtyWindow is a row of the dirt, as literals of the warehouse's text.
type DirtyWindow struct {
	Window, Since, RetryAt time.Time // a zero RetryAt is none
	Mark                   int64
	Backfill               bool
	Cause                  string // JSON
	Error                  string
	Failures               int
}

// MarkWindows writes windows into the dirt, in place of what is there for them.
func (d *Derived) MarkWindows(dirt []DirtyWindow) []string {
	windows, rows := make([]string, len(dirt)), make([]string, len(dirt))
	for i, w := range dirt {
		windows[i], rows[i] = d.civil(w.Window), d.dirtRow(w, d.toJSON(d.Text(w.Cause)))
	}
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE window_start IN (%s)", d.Dirty(d.Name), strings.Join(windows, ", ")),
		fmt.Sprintf("INSERT INTO %s (window_start, %s) VALUES\n%s", d.Dirty(d.Name), dirtNames, strings.Join(rows, ",\n")),
	}
}

// dirtRow is a window of the dirt as a row of VALUES.
func (d *Dialect) dirtRow(w DirtyWindow, cause string) string {
	retry := "NULL"
	if !w.RetryAt.IsZero() {
		retry = d.instant(w.RetryAt.UnixMicro())
	}
	return fmt.Sprintf("(%s, %d, %t, %s, %s, %s, %d, %s)", d.civil(w.Window), w.Mark, w.Backfill, d.instant(w.Since.UnixMicro()), cause, d.Text(w.Error), w.Failures, retry)
}

const dirtNames = "mark, backfill, since, cause, error, failures, retry_at"

// civil is a literal of a civil time.
func (d *Dialect) civil(t time.Time) string {
	return d.kind(schemas.DateTime) + " " + d.Text(t.Format("2006-01-02 15:04:05"))
}

// ForgetAll empties the dirt.
func (d *Derived) ForgetAll() string { return "DELETE FROM " + d.Dirty(d.Name) + " WHERE TRUE" }

// MarkKeys puts the rows of a query, which are owning keys, into the dirt. A
// key with a null in it owns nothing.
func (d *Derived) MarkKeys(query string, mark int64) []string {
	keys := d.list(d.Owning)
	present := make([]string, len(d.Owning))
	for i, c := range d.Owning {
		present[i] = d.Ident(c) + " IS NOT NULL"
	}
	fresh := fmt.Sprintf("SELECT DISTINCT %s FROM (\n%s\n) AS q(%s) WHERE %s", keys, query, keys, strings.Join(present, " AND "))
	return []string{
		"DELETE FROM " + RunKeys,
		fmt.Sprintf("INSERT INTO %s SELECT *, %d FROM (%s)", RunKeys, mark, fresh),
		fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT (%s) FROM %s)", d.Dirty(d.Name), keys, keys, RunKeys),
		fmt.Sprintf("INSERT INTO %s SELECT %s, mark, FALSE, now(), '[]', '', 0, NULL FROM %s", d.Dirty(d.Name), keys, RunKeys),
	}
}

// isDue is the condition that a key of the dirt is not held.
func (d *Dialect) isDue() string { return "(retry_at IS NULL OR retry_at <= " + d.now + ")" }

// CaptureKeys notes the keys that are due: what the run owns.
func (d *Derived) CaptureKeys() []string {
	return []string{
		"DELETE FROM " + RunKeys,
		fmt.Sprintf("INSERT INTO %s SELECT %s, mark FROM %s WHERE %s", RunKeys, d.list(d.Owning), d.Dirty(d.Name), d.isDue()),
	}
}

// ClearKeys takes the captured keys out of the dirt, unless marked since.
func (d *Derived) ClearKeys() string {
	var same []string
	for _, c := range d.Owning {
		same = append(same, "k."+d.Ident(c)+" = t."+d.Ident(c))
	}
	return fmt.Sprintf("DELETE FROM %s AS t USING %s AS k WHERE %s AND t.mark <= k.mark", d.Dirty(d.Name), RunKeys, strings.Join(same, " AND "))
}

// HoldKeys holds the keys that are due. Parameters: error, failures, retry_at.
func (d *Derived) HoldKeys() string {
	return fmt.Sprintf("UPDATE %s SET error = %s, failures = %s, retry_at = CAST(%s AS %s) WHERE %s",
		d.Dirty(d.Name), d.param(1), d.param(2), d.param(3), d.kind(schemas.Timestamp), d.isDue())
}

// OwnedByKeys is the condition that the run's dirty keys own a row.
func (d *Derived) OwnedByKeys() string {
	return fmt.Sprintf("(%s) IN (SELECT (%s) FROM %s)", d.list(d.Owning), d.list(d.Owning), RunKeys)
}
