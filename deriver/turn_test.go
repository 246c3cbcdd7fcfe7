package deriver

import (
	"context"
	"sync"
	"testing"
	"time"

	"millrace/schemas"
)

// A table looks for loads when it has its turn: what came while it waited is of
// one run.
func TestWhatComesBeforeItsTurnIsOneRun(t *testing.T) {
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	d := p.derived["analytics.revenue"]
	before := len(p.events[d.table.Name])
	var leave []func()
	for range 2 { // as many as there are
		end, err := p.runner.Turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, end)
	}
	refused, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.runner.Turn(refused); err == nil {
		t.Fatal("a third table has a turn")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for i := range 3 {
		p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(100+i, 1, 5, "2024-03-02T09:00:00Z"))
		d.Notify(schemas.LoadComplete{Table: "core.payments", Load: d.Status().Drained["core.payments"] + 1})
	}
	last := d.Status().Drained["core.payments"] + 3
	for _, end := range leave {
		end()
	}
	for d.Status().Absorbed["core.payments"] < last {
		time.Sleep(5 * time.Millisecond) // the test's own limit ends it
	}
	stop()
	running.Wait()
	events := p.events[d.table.Name][before:]
	runs := 0
	for _, e := range events {
		if e.Load > 0 {
			runs++
		}
	}
	if runs != 1 {
		t.Errorf("%d runs: %+v", runs, events)
	}
	// The turn was given back.
	for range 2 {
		if _, err := p.runner.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Progress of an input wakes a table only if it may open a window, or end what
// the table waits for.
func TestProgressWakesWhatItOpens(t *testing.T) {
	p := shop(t)
	p.derive(revenue, "name: analytics.counts\nquery: SELECT count(*) AS n FROM core.payments")
	told := func(table, through string) bool {
		t.Helper()
		d, moment := p.derived[table], at(through)
		select {
		case <-d.wake:
		default:
		}
		d.Notify(schemas.LoadComplete{Table: "core.payments", CompleteThrough: schemas.Progress{Time: moment}})
		return len(d.wake) > 0
	}
	if !told("analytics.revenue", "2024-03-05") || !told("analytics.counts", "2024-03-05") {
		t.Error("a table that has not begun sleeps on")
	}
	p.quiet()
	if told("analytics.counts", "2024-03-09") {
		t.Error("a table without windows wakes")
	}
	if told("analytics.revenue", "2024-03-05") {
		t.Error("a table wakes within its last window")
	}
	if !told("analytics.revenue", "2024-03-06") {
		t.Error("a window opens, and the table sleeps on")
	}
}

// Who takes a table over repeats its last announcement. For that Kafka takes its time,
// and other tables have the warehouse meanwhile.
func TestAnnouncementsAreMadeBesideTurns(t *testing.T) {
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	d := p.deriver(p.nodes[0]) // a process that starts
	announcing, said := make(chan struct{}), make(chan struct{})
	d.opts.Announce = func(context.Context, schemas.LoadComplete) error {
		announcing <- struct{}{}
		<-said
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	<-announcing
	patient, enough := context.WithTimeout(t.Context(), 5*time.Second)
	defer enough()
	for range 2 { // as many as there are
		leave, err := p.runner.Turn(patient)
		if err != nil {
			t.Error("the table that announces keeps its turn")
			break
		}
		defer leave()
	}
	stop()
	close(said)
	running.Wait()
}
