package producers

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells the status of a producer as metrics, at the time that it is
// asked: there is no second account that could differ from the first.
type collector struct {
	status                                           func() Status
	running, halted, tables, snapshots, through, log *prometheus.Desc
}

func newCollector(status func() Status) *collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("millrace_producer_"+name, help, nil, nil)
	}
	return &collector{
		status:    status,
		running:   desc("running", "1 while the source is open and read, else 0."),
		halted:    desc("halted", "1 if the whole source waits for a person, or another process has taken it over; else 0."),
		tables:    desc("halted_tables", "Tables that wait for a person, also those that are gone at their source."),
		snapshots: desc("snapshots", "Tables whose snapshot runs."),
		through:   desc("complete_through_seconds", "Time up to which every change is committed to Kafka, in seconds since 1970. Absent until it is known; an idle source moves it every few minutes."),
		log:       desc("retained_log_bytes", "Log that the source's server keeps because this producer has not acknowledged it. Absent while the source is not read, and for servers that keep their log by its age."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.running, c.halted, c.tables, c.snapshots, c.through, c.log} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(c.running, truth(s.Running))
	gauge(c.halted, truth(!s.Running && forPerson(s.Err)))
	halted, snapshots := 0, 0
	for _, t := range s.Tables {
		if t.Halted != nil {
			halted++
		}
		if t.Snapshot.Running {
			snapshots++
		}
	}
	gauge(c.tables, float64(halted))
	gauge(c.snapshots, float64(snapshots))
	if !s.Complete.Time.IsZero() {
		gauge(c.through, float64(s.Complete.Time.UnixMilli())/1000)
	}
	if s.Running && s.Retained > 0 {
		gauge(c.log, float64(s.Retained))
	}
}

// forPerson reports whether a session's error ends Run for good.
func forPerson(err error) bool {
	var halt *HaltError
	return errors.Is(err, ErrFenced) || errors.As(err, &halt) && halt.Table == ""
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
