package bigquery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse/sqlgen"
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
	// into is the scratch table which the result becomes, in place of what it had;
	// empty: the result is read.
	into string
	run  string // of a run of a derived table: which, as a label
	// load makes it a load job in place of a script, of the file that each call
	// begins anew.
	load *api.JobConfigurationLoad
	file func() (*file, error)
}

// result is what the last statement of a script gave.
type result struct {
	job  string
	rows [][]any
	cost cost
}

// jobError is the error in which a job has ended.
type jobError struct {
	reason, message string
	cost            cost // what a job does that fails is billed too
}

func (e *jobError) Error() string { return e.message + " (" + e.reason + ")" }

// run makes the task's job and waits for it. Another attempt is made only after
// the one before was seen to have ended in an error that is worth one: so of
// all attempts at most one has an effect. If the context ends before the job
// does, the outcome is unknown; the job is asked to stop.
func (w *Warehouse) run(ctx context.Context, t task) (result, error) {
	pause, attempts := w.pauses(), cmp.Or(t.attempts, w.opts.Attempts)
	defer pause.end()
	for attempt := 1; ; attempt++ {
		id := fmt.Sprintf("%s_%d", t.id, attempt)
		res, err := w.attempt(ctx, t, id)
		if err == nil {
			return res, nil
		}
		c := classOf(err)
		if c == fenced && attempt > 1 {
			return res, &repeatedError{err}
		}
		// Of one that was given up nobody has seen the end: its last error says why
		// nobody heard of it, and not what became of it.
		if ctx.Err() != nil || errors.Is(err, errPatience) || attempt >= attempts || c != again && c != quota && c != conflict {
			return res, cure(err)
		}
		w.metrics.retries.WithLabelValues(t.what).Inc()
		w.opts.Logger.Warn("job repeated", "table", t.table, "job", id, "err", err)
		if waitErr := pause.wait(ctx, c); waitErr != nil {
			return res, unanswered(waitErr, err)
		}
	}
}

// repeatedError is the error of an attempt behind others. A job may end in an
// error behind its commit: then the next attempt meets the head that it has moved.
type repeatedError struct{ err error }

func (e *repeatedError) Error() string { return e.err.Error() }
func (e *repeatedError) Unwrap() error { return e.err }

// attempt runs one job, or adopts it if it is there: an earlier call has made it
// and its reply was lost.
func (w *Warehouse) attempt(ctx context.Context, t task, id string) (result, error) {
	res := result{job: id}
	if err := w.insert(ctx, t, id); err != nil {
		return res, fmt.Errorf("make job %s: %w", id, err)
	}
	if t.load != nil {
		return res, w.finishLoad(ctx, t, id)
	}
	page, err := w.await(ctx, id, t.into == "")
	if err != nil {
		return res, w.abandon(ctx, t, id, err)
	}
	res.cost = w.account(ctx, t, id)
	if t.into != "" {
		return res, nil
	}
	if res.rows, err = w.read(ctx, id, page); err != nil {
		return res, fmt.Errorf("read the result of job %s: %w", id, err)
	}
	return res, nil
}

// insert makes the job. A call whose outcome is not known is followed by a look
// for the job; if it is not there, the same call is made again.
func (w *Warehouse) insert(ctx context.Context, t task, id string) error {
	job := w.describe(t, id)
	if q := job.Configuration.Query; q != nil {
		if err := checkLength(q.Query); err != nil {
			return err
		}
	}
	pause := w.pauses()
	defer pause.end()
	for {
		err := w.ask(ctx, t, job)
		if err == nil {
			return nil
		}
		if !isStatus(err, http.StatusConflict) && classOf(err) != unknown {
			return err
		}
		_, lookErr := w.status(ctx, id)
		if lookErr == nil {
			w.metrics.adopted.Inc()
			return nil
		}
		why := unknown
		if !isMissing(lookErr) {
			if why = classOf(lookErr); why == fatal {
				return errors.Join(err, lookErr)
			}
		}
		w.opts.Logger.Warn("job made again: it is not known whether it was", "table", t.table, "job", id, "err", err)
		if waitErr := pause.wait(ctx, why); waitErr != nil {
			return unanswered(waitErr, err)
		}
	}
}

