package bigquery

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	calls       prometheus.Counter
	adopted     prometheus.Counter
	retries     *prometheus.CounterVec
	jobSeconds  *prometheus.HistogramVec
	billedBytes *prometheus.CounterVec
	slotSeconds *prometheus.CounterVec
	stagedRows  *prometheus.CounterVec
	stagedBytes *prometheus.CounterVec
	restaged    prometheus.Counter
	waiting     *prometheus.GaugeVec
	clockSkew   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_bigquery_" + name, Help: help})
	}
	byKind := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_bigquery_" + name, Help: help}, []string{"kind"})
	}
	byWay := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_bigquery_" + name, Help: help}, []string{"by"})
	}
	m := &metrics{
		calls:   counter("calls_total", "Calls of the jobs and tables API, without the client's own repetitions."),
		adopted: counter("adopted_jobs_total", "Jobs that were found made although the reply to their making was lost."),
		retries: byKind("job_retries_total", "Jobs that were made again after one that ended in an error."),
		jobSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_bigquery_job_duration_seconds", Help: "Time from the start to the end of a job, as the service says.",
			Buckets: prometheus.ExponentialBuckets(0.25, 2, 12),
		}, []string{"kind"}),
		billedBytes: byKind("billed_bytes_total", "Bytes that jobs were billed for."),
		slotSeconds: byKind("slot_seconds_total", "Slot time of jobs."),
		stagedRows:  byWay("staged_rows_total", "Rows written into the stages of loads, by the stream or by files of load jobs."),
		stagedBytes: byWay("staged_bytes_total", "Bytes of those rows, before a file compresses them."),
		restaged:    counter("restaged_batches_total", "Batches that were staged anew because their stream or file failed."),
	}
	m.waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "millrace_bigquery_waiting", Help: "Calls, jobs and batches that have failed and are tried again, by why.",
	}, []string{"why"})
	m.clockSkew = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_bigquery_clock_skew_seconds", Help: "By how much the service's clock is ahead of this machine's.",
	})
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.calls, m.adopted, m.retries, m.jobSeconds, m.billedBytes, m.slotSeconds, m.stagedRows, m.stagedBytes, m.restaged, m.waiting, m.clockSkew,
	} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}
