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
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
  epoch BIGINT, fence BIGINT, load BIGINT, revision BIGINT, code_hash VARCHAR, absorbed JSON,
  window_begin TIMESTAMP, window_frontier TIMESTAMP, complete_time %s, ready BOOLEAN
)`, d.Head(n), d.Type(schemas.Type{Kind: schemas.Timestamp}))
}

// InsertDerivedHead makes the head of a table that no run has touched, unless
// there is one.
func (d *Dialect) InsertDerivedHead(n Name) string {
	return fmt.Sprintf("INSERT INTO %s\nSELECT 0, 0, 0, 0, '', 'null', NULL, NULL, NULL, FALSE\nWHERE NOT EXISTS (SELECT 1 FROM %s)", d.Head(n), d.Head(n))
}

// ReadDerivedHead reads the head's row.
func (d *Dialect) ReadDerivedHead(n Name) string {
	return fmt.Sprintf("SELECT epoch, load, revision, code_hash, CAST(absorbed AS VARCHAR), window_begin, window_frontier, complete_time, ready\nFROM %s", d.Head(n))
}

// ReadInput reads how far a table is, for those that read it: its last load, up
// to when it is complete, whether it can be read, and up to which load its
// changes were swept.
func (d *Dialect) ReadInput(n Name, derived bool) string {
	ready := "snapshot_done AND NOT snapshot_running"
	if derived {
		ready = "ready"
	}
	return fmt.Sprintf("SELECT load, complete_time, %s,\n  (SELECT coalesce(max(CAST(column_name AS BIGINT)), 0) FROM %s WHERE kind = '%s')\nFROM %s", ready, d.Needs(n), KindSwept, d.Head(n))
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
		fmt.Sprintf("INSERT INTO %s VALUES ('', '%s', '%d', now())", d.Needs(n), KindSwept, through),
	}
}

// TakeOverDerived raises the epoch and sets the revision, unless the head's is
// later. Parameter: the revision, negative to keep the head's.
func (d *Dialect) TakeOverDerived(n Name) string {
	return fmt.Sprintf(`UPDATE %s SET epoch = epoch + 1, fence = fence + 1, revision = greatest(revision, CAST($1 AS BIGINT))
WHERE CAST($1 AS BIGINT) < 0 OR revision <= CAST($1 AS BIGINT)`, d.Head(n))
}

// AdvanceDerived moves the head, if the writer still owns it and knows it (G5).
// See Advance for fence. Parameters: load, code hash, absorbed, begin,
// frontier, complete time, ready, epoch, the load before, the hash before.
func (d *Dialect) AdvanceDerived(n Name) string {
	return fmt.Sprintf(`UPDATE %s SET load = $1, fence = fence + 1, code_hash = $2, absorbed = CAST($3 AS VARCHAR),
  window_begin = CAST($4 AS TIMESTAMP), window_frontier = CAST($5 AS TIMESTAMP), complete_time = CAST($6 AS TIMESTAMPTZ), ready = $7
WHERE epoch = $8 AND load = $9 AND code_hash = $10`, d.Head(n))
}

// dirtColumns stand behind what is dirty, a window or a key.
const dirtColumns = "mark BIGINT, backfill BOOLEAN, since TIMESTAMPTZ, cause JSON, error VARCHAR, failures INTEGER, retry_at TIMESTAMPTZ"

// CreateDirty makes the table of what has to be computed: of windows, or of the
// owning keys.
func (d *Derived) CreateDirty() string {
	what := "window_start TIMESTAMP"
	if len(d.Owning) > 0 {
		defs := make([]string, len(d.Owning))
		for i, c := range d.Owning {
			defs[i] = d.Ident(c) + " " + d.typeOf(c)
		}
		what = strings.Join(defs, ", ")
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, %s)", d.Dirty(d.Name), what, dirtColumns)
}

// ReadDirty reads the dirty windows.
func (d *Derived) ReadDirty() string {
	return fmt.Sprintf(`SELECT window_start, mark, backfill, since, CAST(cause AS VARCHAR), error, failures, retry_at
FROM %s ORDER BY window_start`, d.Dirty(d.Name))
}

// SumDirty sums up the dirty keys: how many, the greatest mark, whether any is
// due at once, the least time of a retry, the oldest, and why one is held.
func (d *Derived) SumDirty() string {
	return fmt.Sprintf("SELECT count(*), coalesce(max(mark), 0), coalesce(bool_or(retry_at IS NULL), FALSE), min(retry_at), min(since), coalesce(max(error), '') FROM %s", d.Dirty(d.Name))
}

// ClearWindow takes a window out of the dirt, unless its mark has risen.
// Parameters: the window, the mark.
func (d *Derived) ClearWindow() string {
	return fmt.Sprintf("DELETE FROM %s WHERE window_start = CAST($1 AS TIMESTAMP) AND mark <= $2", d.Dirty(d.Name))
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
		windows[i] = "TIMESTAMP " + d.Text(w.Window.Format(civilLayout))
		retry := "NULL"
		if !w.RetryAt.IsZero() {
			retry = d.instant(w.RetryAt.UnixMicro())
		}
		rows[i] = fmt.Sprintf("(%s, %d, %t, %s, %s, %s, %d, %s)", windows[i], w.Mark, w.Backfill, d.instant(w.Since.UnixMicro()),
			d.Text(w.Cause), d.Text(w.Error), w.Failures, retry)
	}
	return []string{
		fmt.Sprintf("DELETE FROM %s WHERE window_start IN (%s)", d.Dirty(d.Name), strings.Join(windows, ", ")),
		fmt.Sprintf("INSERT INTO %s VALUES\n%s", d.Dirty(d.Name), strings.Join(rows, ",\n")),
	}
}

// ForgetAll empties the dirt.
func (d *Derived) ForgetAll() string { return "DELETE FROM " + d.Dirty(d.Name) }

const civilLayout = "2006-01-02 15:04:05"

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

// CaptureKeys notes the keys that are due: what the run owns.
func (d *Derived) CaptureKeys() []string {
	return []string{
		"DELETE FROM " + RunKeys,
		fmt.Sprintf("INSERT INTO %s SELECT %s, mark FROM %s WHERE retry_at IS NULL OR retry_at <= now()", RunKeys, d.list(d.Owning), d.Dirty(d.Name)),
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
	return fmt.Sprintf("UPDATE %s SET error = $1, failures = $2, retry_at = CAST($3 AS TIMESTAMPTZ) WHERE retry_at IS NULL OR retry_at <= now()", d.Dirty(d.Name))
}

// OwnedByKeys is the condition that the run's dirty keys own a row.
func (d *Derived) OwnedByKeys() string {
	return fmt.Sprintf("(%s) IN (SELECT (%s) FROM %s)", d.list(d.Owning), d.list(d.Owning), RunKeys)
}
