package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schemas"
)

// A warehouse that numbers its rows writes a copy without MERGE: Write notes what
// the new rows are, the old ones are deleted by number, and the new ones inserted.

// The columns of what Write finds of the table beside the table's own: the numbers
// of the stage's row and of the table's that have one key.
const (
	colStageRow = "s_row"
	colTableRow = "t_row"
)

// Rewrites says that a load is written so, and not by Merge. A column of the table
// may bear the name of a number and hide it.
func (c *Core) Rewrites() bool {
	if c.rowID == "" || c.Mode == schemas.ModeAppend {
		return false
	}
	return !slices.ContainsFunc(c.Columns, func(col Column) bool {
		return slices.ContainsFunc([]string{c.rowID, colStageRow, colTableRow}, func(hidden string) bool { return strings.EqualFold(col.Name, hidden) })
	})
}

// kept are the ordinals of cells whose new values the effect holds beside those
// of watched columns: the stage alone does not tell them.
func (c *Core) kept(cells []cell) (ords []int) {
	watched := c.watched()
	for n, cell := range cells {
		if cell.assigned != "" && cell.merged != cell.inserted && !slices.Contains(watched, n) {
			ords = append(ords, n)
		}
	}
	return ords
}

// found is the stage's rows, s, with the table's that have their keys, t. Only the
// keys are read of all rows, the other columns of those that were found: a join
// by key alone would read all columns of all rows. Inner joins let the scan leave
// out what cannot match.
func (c *Core) found() string {
	cols := []string{ColPos, ColDeleted, ColBorn}
	if len(c.unsettable()) > 0 {
		cols = append(cols, ColUnset)
	}
	for i := range c.Columns {
		if !c.Columns[i].Key && (c.compares() || c.merged(i) != c.staged(i)) || slices.Contains(c.watched(), i) {
			cols = append(cols, c.col(i))
		}
	}
	return fmt.Sprintf(`WITH pairs AS MATERIALIZED (
  SELECT s.%[1]s AS %[2]s, t.%[1]s AS %[3]s FROM %[4]s AS s JOIN %[5]s AS t ON %[6]s
), old AS MATERIALIZED (
  SELECT p.%[2]s, p.%[3]s, t.%[7]s FROM pairs AS p JOIN %[5]s AS t ON t.%[1]s = p.%[3]s
)
`, c.rowID, colStageRow, colTableRow, c.Stage(), c.Base(c.Name), c.joinKeys(), strings.Join(cols, ", t."))
}

// Rewrite replaces the rows that Write has noted (G2): remove deletes what was
// there, as many as Replaced gives, and insert writes all of Counts.
func (c *Core) Rewrite(horizon schemas.Position, load, nowUs int64) (remove, insert string) {
	remove = fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT %s FROM %s WHERE NOT removed AND %[3]s IS NOT NULL)",
		c.Base(c.Name), c.rowID, colTableRow, c.Effect())
	cells := c.cells(horizon, load, nowUs)
	kept := append(c.kept(cells), c.watched()...)
	var names, values []string
	for n, cell := range cells {
		value := cell.inserted
		if slices.Contains(kept, n) {
			value = fmt.Sprintf("e.n%d", n)
		}
		names, values = append(names, cell.name), append(values, value)
	}
	insert = fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s\nFROM %s AS e JOIN %s AS s ON s.%s = e.%s\nWHERE NOT e.removed",
		c.Base(c.Name), strings.Join(names, ", "), strings.Join(values, ", "), c.Effect(), c.Stage(), c.rowID, colStageRow)
	return remove, insert
}

// Replaced gives how many rows the effect takes the place of.
func (c *Core) Replaced() string {
	return fmt.Sprintf("SELECT count(%s) FROM %s WHERE NOT removed", colTableRow, c.Effect())
}
