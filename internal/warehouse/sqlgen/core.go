package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// Column is a column of a core table as it is, and as the batch at hand has it.
type Column struct {
	Name string
	Type schemas.Type // as the table holds it
	Key  bool
	// Description is the source's comment, for a column that is made.
	Description string
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
	// Bounds holds, per ordinal of a key column, the least and the greatest
	// staged value as literals. What they bound out cannot match, and a
	// warehouse that keeps rows by key need not read it.
	Bounds      map[int][2]string
	Description string
}

// Horizons says whether truncates and ends of snapshots remove rows: a history
// keeps what was, a copy does not.
func (c *Core) Horizons() bool { return c.Mode == schemas.ModeMerge || len(c.keys()) == 0 }

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
	var defs []string
	for i, col := range c.Columns {
		defs = append(defs, c.col(i)+" "+c.Type(col.Type)+c.remark(col.Description))
	}
	add := func(name string, k schemas.Kind) { defs = append(defs, name+" "+c.kind(k)) }
	switch c.Mode {
	case schemas.ModeAppend:
		add(ColOp, schemas.String)
		add(ColPos, schemas.String)
		add(ColTs, schemas.Timestamp)
	case schemas.ModeUpsert:
		add(ColPos, schemas.String)
	default:
		add(ColPos, schemas.String)
		add(ColDeleted, schemas.Bool)
		add(ColBorn, schemas.String)
	}
	add(ColLoad, schemas.Int)
	if c.Mode != schemas.ModeUpsert {
		add(ColUnset, schemas.String)
	}
	add(ColLoadedAt, schemas.Timestamp)
	if c.Mode != schemas.ModeUpsert {
		add(ColExtra, schemas.JSON)
	}
	if key := c.declareKey(c.unenforcedKey()); key != "" {
		defs = append(defs, key)
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)%s", c.Base(c.Name), strings.Join(defs, ",\n  "), c.layout(c.baseLayout()))
}

// unenforcedKey is the key for whoever reads the catalog. Only a copy has each
// key once.
func (c *Core) unenforcedKey() (columns []string) {
	keys := c.keys()
	if c.Mode == schemas.ModeAppend || len(keys) > maxKey {
		return nil
	}
	for _, i := range keys {
		if !clusters(c.Columns[i].Type.Kind) {
			return nil
		}
		columns = append(columns, c.col(i))
	}
	return columns
}

// baseLayout is how the table is kept: by event time, and together what has
// near keys. Where the warehouse joins changes by key whenever rows are read, no
// filter by event time spares it anything, and a row could change its partition.
func (c *Core) baseLayout() layout {
	l := layout{description: c.Description, kind: "core"}
	if len(c.EventTimes) > 0 && c.Mode != schemas.ModeUpsert {
		l.partition, l.partKind = c.col(c.EventTimes[0]), c.Columns[c.EventTimes[0]].Type.Kind
	}
	for _, i := range c.keys() {
		if clusters(c.Columns[i].Type.Kind) && len(l.cluster) < maxCluster {
			l.cluster = append(l.cluster, c.col(i))
		}
	}
	return l
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
	text := fmt.Sprintf("CREATE OR REPLACE VIEW %s%s AS\nSELECT %s\nFROM %s",
		c.View(c.Name), c.layout(layout{kind: "view", description: c.Description, generation: max(c.Name.Generation, 1)}), strings.Join(names, ", "), c.Base(c.Name))
	if c.Mode == schemas.ModeMerge {
		text += "\nWHERE NOT " + ColDeleted
	}
	return text
}

// AddColumn adds column i to the table.
func (c *Core) AddColumn(i int) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s%s", c.Base(c.Name), c.col(i), c.Type(c.Columns[i].Type), c.remark(c.Columns[i].Description))
}

// AlterType changes the type of column i, in the table named by a method of
// Dialect, to the type that Columns says.
func (c *Core) AlterType(table string, i int) string {
	return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET DATA TYPE %s", table, c.col(i), c.Type(c.Columns[i].Type))
}

