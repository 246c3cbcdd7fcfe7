package bigquery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/iterator"
)

// task is a script that is run to its end exactly once, as far as one attempt
// at a time can promise that.
type task struct {
	what  string // a label: load, define, read
	table string
	id    string // of the attempts: a number is put behind it
	// text is the script of an attempt.
	text     func(jobID string) string
	attempts int // zero: Options.Attempts
}

// result is what the last statement of a script gave.
type result struct {
	job  string
	rows [][]bq.Value
}

// run makes the task's job and waits for it. Another attempt is made only after
// the one before was seen to have ended in an error that is worth one: so of
// all attempts at most one has an effect. If the context ends before the job
// does, the outcome is unknown; the job is asked to stop.
func (w *Warehouse) run(ctx context.Context, t task) (result, error) {
	pause, attempts := w.pauses(), cmp.Or(t.attempts, w.opts.Attempts)
	for attempt := 1; ; attempt++ {
		id := fmt.Sprintf("%s_%d", t.id, attempt)
		res, err := w.attempt(ctx, t, id)
		if err == nil {
			return res, nil
		}
		c := classOf(err)
		if ctx.Err() != nil || attempt >= attempts || c != again && c != quota && c != conflict {
			return res, cure(err)
		}
		w.metrics.retries.WithLabelValues(t.what).Inc()
		w.opts.Logger.Warn("job repeated", "table", t.table, "job", id, "err", err)
		if waitErr := pause.wait(ctx, c); waitErr != nil {
			return res, errors.Join(waitErr, err)
		}
	}
}

// attempt runs one job, or adopts it if it is there: an earlier call has made it
// and its reply was lost.
func (w *Warehouse) attempt(ctx context.Context, t task, id string) (result, error) {
	res := result{job: id}
	job, err := w.insert(ctx, t, id)
	if err != nil {
		return res, fmt.Errorf("make job %s: %w", id, err)
	}
	if err := w.await(ctx, job); err != nil {
		if ctx.Err() != nil {
			w.cancel(ctx, job)
		}
		return res, fmt.Errorf("job %s: %w", id, err)
	}
	w.account(t, job)
	if res.rows, err = w.read(ctx, job); err != nil {
		return res, fmt.Errorf("read the result of job %s: %w", id, err)
	}
	return res, nil
}

// insert makes the job. A call whose outcome is not known is followed by a look
// for the job; if it is not there, the same call is made again.
func (w *Warehouse) insert(ctx context.Context, t task, id string) (job *bq.Job, err error) {
	q := w.jobs.Query(t.text(id))
	q.JobID, q.Location = id, w.opts.Location
	q.MaxBytesBilled = w.opts.MaxBytesBilled
	q.DisableQueryCache = true
	q.Labels = map[string]string{"millrace": t.what, "millrace_table": label(t.table)}
	pause := w.pauses()
	for {
		err := w.call(ctx, func(ctx context.Context) (err error) {
			job, err = q.Run(ctx)
			return err
		})
		if err == nil {
			return job, nil
		}
		if !isStatus(err, http.StatusConflict) && classOf(err) != unknown {
			return nil, err
		}
		lookErr := w.call(ctx, func(ctx context.Context) (err error) {
			job, err = w.jobs.JobFromIDLocation(ctx, id, w.opts.Location)
			return err
		})
		if lookErr == nil {
			w.metrics.adopted.Inc()
			return job, nil
		}
		if !isStatus(lookErr, http.StatusNotFound) && classOf(lookErr) != unknown {
			return nil, errors.Join(err, lookErr)
		}
		if waitErr := pause.wait(ctx, unknown); waitErr != nil {
			return nil, errors.Join(waitErr, err)
		}
	}
}

// await waits until the job has ended, and returns its error. The service holds
// the call until then, or for a while: nothing polls.
func (w *Warehouse) await(ctx context.Context, job *bq.Job) error {
	pause := w.pauses()
	for {
		var state *bq.JobStatus
		err := w.call(ctx, func(ctx context.Context) error {
			_, waitErr := job.Wait(ctx)
			if waitErr == nil {
				state = job.LastStatus()
				return nil
			}
			var err error
			// An error of the job and one of the call look alike there: the job's
			// status tells.
			if state, err = job.Status(ctx); err != nil {
				return err
			}
			return nil
		})
		switch {
		case err == nil && state.Done():
			return state.Err()
		case err != nil && ctx.Err() == nil && classOf(err) == fatal:
			return err
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			continue // the job takes longer than a call, which has waited
		}
		if waitErr := pause.wait(ctx, unknown); waitErr != nil {
			return errors.Join(waitErr, err)
		}
	}
}

// read reads the result of a job that has ended well.
func (w *Warehouse) read(ctx context.Context, job *bq.Job) (rows [][]bq.Value, err error) {
	pause := w.pauses()
	for {
		rows = nil
		err := w.call(ctx, func(ctx context.Context) error {
			it, err := job.Read(ctx)
			if err != nil {
				return err
			}
			for {
				var row []bq.Value
				err := it.Next(&row)
				if errors.Is(err, iterator.Done) {
					return nil
				}
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
		})
		if err == nil || classOf(err) == fatal {
			return rows, err
		}
		if waitErr := pause.wait(ctx, unknown); waitErr != nil {
			return nil, errors.Join(waitErr, err)
		}
	}
}

// call bounds a call of the client, which repeats what fails until its context
// ends.
func (w *Warehouse) call(ctx context.Context, do func(context.Context) error) error {
	w.metrics.calls.Inc()
	bounded, stop := context.WithTimeout(ctx, w.opts.CallTimeout)
	defer stop()
	err := do(bounded)
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// cancel asks the job to stop. What it had done by then is undone, unless its
// transaction had ended.
func (w *Warehouse) cancel(ctx context.Context, job *bq.Job) {
	steady, stop := context.WithTimeout(context.WithoutCancel(ctx), w.opts.CallTimeout)
	defer stop()
	if err := job.Cancel(steady); err != nil {
		w.opts.Logger.Warn("job not cancelled", "job", job.ID(), "err", err)
	}
}

// account records what the job cost.
func (w *Warehouse) account(t task, job *bq.Job) {
	s := job.LastStatus()
	if s == nil || s.Statistics == nil {
		return
	}
	w.metrics.jobSeconds.WithLabelValues(t.what).Observe(max(0, s.Statistics.EndTime.Sub(s.Statistics.StartTime).Seconds()))
	if q, ok := s.Statistics.Details.(*bq.QueryStatistics); ok {
		w.metrics.billedBytes.WithLabelValues(t.what).Add(float64(q.TotalBytesBilled))
		w.metrics.slotSeconds.WithLabelValues(t.what).Add((time.Duration(q.SlotMillis) * time.Millisecond).Seconds())
	}
}

// label is the text as a label's value may be.
func label(text string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, text)
	return out[:min(len(out), 63)]
}
