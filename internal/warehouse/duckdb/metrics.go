package duckdb

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	walBytes           prometheus.Gauge
	checkpointSeconds  prometheus.Histogram
	checkpointFailures prometheus.Counter
	stagedRows         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		walBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "millrace_duckdb_wal_bytes",
			Help: "Size of DuckDB's write-ahead log after the last load.",
		}),
		checkpointSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "millrace_duckdb_checkpoint_duration_seconds",
			Help:    "Time that new reads were held back for a checkpoint, with the checkpoint.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 8),
		}),
		checkpointFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_duckdb_checkpoints_put_off_total",
			Help: "Checkpoints that were put off because open transactions did not end in time.",
		}),
		stagedRows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_duckdb_staged_rows_total",
			Help: "Rows written into the stages of loads.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.walBytes), reg.Register(m.checkpointSeconds),
		reg.Register(m.checkpointFailures), reg.Register(m.stagedRows))
}
