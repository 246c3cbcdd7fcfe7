package warehousetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// model is the table that the algebra gives.
type model struct {
	rows    map[string]register.Row
	keys    map[string]schemas.Row // the key's cells, also of deleted rows
	loads   map[string]int64       // the load that wrote the row
	horizon schemas.Position
}

func newModel() *model {
	return &model{rows: map[string]register.Row{}, keys: map[string]schemas.Row{}, loads: map[string]int64{}}
}

func (m *model) clone() *model {
	return &model{rows: maps.Clone(m.rows), keys: maps.Clone(m.keys), loads: maps.Clone(m.loads), horizon: m.horizon}
}

// effect is what a load does to a table, as its event and its images say it.
type effect struct {
	counts schemas.RowCounts
	old    []schemas.Row // whole rows before
	new    []schemas.Row
}

// apply loads folds behind a new horizon.
func (m *model) apply(table warehouse.CoreTable, load int64, horizon schemas.Position, folds []register.Change) (e effect) {
	m.horizon = schemas.MaxPosition(m.horizon, horizon)
	for k, row := range m.rows {
		if row.Pos.Less(m.horizon) {
			if !row.Deleted {
				e.old = append(e.old, m.whole(table, k, row))
			}
			delete(m.rows, k)
		}
	}
	for _, f := range folds {
		k := keyOf(table, f.V)
		was, found := m.rows[k]
		next, wrote := register.Apply(was, found, m.horizon, f)
		if !wrote {
			e.counts.Stale++
			continue
		}
		e.counts.Applied++
		before := found && !was.Deleted
		switch {
		case before && next.Deleted:
			e.counts.Deleted++
		case before:
			e.counts.Updated++
		case !next.Deleted:
			e.counts.Inserted++
		}
		if !found {
			m.keys[k] = slices.Clone(f.V)
		}
		m.rows[k], m.loads[k] = next, load
		if before && !next.Deleted && sameSeen(m.whole(table, k, was), m.whole(table, k, next)) {
			continue
		}
		if before {
			e.old = append(e.old, m.whole(table, k, was))
		}
		if !next.Deleted {
			e.new = append(e.new, m.whole(table, k, next))
		}
	}
	return e
}

// whole is the row with its key and with Null for what is not known.
func (m *model) whole(table warehouse.CoreTable, k string, row register.Row) schemas.Row {
	out := make(schemas.Row, len(table.Columns))
	for i := range out {
		out[i] = schemas.NullCell()
		if i < len(row.V) && row.V[i].Kind == schemas.Present {
			out[i] = row.V[i]
		}
	}
	for _, i := range keyOrds(table) {
		out[i] = m.keys[k][i]
	}
	return out
}

func sameSeen(a, b schemas.Row) bool {
	return slices.EqualFunc(a, b, func(x, y schemas.Cell) bool { return sameCell(x, y) })
}

func sameCell(x, y schemas.Cell) bool {
	return x.Kind == y.Kind && x.Int == y.Int && bytes.Equal(x.Bytes, y.Bytes)
}

// check compares the warehouse with the model.
func (m *model) check(t *testing.T, h *Harness, table warehouse.CoreTable) {
	t.Helper()
	if table.Mode == schemas.ModeUpsert {
		m.checkUpserts(t, h, table)
		return
	}
	got := h.Rows(t, table)
	seen := map[string]bool{}
	var live []string
	for _, r := range got {
		k := keyOf(table, r.V)
		if seen[k] {
			t.Fatalf("two rows of key %s", text(r.V))
		}
		seen[k] = true
		want, ok := m.rows[k]
		if !ok {
			t.Fatalf("row %s at %s should not be there", text(r.V), r.Pos)
		}
		whole := m.whole(table, k, want)
		var unset []string
		for i, c := range want.V {
			if c.Kind == schemas.Unset && !want.Deleted && !slices.Contains(keyOrds(table), i) {
				unset = append(unset, table.Columns[i].Name)
			}
		}
		slices.Sort(unset)
		slices.Sort(r.Unset)
		if !sameSeen(r.V, whole) || r.Pos != want.Pos || r.Born != want.Born || r.Deleted != want.Deleted ||
			!slices.Equal(r.Unset, unset) || r.Load != m.loads[k] {
			t.Fatalf("row: %s pos %s born %s deleted %v unset %q load %d\nwant %s pos %s born %s deleted %v unset %q load %d",
				text(r.V), r.Pos, r.Born, r.Deleted, r.Unset, r.Load,
				text(whole), want.Pos, want.Born, want.Deleted, unset, m.loads[k])
		}
		if !want.Deleted {
			live = append(live, text(whole))
		}
	}
	if len(seen) != len(m.rows) {
		t.Fatalf("%d rows, want %d", len(seen), len(m.rows))
	}
	equalSets(t, "view", texts(h.View(t, table)), live)
}

// touchedBy is what the effect touches by the column.
func (e effect) touchedBy(table warehouse.CoreTable, column string) schemas.Touched {
	ord := slices.IndexFunc(table.Columns, func(c schemas.Column) bool { return c.Name == column })
	kind, unit := table.Columns[ord].Type.Kind, int64(3_600_000_000)
	if kind == schemas.Date {
		unit = 1
	}
	set, null := map[int64]bool{}, false
	for _, row := range append(slices.Clone(e.old), e.new...) {
		if row[ord].Kind != schemas.Present {
			null = true
			continue
		}
		b := row[ord].Int / unit
		if row[ord].Int%unit < 0 {
			b--
		}
		set[b] = true
	}
	touched, _ := warehouse.Touch(column, kind, slices.Sorted(maps.Keys(set)), null)
	return touched
}

func text(row schemas.Row) string {
	var b strings.Builder
	for i, c := range row {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case c.Kind != schemas.Present:
			b.WriteByte('-')
		case c.Bytes != nil:
			fmt.Fprintf(&b, "%q", c.Bytes)
		default:
			fmt.Fprint(&b, c.Int)
		}
	}
	return b.String()
}

func texts(rows []schemas.Row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = text(r)
	}
	return out
}

func equalSets(t *testing.T, what string, got, want []string) {
	t.Helper()
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
