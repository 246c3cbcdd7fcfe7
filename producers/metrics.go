package producers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	changes      *prometheus.CounterVec
	transactions prometheus.Counter
	records      prometheus.Counter
	commits      prometheus.Histogram
	restarts     prometheus.Counter
	chunkRetries prometheus.Counter
}

// newMetrics registers the metrics of one source; reg may be nil.
func newMetrics(reg prometheus.Registerer, source string, status func() Status) *metrics {
	const ns, sub = "millrace", "producer"
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub,
			Name: "changes_total", Help: "Changes sent to Kafka. A control record counts once, not per partition.",
		}, []string{"table", "op"}),
		transactions: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub,
			Name: "transactions_total", Help: "Kafka transactions committed.",
		}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub,
			Name: "records_total", Help: "Records committed, control records and the producer's own included.",
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub,
			Name: "commit_duration_seconds", Help: "Time from ending a Kafka transaction to its being committed.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub,
			Name: "restarts_total", Help: "Times that the source was opened again after an error.",
		}),
		chunkRetries: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub,
			Name: "chunk_retries_total", Help: "Chunks of a snapshot that were read again.",
		}),
	}
	if reg != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"source": source}, reg).MustRegister(
			m.changes, m.transactions, m.records, m.commits, m.restarts, m.chunkRetries, newCollector(status))
	}
	return m
}

func (m *metrics) committed(took time.Duration, records int) {
	m.transactions.Inc()
	m.records.Add(float64(records))
	m.commits.Observe(took.Seconds())
}
