package bigquery

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// The points at which Options.Fault is asked in a succession.
const (
	PointSucceedBegin     = "bigquery.succeed.begin" // the last before the commit
	PointSucceedCommitted = "bigquery.succeed.committed"
)

// Succeed moves the table to its next generation by one job. Its transaction is
// what counts; the definitions around it can be made again, by this call when it
// is repeated or by the next Acquire.
func (w *Warehouse) Succeed(ctx context.Context, s *warehouse.Succession) (schemas.LoadComplete, error) {
	done, err := w.succeed(ctx, s)
	if err != nil {
		return schemas.LoadComplete{}, fmt.Errorf("succeed %s: %w", s.Table.Name, err)
	}
	return done, nil
}

func (w *Warehouse) succeed(ctx context.Context, s *warehouse.Succession) (done schemas.LoadComplete, err error) {
	t, err := w.entry(s.Table.Name)
	if err != nil {
		return done, err
	}
	was, err := w.definition(ctx, t)
	if err != nil {
		return done, err
	}
	head, err := w.owned(ctx, t, s.Epoch)
	if err != nil {
		return done, err
	}
	if head.Load != s.Load-1 {
		return done, fmt.Errorf("the head is at load %d: %w", head.Load, warehouse.ErrFenced)
	}
	var from *table
	if s.From != "" {
		if from, err = w.entry(s.From); err != nil {
			return done, err
		}
	}
	def, next, script, err := w.successor(ctx, was, head, from, s)
	if err != nil {
		return done, err
	}
	script.Old, script.Images = was.Defined(w.dialect, t.name), len(was.Images) > 0
	if err := w.opts.Fault.At(ctx, PointSucceedBegin); err != nil {
		return done, err
	}
	t.learn(nil) // until the outcome is known
	if from != nil {
		from.learn(nil)
	}
	done, err = w.commitSuccession(ctx, t, def, next, script, s)
	t.forget()
	if from != nil {
		from.forget()
	}
	if err != nil {
		return done, settle(ctx, err, s.Epoch, w.epochOf(t.name))
	}
	if from != nil {
		from.takeStream().close()
	}
	t.learn(&next)
	return done, w.opts.Fault.At(ctx, PointSucceedCommitted)
}

// successor is the table in its next generation, its head, and where the head of
// what is taken in was found.
func (w *Warehouse) successor(ctx context.Context, was coretable.Definition, head coretable.Head, from *table, s *warehouse.Succession) (
	def coretable.Definition, next coretable.Head, script sqlgen.SuccessionScript, err error,
) {
	if from == nil {
		if def, err = was.Stay(w.dialect, s); err != nil {
			return def, next, script, err
		}
		return def, head.Stays(s, def.Unsettable), script, nil
	}
	if def, err = w.definition(ctx, from); err != nil {
		return def, next, script, err
	}
	taken, err := w.owned(ctx, from, s.FromEpoch)
	if err != nil {
		return def, next, script, fmt.Errorf("take in %s: %w", s.From, err)
	}
	script.From, script.FromEpoch, script.FromLoad = def.Defined(w.dialect, from.name), taken.Epoch, taken.Load
	def.Generation, def.Needs, def.Images = s.Generation, was.Needs, nil
	return def, head.TakesIn(taken, s), script, nil
}

func (w *Warehouse) commitSuccession(ctx context.Context, t *table, def coretable.Definition, next coretable.Head, script sqlgen.SuccessionScript, s *warehouse.Succession) (
	done schemas.LoadComplete, err error,
) {
	script.Epoch, script.Load = s.Epoch, s.Load
	if script.Head, err = w.successorLiterals(next); err != nil {
		return done, err
	}
	committed := time.Now().UTC().Truncate(time.Microsecond)
	script.CommittedUs = committed.UnixMicro()
	done = schemas.LoadComplete{
		Table: s.Table.Name, Load: s.Load, Epoch: s.Epoch, Mode: def.Mode, CompleteThrough: next.Complete, All: true,
		SchemaVersion: s.SchemaVersion, Snapshot: next.Snapshot, StartedAt: s.StartedAt.UTC(), CommittedAt: committed,
	}
	core := def.Defined(w.dialect, t.name)
	core.Description = s.Table.Description
	for _, name := range s.Table.EventTimes[:min(1, len(s.Table.EventTimes))] {
		if i := coretable.ColumnIndex(core.Columns, name); i >= 0 {
			core.EventTimes = []int{i}
		}
	}
	id := w.jobID("succeed", s.Table.Name, s.Epoch, s.Load, s.Generation)
	res, err := w.run(ctx, task{what: "succeed", table: s.Table.Name, id: id, text: func(job string) string {
		done.JobIDs = []string{job}
		script.Event, _ = encode(logged{LoadComplete: done, Rows: &done.Rows, Snapshot: &done.Snapshot}) // of values that encode
		return core.Succession(script)
	}})
	done.JobIDs = []string{res.job}
	return done, err
}

// successorLiterals are what sqlgen's Succeed writes, in its order.
func (w *Warehouse) successorLiterals(next coretable.Head) ([]string, error) {
	head, err := w.headLiterals(next.Load, next.Epoch, next)
	if err != nil {
		return nil, err
	}
	key, err := encode(append([]string{}, next.Key...))
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	unsettable, err := encode(append([]string{}, next.Unsettable...))
	if err != nil {
		return nil, fmt.Errorf("encode which columns can be unset: %w", err)
	}
	text := w.dialect.Text
	return append(head, text(string(next.Mode)), text(key), text(next.Topic), text(next.TopicID), text(unsettable), strconv.Itoa(next.Generation)), nil
}

// finish completes a succession whose process or job ended on its way: readers
// are shown the head's generation, and nothing else of it is left.
func (w *Warehouse) finish(ctx context.Context, t *table, epoch int64) error {
	def, err := w.definition(ctx, t)
	if err != nil {
		return err
	}
	view, shown, err := w.metadata(ctx, t.name.Dataset, t.name.Table)
	if err != nil {
		return err
	}
	if shown && !isView(view, def) {
		// What this process knows may be old: others may have changed the table since.
		t.forget()
		if def, err = w.definition(ctx, t); err != nil {
			return err
		}
		if err := checkShown(def, t.name, view); err != nil {
			return err
		}
	}
	done := shown && isView(view, def)
	if done && def.Generation > 1 {
		_, left, err := w.metadata(ctx, t.name.Dataset, schemas.GenerationName(t.name.Table, def.Generation)) // what goes last
		if err != nil {
			return err
		}
		done = !left
	}
	if done {
		return nil
	}
	if err := w.ddl(ctx, t.name, w.dialect.Owner(t.name, epoch), def.Defined(w.dialect, t.name).Finish(time.Now())); err != nil {
		return fmt.Errorf("finish its succession: %w", err)
	}
	return nil
}

// isView reports whether the view is that of the definition.
func isView(view *api.Table, def coretable.Definition) bool {
	fields, _ := fieldsOf(view)
	return view.Labels[sqlgen.LabelGeneration] == strconv.Itoa(max(def.Generation, 1)) && slices.Equal(fields, shows(def))
}
