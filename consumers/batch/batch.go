// Package batch collects the records of one topic until they become one load,
// and folds what is collected.
//
// It is pure: no I/O, no goroutines, time is an argument. What is cut is
// contiguous and in offset order per partition. It does not know what was
// loaded before; the head's offsets and package register's algebra make a
// repetition harmless.
package batch

import (
	"time"
	"unsafe"

	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// Limits say when a batch is cut: at the first that is reached.
type Limits struct {
	Rows  int           // data records
	Bytes int           // of keys and values
	Age   time.Duration // since the first record of the batch
	// Quiet is how long watermarks alone wait for changes before they make a load
	// of their own, which moves the offsets on; zero: for ever.
	Quiet time.Duration
}

// Record is a record as it was on the topic.
type Record struct {
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
}

// Change is one data record, decoded as far as folding needs it. The slices of
// its Envelope lie in Record.Value, and Record is what Keep returned.
type Change struct {
	Record
	Schema    *Schema
	Canonical []byte         // the canonical key, borrowed; empty for a table without one
	KeyCells  []schemas.Cell // the key's values in key order, borrowed
	Envelope  avro.Envelope
	Before    []byte // the old row, for a table that keeps every change
	Reread    bool   // the row was read for its key's sake, not by a snapshot
}

// entry is a change inside a batch.
type entry struct {
	record   Record
	schema   *Schema
	prev     int32 // the change of the same key before it, or -1
	dropped  bool  // quarantined after it was added
	reread   bool
	op       schemas.Op
	pos      schemas.Position
	since    schemas.Position
	tsUs     int64
	after    []byte
	before   []byte
	unset    []int
	key      []byte
	keyCells []schemas.Cell
}

func (e *entry) born() schemas.Position {
	switch e.op {
	case schemas.Create, schemas.Delete:
		return e.pos
	case schemas.Update:
		return e.since
	}
	return schemas.Position{}
}

// Batch is what has been collected since the last Reset.
type Batch struct {
	limits  Limits
	arena   arena
	cells   []schemas.Cell // backing of entry.keyCells
	ordinal []int          // backing of entry.unset
	entries []entry
	heads   []int32          // newest entry of each key, in order of first arrival
	headOf  map[string]int32 // canonical key, in the arena, to its place in heads
	ranges  map[int32]*span
	first   time.Time // arrival of the first record, since Wait if that came after it
	began   time.Time // arrival of the first record

	marks      map[int32]warehouse.Mark
	truncate   schemas.Position
	hasControl bool // a truncate, or the end of a snapshot or of the topic: they are loads by themselves
	lost       []place
}

// place is where a record stands on its topic.
type place struct {
	partition int32
	offset    int64
}

type span struct{ from, to int64 }

// New returns an empty batch.
func New(l Limits) *Batch {
	b := &Batch{limits: l}
	b.headOf = map[string]int32{}
	b.ranges, b.marks = map[int32]*span{}, map[int32]warehouse.Mark{}
	return b
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.trim()
	b.arena.reset()
	b.cells, b.ordinal, b.entries, b.heads = b.cells[:0], b.ordinal[:0], b.entries[:0], b.heads[:0]
	clear(b.headOf)
	clear(b.ranges)
	clear(b.marks)
	b.first, b.began = time.Time{}, time.Time{}
	b.truncate, b.hasControl, b.lost = schemas.Position{}, false, b.lost[:0]
}

// Saw records that a record was taken up, whatever became of it. Records of a
// partition come in offset order.
func (b *Batch) Saw(partition int32, offset int64, now time.Time) {
	if b.first.IsZero() {
		b.first = now
	}
	if b.began.IsZero() {
		b.began = now
	}
	if r, ok := b.ranges[partition]; ok {
		r.to = offset + 1
		return
	}
	b.ranges[partition] = &span{from: offset, to: offset + 1}
}

// Mark takes a control record up; ended says that it is the partition's last.
func (b *Batch) Mark(partition int32, e *avro.Envelope, ended bool) {
	m := b.marks[partition]
	if ended {
		m.Ended, b.hasControl = true, true
	}
	switch e.Op {
	case schemas.Watermark:
		// Each by itself: after a torn transaction a repeated watermark may have an
		// earlier time. Without a time, the source has never been at the end of its
		// log.
		m.Complete.Pos = schemas.MaxPosition(m.Complete.Pos, e.Pos)
		if at := time.UnixMicro(e.TsUs).UTC(); e.TsUs != 0 && at.After(m.Complete.Time) {
			m.Complete.Time = at
		}
		b.marks[partition] = m
	case schemas.SnapshotDone:
		m.SnapshotDone = schemas.MaxPosition(m.SnapshotDone, e.Pos)
		b.marks[partition] = m
		b.hasControl = true
	case schemas.Truncate:
		b.truncate = schemas.MaxPosition(b.truncate, e.Pos)
		b.hasControl = true
	}
}

// trim lets go of the memory that an unusually large batch took, after a small
// one (G13).
func (b *Batch) trim() {
	const small = 1024
	if cap(b.entries) > max(small, 8*len(b.entries)) {
		b.cells, b.ordinal, b.entries, b.heads, b.headOf = nil, nil, nil, nil, map[string]int32{}
	}
}

// Marks are what the control records of the batch said. They are borrowed.
func (b *Batch) Marks() map[int32]warehouse.Mark { return b.marks }

// Quarantine counts a data record that goes to the dead-letter topic.
func (b *Batch) Quarantine(partition int32, offset int64) {
	b.lost = append(b.lost, place{partition, offset})
}

// Wait keeps the marks of a batch that is ProgressOnly, and lets its age begin
// with the next record. Nothing refers to the records themselves any more.
func (b *Batch) Wait() {
	b.first = time.Time{}
	b.trim()
	b.arena.reset()
}

// Keep returns a copy of the record that lives until Reset.
func (b *Batch) Keep(r Record) Record {
	r.Key, r.Value = b.arena.copy(r.Key), b.arena.copy(r.Value)
	return r
}

// Add takes a data record up.
func (b *Batch) Add(c *Change) {
	n := int32(len(b.entries))
	e := entry{
		record: c.Record, schema: c.Schema, prev: -1,
		op: c.Envelope.Op, pos: c.Envelope.Pos, since: c.Envelope.Since, tsUs: c.Envelope.TsUs,
		after: c.Envelope.After, before: c.Before, reread: c.Reread, key: b.arena.copy(c.Canonical),
	}
	if len(c.Envelope.Unset) > 0 {
		from := len(b.ordinal)
		b.ordinal = append(b.ordinal, c.Envelope.Unset...)
		e.unset = b.ordinal[from:len(b.ordinal):len(b.ordinal)]
	}
	from := len(b.cells)
	for _, cell := range c.KeyCells {
		cell.Bytes = b.arena.copy(cell.Bytes)
		b.cells = append(b.cells, cell)
	}
	e.keyCells = b.cells[from:len(b.cells):len(b.cells)]
	if len(e.key) > 0 {
		key := unsafe.String(unsafe.SliceData(e.key), len(e.key)) // lives as long as the arena
		if head, ok := b.headOf[key]; ok {
			e.prev, b.heads[head] = b.heads[head], n
		} else {
			b.headOf[key] = int32(len(b.heads))
			b.heads = append(b.heads, n)
		}
	} else {
		b.heads = append(b.heads, n)
	}
	b.entries = append(b.entries, e)
}

// entrySize is about what an entry costs beside its bytes.
const entrySize = 320

// Size is about the memory that the batch holds, in bytes.
func (b *Batch) Size() int { return b.arena.bytes + len(b.entries)*entrySize }

// Empty reports whether nothing was taken up.
func (b *Batch) Empty() bool { return len(b.ranges) == 0 }

// ProgressOnly reports whether the batch holds nothing but watermarks: it makes
// no load, its progress rides with the next one.
func (b *Batch) ProgressOnly() bool { return len(b.entries) == 0 && len(b.lost) == 0 && !b.hasControl }

// Waited reports whether watermarks alone have waited for long enough.
func (b *Batch) Waited(now time.Time) bool {
	return b.limits.Quiet > 0 && !b.began.IsZero() && now.Sub(b.began) >= b.limits.Quiet
}

// Full reports whether the batch has reached its rows or bytes.
func (b *Batch) Full() bool {
	return len(b.entries) >= b.limits.Rows || b.Size() >= b.limits.Bytes
}

// Due is when the batch has reached its age; zero while it is empty.
func (b *Batch) Due() time.Time {
	if b.first.IsZero() {
		return time.Time{}
	}
	return b.first.Add(b.limits.Age)
}

// Schemas yields the schemas of the batch's changes, each once.
func (b *Batch) Schemas() []*Schema {
	var out []*Schema
	seen := map[*Schema]bool{}
	for i := range b.entries {
		if s := b.entries[i].schema; !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
