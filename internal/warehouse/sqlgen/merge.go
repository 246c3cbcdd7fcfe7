package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// The expressions below are register.Apply in SQL, t the stored row, s the
// fold. above: the fold's position wins. A row that is not there is a marker at
// the horizon (G9).
const (
	above = "s.pos > t." + ColPos
	born  = "GREATEST(t." + ColBorn + ", s.born)"
)

// at is the position at which the fold carried column i, ” if it did not. The
// stage says it only where it is not the fold's own, with null.
func (c *Core) at(i int) string {
	if c.Columns[i].hasAt() {
		return fmt.Sprintf("COALESCE(s.at%d, s.pos)", i)
	}
	return "CASE WHEN s.op = 'd' THEN '' ELSE s.pos END"
}

// staged is the fold's value of column i.
func (c *Core) staged(i int) string {
	if c.Columns[i].Staged {
		return val(i)
	}
	return c.null(c.Columns[i].Type)
}

// unsettable are the columns that a stored row may not know.
func (c *Core) unsettable() (ords []int) {
	for i, col := range c.Columns {
		if col.Unsettable && !col.Key {
			ords = append(ords, i)
		}
	}
	return ords
}

func (c *Core) inUnset(i int) string {
	return fmt.Sprintf("STRPOS(t.%s, %s) > 0", ColUnset, c.Text(","+UnsetName(c.Columns[i].Name)+","))
}

// known is the position as of which the stored row knows column i, ” if it
// does not.
func (c *Core) known(i int) string {
	return fmt.Sprintf("CASE WHEN t.%s OR %s THEN '' ELSE t.%s END", ColDeleted, c.inUnset(i), ColPos)
}

// unknown says that neither the row nor the fold knows column i from its own
// life on.
func (c *Core) unknown(i int) string {
	best := fmt.Sprintf("GREATEST(%s, %s)", c.known(i), c.at(i))
	return fmt.Sprintf("%s = '' OR %s < %s", best, best, born)
}

// applies says that the fold changes the stored row: it is newer, or it knows
// a column that the row does not.
func (c *Core) applies() string {
	var fills []string
	for _, i := range c.unsettable() {
		fills = append(fills, fmt.Sprintf("%s AND %s <> '' AND %s >= %s", c.inUnset(i), c.at(i), c.at(i), born))
	}
	if len(fills) == 0 {
		return above
	}
	return fmt.Sprintf("(%s OR NOT t.%s AND (%s))", above, ColDeleted, strings.Join(fills, " OR "))
}

