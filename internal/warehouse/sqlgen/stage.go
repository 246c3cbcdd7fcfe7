package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// Names of the temporary tables of a load. They live on its connection, or in
// its script.
const (
	stageName  = "millrace_stage"
	effectName = "millrace_effect"
)

// Stage holds the rows of a load.
func (d *Dialect) Stage() string { return d.temp + stageName }

// Effect holds what a load does to the table.
func (d *Dialect) Effect() string { return d.temp + effectName }

// StageColumns are the names of the stage's columns in order: the values of the
// staged columns by the base table's order, the positions at which unsettable
// ones were carried, and what the change is. With them come their types.
func (c *Core) StageColumns() (names []string, types []schemas.Type) {
	add := func(name string, t schemas.Type) { names, types = append(names, name), append(types, t) }
	for i, col := range c.Columns {
		if col.Staged {
			add(fmt.Sprintf("v%d", i), col.Type)
		}
	}
	text := schemas.Type{Kind: schemas.String}
	if c.Mode == schemas.ModeAppend {
		add("op", text)
		add("pos", text)
		add("ts", schemas.Type{Kind: schemas.Timestamp})
		add("unset", text)
		return names, types
	}
	for i, col := range c.Columns {
		if col.hasAt() {
			add(fmt.Sprintf("at%d", i), text)
		}
	}
	add("op", text)
	add("pos", text)
	add("born", text)
	return names, types
}

// hasAt reports whether the stage says where the column was carried.
func (col Column) hasAt() bool { return col.Staged && col.Unsettable && !col.Key }

// CreateStage makes an empty stage.
func (c *Core) CreateStage() string {
	names, types := c.StageColumns()
	for i := range names {
		names[i] += " " + c.Type(types[i])
	}
	return fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s (%s)", stageName, strings.Join(names, ", "))
}

// FillStage fills the stage from the table function, whose columns are the
// stage's.
func (c *Core) FillStage(function string) string {
	return fmt.Sprintf("INSERT INTO %s SELECT * FROM %s()", c.Stage(), function)
}

// RowNumber is a column of the table function beside the stage's, when it is
// asked what Refused asks: the row, counted from 0.
const RowNumber = "n"

// Refused gives, of the table function's rows that the stage cannot take, the
// number and per column, whose ordinals it returns, the position at which the
// value was carried if it is one that its column's type does not take.
func (c *Core) Refused(function string) (query string, staged []int) {
	var at, refused []string
	for i, col := range c.Columns {
		if !col.Staged {
			continue
		}
		pos := "pos"
		if c.Mode != schemas.ModeAppend && col.hasAt() {
			pos = fmt.Sprintf("COALESCE(at%d, pos)", i)
		}
		bad := fmt.Sprintf("v%d IS NOT NULL AND TRY_CAST(v%d AS %s) IS NULL", i, i, c.Type(col.Type))
		at = append(at, fmt.Sprintf("CASE WHEN %s THEN %s END", bad, pos))
		refused = append(refused, bad)
		staged = append(staged, i)
	}
	return fmt.Sprintf("SELECT %s,\n  %s\nFROM %s()\nWHERE %s",
		RowNumber, strings.Join(at, ",\n  "), function, strings.Join(refused, "\n  OR ")), staged
}

// CreateEffect makes an empty effect: one row for every row that the load
// removes, writes or inserts, with what it was and what it becomes.
func (c *Core) CreateEffect() string {
	boolean := c.kind(schemas.Bool)
	cols := []string{"removed " + boolean, "was " + boolean, "live " + boolean, "diff " + boolean, "op " + c.kind(schemas.String)}
	if c.Rewrites() {
		cols = append(cols, colStageRow+" "+c.kind(schemas.Int), colTableRow+" "+c.kind(schemas.Int))
	}
	if c.KeepImages {
		for _, i := range c.keys() {
			cols = append(cols, fmt.Sprintf("k%d %s", i, c.Type(c.Columns[i].Type)))
		}
	}
	for _, i := range c.watched() {
		cols = append(cols, fmt.Sprintf("o%d %s, n%d %s", i, c.Type(c.Columns[i].Type), i, c.Type(c.Columns[i].Type)))
	}
	if c.Rewrites() {
		cells := c.cells(schemas.Position{}, 0, 0)
		for _, n := range c.kept(cells) {
			cols = append(cols, fmt.Sprintf("n%d %s", n, cells[n].kind))
		}
	}
	return fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s (%s)", effectName, strings.Join(cols, ", "))
}

// DropTemp frees what the load held.
func (c *Core) DropTemp() []string {
	return []string{"DROP TABLE IF EXISTS " + c.Stage(), "DROP TABLE IF EXISTS " + c.Effect()}
}

// watched are the columns whose old and new values the effect holds.
func (c *Core) watched() []int {
	var out []int
	for i := range c.Columns {
		for _, w := range append(append([]int(nil), c.EventTimes...), c.Changed...) {
			if w == i {
				out = append(out, i)
				break
			}
		}
	}
	return out
}

// DuplicateKey gives a row if two staged rows have one key. MERGE would take
// one of them, or insert both, in silence.
func (c *Core) DuplicateKey() string {
	var by []string
	for _, i := range c.keys() {
		by = append(by, fmt.Sprintf("v%d", i))
	}
	if c.Mode == schemas.ModeAppend {
		by = append(by, "pos")
	}
	return fmt.Sprintf("SELECT max(pos) FROM %s GROUP BY %s HAVING count(*) > 1 LIMIT 1", c.Stage(), strings.Join(by, ", "))
}