// ask asks the service for the job.
func (w *Warehouse) ask(ctx context.Context, t task, job *api.Job) error {
	if t.load != nil {
		return w.upload(ctx, t, job)
	}
	return w.call(ctx, func(ctx context.Context) error {
		made, err := w.jobs.Jobs.Insert(w.opts.Project, job).Context(ctx).Do()
		if err == nil {
			w.clock.learn(w, made)
		}
		return err
	})
}

// describe is the task's job as the service is asked for it.
func (w *Warehouse) describe(t task, id string) *api.Job {
	job := &api.Job{
		JobReference: &api.JobReference{ProjectId: w.opts.Project, JobId: id, Location: w.opts.Location},
		Configuration: &api.JobConfiguration{
			Labels: t.labels(), Load: t.load,
		},
	}
	if t.load == nil {
		job.Configuration.Query = w.describeQuery(t, id)
	}
	return job
}

func (w *Warehouse) describeQuery(t task, id string) *api.JobConfigurationQuery {
	legacy, cached := false, false
	q := &api.JobConfigurationQuery{
		Query: t.text(id), UseLegacySql: &legacy, UseQueryCache: &cached, MaximumBytesBilled: w.opts.MaxBytesBilled,
	}
	if t.into != "" {
		q.DestinationTable = &api.TableReference{ProjectId: w.opts.Project, DatasetId: sqlgen.Scratch, TableId: t.into}
		q.CreateDisposition, q.WriteDisposition = "CREATE_IF_NEEDED", "WRITE_TRUNCATE"
	}
	return q
}

// columnsOfQuery are the columns of the query's result, in SQL's words. It runs
// nothing and costs nothing.
func (w *Warehouse) columnsOfQuery(ctx context.Context, t task) (names, types []string, err error) {
	stats, err := w.dryRun(ctx, t)
	if err != nil {
		return nil, nil, cure(err)
	}
	for _, f := range stats.Schema.Fields {
		names, types = append(names, f.Name), append(types, typeName(f))
	}
	return names, types, nil
}

// dryRun asks what the query would read and give. What is wrong with the query
// comes as the service has said it.
func (w *Warehouse) dryRun(ctx context.Context, t task) (*api.JobStatistics2, error) {
	job := w.describe(t, "")
	job.JobReference.JobId, job.Configuration.DryRun = "", true
	if err := checkLength(job.Configuration.Query.Query); err != nil {
		return nil, err
	}
	pause := w.pauses()
	defer pause.end()
	for attempt := 1; ; attempt++ {
		var done *api.Job
		err := w.call(ctx, func(ctx context.Context) (err error) {
			done, err = w.jobs.Jobs.Insert(w.opts.Project, job).Context(ctx).Do()
			return err
		})
		if err == nil {
			if done.Statistics == nil || done.Statistics.Query == nil || done.Statistics.Query.Schema == nil {
				return nil, errors.New("the service does not say what the query gives")
			}
			return done.Statistics.Query, nil
		}
		c := classOf(err)
		if c == fatal || attempt >= w.opts.Attempts {
			return nil, err
		}
		w.opts.Logger.Warn("query described again", "table", t.table, "err", err)
		if waitErr := pause.wait(ctx, c); waitErr != nil {
			return nil, unanswered(waitErr, err)
		}
	}
}

// holdMs is for how long the service holds a call for a job's end.
const holdMs = 10_000

