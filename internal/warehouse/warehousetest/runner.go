package warehousetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/fault"
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
	return h.own(t, warehouse.DerivedTable{Name: "analytics.days", Columns: h.columns("day date, name text, n int"), EventTimes: []string{"day"}})
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

func runnerAcquire(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	if o.head.Load != 0 || o.head.Absorbed != nil || o.head.CodeHash != "" || o.head.Ready || !o.head.Begin.IsZero() || !o.head.Complete.IsZero() {
		t.Fatalf("a new head is %+v", o.head)
	}
	s := o.step(o.window(1, "2024-03-01 tea 1"))
	s.Head = warehouse.DerivedHead{
		CodeHash: "it's", Absorbed: map[string]int64{"core.payments": 12}, Begin: day0, Frontier: day0.AddDate(0, 0, 2),
		Complete: day0.Add(90*time.Minute + 5*time.Microsecond), Ready: true,
	}
	o.commit(t, s)
	epoch := o.head.Epoch
	h.Crash(t)
	o.acquire(t)
	got := o.head
	if got.Epoch != epoch+1 || got.Load != 1 || got.CodeHash != "it's" || got.Absorbed["core.payments"] != 12 || !got.Begin.Equal(s.Head.Begin) ||
		!got.Frontier.Equal(s.Head.Frontier) || !got.Complete.Equal(s.Head.Complete) || !got.Ready {
		t.Fatalf("head %+v, want %+v", got, s.Head)
	}
	o.want(t, "2024-03-01 tea 1")
}

func runnerRevision(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	for _, c := range []struct {
		revision, want int64
		refused        bool
	}{{3, 3, false}, {3, 3, false}, {2, 0, true}, {-1, 3, false}, {4, 4, false}} {
		head, err := h.Runner().Acquire(t.Context(), o.table, c.revision)
		if c.refused != errors.Is(err, warehouse.ErrRevision) || err == nil && head.Revision != c.want {
			t.Fatalf("revision %d: %+v %v", c.revision, head, err)
		}
		if err == nil {
			o.head = head
		}
	}
	// Who was refused has taken nothing away.
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
	o.want(t, "2024-03-01 tea 1")
}

func runnerWindows(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	done := o.commit(t, o.step(o.window(1, "2024-03-01 tea 1", "2024-03-01 cup 2")))
	if done.Load != 1 || done.Rows.Inserted != 2 || done.Rows.Deleted != 0 || ranges(done) != "day 2024-03-01..2024-03-02" || len(done.Cause) != 1 {
		t.Fatalf("event %+v", done)
	}
	o.commit(t, o.step(o.window(2, "2024-03-02 tea 5")))
	done = o.commit(t, o.step(o.window(1, "2024-03-01 tea 1", "2024-03-01 cup 3")))
	if done.Load != 3 || done.Rows.Inserted != 1 || done.Rows.Deleted != 1 {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "2024-03-01 tea 1", "2024-03-01 cup 3", "2024-03-02 tea 5")
	// The same again is progress alone.
	s := o.step(o.window(1, "2024-03-01 cup 3", "2024-03-01 tea 1"))
	s.Head.Absorbed = map[string]int64{"core.payments": 7}
	if done := o.commit(t, s); done.Load != 0 || len(done.Touched) > 0 {
		t.Fatalf("a run that changes nothing: %+v", done)
	}
	// An emptied window is emptied (G8).
	done = o.commit(t, o.step(o.window(1)))
	if done.Load != 4 || done.Rows.Deleted != 2 || ranges(done) != "day 2024-03-01..2024-03-02" {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "2024-03-02 tea 5")
	events := o.logged(t)
	if len(events) != 4 || ranges(events[3]) != ranges(done) || events[3].Rows != done.Rows || events[0].Cause[0].Table != "core.payments" {
		t.Fatalf("log %+v", events)
	}
	o.acquire(t)
	if o.head.Load != 4 || o.head.Absorbed["core.payments"] != 7 {
		t.Fatalf("head %+v", o.head)
	}
}

