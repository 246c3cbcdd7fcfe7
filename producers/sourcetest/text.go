package sourcetest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"millrace/internal/register"
	"millrace/schemas"
)

// text is a cell as databases write it; only kinds that all write alike.
func text(c schemas.Column, cell schemas.Cell) string {
	switch {
	case cell.Kind == schemas.Unset:
		return "UNSET"
	case cell.Kind == schemas.Null:
		return "NULL"
	case c.Type.Kind == schemas.Decimal:
		return string(schemas.AppendDecimalText(nil, cell.Bytes, c.Type.Scale))
	case c.Type.Kind.InBytes():
		return string(cell.Bytes)
	}
	return strconv.FormatInt(cell.Int, 10)
}

func (h *Harness) rowText(t *schemas.Table, row schemas.Row) string {
	if row == nil {
		return "-"
	}
	var out []string
	for i, cell := range row {
		if !slices.Contains(h.Hidden, t.Columns[i].Name) {
			out = append(out, text(t.Columns[i], cell))
		}
	}
	return strings.Join(out, "|")
}

// number is a key, which may be held as its digits.
func number(c schemas.Cell) int64 {
	if c.Bytes == nil {
		return c.Int
	}
	n, _ := strconv.ParseInt(string(c.Bytes), 10, 64) // what is no number is no key of the suite
	return n
}

// describe is one line per change: op, and the row after it, or the key of a delete.
func (h *Harness) describe(changes []schemas.Change) string {
	var b strings.Builder
	for i := range changes {
		c := &changes[i]
		row := h.rowText(c.Table, c.After)
		if c.Op == schemas.Delete {
			row = keyText(c.Table, c.Before)
		}
		fmt.Fprintf(&b, "%s %s\n", c.Op, row)
	}
	return b.String()
}

func keyText(t *schemas.Table, row schemas.Row) string {
	var out []string
	for _, ord := range t.Key {
		if ord < len(row) {
			out = append(out, text(t.Columns[ord], row[ord]))
		}
	}
	return strings.Join(out, "|")
}

// fold applies the changes in the order given and returns the rows that are
// left, as Harness.Rows does for a table whose first column is its key. It is
// G2: any order and any repetition give the same.
func (h *Harness) fold(t *testing.T, table *schemas.Table, changes []schemas.Change) []string {
	t.Helper()
	type stored struct {
		row   register.Row
		found bool
	}
	rows := make(map[string]*stored)
	var horizon schemas.Position
	for i := range changes {
		if changes[i].Op == schemas.Truncate {
			horizon = schemas.MaxPosition(horizon, changes[i].Position)
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.Op == schemas.Truncate || c.Position.Less(horizon) {
			continue
		}
		image := c.After
		if c.Op == schemas.Delete {
			image = c.Before
		}
		key, err := schemas.AppendKey(nil, c.Table, image)
		if err != nil {
			t.Fatalf("%s at %v: %v", c.Op, c.Position, err)
		}
		s := rows[string(key)]
		if s == nil {
			s = &stored{}
			rows[string(key)] = s
		}
		var wrote bool
		s.row, wrote = register.Apply(s.row, s.found, horizon, register.FromChange(c, len(table.Columns)))
		s.found = s.found || wrote
	}
	var left []register.Row
	for _, s := range rows {
		if s.found && !s.row.Deleted {
			left = append(left, s.row)
		}
	}
	slices.SortFunc(left, func(a, b register.Row) int { return cmp.Compare(number(a.V[0]), number(b.V[0])) })
	var out []string
	for _, r := range left {
		out = append(out, h.rowText(table, r.V))
	}
	return out
}

func diff(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s: row %d of %d: got %q, want %q (of %d)", what, i, len(got), g, w, len(want))
		}
	}
}
