// Package batch collects the records of one topic until they become one load,
// and folds what is collected.
//
// It is pure: no I/O, no goroutines, time is an argument. What is cut is
// contiguous and in offset order per partition. It does not know what was
// loaded before; the head's offsets and package register's algebra make a
// repetition harmless.
package batch

import (
	"slices"
	"time"

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
	Keys      *avro.KeyDecoder // reads Record.Key, and has done so; nil for a table without a key
	Canonical []byte           // the canonical key, borrowed; empty for a table without one
	Envelope  avro.Envelope
	Before    []byte // the old row, for a table that keeps every change
	Reread    bool   // the row was read for its key's sake, not by a snapshot
}

// Batch is what has been collected since the last Reset.
type Batch struct {
	limits  Limits
	arena   arena
	bytes   int // of the records that are kept
	entries entries
	placed  int // of entries, how many are in heads
	schemas []*Schema
	keys    []*avro.KeyDecoder
	rares   []rare  // backing of entry.rare: what is full is left to the entries
	ordinal []int   // backing of rare.unset
	heads   []int32 // newest entry of each key, in order of first arrival
	index   index
	ranges  map[int32]*span
	latest  *span     // of ranges: of the record before
	of      int32     // the partition of latest
	first   time.Time // arrival of the first record, since Wait if that came after it
	began   time.Time // arrival of the first record

	posMin, posMax schemas.Position // of the entries
	snapshotting   bool             // one was read by a snapshot
	mixed          bool             // a change of a key stands at or below one that came before it
	dropped        bool             // an entry was taken out

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
	return &Batch{limits: l, index: newIndex(), ranges: map[int32]*span{}, marks: map[int32]warehouse.Mark{}}
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.trim()
	b.release()
	b.entries.reset()
	b.index.reset()
	clear(b.rares)
	b.placed, b.schemas, b.keys = 0, b.schemas[:0], b.keys[:0]
	b.rares, b.ordinal, b.heads = b.rares[:0], b.ordinal[:0], b.heads[:0]
	clear(b.ranges)
	clear(b.marks)
	b.latest, b.first, b.began = nil, time.Time{}, time.Time{}
	b.posMin, b.posMax = schemas.Position{}, schemas.Position{}
	b.snapshotting, b.mixed, b.dropped = false, false, false
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
	if b.latest == nil || b.of != partition {
		if b.ranges[partition] == nil {
			b.ranges[partition] = &span{from: offset}
		}
		b.latest, b.of = b.ranges[partition], partition
	}
	b.latest.to = offset + 1
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
	if cap(b.heads) > max(small, 8*len(b.heads)) || len(b.index.slots) > max(small, 16*len(b.heads)) {
		b.heads, b.ordinal, b.index = nil, nil, newIndex()
	}
}

// release lets go of the records' bytes.
func (b *Batch) release() {
	b.arena.reset()
	b.bytes = 0
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
	b.release()
	b.entries.reset() // there are none, and so none are kept
}

// Keep returns a record that lives until Reset: a copy, or, if its bytes are its
// own, the record itself. Those of a record are its own if they lie in a buffer
// with records that are taken up as well, and little else: else a record would
// hold more memory than it counts for (G13).
func (b *Batch) Keep(r Record, own bool) Record {
	b.bytes += len(r.Key) + len(r.Value)
	if !own {
		r.Key, r.Value = b.arena.copy(r.Key), b.arena.copy(r.Value)
	}
	return r
}

// Add takes a data record up.
func (b *Batch) Add(c *Change) {
	v := &c.Envelope
	if b.entries.len() == 0 || v.Pos.Less(b.posMin) {
		b.posMin = v.Pos
	}
	b.posMax = schemas.MaxPosition(b.posMax, v.Pos)
	b.snapshotting = b.snapshotting || v.Op == schemas.Read && !c.Reread
	e := b.entries.add()
	*e = entry{
		value: c.Value, rawKey: c.Key, key: b.arena.copy(c.Canonical), pos: v.Pos, offset: c.Offset, tsUs: v.TsUs,
		partition: c.Partition, prev: -1, schema: ordinal(&b.schemas, c.Schema), keys: ordinal(&b.keys, c.Keys), op: v.Op, reread: c.Reread,
	}
	if v.After != nil {
		e.from = uint32(avro.HeaderLen + v.AfterAt) //nolint:gosec // Kafka's records are smaller
		e.to = e.from + uint32(len(v.After))        //nolint:gosec // likewise
	}
	if len(v.Unset) > 0 || c.Before != nil || !v.Since.IsZero() {
		e.rare = b.rare(c)
	}
	if b.entries.len()-b.placed >= group {
		b.place()
	}
}

// ordinal is the place of x in the list, to which it is appended if it is new.
// Mostly it is the last one.
func ordinal[T comparable](list *[]T, x T) int32 {
	last := len(*list) - 1
	if last >= 0 && (*list)[last] == x {
		return int32(last) //nolint:gosec // a topic has few schemas
	}
	if i := slices.Index(*list, x); i >= 0 {
		return int32(i) //nolint:gosec // likewise
	}
	*list = append(*list, x)
	return int32(last + 1) //nolint:gosec // likewise
}

func (b *Batch) rare(c *Change) *rare {
	if len(b.rares) == cap(b.rares) {
		b.rares = make([]rare, 0, min(max(1, 2*cap(b.rares)), chunkEntries))
	}
	from := len(b.ordinal)
	b.ordinal = append(b.ordinal, c.Envelope.Unset...)
	b.rares = append(b.rares, rare{since: c.Envelope.Since, unset: b.ordinal[from:len(b.ordinal):len(b.ordinal)], before: c.Before})
	return &b.rares[len(b.rares)-1]
}

// entrySize is about what an entry costs beside its bytes, with its place among
// the keys.
const entrySize = 200

// Size is about the memory that the batch holds, in bytes.
func (b *Batch) Size() int { return b.bytes + b.entries.len()*entrySize }

// Empty reports whether nothing was taken up.
func (b *Batch) Empty() bool { return len(b.ranges) == 0 }

// ProgressOnly reports whether the batch holds nothing but watermarks: it makes
// no load, its progress rides with the next one.
func (b *Batch) ProgressOnly() bool { return b.entries.len() == 0 && len(b.lost) == 0 && !b.hasControl }

// Waited reports whether watermarks alone have waited for long enough.
func (b *Batch) Waited(now time.Time) bool {
	return b.limits.Quiet > 0 && !b.began.IsZero() && now.Sub(b.began) >= b.limits.Quiet
}

// Full reports whether the batch has reached its rows, with those that were
// quarantined, or its bytes.
func (b *Batch) Full() bool {
	return b.entries.len()+len(b.lost) >= b.limits.Rows || b.Size() >= b.limits.Bytes
}

// Due is when the batch has reached its age; zero while it is empty.
func (b *Batch) Due() time.Time {
	if b.first.IsZero() {
		return time.Time{}
	}
	return b.first.Add(b.limits.Age)
}

// Schemas are those of the batch's changes, each once. They are borrowed.
func (b *Batch) Schemas() []*Schema { return b.schemas }