func runnerParts(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	var parts []warehouse.Part
	var want []string
	for n := 1; n <= 8; n++ {
		text, _ := o.day(n)
		row := fmt.Sprintf("%s tea %d", text, n)
		parts, want = append(parts, o.window(n, row)), append(want, row)
	}
	done := o.commit(t, o.step(parts...))
	if done.Rows.Inserted != 8 || ranges(done) != "day 2024-03-01..2024-03-09" {
		t.Fatalf("event %+v", done)
	}
	o.want(t, want...)
	parts[2], parts[5] = o.window(3, "2024-03-03 pot 3"), o.window(6)
	done = o.commit(t, o.step(parts...))
	if done.Rows.Inserted != 1 || done.Rows.Deleted != 2 || ranges(done) != "day 2024-03-03..2024-03-04, day 2024-03-06..2024-03-07" {
		t.Fatalf("event %+v", done)
	}
	want[2] = "2024-03-03 pot 3"
	o.want(t, slices.Delete(want, 5, 6)...)
}

func runnerWhole(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.totals", Columns: h.columns("name text, amount decimal")})
	whole := func(rows ...string) warehouse.Part { return warehouse.Part{Query: o.query(rows...), Owned: "TRUE"} }
	o.commit(t, o.step(whole("tea 1.50", "cup null")))
	done := o.commit(t, o.step(whole("tea 1.50", "null 2.25")))
	if done.Rows.Inserted != 1 || done.Rows.Deleted != 1 || len(done.Touched) > 0 {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "tea 1.50", "null 2.25")
	o.commit(t, o.step(whole()))
	o.want(t)
}

func runnerBag(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.bag", Columns: h.columns("name text, n int")})
	whole := func(rows ...string) warehouse.Part { return warehouse.Part{Query: o.query(rows...), Owned: "TRUE"} }
	for _, c := range []struct {
		rows       []string
		gone, come int64
	}{
		{[]string{"a 1", "a 1", "null null"}, 0, 3},
		{[]string{"a 1", "a 1", "a 1", "null null"}, 0, 1},
		{[]string{"null null", "a 1", "a 1", "a 1"}, 0, 0},
		{[]string{"a 1", "null null", "null null"}, 2, 1},
		{[]string{"a null", "null 1"}, 3, 2},
	} {
		done := o.commit(t, o.step(whole(c.rows...)))
		if done.Rows.Deleted != c.gone || done.Rows.Inserted != c.come || (done.Load == 0) != (c.gone+c.come == 0) {
			t.Fatalf("%v: event %+v", c.rows, done)
		}
		o.want(t, c.rows...)
	}
}

func runnerMerge(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.merged", Columns: h.columns("day date, name text, n int"), Key: []string{"day", "name"}, EventTimes: []string{"day"}})
	merge := func(parts ...warehouse.Part) *warehouse.Step {
		s := o.step(parts...)
		s.Mode = schemas.ModeMerge
		return s
	}
	o.commit(t, merge(o.window(1, "2024-03-01 tea 1", "2024-03-01 cup 2", "2024-03-01 pot 3"), o.window(2, "2024-03-02 tea 9")))
	done := o.commit(t, merge(o.window(1, "2024-03-01 tea 1", "2024-03-01 cup null", "2024-03-01 mug 4"), o.window(2, "2024-03-02 tea 9")))
	if done.Rows.Inserted != 2 || done.Rows.Deleted != 2 || done.Mode != schemas.ModeMerge {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "2024-03-01 tea 1", "2024-03-01 cup null", "2024-03-01 mug 4", "2024-03-02 tea 9")
	o.commit(t, merge(o.window(1)))
	o.want(t, "2024-03-02 tea 9")
}

func runnerAppend(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.log", Columns: h.columns("at ts, name text"), Append: true, EventTimes: []string{"at"}})
	add := func(rows ...string) schemas.LoadComplete {
		return o.commit(t, o.step(warehouse.Part{Query: o.query(rows...)}))
	}
	done := add("2024-03-01T10:00:00 a", "2024-03-01T10:00:00 a")
	if done.Load != 1 || done.Rows.Inserted != 2 || ranges(done) != "at 2024-03-01T10:00:00Z..2024-03-01T11:00:00Z" {
		t.Fatalf("event %+v", done)
	}
	if done := add(); done.Load != 0 {
		t.Fatalf("nothing was added: %+v", done)
	}
	if done := add("2024-03-02T11:30:00 b", "null c"); ranges(done) != "at 2024-03-02T11:00:00Z..2024-03-02T12:00:00Z, at null" {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "2024-03-01T10:00:00 a 1", "2024-03-01T10:00:00 a 1", "2024-03-02T11:30:00 b 2", "null c 2")
}

