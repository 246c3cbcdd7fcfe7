package sqlgen

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"millrace/schemas"
)

// A warehouse that runs scripts takes a load as one. Rows are staged before it
// in a table that lives long, under the batch's name.

// Columns of that table beside the stage's own.
const (
	ColBatch    = "_batch"
	ColStagedAt = "_staged_at"
)

// Reasons that the script's assertions give.
const (
	ReasonFenced    = "millrace: the head is not this writer's"
	ReasonLost      = "millrace: the stage has not the rows that were written to it"
	ReasonDuplicate = "millrace: two staged rows have one key"
	ReasonCount     = "millrace: another number of rows was written than was counted"
)

// stagingDays is how long a staged row is kept. The load that reads it begins
// within minutes.
const stagingDays = 1

// AllStaged is the table as its staging table has it: with every column.
func (c *Core) AllStaged() *Core {
	all := *c
	all.Columns = append([]Column(nil), c.Columns...)
	for i := range all.Columns {
		all.Columns[i].Staged = true
	}
	return &all
}

// Staging is the table into which rows of this layout are staged. Another
// layout is another table: no load waits until a new column can be written.
func (c *Core) Staging() string {
	names, types := c.AllStaged().StageColumns()
	hash := sha256.New()
	for _, col := range c.Columns {
		fmt.Fprintf(hash, "%d:%s,", len(col.Name), col.Name)
	}
	for i := range names {
		fmt.Fprintf(hash, "%s %s,", names[i], c.Type(types[i]))
	}
	return c.Name.Own("stage_" + hex.EncodeToString(hash.Sum(nil)[:4]))
}

// CreateStaging makes the staging table.
func (c *Core) CreateStaging() string {
	names, types := c.AllStaged().StageColumns()
	defs := make([]string, 0, len(names)+2)
	for i := range names {
		defs = append(defs, names[i]+" "+c.Type(types[i]))
	}
	defs = append(defs, ColBatch+" "+c.kind(schemas.String), ColStagedAt+" "+c.kind(schemas.Timestamp))
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)\nPARTITION BY TIMESTAMP_TRUNC(%s, HOUR)\nCLUSTER BY %s\nOPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = %d)",
		c.Qualified(Schema, c.Staging()), strings.Join(defs, ", "), ColStagedAt, ColBatch, stagingDays)
}

// CreateHeadRow makes the head's table with its row. Of two that do it at the
// same time, one makes it.
func (d *Dialect) CreateHeadRow(n Name, mode schemas.Mode, key, unsettable string) string {
	return d.CreateHead(n) + fmt.Sprintf(`
AS SELECT %s AS name, %s AS mode, %s AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  %s AS offsets, %s AS marks, '' AS horizon, '' AS complete_pos, %s AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, %s AS unsettable, 1 AS generation`,
		d.Text(n.String()), d.Text(string(mode)), d.toJSON(d.Text(key)), d.toJSON("'{}'"), d.toJSON("'{}'"),
		d.null(schemas.Type{Kind: schemas.Timestamp}), d.toJSON(d.Text(unsettable)))
}

// AddColumns adds columns in one statement: a table takes few changes in a
// while. Those that are there stay.
func (c *Core) AddColumns(ords []int) string { return c.addTo(c.Base(c.Name), ords, true) }

// AddImageColumns adds columns to the table of images.
func (c *Core) AddImageColumns(ords []int) string { return c.addTo(c.Changes(c.Name), ords, false) }

func (c *Core) addTo(table string, ords []int, described bool) string {
	adds := make([]string, len(ords))
	for n, i := range ords {
		adds[n] = "\n  ADD COLUMN IF NOT EXISTS " + c.col(i) + " " + c.Type(c.Columns[i].Type)
		if described {
			adds[n] += c.remark(c.Columns[i].Description)
		}
	}
	return "ALTER TABLE " + table + strings.Join(adds, ",")
}

// Describe writes down what the table is for.
func (c *Core) Describe() string {
	said := strings.ReplaceAll(c.layout(layout{kind: "core", description: c.Description}), "\n", " ")
	return "ALTER TABLE " + c.Base(c.Name) + " SET" + said
}

