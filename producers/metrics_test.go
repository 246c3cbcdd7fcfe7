package producers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/schemas"
)

// TestMetricNames: dashboards and alerts are written against these.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a")
	reg := prometheus.NewPedanticRegistry()
	for range 2 { // of another process: nothing is registered twice in one
		r := w.start(nil, func(o *Options) {
			o.Metrics = prometheus.WrapRegistererWith(prometheus.Labels{"run": string(rune('a' + w.db.end()%20))}, reg)
		})
		r.settle()
		r.finish()
		w.db.random(5, false)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "millrace_producer_") {
			got = append(got, f.GetName())
		}
	}
	want := []string{
		"millrace_producer_changes_total", "millrace_producer_chunk_retries_total", "millrace_producer_commit_duration_seconds",
		"millrace_producer_complete_through_seconds", "millrace_producer_halted", "millrace_producer_halted_tables",
		"millrace_producer_records_total", "millrace_producer_restarts_total", "millrace_producer_running", "millrace_producer_snapshots",
		"millrace_producer_transactions_total",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
}

// What the status knows, the metrics say, and nothing that is not known.
func TestStatusAsMetrics(t *testing.T) {
	reader := &HaltError{Err: errors.New("slot lost"), Hint: "drop it"}
	for name, c := range map[string]struct {
		status Status
		want   string
	}{
		"never opened": {Status{}, "halted=0 halted_tables=0 running=0 snapshots=0"},
		"tried again":  {Status{Err: errors.New("no answer")}, "halted=0 halted_tables=0 running=0 snapshots=0"},
		"halted":       {Status{Err: fmt.Errorf("open source: %w", reader)}, "halted=1 halted_tables=0 running=0 snapshots=0"},
		"fenced":       {Status{Err: fmt.Errorf("resume: %w", ErrFenced)}, "halted=1 halted_tables=0 running=0 snapshots=0"},
		"one table halted, another read": {
			Status{
				Running: true, Retained: 4096, Complete: schemas.Progress{Time: time.UnixMilli(1500)},
				Tables: []TableStatus{{Halted: reader}, {Snapshot: SnapshotStatus{Running: true}}, {}},
			},
			"complete_through_seconds=1.5 halted=0 halted_tables=1 retained_log_bytes=4096 running=1 snapshots=1",
		},
		"stopped": { // how much log is kept is not known any more
			Status{Retained: 4096, Complete: schemas.Progress{Time: time.UnixMilli(1500)}},
			"complete_through_seconds=1.5 halted=0 halted_tables=0 running=0 snapshots=0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := prometheus.NewPedanticRegistry()
			reg.MustRegister(newCollector(func() Status { return c.status }))
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range families {
				got = append(got, fmt.Sprintf("%s=%v", strings.TrimPrefix(f.GetName(), "millrace_producer_"), f.GetMetric()[0].GetGauge().GetValue()))
			}
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("got  %s\nwant %s", g, c.want)
			}
		})
	}
}

// A table that the source refuses before any version of it is known counts too.
func TestTableHaltedAtOnceIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a", "b")
	reg := prometheus.NewPedanticRegistry()
	r := w.start(nil, func(o *Options) {
		o.Config.(*memConfig).halt = "b"
		o.Metrics = reg
	})
	defer r.finish()
	for end := time.Now().Add(time.Minute); gauge(t, reg, "millrace_producer_halted_tables") != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no table is said to be halted")
		}
	}
}

// A table that is gone at its source waits for a person, who is told so after a restart
// too; one that the source is not asked for any more does not.
func TestTableThatIsGoneIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, false, "a", "b")
	r := w.start(nil)
	w.db.transact(func(x *memWriter) { x.put("a", 1); x.put("b", 1) })
	r.settle()
	r.finish()
	for range 2 {
		reg := prometheus.NewPedanticRegistry()
		r := w.start(nil, func(o *Options) {
			o.Config.(*memConfig).gone = "b"
			o.Metrics = reg
		})
		for end := time.Now().Add(time.Minute); gauge(t, reg, "millrace_producer_halted_tables") != 1; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no table is said to be gone")
			}
		}
		tables := r.p.Status().Tables
		if tables[0].Halted != nil || tables[1].Halted == nil || !tables[1].Dropped || !strings.Contains(tables[1].Halted.Error(), "make it again") {
			t.Errorf("status %+v", tables)
		}
		r.finish()
	}
	r = w.start(nil)
	for end := time.Now().Add(time.Minute); !r.p.Status().Running; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the source is not read")
		}
	}
	if tables := r.p.Status().Tables; len(tables) != 2 || tables[1].Halted != nil {
		t.Errorf("status %+v", tables)
	}
	r.finish()
}

func gauge(t *testing.T, reg prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("%s is not there", name)
	return 0
}