// CreateHead makes the head's table; its one row is made by InsertHead.
func (d *Dialect) CreateHead(n Name) string {
	text, integer, boolean, js := d.kind(schemas.String), d.kind(schemas.Int), d.kind(schemas.Bool), d.kind(schemas.JSON)
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %[1]s (
  name %[2]s, mode %[2]s, key %[5]s, epoch %[3]s, fence %[3]s, load %[3]s, topic %[2]s, topic_id %[2]s,
  offsets %[5]s, marks %[5]s, horizon %[2]s, complete_pos %[2]s, complete_time %[6]s,
  snapshot_pos %[2]s, snapshot_running %[4]s, snapshot_done %[4]s, unsettable %[5]s, generation %[3]s
)%[7]s`, d.Head(n), text, integer, boolean, js, d.kind(schemas.Timestamp), d.layout(layout{kind: "head"}))
}

// InsertHead makes the head of a table that no load has touched, unless there
// is one. Parameters: name, mode, key.
func (d *Dialect) InsertHead(n Name) string {
	text := d.kind(schemas.String)
	empty := func(js string) string { return d.toJSON(d.Text(js)) }
	return fmt.Sprintf(`INSERT INTO %s (name, mode, key, epoch, fence, load, topic, topic_id, offsets, marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, unsettable, generation)
SELECT CAST(%s AS %s), CAST(%s AS %s), %s, 0, 0, 0, '', '', %s, %s, '', '', %s, '', FALSE, FALSE, %s, 1
FROM (SELECT 1) AS one
WHERE NOT EXISTS (SELECT 1 FROM %s)`, d.Head(n), d.param(1), text, d.param(2), text, d.toJSON(d.param(3)),
		empty("{}"), empty("{}"), d.null(schemas.Type{Kind: schemas.Timestamp}), empty("[]"), d.Head(n))
}

// CreateLoads makes the log of loads.
func (d *Dialect) CreateLoads(n Name) string {
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (load %s, committed_at %s, event %s)%s",
		d.Loads(n), d.kind(schemas.Int), d.kind(schemas.Timestamp), d.kind(schemas.JSON), d.layout(layout{kind: "loads", cluster: []string{"load"}}))
}

// CreateNeeds makes the table of what specs want kept.
func (d *Dialect) CreateNeeds(n Name) string {
	text := d.kind(schemas.String)
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (spec %s, kind %s, column_name %s, seen_at %s)%s",
		d.Needs(n), text, text, text, d.kind(schemas.Timestamp), d.layout(layout{kind: "needs"}))
}

// CreateChanges makes the table of images: the key's columns and the Changed.
func (c *Core) CreateChanges() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (%s %s, %s %s", c.Changes(c.Name), ColLoad, c.kind(schemas.Int), ColImage, c.kind(schemas.String))
	for _, i := range c.imageColumns() {
		fmt.Fprintf(&b, ", %s %s", c.col(i), c.Type(c.Columns[i].Type))
	}
	return b.String() + ")" + c.layout(layout{kind: "changes", cluster: []string{ColLoad}})
}

// AddImageColumn adds column i to the table of images.
func (c *Core) AddImageColumn(i int) string {
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", c.Changes(c.Name), c.col(i), c.Type(c.Columns[i].Type))
}

func (c *Core) imageColumns() []int { return append(c.keys(), c.Changed...) }

// joinKeys is the condition that t and s are of one key.
func (c *Core) joinKeys() string {
	var on []string
	for _, i := range c.keys() {
		stored := "t." + c.col(i)
		if c.NullKeys {
			on = append(on, c.sameKey(c.Columns[i].Type, stored, val(i)))
			continue
		}
		on = append(on, c.equal(c.Columns[i].Type, stored, val(i)))
		if b, ok := c.Bounds[i]; ok {
			on = append(on, stored+" BETWEEN "+b[0]+" AND "+b[1])
		}
	}
	if c.Mode == schemas.ModeAppend {
		on = append(on, fmt.Sprintf("t.%s = s.pos", ColPos))
	}
	return strings.Join(on, " AND ")
}