// Explain writes down what columns mean.
func (c *Core) Explain(ords []int) string {
	sets := make([]string, len(ords))
	for n, i := range ords {
		sets[n] = "\n  ALTER COLUMN " + c.col(i) + " SET" + c.remark(c.Columns[i].Description)
	}
	return "ALTER TABLE " + c.Base(c.Name) + strings.Join(sets, ",")
}

// CreateDatasets makes the datasets of a table.
func (d *Dialect) CreateDatasets(names ...string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "CREATE SCHEMA IF NOT EXISTS " + d.Ident(name)
	}
	return strings.Join(out, ";\n")
}

// TakeOverScript raises the epoch and gives the head's row, as literals say.
func (d *Dialect) TakeOverScript(n Name, topic, topicID string) string {
	return script(
		"BEGIN TRANSACTION",
		Bind(d.TakeOver(n), d.Text(topic), d.Text(topicID)),
		"ASSERT @@row_count = 1 AS "+d.Text(ReasonFenced),
		"CREATE TEMP TABLE taken AS\n"+d.ReadHead(n),
		"COMMIT TRANSACTION",
		"SELECT * FROM taken",
	)
}

// MoveOffsetsScript sets the offsets under the epoch.
func (d *Dialect) MoveOffsetsScript(n Name, offsets string, epoch int64) string {
	return script(
		"BEGIN TRANSACTION",
		Bind(d.MoveOffsets(n), d.Text(offsets), fmt.Sprint(epoch)),
		"ASSERT @@row_count = 1 AS "+d.Text(ReasonFenced),
		"COMMIT TRANSACTION",
	)
}

// Script joins statements that need no transaction.
func Script(statements ...string) string { return script(statements...) }