// merged is the value of column i in a stored row to which the fold applies.
func (c *Core) merged(i int) string {
	if c.Columns[i].Unsettable && !c.Columns[i].Key {
		return fmt.Sprintf("CASE WHEN s.op = 'd' AND %s THEN NULL WHEN %s THEN NULL WHEN %s > %s THEN %s ELSE t.%s END",
			above, c.unknown(i), c.at(i), c.known(i), c.staged(i), c.col(i))
	}
	if len(c.unsettable()) == 0 {
		return c.staged(i)
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s ELSE t.%s END", above, c.staged(i), c.col(i))
}

// absent says that an inserted row does not know column i.
func (c *Core) absent(i int, horizon string) string {
	return fmt.Sprintf("%s = '' OR %s < GREATEST(%s, s.born)", c.at(i), c.at(i), horizon)
}

// inserted is the value of column i in a row that was not there.
func (c *Core) inserted(i int, horizon string) string {
	if c.Columns[i].Unsettable && !c.Columns[i].Key {
		return fmt.Sprintf("CASE WHEN s.op = 'd' OR %s THEN NULL ELSE %s END", c.absent(i, horizon), c.staged(i))
	}
	return c.staged(i)
}

// unset is the text of _unset, given what says that a column is not known and
// that the row is deleted.
func (c *Core) unset(deleted string, unknown func(i int) string) string {
	var parts []string
	for _, i := range c.unsettable() {
		parts = append(parts, fmt.Sprintf("CASE WHEN %s THEN %s ELSE '' END", unknown(i), c.Text(UnsetName(c.Columns[i].Name)+",")))
	}
	if len(parts) == 0 {
		return "''"
	}
	list := "CONCAT(" + strings.Join(parts, ", ") + ")"
	return fmt.Sprintf("CASE WHEN %s OR %s = '' THEN '' ELSE CONCAT(',', %s) END", deleted, list, list)
}

// cell is a column of the base table as a load writes it: its value in a row that
// was there, and in one that was not. The key of a row that was there stays.
type cell struct {
	name, kind       string
	assigned         string // where SET names it; empty: it is of the key
	merged, inserted string
}

// cells are the columns that a load writes into a copy, first those of Columns.
func (c *Core) cells(horizon schemas.Position, load, nowUs int64) (out []cell) {
	h := c.Text(horizon.String())
	for i, col := range c.Columns {
		next := cell{name: c.col(i), kind: c.Type(col.Type), merged: c.merged(i), inserted: c.inserted(i, h)}
		if !col.Key {
			next.assigned = c.assigned(col.Name)
		}
		out = append(out, next)
	}
	add := func(name string, k schemas.Kind, merged, inserted string) {
		out = append(out, cell{name, c.kind(k), name, merged, inserted})
	}
	add(ColUnset, schemas.String, c.unset(above+" AND s.op = 'd'", c.unknown),
		c.unset("s.op = 'd'", func(i int) string { return c.absent(i, h) }))
	add(ColDeleted, schemas.Bool, fmt.Sprintf("CASE WHEN %s THEN s.op = 'd' ELSE t.%s END", above, ColDeleted), "s.op = 'd'")
	add(ColBorn, schemas.String, born, fmt.Sprintf("GREATEST(%s, s.born)", h))
	add(ColPos, schemas.String, fmt.Sprintf("GREATEST(t.%s, s.pos)", ColPos), "s.pos")
	add(ColLoad, schemas.Int, fmt.Sprint(load), fmt.Sprint(load))
	add(ColLoadedAt, schemas.Timestamp, c.instant(nowUs), c.instant(nowUs))
	return out
}

// Merge joins the stage with the table (G2). It stands behind Write.
func (c *Core) Merge(horizon schemas.Position, load, nowUs int64) string {
	var set, names, values []string
	for _, cell := range c.cells(horizon, load, nowUs) {
		if cell.assigned != "" {
			set = append(set, cell.assigned+" = "+cell.merged)
		}
		names, values = append(names, cell.name), append(values, cell.inserted)
	}
	return fmt.Sprintf("MERGE INTO %s AS t USING %s AS s\nON %s\nWHEN MATCHED AND %s THEN UPDATE SET\n  %s\n"+
		"WHEN NOT MATCHED AND s.pos >= %s THEN INSERT (%s)\nVALUES (\n  %s)",
		c.Base(c.Name), c.Stage(), c.joinKeys(), c.applies(), strings.Join(set, ",\n  "), c.Text(horizon.String()),
		strings.Join(names, ", "), strings.Join(values, ",\n  "))
}

// Append adds to a history what it does not have.
func (c *Core) Append(horizon schemas.Position, load, nowUs int64) string {
	var names, values []string
	for i, col := range c.Columns {
		if col.Staged {
			names, values = append(names, c.col(i)), append(values, val(i))
		}
	}
	names = append(names, ColOp, ColPos, ColTs, ColUnset, ColLoad, ColLoadedAt)
	values = append(values, "s.op", "s.pos", "s.ts", "s.unset", fmt.Sprint(load), c.instant(nowUs))
	return fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s\nFROM %s AS s LEFT JOIN %s AS t ON %s\nWHERE %s",
		c.Base(c.Name), strings.Join(names, ", "), strings.Join(values, ", "), c.Stage(), c.Base(c.Name), c.joinKeys(), c.fresh(horizon))
}

// fresh says that a change is not yet in the history.
func (c *Core) fresh(horizon schemas.Position) string {
	cond := "t." + ColPos + " IS NULL"
	if c.Horizons() {
		cond += " AND s.pos >= " + c.Text(horizon.String())
	}
	return cond
}

// Remove deletes every row below the horizon.
func (c *Core) Remove(horizon schemas.Position) string {
	return fmt.Sprintf("DELETE FROM %s WHERE %s < %s", c.Base(c.Name), ColPos, c.Text(horizon.String()))
}