// await waits until the job has ended, and returns the first page of its
// result, or its error. The service holds the call until then, or for a while:
// nothing polls.
func (w *Warehouse) await(ctx context.Context, id string, rows bool) (*api.GetQueryResultsResponse, error) {
	pause := w.pauses()
	defer func() { pause.end() }()
	for {
		var page *api.GetQueryResultsResponse
		err := w.call(ctx, func(ctx context.Context) (err error) {
			page, err = w.page(ctx, id, "", rows)
			return err
		})
		if err == nil && page.JobComplete {
			return page, nil
		}
		if err == nil && ctx.Err() == nil {
			// It goes on; a service that does not hold the call is not stormed.
			pause.end()
			err = pause.poll(ctx)
			pause = w.pauses()
			if err == nil {
				continue
			}
		}
		if ctx.Err() == nil {
			// An error of the job and one of the call look alike: the job tells.
			job, lookErr := w.status(ctx, id)
			switch {
			case lookErr == nil && job.Status != nil && job.Status.ErrorResult != nil && job.Status.State == "DONE":
				return nil, &jobError{job.Status.ErrorResult.Reason, job.Status.ErrorResult.Message, costOf(job)}
			case lookErr != nil && classOf(lookErr) == fatal:
				return nil, lookErr
			case lookErr == nil && job.Status != nil && job.Status.State != "DONE":
				pause.began = time.Time{} // it goes on: no patience ends what is alive
			}
			w.opts.Logger.Warn("job asked for again", "job", id, "err", err)
		}
		if waitErr := pause.wait(ctx, unknown); waitErr != nil {
			return nil, unanswered(waitErr, err)
		}
	}
}

func (w *Warehouse) page(ctx context.Context, id, token string, rows bool) (*api.GetQueryResultsResponse, error) {
	call := w.jobs.Jobs.GetQueryResults(w.opts.Project, id).Context(ctx).Location(w.opts.Location).
		TimeoutMs(min(holdMs, w.opts.CallTimeout.Milliseconds()/2)).FormatOptionsUseInt64Timestamp(true)
	if token != "" {
		call = call.PageToken(token)
	}
	if !rows {
		call = call.MaxResults(0)
	}
	return call.Do()
}

// read reads the result of a job that has ended well, of which it has the first
// page. Its error leads to no other attempt: the job's effect is there.
func (w *Warehouse) read(ctx context.Context, id string, page *api.GetQueryResultsResponse) (rows [][]any, err error) {
	for schema := page.Schema; ; {
		for _, r := range page.Rows {
			row, err := values(schema, r)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		if page.PageToken == "" {
			return rows, nil
		}
		if page, err = w.nextPage(ctx, id, page.PageToken); err != nil {
			return nil, err
		}
	}
}

// nextPage reads the page of the token: reading it again does no harm.
func (w *Warehouse) nextPage(ctx context.Context, id, token string) (page *api.GetQueryResultsResponse, err error) {
	pause := w.pauses()
	defer pause.end()
	for {
		err = w.call(ctx, func(ctx context.Context) (err error) {
			page, err = w.page(ctx, id, token, true)
			return err
		})
		if err == nil || classOf(err) == fatal {
			return page, err
		}
		if waitErr := pause.wait(ctx, unknown); waitErr != nil {
			return nil, unanswered(waitErr, err)
		}
	}
}

// status looks for the job.
func (w *Warehouse) status(ctx context.Context, id string) (job *api.Job, err error) {
	err = w.call(ctx, func(ctx context.Context) (err error) {
		job, err = w.jobs.Jobs.Get(w.opts.Project, id).Context(ctx).Location(w.opts.Location).Do()
		return err
	})
	return job, err
}

// call bounds a call.
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
func (w *Warehouse) cancel(ctx context.Context, id string) {
	err := w.call(context.WithoutCancel(ctx), func(ctx context.Context) error {
		_, err := w.jobs.Jobs.Cancel(w.opts.Project, id).Context(ctx).Location(w.opts.Location).Do()
		return err
	})
	if err != nil {
		w.opts.Logger.Warn("job not cancelled", "job", id, "err", err)
	}
}
