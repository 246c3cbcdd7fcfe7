package coretable

import (
	"fmt"
	"maps"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Head is the row of a head, with what a warehouse.Head does not show.
type Head struct {
	warehouse.Head
	Name       string
	Mode       schemas.Mode
	Key        []string
	Unsettable []string
	Generation int
	// Ended is the greatest end of a snapshot that has removed what vanished. It
	// may lie below the least of the marks while a dead letter is unresolved, and
	// below the horizon, which truncates raise too.
	Ended schemas.Position
	Over  bool // a snapshot ended with the batch that led to this head
}

// After is the head as the batch leaves it. A head never goes back: offsets,
// marks, horizon and completeness rise or stay.
func (h Head) After(b *warehouse.Batch, horizons bool) (Head, error) {
	next := h
	next.Load = b.Load
	next.Offsets, next.Marks = clone(h.Offsets), clone(h.Marks)
	for _, r := range b.Ranges {
		if at, ok := next.Offsets[r.Partition]; ok && r.From < at {
			return next, fmt.Errorf("offsets %d to %d of partition %d: the head is at %d", r.From, r.To, r.Partition, at)
		}
		next.Offsets[r.Partition] = r.To
	}
	for p, m := range b.Marks {
		next.Marks[p] = next.Marks[p].Join(m)
	}
	least := leastMark(next.Marks, b.Partitions)
	if !b.Blocked {
		next.Complete.Pos = schemas.MaxPosition(next.Complete.Pos, least.Complete.Pos)
		next.Complete.Time = later(next.Complete.Time, least.Complete.Time)
	}
	if next.Over = leastMark(h.Marks, b.Partitions).SnapshotDone.Less(least.SnapshotDone); next.Over {
		next.Snapshot = schemas.SnapshotState{Done: true}
	}
	if !b.Blocked {
		next.Ended = schemas.MaxPosition(next.Ended, least.SnapshotDone)
	}
	if horizons {
		next.Horizon = schemas.MaxPosition(next.Horizon, schemas.MaxPosition(b.Truncate, next.Ended))
	}
	return next, nil
}

// Moved is the head with the offsets of some partitions set.
func (h Head) Moved(offsets map[int32]int64) Head {
	h.Offsets = clone(h.Offsets)
	maps.Copy(h.Offsets, offsets)
	return h
}

func clone[V any](m map[int32]V) map[int32]V {
	out := make(map[int32]V, len(m))
	maps.Copy(out, m)
	return out
}

// leastMark is what every partition has reached. A partition without a mark has
// reached nothing.
func leastMark(marks map[int32]warehouse.Mark, partitions int32) warehouse.Mark {
	least := marks[0]
	for p := int32(1); p < partitions; p++ {
		m := marks[p]
		if m.Complete.Pos.Less(least.Complete.Pos) {
			least.Complete.Pos = m.Complete.Pos
		}
		if m.Complete.Time.Before(least.Complete.Time) {
			least.Complete.Time = m.Complete.Time
		}
		if m.SnapshotDone.Less(least.SnapshotDone) {
			least.SnapshotDone = m.SnapshotDone
		}
	}
	return least
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b.UTC()
	}
	return a
}
