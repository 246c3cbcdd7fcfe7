package warehousetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

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
	o.failing(t, o.step(good, o.window(1, "2024-03-01 tea 2", "2024-03-02 cup 1", "null pot 1")), violates(warehouse.CheckOwned, 1, 2))
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
