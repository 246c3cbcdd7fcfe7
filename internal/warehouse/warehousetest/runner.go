package warehousetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// RunnerHarness is a warehouse of its own for one test of its Runner.
type RunnerHarness struct {
	*Harness
	Runner   func() warehouse.Runner
	Spelling warehouse.Spelling
	// SQLType is the warehouse's word for a type.
	SQLType func(schemas.Type) string
	Nested  Nested
	// Drop takes a table away, as a person would.
	Drop func(t *testing.T, table string)
	// RunPoints are the points of a Commit in order, of which those from
	// RunCommitted on lie behind its commit.
	RunPoints    []string
	RunCommitted string
}

// RunRunner runs the suite of a warehouse.Runner. Queries are of literals, or of
// tables that the Loader fills: what a team's query may be is the dialect's.
func RunRunner(t *testing.T, open func(t *testing.T) *RunnerHarness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *RunnerHarness)
	}{
		{"AcquireRaisesTheEpoch", runnerAcquire},
		{"EarlierRevisionStaysOut", runnerRevision},
		{"WindowsAreReplaced", runnerWindows},
		{"SeveralPartsAtOnce", runnerParts},
		{"WholeTable", runnerWhole},
		{"RowsAreABag", runnerBag},
		{"DifferencesAreMerged", runnerMerge},
		{"MergeTouchesOwnRowsAlone", runnerMergeOwned},
		{"ListsAndStructs", runnerNested},
		{"DirtyKeys", runnerKeys},
		{"DirtyKeysOfTwoColumns", runnerTwoKeys},
		{"KeysOfEveryType", runnerKeyTypes},
		{"HeldKeys", runnerHeldKeys},
		{"AppendStampsItsLoad", runnerAppend},
		{"DirtIsKept", runnerDirt},
		{"MarkThatHasRisenStays", runnerRisenMark},
		{"ResultOutsideOfItsPart", runnerOutside},
		{"ChecksHoldARunBack", runnerChecks},
		{"ResultOfOtherTypes", runnerTypes},
		{"WrongEpochLoadOrHashIsFenced", runnerFenced},
		{"ColumnsComeAndGo", runnerColumns},
		{"ScopeChanges", runnerScope},
		{"WhatOwnsRowsChanges", runnerOrphans},
		{"TableTakenAwayByHand", runnerLost},
		{"LogTakenAwayByHand", runnerLostLog},
		{"CodeRolledBackBeforeItsFirstRun", runnerRolledBack},
		{"ImagesAndNeeds", runnerImages},
		{"SweepOfChanges", runnerSweep},
		{"InputsOfEveryKind", runnerInputs},
		{"TouchedOfAQuery", runnerTouched},
		{"DeathAtEveryPoint", runnerDeaths},
		{"ErrorAtEveryPoint", runnerErrors},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// owner is the one writer of a derived table.
type owner struct {
	h     *RunnerHarness
	table warehouse.DerivedTable
	head  warehouse.DerivedHead
}

var day0 = time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)

// columns of "day date, id int, name text, amount decimal".
func (h *RunnerHarness) columns(list string) (out []warehouse.ResultColumn) {
	kinds := map[string]schemas.Type{
		"date": {Kind: schemas.Date}, "int": {Kind: schemas.Int}, "text": {Kind: schemas.String}, "decimal": decimal(10, 2),
		"ts": {Kind: schemas.Timestamp}, "civil": {Kind: schemas.DateTime}, "bool": {Kind: schemas.Bool},
	}
	for _, def := range strings.Split(list, ", ") {
		name, kind, _ := strings.Cut(def, " ")
		out = append(out, warehouse.ResultColumn{Name: name, Type: kinds[kind], SQLType: h.SQLType(kinds[kind])})
	}
	return out
}

func (h *RunnerHarness) own(t *testing.T, table warehouse.DerivedTable) *owner {
	t.Helper()
	o := &owner{h: h, table: table}
	o.acquire(t)
	return o
}

func (o *owner) acquire(t *testing.T) {
	t.Helper()
	var err error
	o.head, err = o.h.Runner().Acquire(t.Context(), o.table, -1)
	must(t, err)
}

// windows is a table of windows of a day.
func (h *RunnerHarness) windows(t *testing.T) *owner {
	t.Helper()
	return h.own(t, warehouse.DerivedTable{Name: "analytics.days", Columns: h.columns("day date, name text, n int"), Window: "day", EventTimes: []string{"day"}})
}

// query gives the rows: lists of literals, null for none.
func (o *owner) query(rows ...string) string {
	if len(rows) == 0 {
		return o.query(strings.Repeat("null ", len(o.table.Columns))) + "\nLIMIT 0"
	}
	var out []string
	for _, row := range rows {
		var values []string
		for i, v := range strings.Fields(row) {
			c := o.table.Columns[i]
			switch v = strings.Trim(v, "'"); {
			case v == "null":
				v = "NULL"
			case c.Type.Kind.IsEventTime() || c.Type.Kind == schemas.String:
				v = "'" + v + "'"
			}
			values = append(values, fmt.Sprintf("CAST(%s AS %s) AS %s", v, c.SQLType, o.h.Spelling.Ident(c.Name)))
		}
		out = append(out, "SELECT "+strings.Join(values, ", "))
	}
	return strings.Join(out, " UNION ALL ") + " -- no end of line"
}