// NeedsScript replaces what a spec needs: pairs of kind and column.
func (d *Dialect) NeedsScript(n Name, spec string, needs [][2]string) string {
	statements := []string{"BEGIN TRANSACTION", fmt.Sprintf("DELETE FROM %s WHERE spec = %s", d.Needs(n), d.Text(spec))}
	if len(needs) > 0 {
		rows := make([]string, len(needs))
		for i, need := range needs {
			rows[i] = fmt.Sprintf("(%s, %s, %s, CURRENT_TIMESTAMP())", d.Text(spec), d.Text(need[0]), d.Text(need[1]))
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %s (spec, kind, column_name, seen_at) VALUES\n  %s", d.Needs(n), strings.Join(rows, ",\n  ")))
	}
	return script(append(statements, "COMMIT TRANSACTION")...)
}

// ReadNeeds reads what specs need.
func (d *Dialect) ReadNeeds(n Name) string {
	return fmt.Sprintf("SELECT spec, kind, column_name FROM %s ORDER BY spec, kind, column_name", d.Needs(n))
}

// LoadScript is one load as a script.
type LoadScript struct {
	Batch       string // the name of the staged rows
	StagedAtUs  int64
	Staged      int64
	Head        []string // the literals of Advance, in its order
	Load        int64
	CommittedUs int64
	Horizon     schemas.Position
	// Removes says that the horizon rises.
	Removes bool
	// Running says that a snapshot runs; MayRun, that rows of one say so if they
	// are written.
	Running, MayRun bool
	// The event's text is Event with what the script finds out between its
	// parts: members of its rows, whether a snapshot runs, and for each event time
	// a list of the buckets, in no order, or AllBuckets if they are too many.
	Event [4]string
}

// acts says that the load changes, or may change, a row.
func (l LoadScript) acts() bool { return l.Staged > 0 || l.Removes }

// Script is the load, from the staged rows to the event, which it gives.
func (c *Core) Script(l LoadScript) string {
	s := []string{
		"DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0",
		"DECLARE this_event STRING",
	}
	if l.acts() {
		s = append(s, c.CreateEffect())
	}
	if l.Staged > 0 {
		s = append(s,
			c.takeStaged(l),
			fmt.Sprintf("ASSERT (SELECT COUNT(*) FROM %s) = %d AS %s", c.Stage(), l.Staged, c.Text(ReasonLost)),
			fmt.Sprintf("ASSERT NOT EXISTS (%s) AS %s", c.DuplicateKey(), c.Text(ReasonDuplicate)))
	}
	s = append(s,
		"BEGIN TRANSACTION",
		Bind(c.Advance(c.Name), l.Head...),
		"ASSERT @@row_count = 1 AS "+c.Text(ReasonFenced)) // G5
	if l.Removes {
		s = append(s, c.Removed(l.Horizon), c.Remove(l.Horizon))
	}
	if l.Staged > 0 {
		write := c.Merge(l.Horizon, l.Load, l.CommittedUs)
		if c.Mode == schemas.ModeAppend {
			write = c.Append(l.Horizon, l.Load, l.CommittedUs)
		}
		s = append(s,
			c.Write(l.Horizon),
			"SET (n_written, n_inserted, n_updated, n_deleted, n_read) = (\n"+strings.Replace(c.Counts(), "SELECT ", "SELECT AS STRUCT ", 1)+"\n)",
			write,
			"ASSERT @@row_count = n_written AS "+c.Text(ReasonCount))
		if l.MayRun {
			s = append(s, "IF n_read > 0 THEN\n"+c.SetRunning(c.Name)+";\nEND IF")
		}
	}
	if c.KeepImages && l.acts() {
		s = append(s, c.KeepChanges(l.Load))
	}
	s = append(s,
		"SET this_event = "+c.event(l),
		Bind(c.LogLoad(c.Name), fmt.Sprint(l.Load), c.instant(l.CommittedUs), "this_event"),
		"COMMIT TRANSACTION",
		"SELECT this_event AS event, "+c.needsText(c.Name)+" AS needs")
	return script(s...)
}

// needsText is what specs need, as a list of lists: the next load takes it up.
func (d *Dialect) needsText(n Name) string {
	return fmt.Sprintf("COALESCE((\nSELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM %s\n), '[]')", d.Needs(n))
}

// takeStaged copies the batch's rows once: what else reads them does not read
// those of other batches again.
func (c *Core) takeStaged(l LoadScript) string {
	names, types := c.StageColumns()
	defs := make([]string, len(names))
	for i, name := range names {
		defs[i] = name + " " + c.Type(types[i]) // a query's result keeps no digits of a NUMERIC
	}
	return fmt.Sprintf("CREATE TEMP TABLE %s (%s) AS\nSELECT %s\nFROM %s\nWHERE %s = %s AND %s = %s", stageName, strings.Join(defs, ", "), strings.Join(names, ", "),
		c.Qualified(Schema, c.Staging()), ColBatch, c.Text(l.Batch), ColStagedAt, c.instant(l.StagedAtUs))
}

// AllBuckets stands, as JSON, for buckets that are too many to be listed.
const AllBuckets = `"all"`

// The event is a variable of the script, of which BigQuery takes 1 MB. Its buckets
// have, with their commas, ten bytes at most.
const (
	mostBuckets   = 20_000 // of a column
	mostOfColumns = 50_000 // of all columns
)

func (c *Core) mostBuckets() int { return min(mostBuckets, mostOfColumns/max(1, len(c.EventTimes))) }

// event is the expression of the event's text.
func (c *Core) event(l LoadScript) string {
	number := func(expr string) string { return "CAST(" + expr + " AS STRING)" }
	parts := []string{
		c.Text(l.Event[0]),
		`'"applied":'`, number("n_written"), `',"inserted":'`, number("n_inserted"), `',"updated":'`, number("n_updated"),
		`',"deleted":'`, number("n_deleted"), `',"stale":'`, number(fmt.Sprintf("%d - n_written", l.Staged)),
		c.Text(l.Event[1]),
	}
	running := c.Text(strconv.FormatBool(l.Running))
	if l.MayRun {
		running = "CASE WHEN n_read > 0 THEN 'true' ELSE 'false' END"
	}
	parts = append(parts, running, c.Text(l.Event[2]))
	for n, i := range c.EventTimes {
		if n > 0 {
			parts = append(parts, "','")
		}
		if !l.acts() {
			parts = append(parts, "'[]'")
			continue
		}
		parts = append(parts, fmt.Sprintf("(\nSELECT CASE WHEN COUNT(*) > %d THEN %s ELSE CONCAT('[', COALESCE(STRING_AGG(COALESCE(%s, 'null')), ''), ']') END FROM (\n%s\n))",
			c.mostBuckets(), c.Text(AllBuckets), number("b"), c.Buckets(i)))
	}
	return "CONCAT(" + strings.Join(append(parts, c.Text(l.Event[3])), ",\n  ") + ")"
}

func script(statements ...string) string { return strings.Join(statements, ";\n") + ";\n" }
