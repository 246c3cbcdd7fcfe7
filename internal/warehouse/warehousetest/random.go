package warehousetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// randomTable has columns of which some can be unset.
func randomTable(rng *rand.Rand, name string) warehouse.CoreTable {
	t := warehouse.CoreTable{Name: name, Mode: schemas.ModeMerge, Key: []string{"k"}, EventTimes: []string{"at"}, Columns: []schemas.Column{
		{Name: "k", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}},
	}}
	for i := range rng.IntN(5) {
		t.Columns = append(t.Columns, schemas.Column{
			Name: fmt.Sprintf("c%d", i), Type: schemas.Type{Kind: schemas.Int}, Unsettable: rng.IntN(3) > 0,
		})
	}
	return t
}

func randomRow(rng *rand.Rand, table warehouse.CoreTable, key int) schemas.Row {
	row := schemas.Row{schemas.IntCell(int64(key))}
	for range table.Columns[1:] {
		cell := schemas.IntCell(rng.Int64N(40))
		if rng.IntN(8) == 0 {
			cell = schemas.NullCell()
		}
		row = append(row, cell)
	}
	if row[1].Kind == schemas.Present {
		row[1].Int *= hourUs
	}
	return row
}

// log is what a source and its snapshots say of one key, in the order in which
// it is delivered first: changes in the source's order, what a snapshot read at
// some earlier or later time.
func log(rng *rand.Rand, table warehouse.CoreTable, key, length int) []schemas.Change {
	var stream, reads []schemas.Change
	var row schemas.Row
	since := 0
	for n := 1; n <= length; n++ {
		p := 10*n + rng.IntN(9)
		switch {
		case row == nil && rng.IntN(3) > 0:
			row = randomRow(rng, table, key)
			c := change(schemas.Create, p, append(schemas.Row{}, row...))
			if rng.IntN(4) == 0 {
				leave(rng, table, c.After, row)
			}
			stream = append(stream, c)
		case row == nil:
		case rng.IntN(5) == 0:
			stream = append(stream, change(schemas.Delete, p, append(schemas.Row{}, row...)))
			row = nil
		default:
			next := randomRow(rng, table, key)
			if rng.IntN(10) == 0 {
				since = p // a DDL may have changed rows without a change
			}
			c := change(schemas.Update, p, next)
			c.Since = pos(since)
			row = leave(rng, table, c.After, row)
			stream = append(stream, c)
		}
		if row != nil && rng.IntN(4) == 0 {
			// A read point is no change's position.
			reads = append(reads, change(schemas.Read, 10*n+9, append(schemas.Row{}, row...)))
		}
	}
	for _, r := range reads {
		i := rng.IntN(len(stream) + 1)
		stream = append(stream[:i:i], append([]schemas.Change{r}, stream[i:]...)...)
	}
	return stream
}

// leave makes some columns of the change unset and returns the whole row, which
// keeps what it had there.
func leave(rng *rand.Rand, table warehouse.CoreTable, after, before schemas.Row) schemas.Row {
	whole := append(schemas.Row{}, after...)
	for i, c := range table.Columns {
		if c.Unsettable && rng.IntN(2) == 0 {
			whole[i], after[i] = before[i], schemas.Cell{}
		}
	}
	return whole
}

// randomHistories loads histories of many keys, cut into batches at random, with
// replays of what was delivered in any order, truncates and rewinds. The model
// applies the same folds; at the end the table must also be what one load of
// everything gives (G2).
func randomHistories(t *testing.T, h *Harness) { randomHistoriesOf(t, h, schemas.ModeMerge) }

