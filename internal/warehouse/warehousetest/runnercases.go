package warehousetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

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
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.merged", Columns: h.columns("day date, name text, n int"), Key: []string{"day", "name"}, Window: "day", EventTimes: []string{"day"}})
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

// A merge deletes what it owns and did not compute, and leaves alone what it does
// not own, whatever of it is the same (G8).
func runnerMergeOwned(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{
		Name: "analytics.baskets", Columns: h.columns("customer int, item text, n int"), Key: []string{"customer", "item"}, Owning: []string{"customer"},
	})
	o.commit(t, o.byKeys(1, []string{"1", "2", "3"}, "1 tea 1", "1 cup 2", "2 tea 3", "2 cup 4", "3 tea 5"))
	done := o.commit(t, o.byKeys(2, []string{"1", "3"}, "1 cup 9", "1 pot 7"))
	if done.Rows.Inserted != 2 || done.Rows.Deleted != 3 {
		t.Fatalf("event %+v", done)
	}
	o.want(t, "1 cup 9", "1 pot 7", "2 tea 3", "2 cup 4")
	done = o.commit(t, o.byKeys(3, []string{"1", "2", "3"}))
	if done.Rows.Inserted != 0 || done.Rows.Deleted != 4 {
		t.Fatalf("event %+v", done)
	}
	o.want(t)
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

// A table that a person took away is computed from the beginning, and those who
// read it hear of it.
func runnerLost(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	s := o.step(o.window(1, "2024-03-01 tea 1"), o.window(2, "2024-03-02 cup 2"))
	s.Head = warehouse.DerivedHead{CodeHash: "1", Absorbed: map[string]int64{"core.payments": 12}, Begin: day0, Frontier: day0.AddDate(0, 0, 2), Ready: true}
	s.Mark = []warehouse.Dirt{{Window: day0, Mark: 2, Since: day0}}
	o.commit(t, s)
	h.Drop(t, o.table.Name)
	for range 2 { // the process may die behind it
		o.acquire(t)
		if o.head.Load != 1 || o.head.Absorbed != nil || o.head.CodeHash != "" || o.head.Ready || !o.head.Begin.IsZero() || !o.head.Frontier.IsZero() {
			t.Fatalf("head %+v", o.head)
		}
		if dirt, _ := o.dirt(t); len(dirt) != 0 {
			t.Fatalf("dirt %+v", dirt)
		}
	}
	s = o.step()
	s.Forget = true
	s.Head.Absorbed = map[string]int64{"core.payments": 12}
	if done := o.commit(t, s); done.Load != 2 || !done.All {
		t.Fatalf("event %+v", done)
	}
	if done := o.commit(t, o.step(o.window(1, "2024-03-01 tea 1"))); done.Load != 3 || done.All {
		t.Fatalf("event %+v", done)
	}
	o.acquire(t)
	if o.head.Absorbed["core.payments"] != 12 {
		t.Fatalf("head %+v", o.head)
	}
	o.want(t, "2024-03-01 tea 1")
}

// A log that a person took away cannot be computed again: those who add what it adds
// would add all of it twice.
func runnerLostLog(t *testing.T, h *RunnerHarness) {
	o := h.own(t, warehouse.DerivedTable{Name: "analytics.log", Columns: h.columns("name text"), Append: true})
	s := o.step(warehouse.Part{Query: o.query("tea")})
	s.Mode, s.Head.Absorbed = schemas.ModeAppend, map[string]int64{"core.payments": 1}
	o.commit(t, s)
	h.Drop(t, o.table.Name)
	if _, err := h.Runner().Acquire(t.Context(), o.table, -1); err == nil || !strings.Contains(err.Error(), "it is a log") {
		t.Fatalf("got %v", err)
	}
}

// Code that takes a table over, and is gone before it has computed anything, leaves
// no trace: the code before computes everything again.
func runnerRolledBack(t *testing.T, h *RunnerHarness) {
	o := h.windows(t)
	s := o.step(o.window(1, "2024-03-01 tea 1"))
	s.Head.CodeHash, s.Head.Absorbed = "1", map[string]int64{"core.payments": 1}
	o.commit(t, s)
	was := o.table
	o.table.Columns = h.columns("day date, name text, n text")
	o.acquire(t)
	o.table = was
	for range 2 {
		o.acquire(t)
		if o.head.CodeHash != "" || o.head.Absorbed["core.payments"] != 1 {
			t.Fatalf("head %+v", o.head)
		}
	}
}