func (o *owner) day(n int) (text string, at time.Time) {
	at = day0.AddDate(0, 0, n-1)
	return at.Format(time.DateOnly), at
}

// window is the part of day n with the rows.
func (o *owner) window(n int, rows ...string) warehouse.Part {
	from, at := o.day(n)
	to, _ := o.day(n + 1)
	s := o.h.Spelling
	return warehouse.Part{
		Query: o.query(rows...), Dirt: warehouse.Dirt{Window: at, Mark: 1},
		Owned: fmt.Sprintf("(%s >= %s AND %s < %s)", s.Ident("day"), s.Literal(schemas.Date, from), s.Ident("day"), s.Literal(schemas.Date, to)),
	}
}

func (o *owner) step(parts ...warehouse.Part) *warehouse.Step {
	s := &warehouse.Step{
		Table: o.table, Epoch: o.head.Epoch, Load: o.head.Load, Head: o.head, WasHash: o.head.CodeHash, Parts: parts, Mode: schemas.ModeReplace,
		StartedAt: time.Now(), Cause: []schemas.Cause{{Table: "core.payments", Load: 3}},
	}
	if o.table.Append {
		s.Mode = schemas.ModeAppend
	}
	return s
}

// commit commits the step, and keeps the head that it leaves.
func (o *owner) commit(t *testing.T, s *warehouse.Step) schemas.LoadComplete {
	t.Helper()
	done, err := o.h.Runner().Commit(t.Context(), s)
	must(t, err)
	if done.Load != 0 && done.Load != s.Load+1 {
		t.Fatalf("run %d after %d", done.Load, s.Load)
	}
	epoch := o.head.Epoch
	o.head = s.Head
	o.head.Epoch, o.head.Load = epoch, max(s.Load, done.Load)
	return done
}

// want compares the table's rows with lists of values.
func (o *owner) want(t *testing.T, want ...string) {
	t.Helper()
	equalSets(t, o.table.Name, o.rows(t), want)
}

func (o *owner) rows(t *testing.T) (out []string) {
	t.Helper()
	table := warehouse.CoreTable{Name: o.table.Name}
	for _, c := range o.table.Columns {
		table.Columns = append(table.Columns, schemas.Column{Name: c.Name, Type: c.Type})
	}
	if o.table.Append {
		table.Columns = append(table.Columns, schemas.Column{Name: "_load", Type: schemas.Type{Kind: schemas.Int}})
	}
	for _, row := range o.h.View(t, table) {
		out = append(out, showCells(table.Columns, row))
	}
	return out
}

func showCells(columns []schemas.Column, row schemas.Row) string {
	out := make([]string, len(row))
	for i, c := range row {
		switch kind := columns[i].Type.Kind; {
		case c.Kind == schemas.Null:
			out[i] = "null"
		case kind == schemas.Date:
			out[i] = time.Unix(c.Int*86400, 0).UTC().Format(time.DateOnly)
		case kind == schemas.Timestamp || kind == schemas.DateTime:
			out[i] = time.UnixMicro(c.Int).UTC().Format("2006-01-02T15:04:05")
		case kind == schemas.Decimal:
			out[i] = string(schemas.AppendDecimalText(nil, c.Bytes, columns[i].Type.Scale))
		case kind == schemas.String:
			out[i] = string(c.Bytes)
		default:
			out[i] = fmt.Sprint(c.Int)
		}
	}
	return strings.Join(out, " ")
}

// logged are the numbers of the runs in the log.
func (o *owner) logged(t *testing.T) (out []schemas.LoadComplete) {
	t.Helper()
	events, err := o.h.Runner().Loads(t.Context(), o.table.Name, 0, 100)
	must(t, err)
	for i, e := range events {
		if e.Load != int64(i)+1 || e.Table != o.table.Name {
			t.Fatalf("event %d of the log is %+v", i+1, e)
		}
	}
	return events
}

func (o *owner) dirt(t *testing.T) ([]warehouse.Dirt, warehouse.KeyDirt) {
	t.Helper()
	dirt, keys, err := o.h.Runner().Dirt(t.Context(), o.table)
	must(t, err)
	return dirt, keys
}

func ranges(e schemas.LoadComplete) string {
	var out []string
	for _, t := range e.Touched {
		for _, r := range t.Ranges {
			out = append(out, t.Column+" "+r[0]+".."+r[1])
		}
		if t.Null {
			out = append(out, t.Column+" null")
		}
	}
	return strings.Join(out, ", ")
}
