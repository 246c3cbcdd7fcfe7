package scenario

import (
	"context"

	"millrace/loadtest/measure"
	"millrace/schemas"
)

// folded is what a topic's events leave of a row.
type folded struct {
	pos           schemas.Position
	sum, noteSum  uint64
	live, changed bool // changed: by a change, not by a snapshot alone
}

// fold is the rows that events leave, for one table: the greatest position wins.
type fold struct {
	rows    map[int64]folded
	changes int64 // that were not seen before
	account *measure.Account
	table   string
}

func (f *fold) add(e *event) {
	row, known := f.rows[e.key]
	stream := e.op != schemas.Read
	switch {
	case known && stream && row.changed && row.pos.Compare(e.pos) >= 0:
		f.account.Note(&f.account.Duplicated, "%s: the change of key %d at %s comes again", f.table, e.key, e.pos)
		return
	case known && !stream && !row.changed && row.pos == e.pos:
		f.account.Note(&f.account.Duplicated, "%s: the row of key %d, read at %s, comes again", f.table, e.key, e.pos)
		return
	case known && row.pos.Compare(e.pos) > 0:
		return // a snapshot's row, read before the change that is known
	}
	if stream {
		f.changes++
	}
	next := folded{pos: e.pos, sum: e.sum, noteSum: e.noteSum, live: e.op != schemas.Delete, changed: stream || row.changed}
	if !e.note {
		next.noteSum = row.noteSum
	}
	f.rows[e.key] = next
}

// target is the rows as they are to be compared.
func (f *fold) target() *measure.Target {
	t := measure.NewTarget(f.table, f.account)
	for key, row := range f.rows {
		if row.live {
			t.Add(key, row.sum+row.noteSum)
		}
	}
	return t
}

// accountTopics compares what the topics hold with the source: the rows that
// the events leave, and, if it is known, how many changes there were.
func (r *rig) accountTopics(ctx context.Context, changes int64) (*measure.Account, error) {
	a := &measure.Account{}
	topics, err := r.topics()
	if err != nil {
		return nil, err
	}
	folds := make([]*fold, len(topics))
	for t := range folds {
		folds[t] = &fold{rows: map[int64]folded{}, account: a, table: r.place.Table(t)}
	}
	err = r.read(ctx, r.at, topics, func(table int, e *event) error {
		folds[table].add(e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var seen int64
	for t, f := range folds {
		want, err := r.db.Rows(ctx, t)
		if err != nil {
			return nil, err
		}
		f.target().Compare(want)
		seen += f.changes
	}
	for ; seen < changes; seen++ {
		a.Note(&a.Lost, "%d changes were made, %d are in the topics", changes, seen)
	}
	if seen > changes {
		a.Note(&a.Wrong, "%d changes were made, %d are in the topics", changes, seen)
	}
	return a, nil
}
