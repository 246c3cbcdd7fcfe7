package bigquery

import (
	"sync/atomic"
	"time"

	api "google.golang.org/api/bigquery/v2"
)

// clock is the service's time as far as it is known: staged rows expire by it. No
// time orders rows (G2).
type clock struct{ ahead atomic.Int64 } // by so much is it ahead of this machine's

// skewed is from when on the difference counts. A call takes a while.
const skewed = time.Minute

// learn notes when the service says that it has made the job, just now.
func (c *clock) learn(w *Warehouse, made *api.Job) {
	if made.Statistics == nil || made.Statistics.CreationTime == 0 {
		return
	}
	ahead := time.Until(time.UnixMilli(made.Statistics.CreationTime))
	if ahead.Abs() < skewed {
		ahead = 0
	}
	w.metrics.clockSkew.Set(ahead.Seconds())
	was := time.Duration(c.ahead.Swap(int64(ahead)))
	if ahead != 0 && (was-ahead).Abs() > skewed {
		w.opts.Logger.Warn("this machine's clock is not BigQuery's: set it right", "ahead", (-ahead).Round(time.Second))
	}
}

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
