package deriver

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Metrics are what derivers measure, by table. A nil Metrics measures nothing.
type Metrics struct {
	runs     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	rows     *prometheus.CounterVec
	holds    *prometheus.CounterVec
	dirty    *prometheus.GaugeVec
	held     *prometheus.GaugeVec
	complete *prometheus.GaugeVec
	running  *prometheus.GaugeVec
	outside  *prometheus.GaugeVec
	retries  *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	byTable := []string{"table"}
	m := &Metrics{
		runs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_deriver_runs_total", Help: "Runs of derived tables, by how they ended: published, unchanged, violated, failed."}, []string{"table", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "millrace_deriver_run_duration_seconds", Help: "Time of a run from its first query to the end of its transaction.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}, byTable),
		rows:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_deriver_changed_rows_total", Help: "Rows that runs have written or taken away."}, byTable),
		holds:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_deriver_holds_total", Help: "Windows, or sets of keys, that were held after a failure."}, byTable),
		dirty:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_deriver_dirty", Help: "Windows or keys that wait to be computed."}, byTable),
		held:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_deriver_held", Help: "Windows, or sets of keys, that wait after a failure."}, byTable),
		complete: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_deriver_complete_through_seconds", Help: "Time up to which the table is complete, in seconds since 1970."}, byTable),
		running:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_deriver_running", Help: "1 while the table is kept up to date here, 0 once it stays out."}, byTable),
		outside:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_deriver_outside_ranges", Help: "Touched ranges that lie outside of all windows, and are not computed."}, byTable),
		retries:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_deriver_retries_total", Help: "Times that a table was taken up again after an error outside of its runs, such as a warehouse that does not answer."}, byTable),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.runs, m.duration, m.rows, m.holds, m.dirty, m.held, m.complete, m.running, m.outside, m.retries} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of derivers: %w", err)
	}
	return m, nil
}

func (m *Metrics) committed(table string, step *warehouse.Step, event schemas.LoadComplete, took time.Duration, err error) {
	if m == nil || len(step.Parts) == 0 {
		return
	}
	outcome := "published"
	switch {
	case errors.As(err, new(*warehouse.ViolationError)):
		outcome = "violated"
	case err != nil:
		outcome = "failed"
	case event.Load == 0:
		outcome = "unchanged"
	}
	m.runs.WithLabelValues(table, outcome).Inc()
	m.duration.WithLabelValues(table).Observe(took.Seconds())
	m.rows.WithLabelValues(table).Add(float64(event.Rows.Applied))
}

func (m *Metrics) hold(table string) {
	if m != nil {
		m.holds.WithLabelValues(table).Inc()
	}
}

func (m *Metrics) begin(table string) {
	if m != nil {
		m.running.WithLabelValues(table).Set(1)
	}
}

// end says that the table is not kept up to date here. How far it is, its next
// writer says: a state that nobody renews would look like one that holds.
func (m *Metrics) end(table string) {
	if m == nil {
		return
	}
	m.running.WithLabelValues(table).Set(0)
	for _, g := range []*prometheus.GaugeVec{m.dirty, m.held, m.complete, m.outside} {
		g.DeleteLabelValues(table)
	}
}

func (m *Metrics) retry(table string) {
	if m != nil {
		m.retries.WithLabelValues(table).Inc()
	}
}

func (m *Metrics) state(s Status) {
	if m == nil {
		return
	}
	m.dirty.WithLabelValues(s.Table).Set(float64(s.Dirty))
	m.held.WithLabelValues(s.Table).Set(float64(len(s.Held)))
	m.outside.WithLabelValues(s.Table).Set(float64(s.Outside))
	if !s.Complete.IsZero() {
		m.complete.WithLabelValues(s.Table).Set(float64(s.Complete.Unix()))
	}
}
