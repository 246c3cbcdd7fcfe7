package schemas

import "time"

// Mode is how a table takes its loads.
type Mode string

// The modes of core tables, and the strategies of derived tables.
const (
	ModeMerge   Mode = "merge"
	ModeAppend  Mode = "append"
	ModeReplace Mode = "replace"
	// ModeUpsert is that of a core table whose rows the warehouse itself keeps by
	// key: guarantees.md says what does not hold for it.
	ModeUpsert Mode = "upsert"
)

// Progress says up to where a table is complete: every change at or below Pos
// is in it. Time is the source's clock at which that was so; it opens windows
// and orders nothing. A derived table has a Time only.
type Progress struct {
	Pos  Position  `json:"pos,omitzero"`
	Time time.Time `json:"time,omitzero"`
}

// Range is a span of offsets of one partition, From inclusive, To exclusive.
type Range struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// RowCounts accounts for a load: Read = Applied + Folded + Stale + Quarantined
// (G11), and Applied counts the changes that Inserted, Updated or Deleted say
// more about.
type RowCounts struct {
	Read        int64 `json:"read"`
	Applied     int64 `json:"applied"`
	Folded      int64 `json:"folded"`
	Inserted    int64 `json:"inserted"`
	Updated     int64 `json:"updated"`
	Deleted     int64 `json:"deleted"`
	Stale       int64 `json:"stale"`
	Quarantined int64 `json:"quarantined"`
}

// Touched is the exact set of partitions of one event-time column that a load
// changed, also those that a moved or deleted row left. The ranges are
// half-open, sorted and disjoint. TIMESTAMP: RFC 3339 in UTC, by hour;
// DATETIME: the same without a zone; DATE: days.
type Touched struct {
	Column string      `json:"column"`
	Ranges [][2]string `json:"ranges,omitempty"`
	Null   bool        `json:"null,omitempty"` // rows whose event time is null
}

// SnapshotState says whether a snapshot of the table runs, and whether one has
// ever ended.
type SnapshotState struct {
	Running bool `json:"running"`
	Done    bool `json:"done"`
}

// LoadComplete announces one committed load of a core table, or one committed
// run of a derived table. It is a public contract: schemas/avro has its schema,
// and it evolves compatibly. Loads of a table are numbered from 1 without gaps
// (G6); announcing is at least once. A message whose Load is 0 announces
// progress alone.
type LoadComplete struct {
	Table           string        `json:"table"`
	Load            int64         `json:"load"`
	Epoch           int64         `json:"epoch"`
	Mode            Mode          `json:"mode"`
	Ranges          []Range       `json:"ranges,omitempty"`
	PosMin          Position      `json:"pos_min,omitzero"`
	PosMax          Position      `json:"pos_max,omitzero"`
	CompleteThrough Progress      `json:"complete_through,omitzero"`
	Rows            RowCounts     `json:"rows"`
	Touched         []Touched     `json:"touched,omitempty"`
	All             bool          `json:"all,omitempty"` // everything was touched
	Covers          Covers        `json:"covers,omitzero"`
	SchemaVersion   int           `json:"schema_version"`
	Snapshot        SnapshotState `json:"snapshot"`
	JobIDs          []string      `json:"job_ids,omitempty"`
	StartedAt       time.Time     `json:"started_at"`
	CommittedAt     time.Time     `json:"committed_at"`
	Cause           []Cause       `json:"cause,omitempty"`
	TraceParent     string        `json:"traceparent,omitempty"`
}

// Covers names the columns that a load can speak for: the event-time columns
// whose touched ranges it lists, and the columns whose changes it kept.
type Covers struct {
	EventTimes []string `json:"event_times,omitempty"`
	Changes    []string `json:"changes,omitempty"`
}

// Cause is a load that led to a run of a derived table.
type Cause struct {
	Table string `json:"table"`
	Load  int64  `json:"load"`
}
