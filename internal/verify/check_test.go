package verify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/internal/page"
)

// stuck is a platform whose derived table does not get on.
type stuck struct {
	*Replica
	table page.Derived
	looks int
	mends int // the look after which the table is well again
	now   time.Time
}

func (s *stuck) Status(context.Context) (*page.Status, error) {
	if s.looks++; s.mends > 0 && s.looks > s.mends {
		s.table.Held, s.table.Dirty, s.table.Error = 0, 0, ""
		s.table.Drained = map[string]int64{"core.payments": 41}
	}
	return &page.Status{Now: s.now, Core: []page.Core{{Table: "core.payments", Load: 41}}, Derived: []page.Derived{s.table}}, nil
}

// newStuck has a table of one row, which is as it should be.
func newStuck(t *testing.T, table page.Derived, mends int) *stuck {
	t.Helper()
	p := &stuck{Replica: newReplica(t), table: table, mends: mends}
	p.table.Table, p.table.Drained = "analytics.t", map[string]int64{"core.payments": 40}
	for _, statement := range []string{
		"CREATE SCHEMA core", "CREATE TABLE core.payments AS SELECT 1::BIGINT AS id", "CREATE SCHEMA analytics", "CREATE TABLE analytics.t AS SELECT 1::BIGINT AS id, 1 AS n",
	} {
		if err := p.exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

const stuckSpec = `
name: analytics.t
strategy: merge
unique_key: id
inputs: {core.payments: {key: [id]}}
query: SELECT id, 1 AS n FROM core.payments
`

// A table whose next run is far is not waited for, and when it is is said; one that
// only has to look at its loads, or that runs soon, is.
func TestTableThatRunsLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		table page.Derived
		mends int
		want  string
	}{
		{
			"in an hour",
			page.Derived{Dirty: 12, Next: now.Add(time.Hour), Freshness: "1h"},
			0,
			"this does not wait for the table's next run: verify it after that: 12 windows or keys are still to be computed, next run at 2026-03-01 10:00:00 UTC, freshness 1h",
		},
		{"in a second", page.Derived{Dirty: 12, Next: now.Add(time.Second), Freshness: "1s"}, 2, ""},
		{"loads gather", page.Derived{Gathers: true, Next: now.Add(time.Hour), Freshness: "1h"}, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStuck(t, c.table, c.mends)
			p.now = now
			report, err := Derived(t.Context(), p, w.Replica, readText(t, stuckSpec), EventTimes{}, nil)
			switch {
			case c.want == "" && (err != nil || len(report.Differences) > 0):
				t.Errorf("%v, %v", report.Differences, err)
			case c.want != "" && (!errors.Is(err, ErrLater) || !strings.HasSuffix(err.Error(), c.want) || p.looks != 1):
				t.Errorf("after %d looks: %v\nwant %s", p.looks, err, c.want)
			}
		})
	}
}

// A table whose runs fail is not waited for, however far it is behind.
func TestTableWhoseRunsFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := readText(t, stuckSpec)
	for _, c := range []struct {
		name  string
		table page.Derived
		looks int // at most; 0: as many as it takes
		mends int
		want  string
	}{
		{"held, a load behind", page.Derived{Held: 1, Dirty: 12, Error: "no column x"}, 1, 0, "1 are held: no column x"},
		{"never run", page.Derived{Held: 1, Error: "no column x"}, 1, 0, "1 are held: no column x"},
		{"nothing set aside yet", page.Derived{Error: "no column x"}, 0, 0, "load 41 of core.payments is not in it yet: no column x"},
		{"an error that passes", page.Derived{Error: "busy"}, 0, 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStuck(t, c.table, c.mends)
			if c.name == "never run" {
				p.table.Drained = nil
			}
			report, err := Derived(t.Context(), p, w.Replica, spec, EventTimes{}, nil)
			switch {
			case c.want == "" && (err != nil || len(report.Differences) > 0):
				t.Errorf("%v, %v", report.Differences, err)
			case c.want != "" && (!errors.Is(err, ErrHeld) || !strings.HasSuffix(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			case c.looks > 0 && p.looks > c.looks:
				t.Errorf("it was looked at %d times", p.looks)
			}
		})
	}
}
