package up

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/internal/warehouse"
	"millrace/producers"
	"millrace/schemas"
)

// log is a warehouse of which only logs of loads are asked.
type log struct {
	warehouse.Warehouse
	asked int
	err   error
}

func (l *log) Loads(_ context.Context, _ string, after int64, _ int) ([]schemas.LoadComplete, error) {
	l.asked++
	return []schemas.LoadComplete{{Load: after + 1, CommittedAt: time.Unix(after+1, 0)}}, l.err
}

// Each look at the status would else be a job of BigQuery for every table.
func TestRunIsAskedForOnce(t *testing.T) {
	l := &log{err: errors.New("not now")}
	d := &derivers{process: &process{warehouse: l}, ran: map[string]ran{}}
	ask := func(table string, load int64, want time.Time, asked int) {
		t.Helper()
		if got := d.ranAt(t.Context(), table, load); !got.Equal(want) || l.asked != asked {
			t.Errorf("run %d of %s was at %v, want %v; asked %d times, want %d", load, table, got, want, l.asked, asked)
		}
	}
	ask("a", 0, time.Time{}, 0)
	ask("a", 7, time.Time{}, 1) // an error is no answer
	l.err = nil
	ask("a", 7, time.Unix(7, 0), 2)
	ask("a", 7, time.Unix(7, 0), 2)
	ask("b", 7, time.Unix(7, 0), 3)
	ask("a", 8, time.Unix(8, 0), 4)
	ask("a", 8, time.Unix(8, 0), 4)
}

// A table that had better be computed seldom is asked for seldom.
func TestPoll(t *testing.T) {
	for freshness, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Second: 10 * time.Second, time.Minute: 5 * time.Minute} {
		if got := poll(freshness); got != want {
			t.Errorf("freshness %v: %v, want %v", freshness, got, want)
		}
	}
}

// silent is a warehouse that does not answer.
type silent struct{ warehouse.Warehouse }

func (silent) Count(ctx context.Context, _ string) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// Who asks for the status has it when the warehouse does not answer, and is told.
func TestStatusWithoutTheWarehouse(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it waits for the warehouse for seconds")
	}
	p := &process{warehouse: silent{}}
	p.Config = &config.Config{}
	p.derivers = &derivers{process: p, chosen: []*spec.Spec{{Name: "a.b"}, {Name: "a.c"}}, broken: map[string]string{}, ran: map[string]ran{}}
	s := p.status(t.Context())
	if len(s.Derived) != 2 || len(s.Notes) == 0 || !strings.Contains(s.Notes[0], "the warehouse does not answer") {
		t.Fatalf("%+v", s)
	}
}

// slow is a warehouse that takes its time for each answer, as one far away does.
type slow struct{ warehouse.Warehouse }

func (slow) Count(ctx context.Context, _ string) (int64, error) {
	select {
	case <-time.After(200 * time.Millisecond):
		return 7, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// A warehouse that answers is not said to be silent because there are many tables.
func TestStatusOfManyTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{warehouse: slow{}}
		p.Config = &config.Config{Derived: t.TempDir()}
		p.derivers = &derivers{process: p, broken: map[string]string{}, ran: map[string]ran{}}
		for range 100 {
			p.derivers.chosen = append(p.derivers.chosen, &spec.Spec{Name: "a.b"})
		}
		s := p.status(t.Context())
		for _, d := range s.Derived {
			if d.Rows != 7 {
				t.Fatalf("%d rows; %q", d.Rows, s.Notes)
			}
		}
		if len(s.Notes) > 0 {
			t.Errorf("notes %q", s.Notes)
		}
	})
}

// A source that connects again by itself is not shown as one that waits for a person.
func TestHaltedIsWhatWaitsForAPerson(t *testing.T) {
	halt := &producers.HaltError{Err: errors.New("the slot is gone"), Hint: "snapshot anew"}
	for name, c := range map[string]struct {
		status           producers.Status
		halted, retrying string
	}{
		"halted":       {producers.Status{Err: fmt.Errorf("read: %w", halt)}, "the slot is gone", ""},
		"fenced":       {producers.Status{Err: producers.ErrFenced}, producers.ErrFenced.Error(), ""},
		"reconnecting": {producers.Status{Err: errors.New("read source a: EOF")}, "", "read source a: EOF"},
		"again":        {producers.Status{Running: true, Err: errors.New("EOF")}, "", ""},
	} {
		got := sourceStatus(c.status, "postgres")
		if got.Opening {
			t.Errorf("%s: it is said to open for the first time", name)
		}
		if !strings.Contains(got.Halted, c.halted) || (got.Halted == "") != (c.halted == "") || got.Retrying != c.retrying {
			t.Errorf("%s: halted %q, retrying %q", name, got.Halted, got.Retrying)
		}
	}
	if got := sourceStatus(producers.Status{}, "postgres"); !got.Opening || got.Halted != "" || got.Retrying != "" {
		t.Errorf("one that was not open yet: %+v", got)
	}
}
