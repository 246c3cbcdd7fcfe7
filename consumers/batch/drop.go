package batch

import (
	"fmt"
	"slices"

	"millrace/internal/warehouse"
)

// Dropped is a change that was taken out of a batch.
type Dropped struct {
	Record
	Canonical []byte
	// Reason is empty for a change that only waits behind another of its key.
	Reason string
}

// Drop takes a change out of the batch, and with it the later changes of its
// key: a dead letter blocks its key. It returns what was taken out, in the
// order of arrival.
func (b *Batch) Drop(partition int32, offset int64, reason string) []Dropped {
	for i, e := range b.entries.all {
		if e.partition == partition && e.offset == offset {
			return b.drop(map[int32]string{i: reason})
		}
	}
	return nil
}

// Refuse takes out what the warehouse refuses of the rows that Load gave it, for
// the same table and offsets, as Drop does. A value that came with several
// records at one position is taken out with all of them. Without a change that
// the refused rows name, it returns nothing.
//
// What is left of a key may be refused again, for a value that was folded away
// before. With whole, and where the key itself is refused, nothing is left.
func (b *Batch) Refuse(t warehouse.CoreTable, have map[int32]int64, refused []warehouse.RefusedRow, whole bool) []Dropped {
	byRow := map[int64][]warehouse.RefusedRow{}
	for _, r := range refused {
		byRow[r.Row] = append(byRow[r.Row], r)
	}
	b.place()
	out := map[int32]string{}
	r := &rows{batch: b, table: t, have: have}
	row := int64(0)
	for head := range b.heads {
		for range r.stagedOf() {
			for _, bad := range byRow[row] {
				b.match(b.heads[head], have, bad, whole || slices.Contains(t.Key, bad.Column), out)
			}
			row++
		}
	}
	return b.drop(out)
}

// match notes the changes of the key with the newest entry n that stand at the
// position of a refused value, or, if there is one, all of the key.
func (b *Batch) match(n int32, have map[int32]int64, bad warehouse.RefusedRow, whole bool, out map[int32]string) {
	first, found := int32(0), false
	for ; n >= 0; n = b.entries.at(n).prev {
		e := b.entries.at(n)
		if e.dropped || e.offset < have[e.partition] {
			continue
		}
		first = n
		if e.pos == bad.Pos {
			found = true
			if out[n] == "" {
				out[n] = fmt.Sprintf("column %q: %s", bad.Column, bad.Reason)
			}
		}
	}
	if found && whole && out[first] == "" {
		out[first] = "later changes of the key are dead letters" // and the others are behind it
	}
}

// DropBehind takes out of the batch, as Drop does, the changes that are said to
// wait behind a dead letter of their key.
func (b *Batch) DropBehind(blocks func(canonical []byte, offset int64) bool) []Dropped {
	out := map[int32]string{}
	for i, e := range b.entries.all {
		if blocks(e.key, e.offset) {
			out[i] = ""
		}
	}
	return b.drop(out)
}

func (b *Batch) drop(reasons map[int32]string) []Dropped {
	if len(reasons) == 0 {
		return nil
	}
	var out []Dropped
	blocked := map[string]bool{}
	for i, e := range b.entries.all {
		reason, bad := reasons[i]
		if e.dropped || !bad && !blocked[string(e.key)] {
			continue
		}
		if len(e.key) > 0 {
			blocked[string(e.key)] = true
		}
		e.dropped, b.dropped = true, true
		out = append(out, Dropped{Record: e.record(), Canonical: e.key, Reason: reason})
	}
	return out
}