// failing says that the step is not published, for the reason.
func (o *owner) failing(t *testing.T, s *warehouse.Step, is func(error) bool) {
	t.Helper()
	before, log := o.rows(t), len(o.logged(t))
	_, err := o.h.Runner().Commit(t.Context(), s)
	if err == nil || !is(err) {
		t.Fatalf("got %v", err)
	}
	equalSets(t, o.table.Name, o.rows(t), before)
	if got := len(o.logged(t)); got != log {
		t.Fatalf("%d events are logged, want %d", got, log)
	}
}

func violates(check string, part int, rows int64) func(error) bool {
	return func(err error) bool {
		var v *warehouse.ViolationError
		return errors.As(err, &v) && v.Check == check && v.Part == part && v.Rows == rows
	}
}

func runnerOutside(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
	good := o.window(2, "2024-03-02 tea 1")
	o.failing(t, o.step(good, o.window(1, "2024-03-01 tea 2", "2024-03-02 cup 1", "null pot 1")), violates("inside the owned part", 1, 2))
	o.commit(t, o.step(good))
	o.want(t, "2024-03-01 tea 1", "2024-03-02 tea 1")
}

func runnerChecks(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
	s := o.step(o.window(1, "2024-03-01 cup 2", "2024-03-01 cup 3"), o.window(2, "2024-03-02 null 1", "2024-03-02 pot 1"))
	name := h.Spelling.Ident("name")
	s.Checks = []warehouse.Check{{Name: "not null name", Violated: name + " IS NULL"}, {Name: "unique name", Unique: []string{"day", "name"}}}
	o.failing(t, s, violates("unique name", 0, 1))
	s.Parts[0] = o.window(1, "2024-03-01 cup 2")
	o.failing(t, s, violates("not null name", 1, 1))
	s.Parts[1] = o.window(2, "2024-03-02 x 1", "2024-03-02 pot 1")
	o.commit(t, s)
	o.want(t, "2024-03-01 cup 2", "2024-03-02 x 1", "2024-03-02 pot 1")
}

func runnerTypes(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	part := o.window(1)
	part.Query = fmt.Sprintf("SELECT CAST('2024-03-01' AS %s) AS day, 'tea' AS name, CAST(1.5 AS %s) AS n", h.SQLType(schemas.Type{Kind: schemas.Date}), h.SQLType(schemas.Type{Kind: schemas.Float}))
	o.failing(t, o.step(part), func(err error) bool { return strings.Contains(err.Error(), `column "n" of the result has type`) })
	part.Query = "SELECT nothing FROM nowhere.at_all"
	o.failing(t, o.step(part), func(err error) bool { return !errors.Is(err, warehouse.ErrFenced) })
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
}

func runnerFenced(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	s := o.step(o.window(1, "2024-03-01 tea 1"))
	s.Head.CodeHash = "one"
	o.commit(t, s)
	fenced := func(err error) bool { return errors.Is(err, warehouse.ErrFenced) }
	for _, wrong := range []func(*warehouse.Step){
		func(s *warehouse.Step) { s.Epoch-- },
		func(s *warehouse.Step) { s.Load-- },
		func(s *warehouse.Step) { s.Load++ },
		func(s *warehouse.Step) { s.WasHash = "another" },
	} {
		s := o.step(o.window(1, "2024-03-01 late 1"))
		wrong(s)
		o.failing(t, s, fenced)
		s.Parts = nil // progress alone, too
		o.failing(t, s, fenced)
	}
	late := o.step(o.window(1, "2024-03-01 late 1"))
	o.acquire(t)
	o.failing(t, late, fenced)
	o.commit(t, o.step(o.window(1, "2024-03-01 new 1")))
	o.want(t, "2024-03-01 new 1")
}

func runnerColumns(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	o.commit(t, o.step(o.window(1, "2024-03-01 tea 1")))
	for _, c := range []struct{ columns, want, put string }{
		{"day date, name text, n int, more decimal", "2024-03-01 tea 1 null", "2024-03-02 cup 2 2.50"},
		{"day date, name text, more decimal", "2024-03-01 tea null", "2024-03-02 cup 3.50"},
		{"day date, name text, more int", "2024-03-01 tea null", "2024-03-02 cup 7"},
		{"day date, name int", "2024-03-01 null", "2024-03-02 5"},
	} {
		o.table.Columns = h.columns(c.columns)
		o.acquire(t)
		o.acquire(t) // again it is as it is to be
		if got := o.rows(t); !slices.Contains(got, c.want) {
			t.Fatalf("with %s: %q, want %q among them", c.columns, got, c.want)
		}
		o.commit(t, o.step(o.window(2, c.put)))
		o.want(t, c.want, c.put)
	}
}