func randomHistoriesOf(t *testing.T, h *Harness, mode schemas.Mode) {
	rounds := 4
	switch {
	case testing.Short() || h.dying:
		rounds = 1
	case mode == schemas.ModeUpsert || h.Slow:
		rounds = 2
	}
	seed := rand.Uint64()
	t.Logf("seed=%d", seed)
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		table := randomTable(rng, fmt.Sprintf("core.random%d", round))
		if table.Mode = mode; mode == schemas.ModeUpsert {
			for i := range table.Columns {
				table.Columns[i].Unsettable = false
			}
		}
		w := newWriter(t, h, table)
		const keys = 25
		var logs [keys][]schemas.Change
		var delivered []schemas.Change
		for k := range logs {
			logs[k] = log(rng, w.table, k, 2+rng.IntN(12))
		}
		for left := true; left; {
			var b batch
			left = false
			for k := range logs {
				n := min(rng.IntN(4), len(logs[k]))
				b.changes = append(b.changes, logs[k][:n]...)
				logs[k] = logs[k][n:]
				left = left || len(logs[k]) > 0
			}
			delivered = append(delivered, b.changes...)
			for range rng.IntN(20) {
				if len(delivered) > 0 {
					b.changes = append(b.changes, delivered[rng.IntN(len(delivered))])
				}
			}
			rng.Shuffle(len(b.changes), func(i, j int) { b.changes[i], b.changes[j] = b.changes[j], b.changes[i] })
			b.partition = rng.Int32N(partitions)
			w.load(t, b)
		}
		// One load of everything into another table: the same rows.
		whole := *w
		whole.table.Name, whole.model, whole.offset = w.table.Name+"_whole", newModel(), map[int32]int64{}
		must(t, h.Loader().Ensure(t.Context(), whole.table))
		whole.acquire(t)
		whole.load(t, batch{changes: delivered})
		for k, many := range w.model.rows {
			one := whole.model.rows[k]
			// A create below a snapshot's row that loaded first is stale, and so is
			// what it says of Born; the row knows everything from above it.
			one.Born, many.Born = schemas.Position{}, schemas.Position{}
			if !reflect.DeepEqual(one, many) {
				t.Fatalf("seed=%d round=%d: one load gives\n%+v, many\n%+v", seed, round, one, many)
			}
		}
		// From offset 0, everything again in shuffled batches: the same table.
		want := w.model.clone()
		must(t, h.Loader().Rewind(t.Context(), w.table.Name, w.head.Epoch, map[int32]int64{0: 0, 1: 0}))
		w.acquire(t)
		rng.Shuffle(len(delivered), func(i, j int) { delivered[i], delivered[j] = delivered[j], delivered[i] })
		for len(delivered) > 0 {
			n := min(1+rng.IntN(60), len(delivered))
			w.load(t, batch{changes: delivered[:n]})
			delivered = delivered[n:]
		}
		want.check(t, h, w.table)
	}
}

// randomFolds compares the warehouse with register.Apply on folds of changes
// that no source would send: any op, any position, anything unset.
func randomFolds(t *testing.T, h *Harness) {
	rounds, batches := 6, 6
	if testing.Short() {
		rounds = 2
	}
	seed := rand.Uint64()
	t.Logf("seed=%d", seed)
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		w := newWriter(t, h, randomTable(rng, fmt.Sprintf("core.folds%d", round)))
		for range batches {
			var folds []register.Change
			read := int64(0)
			for k := range 150 {
				if rng.IntN(4) == 0 {
					continue
				}
				f := randomChange(rng, w.table, k)
				read++
				for range rng.IntN(4) {
					key := f.V[0]
					f = register.Fold(f, randomChange(rng, w.table, k))
					f.V[0] = key
				}
				if f.Op != schemas.Delete { // what is never unset is carried with every change
					for i, c := range w.table.Columns {
						if !c.Unsettable && f.At[i] != f.Pos {
							f.V[i], f.At[i] = randomRow(rng, w.table, k)[i], f.Pos
						}
					}
				}
				folds = append(folds, f)
			}
			b := batch{partition: rng.Int32N(partitions)}
			if rng.IntN(3) == 0 {
				b.truncate = pos(1 + rng.IntN(12))
			}
			wb := w.make(t, b)
			wb.Rows, wb.Counts.Read = &staged{table: w.table, folds: folds}, read
			done, err := h.Loader().Load(t.Context(), wb)
			must(t, err)
			w.loaded(t, b, wb, done)
		}
	}
}

func randomChange(rng *rand.Rand, table warehouse.CoreTable, key int) register.Change {
	p := 1 + rng.IntN(16)
	c := change([]schemas.Op{schemas.Create, schemas.Update, schemas.Delete, schemas.Read}[rng.IntN(4)], p, randomRow(rng, table, key))
	if c.Op == schemas.Update {
		c.Since = pos(rng.IntN(p + 1))
	}
	if c.Op == schemas.Create || c.Op == schemas.Update {
		leave(rng, table, c.After, c.After)
	}
	return fromChange(table, &c)
}
