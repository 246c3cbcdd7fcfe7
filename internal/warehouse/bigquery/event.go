package bigquery

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// The log holds an event as the script could write it: what was touched stands
// in it as the numbers of hours or days, which a reader makes into ranges; or as
// sqlgen.AllBuckets, which is everything.

// logged is an event in the log. Its own members come in place of the event's.
type logged struct {
	schemas.LoadComplete
	Rows     *schemas.RowCounts     `json:"rows,omitempty"`
	Snapshot *schemas.SnapshotState `json:"snapshot,omitempty"`
	Touched  json.RawMessage        `json:"touched,omitempty"`
	Kinds    []string               `json:"kinds,omitempty"`   // of the buckets' columns
	Buckets  []buckets              `json:"buckets,omitempty"` // per column of Covers.EventTimes
}

// buckets are those of a column; a null is one.
type buckets struct {
	list []*int64
	all  bool
}

func (b *buckets) UnmarshalJSON(text []byte) error {
	if b.all = string(text) == sqlgen.AllBuckets; b.all {
		return nil
	}
	return json.Unmarshal(text, &b.list)
}

// eventParts is the event with gaps for what the script finds out.
func eventParts(c *sqlgen.Core, kept warehouse.Kept, b *warehouse.Batch, next coretable.Head, job string, committed time.Time) (parts [4]string, err error) {
	l := logged{LoadComplete: schemas.LoadComplete{
		Table: b.Table.Name, Load: b.Load, Epoch: b.Epoch, Mode: c.Mode, Ranges: b.Ranges,
		PosMin: b.PosMin, PosMax: b.PosMax, CompleteThrough: next.Complete,
		Covers:        schemas.Covers{EventTimes: kept.EventTimes, Changes: kept.Changes},
		SchemaVersion: b.SchemaVersion, JobIDs: []string{job},
		StartedAt: b.StartedAt.UTC(), CommittedAt: committed, TraceParent: b.TraceParent,
	}}
	for _, i := range c.EventTimes {
		l.Kinds = append(l.Kinds, c.Columns[i].Type.Kind.String())
	}
	rest, err := encode(l)
	if err != nil {
		return parts, fmt.Errorf("encode the event: %w", err)
	}
	n := b.Counts
	parts[0] = fmt.Sprintf(`{"rows":{"read":%d,"folded":%d,"quarantined":%d,`, n.Read, n.Folded, n.Quarantined)
	parts[1] = fmt.Sprintf(`},"snapshot":{"done":%t,"running":`, next.Snapshot.Done)
	parts[2] = `},"buckets":[`
	parts[3] = `],` + rest[1:]
	return parts, nil
}

// parseEvent reads an event of the log.
func parseEvent(text string) (schemas.LoadComplete, error) {
	var l logged
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return schemas.LoadComplete{}, err
	}
	e := l.LoadComplete
	if l.Buckets == nil && l.Kinds == nil && l.Rows != nil && l.Snapshot != nil { // written whole
		err := json.Unmarshal([]byte(text), &e)
		return e, err
	}
	if l.Rows == nil || l.Snapshot == nil || len(l.Buckets) != len(e.Covers.EventTimes) || len(l.Kinds) != len(l.Buckets) {
		return e, fmt.Errorf("event of load %d is not whole", e.Load)
	}
	e.Rows, e.Snapshot = *l.Rows, *l.Snapshot
	for i, name := range e.Covers.EventTimes {
		if l.Buckets[i].all {
			e.All = true
			continue
		}
		var numbers []int64
		null := false
		for _, b := range l.Buckets[i].list {
			if b == nil {
				null = true
			} else {
				numbers = append(numbers, *b)
			}
		}
		slices.Sort(numbers)
		t, _ := sqlgen.BigQuery().ParseType(l.Kinds[i])
		touched, all := warehouse.Touch(name, t.Kind, numbers, null)
		e.All = e.All || all
		if len(touched.Ranges) > 0 || touched.Null {
			e.Touched = append(e.Touched, touched)
		}
	}
	return e, nil
}