func runnerTouched(t *testing.T, h *RunnerHarness) {
	times := &owner{h: h, table: warehouse.DerivedTable{Columns: h.columns("at ts")}}
	got, err := h.Runner().Touched(t.Context(), times.query("2024-03-01T10:10:00", "2024-03-01T11:59:59", "null", "2024-03-03T00:00:00"))
	must(t, err)
	if got.Column != "at" || !got.Null || fmt.Sprint(got.Ranges) != "[[2024-03-01T10:00:00Z 2024-03-01T12:00:00Z] [2024-03-03T00:00:00Z 2024-03-03T01:00:00Z]]" {
		t.Errorf("touched %+v", got)
	}
	got, err = h.Runner().Touched(t.Context(), times.query())
	if err != nil || got.Null || len(got.Ranges) > 0 {
		t.Errorf("touched of nothing: %+v %v", got, err)
	}
	for _, bad := range []string{"SELECT 1 AS n", "SELECT nothing FROM nowhere.at_all"} {
		var fault *warehouse.QueryError
		if _, err := h.Runner().Touched(t.Context(), bad); !errors.As(err, &fault) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// runnerDeaths lets the process die at every point of a run: its successor finds
// all of it or nothing, and goes on.
func runnerDeaths(t *testing.T, h *RunnerHarness) {
	for _, o := range []*owner{h.windows(t), h.own(t, warehouse.DerivedTable{Name: "analytics.log", Columns: h.columns("day date, name text, n int"), Append: true})} {
		var want []string
		for i, point := range h.RunPoints {
			text, at := o.day(i + 1)
			s := o.step(o.window(i+1, text+" tea 1"))
			s.Mark = []warehouse.Dirt{{Window: at.AddDate(1, 0, 0), Mark: 5, Since: at}}
			h.Faults.Fail(point, 1)
			if _, err := h.Runner().Commit(t.Context(), s); !errors.Is(err, fault.ErrInjected) {
				t.Fatalf("at %s: %v", point, err)
			}
			h.Crash(t)
			before := o.head.Load
			o.acquire(t)
			committed := i >= slices.Index(h.RunPoints, h.RunCommitted)
			if (o.head.Load == before+1) != committed {
				t.Fatalf("after a death at %s the head is at run %d, and was at %d", point, o.head.Load, before)
			}
			row := text + " tea 1"
			if o.table.Append {
				row = fmt.Sprintf("%s %d", row, before+1)
			}
			if !committed {
				o.want(t, want...)
				if dirt, _ := o.dirt(t); len(dirt) != i {
					t.Fatalf("after a death at %s: dirt %+v", point, dirt)
				}
				s.Epoch = o.head.Epoch
				o.commit(t, s)
			}
			want = append(want, row)
			o.want(t, want...)
			if got := len(o.logged(t)); got != i+1 {
				t.Fatalf("after a death at %s: %d events", point, got)
			}
			if dirt, _ := o.dirt(t); len(dirt) != i+1 {
				t.Fatalf("after a death at %s: dirt %+v", point, dirt)
			}
		}
	}
}

// runnerErrors is the same for an error: the process goes on by itself.
func runnerErrors(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	for i, point := range h.RunPoints {
		text, _ := o.day(i + 1)
		h.Faults.Fail(point, 1)
		s := o.step(o.window(i+1, text+" tea 1"))
		if _, err := h.Runner().Commit(t.Context(), s); !errors.Is(err, fault.ErrInjected) {
			t.Fatalf("at %s: %v", point, err)
		}
		o.acquire(t)
		if o.head.Load == int64(i) {
			o.commit(t, o.step(o.window(i+1, text+" tea 1")))
		}
		if got := len(o.rows(t)); got != i+1 || o.head.Load != int64(i)+1 {
			t.Fatalf("after an error at %s: %d rows, head %+v", point, got, o.head)
		}
	}
}
