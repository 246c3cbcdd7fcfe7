package duckdb

import (
	"fmt"
	"maps"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// after is the head as the batch leaves it. A head never goes back: offsets,
// marks, horizon and completeness rise or stay.
func (h head) after(b *warehouse.Batch, horizons bool) (head, error) {
	next := h
	next.Load = b.Load
	next.Offsets, next.Marks = maps.Clone(h.Offsets), maps.Clone(h.Marks)
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
	if next.over = leastMark(h.Marks, b.Partitions).SnapshotDone.Less(least.SnapshotDone); next.over {
		next.Snapshot = schemas.SnapshotState{Done: true}
	}
	if !b.Blocked {
		next.ended = schemas.MaxPosition(next.ended, least.SnapshotDone)
	}
	if horizons {
		next.Horizon = schemas.MaxPosition(next.Horizon, schemas.MaxPosition(b.Truncate, next.ended))
	}
	return next, nil
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
