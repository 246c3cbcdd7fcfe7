package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// publish is the run's transaction.
func (x *run) publish(ctx context.Context) error {
	head, err := x.headLiterals()
	if err != nil {
		return err
	}
	x.announce()
	p := sqlgen.Publication{
		Head: head, Load: x.load, Changed: x.changed, Forget: x.step.Forget, Logged: x.load > x.step.Load, Mode: x.step.Mode, FreshKeys: len(x.step.MarkKeys) > 0, ByKeys: x.step.ByKeys,
		KeyMark: x.step.KeyMark, Dirt: x.dirt(), CommittedUs: x.now.UnixMicro(),
	}
	const what = "publish"
	event := x.event
	res, err := x.run(ctx, task{
		what: what, table: x.step.Table.Name, id: x.jobID(what, x.step.Table.Name, x.step.Epoch, x.step.Load, x.number), run: x.label(),
		text: func(job string) string {
			event.JobIDs = []string{job}
			p.Event, _ = encode(event) // of values that encode
			return x.Publish(p)
		},
	})
	if err != nil {
		return err
	}
	if x.load > x.step.Load {
		x.event.JobIDs = []string{res.job}
	}
	x.cost = x.cost.and(res.cost)
	x.opts.Logger.Log(ctx, levelOf(x.load > x.step.Load), "run committed", "table", x.step.Table.Name, "load", x.load, "job", res.job, "rows", x.rows.Applied,
		"billed_bytes", x.cost.billed, "slot_ms", x.cost.slotMs)
	x.takeUp(res.rows)
	return nil
}

// takeUp notes what specs need now. If that cannot be read, it is asked for
// again.
func (x *run) takeUp(rows [][]any) {
	var needs [][]string
	if len(rows) != 1 || json.Unmarshal([]byte(str(rows[0][0])), &needs) != nil {
		x.forgetRun(x.step.Table.Name)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if known := x.known[x.step.Table.Name]; known != nil { // else it was forgotten meanwhile
		x.known[x.step.Table.Name] = &knownRun{needs: needs, imaged: known.imaged}
	}
}

// headLiterals are what AdvanceDerived writes, in its order.
func (x *run) headLiterals() ([]string, error) {
	s := x.step
	absorbed, err := encode(s.Head.Absorbed)
	if err != nil {
		return nil, fmt.Errorf("encode the head: %w", err)
	}
	text := x.dialect.Text
	at := func(t time.Time, layout string) string {
		if t.IsZero() {
			return "NULL"
		}
		return text(t.UTC().Format(layout))
	}
	const civil = "2006-01-02 15:04:05"
	return []string{
		strconv.FormatInt(x.load, 10), text(s.Head.CodeHash), text(absorbed), at(s.Head.Begin, civil), at(s.Head.Frontier, civil),
		at(s.Head.Complete, "2006-01-02 15:04:05.999999+00"), strconv.FormatBool(s.Head.Ready),
		strconv.FormatInt(s.Epoch, 10), strconv.FormatInt(s.Load, 10), text(s.WasHash),
	}, nil
}

// dirt are the statements that clear what the run computed and write what it
// leaves.
func (x *run) dirt() (out []string) {
	if len(x.Owning) > 0 {
		if h := x.step.HoldKeys; h != nil {
			retry := "NULL"
			if !h.RetryAt.IsZero() {
				retry = x.dialect.Text(h.RetryAt.UTC().Format("2006-01-02 15:04:05.999999+00"))
			}
			out = append(out, sqlgen.Bind(x.HoldKeys(), x.dialect.Text(h.Error), strconv.Itoa(h.Failures), retry))
		}
		return out
	}
	if x.step.Forget {
		out = append(out, x.ForgetAll())
	}
	var done []sqlgen.DirtyWindow
	for _, p := range x.step.Parts {
		done = append(done, sqlgen.DirtyWindow{Window: p.Dirt.Window, Mark: p.Dirt.Mark})
	}
	if len(done) > 0 {
		out = append(out, x.ClearWindows(done))
	}
	return append(out, x.marked...)
}

// Of windows that become dirty, markAtOnce stand in a statement; marksInText at
// most in the script that publishes, and in each script that takes more of them
// to a table before it.
const (
	markAtOnce  = 500
	marksInText = 2000
)

// putMarks finds the statements that write what becomes dirty.
func (x *run) putMarks(ctx context.Context) error {
	rows := make([]sqlgen.DirtyWindow, len(x.step.Mark))
	for i, m := range x.step.Mark {
		cause, err := encode(append([]schemas.Cause{}, m.Cause...))
		if err != nil {
			return fmt.Errorf("encode the cause: %w", err)
		}
		rows[i] = sqlgen.DirtyWindow{
			Window: m.Window, Since: m.Since, RetryAt: m.RetryAt, Mark: m.Mark, Backfill: m.Backfill, Cause: cause, Error: m.Error, Failures: m.Failures,
		}
	}
	for marks := range slices.Chunk(rows, markAtOnce) {
		x.marked = append(x.marked, x.MarkWindows(marks)...)
	}
	if len(rows) <= marksInText && textLength(x.marked) <= maxText {
		return nil
	}
	x.tables = append(x.tables, x.Marks())
	n := 0
	for marks := range chunks(rows, marksInText, maxText) {
		if _, err := x.job(ctx, "marks", "", x.PutMarks(marks), n); err != nil {
			return fmt.Errorf("write what becomes dirty: %w", err)
		}
		n++
	}
	x.marked = x.TakeMarks()
	return nil
}

func textLength(list []string) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

// chunks cuts windows into lists of at most so many, whose texts have about so
// many bytes at most.
func chunks(rows []sqlgen.DirtyWindow, most, bytes int) iter.Seq[[]sqlgen.DirtyWindow] {
	return func(yield func([]sqlgen.DirtyWindow) bool) {
		from, size := 0, 0
		for i, w := range rows {
			text := 200 + 2*len(w.Cause) + 2*len(w.Error) // a character may need an escape
			if i > from && (i-from == most || size+text > bytes) {
				if !yield(rows[from:i]) {
					return
				}
				from, size = i, 0
			}
			size += text
		}
		if from < len(rows) {
			yield(rows[from:])
		}
	}
}

// announce makes the event: of what changed, or of progress alone.
func (x *run) announce() {
	s := x.step
	x.event = schemas.LoadComplete{
		Table: s.Table.Name, Epoch: s.Epoch, Mode: s.Mode, CompleteThrough: schemas.Progress{Time: s.Head.Complete},
		Snapshot: schemas.SnapshotState{Done: s.Head.Ready}, Cause: s.Cause, StartedAt: s.StartedAt.UTC(), CommittedAt: x.now, TraceParent: s.TraceParent,
	}
	if x.load == s.Load {
		return
	}
	x.event.Load, x.event.Rows = x.load, x.rows
	if x.orphans {
		x.event.All = true
		return
	}
	if x.KeepImages {
		x.event.Covers.Changes = append(slices.Clone(x.Key), x.Changed...)
	}
	for i, t := range x.times {
		x.event.Covers.EventTimes = append(x.event.Covers.EventTimes, t.Column)
		slices.Sort(x.touched[i])
		touched, all := warehouse.Touch(t.Column, t.Kind, x.touched[i], x.null[i])
		x.event.All = x.event.All || all
		if len(touched.Ranges) > 0 || touched.Null {
			x.event.Touched = append(x.event.Touched, touched)
		}
	}
}
