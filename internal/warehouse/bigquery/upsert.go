package bigquery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// In ModeUpsert, BigQuery itself joins changes with rows, by key and by the
// position that each brings along. Rows go into the table by its default stream,
// which takes no offsets: they may come twice, late, or from an owner of before,
// and do no harm (G2). Once all are acknowledged, and so can be read (G6), one
// fenced script moves the head. A process that dies in between has its rows read
// before they are announced, and loaded again.

var errTruncate = errors.New("a table of mode upsert cannot be truncated: BigQuery removes its rows by their keys alone")

// checkUpsert refuses what BigQuery does not take where changes come by key.
func checkUpsert(want warehouse.CoreTable) error {
	if want.Mode != schemas.ModeUpsert {
		return nil
	}
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": use mode: merge", args...))
	}
	if n := len(want.Key); n > sqlgen.MaxUpsertKey {
		refuse("a key of %d columns: BigQuery takes %d in mode upsert", n, sqlgen.MaxUpsertKey)
	}
	if n := len(want.Columns); n > sqlgen.MaxUpsertColumns {
		refuse("%d columns: BigQuery takes %d in mode upsert", n, sqlgen.MaxUpsertColumns)
	}
	d := sqlgen.BigQuery()
	for _, c := range want.Columns {
		if slices.Contains(want.Key, c.Name) && !sqlgen.KeysUpserts(d.Held(c.Type)) {
			refuse("key column %q: BigQuery takes no %s in the key of mode upsert", c.Name, d.Held(c.Type))
		}
	}
	return errors.Join(errs...)
}

// commitUpserts moves the head over rows that are in the table. What they changed
// is not known: the event says that it may be all, and covers no column. A batch
// without rows has touched nothing, and says so.
func (w *Warehouse) commitUpserts(ctx context.Context, core *sqlgen.Core, kept warehouse.Kept, b *warehouse.Batch, next coretable.Head, s staged) (schemas.LoadComplete, error) {
	// Nobody knows whether rows of a snapshot were news. Those of the first one
	// are taken to be; later ones are not told from a repetition of that.
	next.Snapshot.Running = next.Snapshot.Running || b.Snapshotting && !next.Snapshot.Done
	committed := time.Now().UTC().Truncate(time.Microsecond)
	done := schemas.LoadComplete{
		Table: b.Table.Name, Load: b.Load, Epoch: b.Epoch, Mode: core.Mode, Ranges: b.Ranges, PosMin: b.PosMin, PosMax: b.PosMax,
		CompleteThrough: next.Complete, Rows: b.Counts, All: s.rows > 0, SchemaVersion: b.SchemaVersion, Snapshot: next.Snapshot,
		StartedAt: b.StartedAt.UTC(), CommittedAt: committed, TraceParent: b.TraceParent,
	}
	done.Rows.Applied = s.rows
	if !done.All {
		done.Covers.EventTimes = kept.EventTimes
	}
	head, err := w.headLiterals(b.Load, b.Epoch, next)
	if err != nil {
		return done, err
	}
	res, err := w.run(ctx, task{
		what: "load", table: b.Table.Name, id: w.jobID("load", b.Table.Name, b.Epoch, b.Load, s.batch),
		text: func(job string) string {
			done.JobIDs = []string{job}
			event, _ := encode(logged{LoadComplete: done, Rows: &done.Rows, Snapshot: &done.Snapshot}) // of values that encode
			return core.Upsert(sqlgen.UpsertScript{Head: head, Load: b.Load, CommittedUs: committed.UnixMicro(), Event: event})
		},
	})
	done.JobIDs = []string{res.job}
	if err == nil {
		w.opts.Logger.Log(ctx, levelOf(s.rows > 0), "load committed", "table", b.Table.Name, "load", b.Load, "job", res.job, "rows", done.Rows.Applied,
			"billed_bytes", res.cost.billed, "slot_ms", res.cost.slotMs)
	}
	return done, err
}

// keptDeletes is for how long BigQuery knows the position of a row that was
// deleted. Some of it is left for what is on its way.
const keptDeletes = 47 * time.Hour

// pageOfLoads is how many loads are read at a time.
const pageOfLoads = 200

// remembers refuses offsets that lie before loads which are too old: rows that they
// deleted would be there again, until the repetition comes to their deletes (G9).
// Offsets are those of the head's topic. Topics follow each other, so what is older
// than a load of another one is of no interest.
func (w *Warehouse) remembers(ctx context.Context, t *table, h coretable.Head, offsets map[int32]int64) error {
	asked := maps.Clone(offsets)
	maps.DeleteFunc(asked, func(p int32, to int64) bool { return to >= h.Offsets[p] })
	since := time.Now().Add(-keptDeletes)
	for below := h.Load + 1; len(asked) > 0 && below > 1; {
		rows, err := w.query(ctx, t.name, w.dialect.ReadLoadsBefore(t.name, below, since.UnixMicro(), pageOfLoads))
		if err != nil {
			return fmt.Errorf("read the loads of %s: %w", t.name, err)
		}
		for _, r := range rows {
			e, err := parseEvent(str(r[0]))
			if err != nil {
				return fmt.Errorf("decode a load of %s: %w", t.name, err)
			}
			for _, loaded := range e.Ranges {
				if loaded.Topic != h.Topic {
					return nil
				}
				to, ok := asked[loaded.Partition]
				if ok && to < loaded.To {
					return fmt.Errorf("offset %d of partition %d was loaded before %s (load %d), and BigQuery remembers deletes for two days: load the topic into another table, with as: in the configuration",
						to, loaded.Partition, since.UTC().Format(time.RFC3339), e.Load)
				}
				delete(asked, loaded.Partition) // the newest of the old loads has the highest offsets
			}
			below = e.Load
		}
		if len(rows) < pageOfLoads {
			return nil
		}
	}
	return nil
}
