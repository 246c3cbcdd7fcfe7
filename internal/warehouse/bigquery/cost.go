package bigquery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse/sqlgen"
)

// cost is what a job took. That of a script has its statements' in it.
type cost struct {
	billed int64 // bytes
	slotMs int64
	took   time.Duration
}

func (c cost) and(more cost) cost {
	return cost{c.billed + more.billed, c.slotMs + more.slotMs, c.took + more.took}
}

func costOf(job *api.Job) (c cost) {
	s := job.Statistics
	if s == nil {
		return c
	}
	c.took = time.Duration(max(0, s.EndTime-s.StartTime)) * time.Millisecond
	c.slotMs = s.TotalSlotMs
	if s.Query != nil {
		c.billed = s.Query.TotalBytesBilled
	}
	return c
}

// account records what the job cost. It is of no concern if it cannot be read.
func (w *Warehouse) account(ctx context.Context, t task, id string) cost {
	job, err := w.status(ctx, id)
	if err != nil {
		return cost{}
	}
	c := costOf(job)
	w.record(t, c)
	return c
}

func (w *Warehouse) record(t task, c cost) {
	w.metrics.jobSeconds.WithLabelValues(t.what).Observe(c.took.Seconds())
	w.metrics.billedBytes.WithLabelValues(t.what).Add(float64(c.billed))
	w.metrics.slotSeconds.WithLabelValues(t.what).Add((time.Duration(c.slotMs) * time.Millisecond).Seconds())
}

// abandon is the end of a job that has not ended well. What it cost is recorded;
// one that goes on, and for which nobody waits any longer, is asked to stop.
func (w *Warehouse) abandon(ctx context.Context, t task, id string, err error) error {
	var ended *jobError
	switch {
	case errors.As(err, &ended):
		w.record(t, ended.cost)
	case ctx.Err() != nil, errors.Is(err, errPatience):
		w.cancel(ctx, id)
	}
	return fmt.Errorf("job %s: %w", id, err)
}

// levelOf is how loud a commit is told: one that brought news, or mere progress.
func levelOf(news bool) slog.Level {
	if news {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// labels are by which a person finds in the service what the platform's jobs
// cost.
func (t task) labels() map[string]string {
	l := map[string]string{"millrace": t.what, "millrace_table": label(t.table)}
	if t.run != "" {
		l["millrace_run"] = label(t.run)
	}
	return l
}

// labelLength is the most that the service takes.
const labelLength = 63

// label is the text as a label's value may be. Two long texts stay two.
func label(text string) string {
	if len(text) <= labelLength {
		return sqlgen.Label(text)
	}
	sum := sha256.Sum256([]byte(text))
	return sqlgen.Label(text)[:labelLength-9] + "_" + hex.EncodeToString(sum[:4])
}
