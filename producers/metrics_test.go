package producers

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetricNames: dashboards and alerts are written against these.
func TestMetricNames(t *testing.T) {
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
		"millrace_producer_halted_tables", "millrace_producer_records_total", "millrace_producer_restarts_total", "millrace_producer_transactions_total",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
}
