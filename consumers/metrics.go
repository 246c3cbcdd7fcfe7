package consumers

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	loads    *prometheus.CounterVec
	rows     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	letters  *prometheus.CounterVec
	retries  *prometheus.CounterVec
	lag      *prometheus.GaugeVec
	bytes    *prometheus.CounterVec
	buffered prometheus.Gauge
	sessions prometheus.Counter
}

// newMetrics registers the metrics of one member of a group; reg may be nil. A
// process may have members of several groups.
func newMetrics(reg prometheus.Registerer, group string, b *board) *metrics {
	m := &metrics{
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_loads_total", Help: "Committed loads of a core table.",
		}, []string{"table"}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_load_rows_total", Help: "Change events by what became of them: applied, folded, stale or quarantined.",
		}, []string{"table", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_load_duration_seconds", Help: "Time from cutting a batch to it being readable.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"table"}),
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_dead_letters_total", Help: "Records that went to a dead-letter topic.",
		}, []string{"table"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_load_retries_total", Help: "Loads that were tried again after an error.",
		}, []string{"table"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_load_lag_records", Help: "Records of the topic that are not loaded yet. Only the table's owner says it.",
		}, []string{"table"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_load_read_bytes_total", Help: "Bytes of keys and values that were polled from the table's topic.",
		}, []string{"table"}),
		buffered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "millrace_load_buffered_bytes", Help: "Bytes of records that were polled and not loaded yet.",
		}),
		sessions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_consumer_rejoins_total", Help: "Times that the consumer joined its group again after an error.",
		}),
	}
	if reg != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"group": group}, reg).MustRegister(
			m.loads, m.rows, m.duration, m.letters, m.retries, m.lag, m.bytes, m.buffered, m.sessions, newCollector(b))
	}
	return m
}
