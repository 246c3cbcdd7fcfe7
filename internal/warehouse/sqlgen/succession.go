package sqlgen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/schemas"
)

// SuccessionScript is a succession as a script. Definitions cannot change in a
// transaction here. So what is only made comes before it, what takes something
// away comes behind it, and whoever finds the second part missing can do it again
// (Finish).
type SuccessionScript struct {
	Old         *Core // the table as it was
	Epoch, Load int64
	Head        []string // the literals of Succeed, in its order
	CommittedUs int64
	Event       string
	// From is what is taken in; nil if the rows stay. Its head is at FromLoad of
	// FromEpoch.
	From                *Core
	FromEpoch, FromLoad int64
	Images              bool // there is a table of images
}

// Succession is the script that makes c of what it was. c is the table in its
// next generation.
func (c *Core) Succession(s SuccessionScript) string {
	out := []string{c.isAt(c.Name, s.Epoch, s.Load-1)}
	if s.From != nil {
		out = append(out, c.isAt(s.From.Name, s.FromEpoch, s.FromLoad))
	}
	if s.From != nil && c.Mode == schemas.ModeAppend {
		// Nobody reads the rows yet. Once the step was taken these are the rows that
		// readers see: an old owner must not come as far as to write them (G5).
		out = append(out, "BEGIN TRANSACTION",
			fmt.Sprintf("UPDATE %s SET fence = fence + 1 WHERE epoch = %d AND load = %d - 1", c.Head(c.Name), s.Epoch, s.Load),
			"ASSERT @@row_count = 1 AS "+c.Text(ReasonFenced),
			fmt.Sprintf("UPDATE %s SET %s = %d WHERE TRUE", c.Base(c.Name), ColLoad, s.Load), "COMMIT TRANSACTION")
	}
	if c.Mode != schemas.ModeUpsert {
		out = append(out, c.CreateStaging())
	}
	if s.From != nil {
		// Readers may see the rows before they are announced, but not after (G6):
		// whoever reads the log reads the new rows.
		out = append(out, c.CreateView())
	} else {
		out = append(out, c.CreateBase())
	}
	out = append(out, "BEGIN TRANSACTION", Bind(c.Succeed(c.Name), s.Head...), "ASSERT @@row_count = 1 AS "+c.Text(ReasonFenced)) // G5
	if s.From != nil {
		// A load of it that comes later finds no head.
		out = append(out,
			fmt.Sprintf("DELETE FROM %s WHERE epoch = %d AND load = %d", c.Head(s.From.Name), s.FromEpoch, s.FromLoad),
			"ASSERT @@row_count = 1 AS "+c.Text(ReasonFenced))
	} else {
		out = append(out, fmt.Sprintf("DELETE FROM %s WHERE TRUE", c.Base(c.Name)), c.copyRows(s.Old))
	}
	if s.Images {
		out = append(out, fmt.Sprintf("DELETE FROM %s WHERE TRUE", c.Changes(c.Name)))
	}
	out = append(out,
		Bind(c.LogLoad(c.Name), fmt.Sprint(s.Load), c.instant(s.CommittedUs), c.Text(s.Event)),
		"COMMIT TRANSACTION")
	if s.From == nil {
		out = append(out, c.CreateView())
	}
	if s.Images {
		// Images of rows with another key are of no use to anybody.
		out = append(out, fmt.Sprintf("IF (SELECT COUNT(*) FROM %s) = 0 THEN\nDROP TABLE IF EXISTS %s;\nEND IF", c.Changes(c.Name), c.Changes(c.Name)))
	}
	return script(append(out, c.Leave(s.Old.Name, time.UnixMicro(s.CommittedUs))...)...)
}

// isAt asserts where a head is.
func (d *Dialect) isAt(n Name, epoch, load int64) string {
	return fmt.Sprintf("ASSERT (SELECT COUNT(*) FROM %s WHERE epoch = %d AND load = %d) = 1 AS %s", d.Head(n), epoch, load, d.Text(ReasonFenced))
}

// copyRows writes the rows that the table had into that of the generation.
func (c *Core) copyRows(old *Core) string {
	var names, values []string
	for i, was := range old.Columns {
		value := old.col(i)
		if c.Columns[i].Type != was.Type {
			value = "CAST(" + value + " AS " + c.Type(c.Columns[i].Type) + ")"
		}
		names, values = append(names, c.col(i)), append(values, value)
	}
	meta := []string{ColOp, ColPos, ColTs, ColLoad, ColUnset, ColLoadedAt, ColExtra}
	return fmt.Sprintf("INSERT INTO %s (%s)\nSELECT %s\nFROM %s",
		c.Base(c.Name), strings.Join(slices.Concat(names, meta), ", "), strings.Join(slices.Concat(values, meta), ", "), c.Base(old.Name))
}

// keptFor is how long rows of a generation that has ended stay where they were.
const keptFor = 24 * time.Hour

// Leave takes away what the generations from that of old up to the table's leave
// behind. Their rows go after a day: a query may read them still.
func (c *Core) Leave(old Name, at time.Time) []string {
	var out []string
	for g := max(old.Generation, 1); g < c.Name.Generation; g++ {
		old.Generation = g
		out = append(out, fmt.Sprintf("ALTER TABLE IF EXISTS %s SET OPTIONS (expiration_timestamp = TIMESTAMP '%s')",
			c.Base(old), at.Add(keptFor).UTC().Format(time.RFC3339)))
		gone := Name{Dataset: old.Dataset, Table: schemas.GenerationName(old.Table, g+1)}
		for _, own := range []string{c.Head(gone), c.Loads(gone), c.Needs(gone), c.Changes(gone)} {
			out = append(out, "DROP TABLE IF EXISTS "+own)
		}
		out = append(out, "DROP VIEW IF EXISTS "+c.View(gone)) // last: as long as it is there, something may be left
	}
	return out
}

// Finish does again what may be missing of a succession that was committed.
func (c *Core) Finish(at time.Time) string {
	first := c.Name
	first.Generation = 1
	return script(append([]string{c.CreateView()}, c.Leave(first, at)...)...)
}
