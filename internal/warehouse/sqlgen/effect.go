package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// Removed puts the live rows that Remove will delete into the effect.
func (c *Core) Removed(horizon schemas.Position) string {
	cols := []string{"TRUE", "TRUE", "FALSE", "TRUE", "''"}
	if c.Rewrites() {
		cols = append(cols, "NULL", "NULL")
	}
	if c.KeepImages {
		for _, i := range c.keys() {
			cols = append(cols, "t."+c.col(i))
		}
	}
	for _, i := range c.watched() {
		cols = append(cols, "t."+c.col(i), c.null(c.Columns[i].Type))
	}
	if c.Rewrites() {
		for range c.kept(c.cells(horizon, 0, 0)) {
			cols = append(cols, "NULL")
		}
	}
	where := fmt.Sprintf("t.%s < %s", ColPos, c.Text(horizon.String()))
	if c.Mode != schemas.ModeAppend {
		where += " AND NOT t." + ColDeleted
	}
	return fmt.Sprintf("INSERT INTO %s\nSELECT %s\nFROM %s AS t\nWHERE %s", c.Effect(), strings.Join(cols, ", "), c.Base(c.Name), where)
}

// compares says that somebody asks whether readers see a change: it reads every
// column.
func (c *Core) compares() bool { return c.KeepImages || len(c.EventTimes) > 0 }

// Write puts what Rewrite, Merge or Append will do into the effect. It stands
// behind Remove and before them. A row that keeps all that readers see of it has
// diff false: it counts, but it touches nothing.
func (c *Core) Write(horizon schemas.Position) string {
	if c.Mode == schemas.ModeAppend {
		return c.writeHistory(horizon)
	}
	h := c.Text(horizon.String())
	absent := "t." + ColPos + " IS NULL"
	was := fmt.Sprintf("(NOT %s AND NOT t.%s)", absent, ColDeleted)
	live := fmt.Sprintf("CASE WHEN %s OR %s THEN s.op <> 'd' ELSE NOT t.%s END", absent, above, ColDeleted)
	cells := c.cells(horizon, 0, 0)
	next := func(n int) string {
		if cells[n].inserted != cells[n].merged {
			return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", absent, cells[n].inserted, cells[n].merged)
		}
		return cells[n].inserted
	}
	diff := "TRUE"
	if c.compares() {
		same := []string{was, live}
		for i, col := range c.Columns {
			if !col.Key {
				same = append(same, c.same(col.Type, c.merged(i), "t."+c.col(i)))
			}
		}
		diff = fmt.Sprintf("(%s OR %s) AND NOT (%s)", was, live, strings.Join(same, "\n    AND "))
	}
	cols := []string{"FALSE", was, live, diff, "s.op"}
	with, from := "", fmt.Sprintf("%s AS s LEFT JOIN %s AS t ON %s", c.Stage(), c.Base(c.Name), c.joinKeys())
	var kept []int
	if c.Rewrites() {
		cols = append(cols, "s."+c.rowID, "t."+colTableRow)
		with, from = c.found(), fmt.Sprintf("%s AS s LEFT JOIN old AS t ON t.%s = s.%s", c.Stage(), colStageRow, c.rowID)
		kept = c.kept(cells)
	}
	if c.KeepImages {
		for _, i := range c.keys() {
			cols = append(cols, val(i))
		}
	}
	for _, i := range c.watched() {
		cols = append(cols, "t."+c.col(i), next(i))
	}
	for _, n := range kept {
		cols = append(cols, next(n))
	}
	return fmt.Sprintf("INSERT INTO %s\n%sSELECT %s\nFROM %s\nWHERE %s AND s.pos >= %s OR NOT %s AND %s",
		c.Effect(), with, strings.Join(cols, ",\n  "), from, absent, h, absent, c.applies())
}

func (c *Core) writeHistory(horizon schemas.Position) string {
	cols := []string{"FALSE", "FALSE", "TRUE", "TRUE", "s.op"}
	if c.KeepImages {
		for _, i := range c.keys() {
			cols = append(cols, val(i))
		}
	}
	for _, i := range c.watched() {
		cols = append(cols, c.null(c.Columns[i].Type), c.staged(i))
	}
	return fmt.Sprintf("INSERT INTO %s\nSELECT %s\nFROM %s AS s LEFT JOIN %s AS t ON %s\nWHERE %s",
		c.Effect(), strings.Join(cols, ",\n  "), c.Stage(), c.Base(c.Name), c.joinKeys(), c.fresh(horizon))
}

// Counts gives, of the rows that the effect writes: all, inserted, updated,
// deleted, and those that a snapshot read.
func (c *Core) Counts() string {
	return fmt.Sprintf("SELECT count(*), %s, %s,\n  %s, %s\nFROM %s WHERE NOT removed", c.countIf("live AND NOT was"), c.countIf("live AND was"),
		c.countIf("was AND NOT live"), c.countIf("op = 'r'"), c.Effect())
}

// Buckets gives the hours, or days, of column i that the effect touches: those
// of rows as they were and as they become. A null is one too.
func (c *Core) Buckets(i int) string {
	kind := c.Columns[i].Type.Kind
	return fmt.Sprintf(`SELECT DISTINCT b FROM (
  SELECT %s AS b FROM %s WHERE was AND diff
  UNION ALL
  SELECT %s FROM %s WHERE live AND diff
) ORDER BY b NULLS FIRST`, c.bucket(kind, fmt.Sprintf("o%d", i)), c.Effect(), c.bucket(kind, fmt.Sprintf("n%d", i)), c.Effect())
}

// KeepChanges writes the old and new images of the rows that changed.
func (c *Core) KeepChanges(load int64) string {
	names := []string{ColLoad, ColImage}
	oldVals := []string{fmt.Sprint(load), "'old'"}
	newVals := []string{fmt.Sprint(load), "'new'"}
	for _, i := range c.keys() {
		names = append(names, c.col(i))
		oldVals = append(oldVals, fmt.Sprintf("k%d", i))
		newVals = append(newVals, fmt.Sprintf("k%d", i))
	}
	for _, i := range c.Changed {
		names = append(names, c.col(i))
		oldVals = append(oldVals, fmt.Sprintf("o%d", i))
		newVals = append(newVals, fmt.Sprintf("n%d", i))
	}
	return fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s FROM %s WHERE was AND diff\nUNION ALL\nSELECT %s FROM %s WHERE live AND diff",
		c.Changes(c.Name), strings.Join(names, ", "), strings.Join(oldVals, ", "), c.Effect(), strings.Join(newVals, ", "), c.Effect())
}
