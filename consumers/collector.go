package consumers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells the board's status as metrics, at the time that it is asked.
// Of a table that another member of the group owns it says nothing: that one
// does, and two accounts of one table would contradict each other.
type collector struct {
	board                                                 *board
	through, loaded, halted, retrying, letters, snapshots *prometheus.Desc
}

func newCollector(b *board) *collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("millrace_"+name, help, []string{"table"}, nil)
	}
	return &collector{
		board:     b,
		through:   desc("load_complete_through_seconds", "Time up to which the core table is complete, in seconds since 1970. It stands still while a snapshot runs, and while a dead letter is unresolved. Absent until it is known."),
		loaded:    desc("load_last_seconds", "When the last load was committed, in seconds since 1970. Absent before the first."),
		halted:    desc("load_halted", "1 if the core table waits for a person, else 0."),
		retrying:  desc("load_retrying", "1 while a load or the takeover of the core table is tried again after an error, else 0."),
		letters:   desc("unresolved_dead_letters", "Dead letters of the core table that nobody has resolved yet."),
		snapshots: desc("load_snapshot_running", "1 while a snapshot of the core table is loaded, else 0."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.through, c.loaded, c.halted, c.retrying, c.letters, c.snapshots} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.board.snapshot() {
		gauge := func(d *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Table)
		}
		at := func(d *prometheus.Desc, t time.Time) {
			if !t.IsZero() {
				gauge(d, float64(t.UnixMilli())/1000)
			}
		}
		if s.Owned || s.Halted != "" {
			gauge(c.halted, truth(s.Halted != ""))
		}
		if s.Owned || s.Trouble != "" {
			gauge(c.retrying, truth(s.Trouble != ""))
		}
		if !s.Owned && s.Halted == "" {
			continue
		}
		gauge(c.letters, float64(s.Letters))
		gauge(c.snapshots, truth(s.Snapshot.Running))
		at(c.through, s.Complete.Time)
		at(c.loaded, s.LoadedAt)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
