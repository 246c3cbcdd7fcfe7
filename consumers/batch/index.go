package batch

import (
	"bytes"
	"hash/maphash"
)

// index finds keys: open addressing over eight bytes a slot, so that a batch's
// keys stay in the processor's cache. The keys themselves lie in the entries.
type index struct {
	seed    maphash.Seed
	slots   []slot // a power of two, at most three quarters of it in use
	used    int
	fetched uint32 // of no meaning: what was fetched must go somewhere
}

// slot holds a part of the key's hash, and one more than the key's place in
// Batch.heads; zero is an empty slot.
type slot struct {
	hash  uint32
	place int32
}

const leastSlots = 1 << 6

func newIndex() index { return index{seed: maphash.MakeSeed(), slots: make([]slot, leastSlots)} }

// group is how many changes are placed at once: their slots are fetched from
// memory together, which takes as long as for one.
const group = 64

// place finds the key of every change that was added since the last call, and
// so which changes are of one key.
func (b *Batch) place() {
	var hashes [group]uint32
	for b.placed < b.entries.len() {
		x, first := &b.index, b.placed
		n := min(b.entries.len()-first, group)
		for i := range n {
			hashes[i] = uint32(maphash.Bytes(x.seed, b.entries.at(int32(first+i)).key)) //nolint:gosec // a part of it
		}
		mask := uint32(len(x.slots) - 1) //nolint:gosec // a batch holds far fewer
		for _, hash := range hashes[:n] {
			x.fetched += x.slots[hash&mask].hash
		}
		for i, hash := range hashes[:n] {
			b.placeOne(int32(first+i), hash) //nolint:gosec // a batch holds far fewer
		}
		b.placed += n
	}
}

func (b *Batch) placeOne(n int32, hash uint32) {
	e := b.entries.at(n)
	if len(e.key) == 0 {
		b.heads = append(b.heads, n)
		return
	}
	x := &b.index
	mask := uint32(len(x.slots) - 1) //nolint:gosec // a batch holds far fewer
	i := hash & mask
	for ; x.slots[i].place != 0; i = (i + 1) & mask {
		s := x.slots[i]
		if s.hash != hash {
			continue
		}
		head := &b.heads[s.place-1]
		if before := b.entries.at(*head); bytes.Equal(before.key, e.key) {
			b.mixed = b.mixed || !before.pos.Less(e.pos)
			e.prev, *head = *head, n
			return
		}
	}
	b.heads = append(b.heads, n)
	x.slots[i] = slot{hash, int32(len(b.heads))} //nolint:gosec // a batch holds far fewer
	if x.used++; 4*x.used > 3*len(x.slots) {
		x.grow()
	}
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]slot, 2*len(old))
	mask := uint32(len(x.slots) - 1) //nolint:gosec // a batch holds far fewer
	for _, s := range old {
		if s.place == 0 {
			continue
		}
		i := s.hash & mask
		for x.slots[i].place != 0 {
			i = (i + 1) & mask
		}
		x.slots[i] = s
	}
}

func (x *index) reset() {
	clear(x.slots)
	x.used = 0
}
