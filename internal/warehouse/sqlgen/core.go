package sqlgen

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schemas"
)

// Column is a column of a core table as it is, and as the batch at hand has it.
type Column struct {
	Name string
	Type schemas.Type // as the table holds it
	Key  bool
	// Unsettable says that rows may lack the value. Without it the column needs
	// no position of its own: it is carried whenever the row is.
	Unsettable bool
	// Staged says that the batch has the column. One that it has not is null as
	// of the change's position: the change was made under a version of the
	// source's table without it.
	Staged bool
}

// Core is a core table, with what a load needs to know of it. Its methods give
// one statement each.
type Core struct {
	*Dialect
	Name    Name
	Mode    schemas.Mode
	Columns []Column // the base table's, in its order
	// EventTimes and Changes are ordinals of columns: those whose touched ranges
	// loads list, and those whose old and new values loads keep. Changes does
	// not repeat the key's columns, which are kept with every image.
	EventTimes []int
	Changed    []int
	KeepImages bool
	// NullKeys says that a staged key holds a null, which finds its row only by
	// a comparison that is slower than equality on a large table.
	NullKeys bool
}

// Horizons says whether truncates and ends of snapshots remove rows: a history
// keeps what was, a copy does not.
func (c *Core) Horizons() bool { return c.Mode == schemas.ModeMerge || len(c.keys()) == 0 }

// byRow says that the effect notes the rows of the stage and of the table that
// belong together, so that Merge finds them again without their keys. A column
// of the table may bear the pseudo-column's name and hide it.
func (c *Core) byRow() bool {
	if c.rowID == "" || c.Mode == schemas.ModeAppend {
		return false
	}
	return !slices.ContainsFunc(c.Columns, func(col Column) bool { return strings.EqualFold(col.Name, c.rowID) })
}

func (c *Core) keys() (ords []int) {
	for i, col := range c.Columns {
		if col.Key {
			ords = append(ords, i)
		}
	}
	return ords
}

func (c *Core) col(i int) string { return c.Ident(c.Columns[i].Name) }

// Columns of the stage and of the effect are named by ordinals of the base
// table's columns, so that no user's name can collide with them.
func val(i int) string { return fmt.Sprintf("s.v%d", i) }

// CreateBase makes the table.
func (c *Core) CreateBase() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (\n", c.Base(c.Name))
	for i := range c.Columns {
		fmt.Fprintf(&b, "  %s %s,\n", c.col(i), c.Type(c.Columns[i].Type))
	}
	if c.Mode == schemas.ModeAppend {
		fmt.Fprintf(&b, "  %s VARCHAR,\n  %s VARCHAR,\n  %s %s,\n", ColOp, ColPos, ColTs, c.Type(schemas.Type{Kind: schemas.Timestamp}))
	} else {
		fmt.Fprintf(&b, "  %s VARCHAR,\n  %s BOOLEAN,\n  %s VARCHAR,\n", ColPos, ColDeleted, ColBorn)
	}
	fmt.Fprintf(&b, "  %s BIGINT,\n  %s VARCHAR,\n  %s %s,\n  %s JSON\n)",
		ColLoad, ColUnset, ColLoadedAt, c.Type(schemas.Type{Kind: schemas.Timestamp}), ColExtra)
	return b.String()
}

// CreateView makes the reader's view: of a copy, the user's columns of the rows
// that are not deleted; of a history, also what makes it one.
func (c *Core) CreateView() string {
	var names []string
	for i := range c.Columns {
		names = append(names, c.col(i))
	}
	if c.Mode == schemas.ModeAppend {
		names = append(names, ColOp, ColPos, ColTs, ColLoad, ColUnset)
	}
	text := fmt.Sprintf("CREATE OR REPLACE VIEW %s AS\nSELECT %s\nFROM %s",
		c.View(c.Name), strings.Join(names, ", "), c.Base(c.Name))
	if c.Mode != schemas.ModeAppend {
		text += "\nWHERE NOT " + ColDeleted
	}
	return text
}

// AddColumn adds column i to the table.
func (c *Core) AddColumn(i int) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", c.Base(c.Name), c.col(i), c.Type(c.Columns[i].Type))
}

// AlterType changes the type of column i, in the table named by a method of
// Dialect, to the type that Columns says.
func (c *Core) AlterType(table string, i int) string {
	return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s", table, c.col(i), c.Type(c.Columns[i].Type))
}

// CreateHead makes the head's table; its one row is made by InsertHead.
func (d *Dialect) CreateHead(n Name) string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
  name VARCHAR, mode VARCHAR, key JSON, epoch BIGINT, fence BIGINT, load BIGINT, topic VARCHAR, topic_id VARCHAR,
  offsets JSON, marks JSON, horizon VARCHAR, complete_pos VARCHAR, complete_time %s,
  snapshot_pos VARCHAR, snapshot_running BOOLEAN, snapshot_done BOOLEAN, unsettable JSON, generation BIGINT
)`, d.Head(n), d.Type(schemas.Type{Kind: schemas.Timestamp}))
}

// InsertHead makes the head of a table that no load has touched, unless there
// is one. Parameters: name, mode, key.
func (d *Dialect) InsertHead(n Name) string {
	return fmt.Sprintf(`INSERT INTO %s
SELECT CAST($1 AS VARCHAR), CAST($2 AS VARCHAR), CAST($3 AS VARCHAR), 0, 0, 0, '', '', '{}', '{}', '', '', NULL, '', FALSE, FALSE, '[]', 1
WHERE NOT EXISTS (SELECT 1 FROM %s)`, d.Head(n), d.Head(n))
}

// CreateLoads makes the log of loads.
func (d *Dialect) CreateLoads(n Name) string {
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (load BIGINT, committed_at %s, event JSON)",
		d.Loads(n), d.Type(schemas.Type{Kind: schemas.Timestamp}))
}

// CreateNeeds makes the table of what specs want kept.
func (d *Dialect) CreateNeeds(n Name) string {
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (spec VARCHAR, kind VARCHAR, column_name VARCHAR, seen_at %s)",
		d.Needs(n), d.Type(schemas.Type{Kind: schemas.Timestamp}))
}

// CreateChanges makes the table of images: the key's columns and the Changed.
func (c *Core) CreateChanges() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (%s BIGINT, %s VARCHAR", c.Changes(c.Name), ColLoad, ColImage)
	for _, i := range c.imageColumns() {
		fmt.Fprintf(&b, ", %s %s", c.col(i), c.Type(c.Columns[i].Type))
	}
	return b.String() + ")"
}

// AddImageColumn adds column i to the table of images.
func (c *Core) AddImageColumn(i int) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", c.Changes(c.Name), c.col(i), c.Type(c.Columns[i].Type))
}

func (c *Core) imageColumns() []int { return append(c.keys(), c.Changed...) }

// joinKeys is the condition that t and s are of one key.
func (c *Core) joinKeys() string {
	var on []string
	equal := "="
	if c.NullKeys {
		equal = c.nullSafe
	}
	for _, i := range c.keys() {
		on = append(on, fmt.Sprintf("t.%s %s %s", c.col(i), equal, val(i)))
	}
	if c.Mode == schemas.ModeAppend {
		on = append(on, fmt.Sprintf("t.%s = s.pos", ColPos))
	}
	return strings.Join(on, " AND ")
}
