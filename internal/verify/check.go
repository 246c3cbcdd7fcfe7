package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/internal/page"
)

// ErrBusy is the reason when a table and its inputs never stood still long
// enough to be compared.
var ErrBusy = errors.New("the table and its inputs kept changing: try again when less is written")

// ErrLater is the reason when the table is computed only after a time for which
// nobody waits.
var ErrLater = errors.New("this does not wait for the table's next run: verify it after that")

// ErrHeld is the reason when windows or keys of the table wait after a failure:
// its rows there are those of an earlier run.
var ErrHeld = errors.New("a part of the table could not be computed: mend the cause, and verify it when nothing is held any more")

// grace is how long the runs of a table may fail before that is the answer: an
// error that passes is retried sooner.
const grace = 3 * time.Second

// Derived compares a derived table with what its query gives, each window
// alone, over what the warehouse holds of its inputs. The inputs are copied
// into the replica; if a load or a run comes in between, all of it is repeated.
// What it waits for is told to tell.
func Derived(ctx context.Context, p Platform, into *Replica, s *Spec, times EventTimes, tell Tell) (Report, error) {
	on, waits := of(p), newWaits(tell)
	deadline := time.Now().Add(on.Patience)
	sound := time.Now() // when no run was known to fail
	for {
		before, err := settled(ctx, on, s)
		if err != nil {
			return Report{}, err
		}
		if before.why == "" {
			report, err := derivedOnce(ctx, on, into, s, times, before)
			if err != nil {
				return Report{}, err
			}
			after, err := settled(ctx, on, s)
			if err != nil {
				return Report{}, err
			}
			if after.why == "" && maps.Equal(before.loads, after.loads) && before.calendar == after.calendar {
				return report, nil
			}
			before.why = "a load or a run came while it was compared"
		}
		if !before.fails {
			sound = time.Now()
		}
		if before.held || time.Since(sound) > grace {
			return Report{}, fmt.Errorf("verify %s: %w: %s", s.Name, ErrHeld, before.why)
		}
		if before.dirty && time.Now().Add(before.next).After(deadline) {
			return Report{}, fmt.Errorf("verify %s: %w: %s", s.Name, ErrLater, before.why)
		}
		if time.Now().After(deadline) {
			return Report{}, fmt.Errorf("verify %s: %w: %s", s.Name, ErrBusy, before.why)
		}
		waits.say("%s waits until it and its inputs stand still: %s", s.Name, before.why)
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// derivedOnce computes in the replica. What that cannot compute as BigQuery
// does, BigQuery computes anew.
func derivedOnce(ctx context.Context, p On, into *Replica, s *Spec, times EventTimes, at *moment) (Report, error) {
	report, err := inReplica(ctx, p, into, s, times, at)
	if !p.BigQuery || ctx.Err() != nil {
		return report, err
	}
	if err != nil {
		return p.compareAnew(ctx, s, at.calendar, err)
	}
	for _, d := range report.Differences {
		if d.Kind == Column {
			return p.compareAnew(ctx, s, at.calendar, fmt.Errorf("in DuckDB, column %s %s", d.Row, d.Text))
		}
	}
	return report, nil
}

func inReplica(ctx context.Context, p On, into *Replica, s *Spec, times EventTimes, at *moment) (Report, error) {
	for input := range at.loads {
		if input == s.Name {
			continue
		}
		if err := into.CopyTable(ctx, p, input); err != nil {
			return Report{}, err
		}
	}
	return CompareDerived(ctx, p, into, s, times, at.calendar)
}

// CopyTable copies a table of the platform's warehouse under its own name.
func (r *Replica) CopyTable(ctx context.Context, p Platform, table string) error {
	if on := of(p); on.BigQuery {
		return r.copyBigQuery(ctx, on, table)
	}
	shape, err := p.Query(ctx, "SELECT * FROM "+quoted(table)+" LIMIT 0")
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	columns, texts := make([]column, len(shape.Columns)), make([]string, len(shape.Columns))
	for i, name := range shape.Columns {
		columns[i], texts[i] = column{name, shape.Types[i]}, ident(name)
		if shape.Types[i] == blob {
			texts[i] = "hex(" + ident(name) + ")"
		}
	}
	t, err := p.Query(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+quoted(table))
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	return r.fill(ctx, table, columns, listed(t.Rows))
}

func (r *Replica) copyBigQuery(ctx context.Context, p On, table string) error {
	t, err := p.rows(ctx, table)
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	columns, rows, err := inDuckDB(t)
	if err != nil {
		return fmt.Errorf("copy %s: %w", table, err)
	}
	return r.fill(ctx, table, columns, listed(rows))
}

// moment is how far a derived table and its inputs are.
type moment struct {
	loads    map[string]int64 // of the table and its inputs
	calendar Calendar
	why      string        // the table does not hold all of its inputs; empty if it does
	held     bool          // and a part of it waits after a failure
	dirty    bool          // a run is needed
	next     time.Duration // and none begins within it
	fails    bool          // or its runs fail, so that nothing could be set aside yet
}

func settled(ctx context.Context, p On, s *Spec) (*moment, error) {
	status, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(status.Derived, func(d page.Derived) bool { return d.Table == s.Name })
	if i < 0 {
		return nil, fmt.Errorf("%s is not among the derived tables", s.Name)
	}
	state := status.Derived[i]
	if state.Held > 0 {
		return &moment{held: true, why: fmt.Sprintf("%d are held: %s", state.Held, state.Error)}, nil
	}
	loads := map[string]int64{s.Name: state.Load}
	for _, c := range status.Core {
		loads[c.Table] = c.Load
	}
	for _, d := range status.Derived {
		loads[d.Table] = d.Load
	}
	m := &moment{loads: map[string]int64{s.Name: state.Load}}
	for _, input := range slices.Sorted(maps.Keys(state.Drained)) {
		m.loads[input] = loads[input]
		if load := state.Drained[input]; load < loads[input] {
			m.why = fmt.Sprintf("load %d of %s is not in it yet", loads[input], input)
		}
	}
	switch {
	case len(state.Drained) == 0:
		m.why = "it has not begun"
	case state.Dirty > 0:
		m.why = fmt.Sprintf("%d windows or keys are still to be computed", state.Dirty)
	}
	if m.why != "" && !state.Next.IsZero() {
		m.why += state.NextRun()
		m.dirty, m.next = state.Dirty > 0, state.Next.Sub(status.Now)
	}
	m.failing(state.Error)
	if s.Window != nil && m.why == "" {
		dataset, name := cutName(s.Name)
		m.calendar, err = calendar(ctx, p, p.dotted("millrace", dataset+"__"+name+"__head"))
	}
	return m, err
}

// failing notes why the table does not get on, if it does not.
func (m *moment) failing(err string) *moment {
	if m.fails = m.why != "" && err != ""; m.fails {
		m.why += ": " + err
	}
	return m
}

// calendar is the span of a table's windows as its head has it.
func calendar(ctx context.Context, p On, head string) (Calendar, error) {
	t, err := p.Query(ctx, "SELECT window_begin, window_frontier FROM "+head)
	if err != nil {
		return Calendar{}, fmt.Errorf("read the first and the last window: %w", err)
	}
	if len(t.Rows) != 1 || t.Rows[0][0] == nil || t.Rows[0][1] == nil {
		return Calendar{}, errors.New("read the first and the last window: there are none yet")
	}
	begin, err1 := time.Parse(time.DateTime, strings.Replace(*t.Rows[0][0], "T", " ", 1))
	end, err2 := time.Parse(time.DateTime, strings.Replace(*t.Rows[0][1], "T", " ", 1))
	if err := errors.Join(err1, err2); err != nil {
		return Calendar{}, fmt.Errorf("read the first and the last window: %w", err)
	}
	return Calendar{Begin: begin, End: end}, nil
}
