package bigquery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	api "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// What staged a batch, as a label's value.
const (
	byStream = "stream"
	byFile   = "file"
)

// fileRules say when a batch is staged by a load job of an Avro file. The stream
// is paid for by what is written to it, a load job is not; but a table takes 1,500
// of them a day, and each takes seconds where the stream takes tenths.
type fileRules struct {
	// least is how many bytes of rows are worth a job. The stream takes 8 MiB for
	// a fiftieth of a cent, and a batch of a snapshot at its full size has four
	// times that.
	least int64
	// perDay is how many jobs this process makes for a table in its day. Two of
	// its days overlap with any one of the service's, and so may those of an owner
	// before it: a third of the quota keeps all of them below it.
	perDay int
	// within is when a job that has not ended is given up.
	within time.Duration
	// rest is how long a table goes by the stream after a file failed.
	rest time.Duration
}

func fileDefaults() fileRules {
	return fileRules{least: 8 << 20, perDay: 500, within: 2 * time.Minute, rest: 10 * time.Minute}
}

// fileCount is what a table has had of its files.
type fileCount struct {
	day   time.Time // when the count began
	made  int
	after time.Time // none before it
}

// takeFile takes one of the day's files, if there is one.
func (t *table) takeFile(r fileRules, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &t.files
	if now.Before(f.after) {
		return false
	}
	if now.Sub(f.day) >= 24*time.Hour {
		f.day, f.made = now, 0
	}
	if f.made >= r.perDay {
		return false
	}
	f.made++
	return true
}

// restFiles sends the table's batches by the stream for a while.
func (t *table) restFiles(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files.after = until
}

// stageFile stages the batch by a load job, if that is of use. It is an economy:
// whatever goes wrong with it, the stream takes the batch, under another name. So
// what a job does whose outcome is not known is never read.
func (w *Warehouse) stageFile(ctx context.Context, t *table, c *sqlgen.Core, b *warehouse.Batch) (s staged, ok bool, err error) {
	if !b.Snapshotting {
		return s, false, nil
	}
	if big, err := w.worthFile(c, b); err != nil || !big || !t.takeFile(w.files, time.Now()) {
		return s, false, err
	}
	s = staged{batch: w.session + "-" + randomID(), atUs: w.clock.now().UnixMicro()}
	bounded, stop := context.WithTimeoutCause(ctx, w.files.within, errSlowFile)
	defer stop()
	var f *file
	_, err = w.run(bounded, task{
		what: "stage", table: b.Table.Name, id: w.jobID("stage", b.Table.Name, b.Epoch, b.Load, s.batch), attempts: 1,
		load: &api.JobConfigurationLoad{
			DestinationTable: &api.TableReference{ProjectId: w.opts.Project, DatasetId: sqlgen.Schema, TableId: c.Staging()},
			SourceFormat:     "AVRO", UseAvroLogicalTypes: true, DecimalTargetTypes: []string{"NUMERIC", "BIGNUMERIC"},
			CreateDisposition: "CREATE_NEVER", WriteDisposition: "WRITE_APPEND",
		},
		file: func() (_ *file, err error) {
			f, err = newFile(c, b, s.batch, s.atUs)
			return f, err
		},
	})
	if err == nil {
		_, err = io.Copy(io.Discard, f) // a job that was adopted may not have read all of this one
	}
	var unfit *unfitError
	switch {
	case err == nil:
		w.metrics.stagedRows.WithLabelValues(byFile).Add(float64(f.count))
		w.metrics.stagedBytes.WithLabelValues(byFile).Add(float64(f.size))
		s.rows, s.nullKeys, s.bounds = f.count, f.e.nullKeys, f.e.bounds(c)
		return s, true, nil
	case ctx.Err() != nil:
		return s, false, fmt.Errorf("stage: %w", err)
	case errors.As(err, &unfit):
		return s, false, nil
	}
	t.restFiles(time.Now().Add(w.files.rest))
	w.metrics.restaged.Inc()
	w.opts.Logger.Warn("batch staged by the stream: its file failed", "table", b.Table.Name, "load", b.Load, "err", err)
	return s, false, nil
}

var errSlowFile = errors.New("the load job has not ended in time")

// worthFile reports whether the batch is large enough, as far as its first rows
// tell.
func (w *Warehouse) worthFile(c *sqlgen.Core, b *warehouse.Batch) (bool, error) {
	rows := b.Counts.Read - b.Counts.Folded - b.Counts.Quarantined
	if rows <= 0 {
		return false, nil
	}
	e, err := newFileEncoder(c, b.Table, "", 0)
	if err != nil {
		return false, fmt.Errorf("stage: %w", err)
	}
	b.Rows.Reset()
	const most = 64
	var sample []byte
	for seen := int64(1); ; seen++ {
		if sample, err = e.append(sample, b.Rows); err != nil {
			return isEnd(err) && int64(len(sample)) >= w.files.least, nil // the stream tells what is wrong
		}
		if seen == most {
			return int64(len(sample))/most*rows >= w.files.least, nil
		}
	}
}

// upload asks for a load job and brings its file. Beyond a part of it, the
// client sends one after the other.
func (w *Warehouse) upload(ctx context.Context, t task, job *api.Job) error {
	in, err := t.file()
	if err != nil {
		return err
	}
	w.metrics.calls.Inc()
	call := w.jobs.Jobs.Insert(w.opts.Project, job).Context(ctx).
		Media(in, googleapi.ContentType("application/octet-stream"), googleapi.ChunkSize(filePart)) // reads the first part
	if in.err != nil && !isEnd(in.err) {
		return in.err
	}
	_, err = call.Do()
	if err != nil && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// finishLoad sees a load job to its end.
func (w *Warehouse) finishLoad(ctx context.Context, t task, id string) error {
	job, err := w.awaitLoad(ctx, id)
	if err != nil {
		return w.abandon(ctx, t, id, err)
	}
	w.record(t, costOf(job))
	return nil
}

// awaitLoad waits until a load job has ended, and returns it, or its error. The
// service does not hold such a call.
func (w *Warehouse) awaitLoad(ctx context.Context, id string) (*api.Job, error) {
	pause := w.pauses()
	defer pause.end()
	pause.most = 4 * pause.next
	for {
		if err := pause.poll(ctx); err != nil {
			return nil, err
		}
		job, err := w.status(ctx, id)
		switch {
		case err != nil && classOf(err) == fatal:
			return nil, err
		case err != nil:
			pause.count(classOf(err))
			w.opts.Logger.Warn("job asked for again", "job", id, "err", err)
			continue
		}
		pause.end()
		switch {
		case job.Status == nil || job.Status.State != "DONE":
		case job.Status.ErrorResult != nil:
			return nil, &jobError{job.Status.ErrorResult.Reason, job.Status.ErrorResult.Message, costOf(job)}
		default:
			return job, nil
		}
	}
}
