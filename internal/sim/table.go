package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"millrace/schemas"
)

// Head is the state of a core table that commits with its rows.
type Head struct {
	epoch, load int
	offsets     []int
	horizon     Pos   // a row that is not there was deleted there
	shown       Pos   // highest read point of the snapshots that raised it: for the checks alone
	complete    Pos   // every change up to it is in the table
	water, done []Pos // per partition: the last w and s
}

func (h Head) clone() Head {
	h.offsets, h.water, h.done = slices.Clone(h.offsets), slices.Clone(h.water), slices.Clone(h.done)
	return h
}

// Table is a core table.
type Table struct {
	rules   Rules
	head    Head
	rows    map[int]Row
	letters map[int][]Change // by key, in order
	bad     func(Change) bool
}

// NewTable returns an empty table fed by so many partitions.
func NewTable(r Rules, partitions int) *Table {
	return &Table{
		rules: r, rows: map[int]Row{}, letters: map[int][]Change{}, bad: func(Change) bool { return false },
		head: Head{offsets: make([]int, partitions), water: make([]Pos, partitions), done: make([]Pos, partitions)},
	}
}

// Load commits a batch as the writer that saw the head as mine. It returns how many rows it wrote.
func (t *Table) Load(mine Head, batch [][]Change) (wrote int, err error) {
	if mine.epoch != t.head.epoch && !t.rules.no(Fence) {
		return 0, nil
	}
	h := mine.clone()
	folded := map[int]Change{}
	var read, applied, folds, stale, quarantined int
	var remove Pos // rows below it are gone
	for part, records := range batch {
		h.offsets[part] += len(records)
		for _, c := range records {
			switch c.Op {
			case schemas.Watermark:
				h.water[part] = max(h.water[part], c.Pos)
				continue
			case schemas.SnapshotDone:
				if c.Pos > h.done[part] {
					h.done[part], h.shown = c.Pos, max(h.shown, c.Born)
				}
				continue
			case schemas.Truncate:
				if remove = max(remove, c.Pos); !t.rules.no(TruncateHorizon) {
					h.horizon = max(h.horizon, c.Pos)
				}
				continue
			}
			read++
			if waiting := t.letters[c.Key]; t.bad(c) || len(waiting) > 0 && !t.rules.no(BlockKey) {
				t.letters[c.Key] = append(waiting, c)
				quarantined++
			} else if f, ok := folded[c.Key]; ok {
				folded[c.Key] = t.rules.Fold(f, c)
				folds++
			} else {
				folded[c.Key] = c
			}
		}
	}
	complete, f := slices.Min(h.water), slices.Min(h.done)
	if t.rules.no(WatermarkAll) {
		complete = slices.Max(h.water)
	}
	if t.rules.no(SnapshotAll) {
		f = slices.Max(h.done)
	}
	if len(t.letters) > 0 && !t.rules.no(SnapshotWaits) {
		f = 0
	}
	if len(t.letters) == 0 || t.rules.no(CompleteWaits) {
		h.complete = max(h.complete, complete)
	}
	if remove = max(remove, f); !t.rules.no(SnapshotHorizon) {
		h.horizon = max(h.horizon, f)
	}
	for k, row := range t.rows {
		if row.Pos < remove {
			delete(t.rows, k)
		}
	}
	for k, c := range folded {
		row, found := t.rows[k]
		next, ok := t.rules.Apply(row, found, h.horizon, c)
		if ok {
			t.rows[k] = next
			applied++
		} else {
			stale++
		}
	}
	if read != applied+folds+stale+quarantined {
		return 0, fmt.Errorf("read %d, applied %d, folded %d, stale %d, quarantined %d", read, applied, folds, stale, quarantined)
	}
	if h.load++; h.load != t.head.load+1 {
		return 0, fmt.Errorf("load %d follows load %d", h.load, t.head.load)
	}
	t.head = h
	return applied, nil
}

// Sweep forgets markers that nothing but a repeat can meet.
func (t *Table) Sweep() {
	x := t.head.complete
	for k, row := range t.rows {
		if row.Dead && row.Pos < x {
			delete(t.rows, k)
		}
	}
	if !t.rules.no(SweepHorizon) {
		t.head.horizon = max(t.head.horizon, x)
	}
}

// Redrive applies the dead letters of a key, in order.
func (t *Table) Redrive(key int) {
	for _, c := range t.letters[key] {
		row, found := t.rows[key]
		if next, ok := t.rules.Apply(row, found, t.head.horizon, c); ok {
			t.rows[key] = next
		}
	}
	delete(t.letters, key)
}

// cut takes some records of some partitions.
func cut(rng *rand.Rand, topic [][]Change, offsets []int, most int) [][]Change {
	batch := make([][]Change, len(topic))
	for i, log := range topic {
		from := min(offsets[i], len(log))
		batch[i] = log[from:min(len(log), from+rng.IntN(most+1))]
	}
	return batch
}

// Live is what a reader sees, with positions.
func (t *Table) Live() (out [keys]Row) {
	for k, row := range t.rows {
		if !row.Dead {
			row.Born = 0
			out[k] = row
		}
	}
	return out
}

// Check compares the table with the source: each row is the source's at the greater of
// complete_through and its position; what it does not know lies above complete_through.
func (t *Table) Check(src *Source) error {
	complete := t.head.complete
	for k := range keys {
		row, found := t.rows[k]
		if !found {
			low := max(complete, t.head.horizon)
			ok := !src.imageAt(k, low).live
			for _, e := range src.hist[k] { // a row that s removed was gone at its chunk's read point
				ok = ok || e.pos > low && e.pos <= t.head.shown && !e.live
			}
			if !ok {
				return fmt.Errorf("key %d is missing, the source has %v at %v", k, src.imageAt(k, low), low)
			}
			continue
		}
		p := max(complete, row.Pos)
		want := src.imageAt(k, p)
		ok := want.live != row.Dead
		for i := range cols {
			ok = ok && (row.Dead || !row.Known[i] || row.V[i] == want.v[i])
			if !row.Dead && !row.Known[i] && complete >= row.Pos {
				return fmt.Errorf("key %d: column %d is not known at %v, complete through %v", k, i, row.Pos, complete)
			}
		}
		if !ok {
			return fmt.Errorf("key %d is %+v, the source has %v at %v", k, row, want, p)
		}
	}
	return nil
}
