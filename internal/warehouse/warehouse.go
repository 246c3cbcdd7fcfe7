// Package warehouse says what Millrace needs of a warehouse: Loader for core
// tables. Each warehouse is a folder below it, and each passes the suite of
// warehousetest.
//
// The promise of every implementation is G4 and G5: a write is one transaction
// that carries the data, the progress and the event that announces it, and a
// writer whose epoch is no longer the head's writes nothing.
package warehouse

import (
	"context"
	"errors"
	"time"

	"millrace/schemas"
)

// ErrFenced is the reason when another writer has taken the table over. The
// writer drops the table and what it buffered, and may write again only after
// a new Acquire (G5).
var ErrFenced = errors.New("another writer has taken the table over")

// ErrBusy is the reason when a transaction of another writer has held the table for
// long. It may be taken over later.
var ErrBusy = errors.New("a transaction of another writer holds the table")

// ErrUnavailable is the reason when the warehouse does not answer now, or has no
// room now. Nobody needs to cure anything: it may be asked again. What a process
// asks as it starts says so: Loaded, Core, SetNeeds, and Columns of a Dialect.
var ErrUnavailable = errors.New("the warehouse does not answer now")

// ErrNoTable is the reason when a table is not in the warehouse.
var ErrNoTable = errors.New("the table is not in the warehouse")

// CoreTable is what a core table is to be like.
type CoreTable struct {
	Name    string           // dataset.table
	Mode    schemas.Mode     // ModeMerge, ModeAppend, or ModeUpsert where the warehouse has it
	Columns []schemas.Column // in the topic's order
	Key     []string         // names of the key's columns; empty only for ModeAppend
	// EventTimes names the columns whose touched ranges every load lists; the
	// first is the partition column. Needs adds to them.
	EventTimes  []string
	Description string
}

// Mark is what a partition's control records said, as far as they are loaded.
type Mark struct {
	Complete     schemas.Progress `json:"complete,omitzero"`      // the last w
	SnapshotDone schemas.Position `json:"snapshot_done,omitzero"` // the greatest s
	Ended        bool             `json:"ended,omitempty"`        // the table goes on in the next generation's topic
}

// Head is how far a core table is. It commits with the rows.
type Head struct {
	Epoch   int64 // of the writer; rises at every Acquire
	Load    int64 // the number of the last load
	Topic   string
	TopicID string
	Offsets map[int32]int64 // per partition, the next offset to load
	Marks   map[int32]Mark
	Horizon schemas.Position // a row that is not there is a marker here (G9)
	// Complete is the least of the marks' Complete over all partitions, as of
	// the last load without an unresolved dead letter.
	Complete schemas.Progress
	Snapshot schemas.SnapshotState
}

// Join is the mark of a partition of which m was known, and then more.
func (m Mark) Join(more Mark) Mark {
	m.Complete.Pos = schemas.MaxPosition(m.Complete.Pos, more.Complete.Pos)
	if m.Complete.Time.Before(more.Complete.Time) {
		m.Complete.Time = more.Complete.Time.UTC()
	}
	m.SnapshotDone = schemas.MaxPosition(m.SnapshotDone, more.SnapshotDone)
	m.Ended = m.Ended || more.Ended
	return m
}

// Kept are the columns whose changes some spec needs, and the event-time
// columns beyond the table's own.
type Kept struct {
	EventTimes []string
	Changes    []string
}

// Folded is the fold of one key's changes in a batch, without its values: see
// package register for what the fields mean. In ModeAppend it is one change.
type Folded struct {
	Op   schemas.Op
	Pos  schemas.Position
	Born schemas.Position
	// At holds per column the position at which it was carried, zero if it was
	// not. A nil At says that every column was carried at Pos, or, for a
	// Delete, that only the key's were.
	At   []schemas.Position
	TsUs int64 // commit time at the source
}

// Sink takes the values of one row. Every column is set at most once; a column
// that is not set is null. Bytes are copied before a method returns.
type Sink interface {
	Null(col int)
	Int(col int, v int64) // Bool, Int, Date, Time, Timestamp, DateTime
	Float(col int, v float64)
	Bytes(col int, b []byte) // Decimal (unscaled), String, Bytes, JSON
}

// Rows yields the staged rows of a batch, one per key in ModeMerge and
// ModeUpsert, one per change in ModeAppend. Next writes the next row's values, by ordinal of
// CoreTable.Columns, into sink, and returns io.EOF after the last. The Folded
// is valid until the next call. Rows can be read again after Reset: a load may
// be tried more than once.
type Rows interface {
	Next(sink Sink) (*Folded, error)
	Reset()
}

// Batch is one load to be.
type Batch struct {
	Table  CoreTable // its Columns are those that Rows writes
	Epoch  int64     // what Acquire returned
	Load   int64     // the head's Load + 1
	Ranges []schemas.Range
	// Partitions is how many the topic has: what all of them have reached is
	// known only then.
	Partitions int32
	Marks      map[int32]Mark // of partitions whose marks rose in this batch
	Rows       Rows
	Counts     schemas.RowCounts // Read, Folded and Quarantined; the rest is computed
	PosMin     schemas.Position
	PosMax     schemas.Position
	// Truncate is the greatest position of a truncate in the batch, or zero:
	// every row below it goes, and the horizon rises to it.
	Truncate schemas.Position
	// Snapshotting says that a row of a snapshot was in the batch.
	Snapshotting bool
	// Blocked says that the table has an unresolved dead letter: Complete and
	// the effect of snapshot ends stand still.
	Blocked       bool
	SchemaVersion int
	StartedAt     time.Time
	TraceParent   string
}

// Succession is the step of a core table to its next generation: another topic,
// with another key or with columns that the old ones cannot become.
//
// A copy has no use for its old rows. The rows of its next generation collect in
// a table of their own, From, which was made, acquired and loaded like any other;
// once it is whole, the table's numbers go on with its rows, head and topic, and
// nothing else of From is left.
//
// A history keeps its rows: From is empty, the table takes the new key and the
// columns, and its next offset of every partition of Topic is 0. A column whose
// type cannot take the new one keeps its values under schemas.GenerationName of
// it and of the generation before.
type Succession struct {
	Table      CoreTable // in its next generation
	Epoch      int64     // of the table's head
	Load       int64     // the head's Load + 1
	Generation int       // above 1
	From       string
	FromEpoch  int64  // of the head of From
	Topic      string // where From is empty; else that of From
	TopicID    string
	// SchemaVersion is what a Batch's is.
	SchemaVersion int
	StartedAt     time.Time
}

// Loader writes core tables. One Loader serves many tables, and calls for
// different tables may run at the same time.
type Loader interface {
	// Ensure makes the table, its head, its log and the reader's view, and adds
	// columns that are missing. It changes no column that is there; a type that
	// cannot take the wanted one is an error that names the column.
	Ensure(ctx context.Context, t CoreTable) error

	// Acquire takes the table over for a new writer: it raises the head's epoch,
	// so that every earlier writer is fenced, and returns the head. The topic is
	// recorded in the head if it has none. The caller compares the topic and its
	// id, and moves the offsets with Rewind where that is right. A table that
	// Ensure has never made is ErrNoTable.
	Acquire(ctx context.Context, table, topic, topicID string) (Head, error)

	// Rewind sets the offsets of the named partitions, under the epoch. It is
	// for a log that is shorter than the head says (the embedded broker after a
	// kill), where what follows repeats what was loaded.
	Rewind(ctx context.Context, table string, epoch int64, offsets map[int32]int64) error

	// Load commits the batch and returns the event that announces it. Offsets,
	// marks, horizon, rows, changes and the log of loads commit together or not
	// at all. A batch whose epoch or number is not the head's next is ErrFenced.
	// Values that no column of the warehouse can hold are a *RowsError. On any
	// other error nothing was committed, or the outcome is unknown: the caller
	// acquires again and compares. The event's numbers add up (G11):
	// Applied are the staged rows that were written, Stale those that were not;
	// of the applied ones Inserted made a row live that was not there or was
	// deleted, Updated wrote a live row that stays so, Deleted ended one, and the
	// rest are delete markers where no row was live. Rows that a truncate or the
	// end of a snapshot removes are no changes and in no count; they are in what
	// was touched.
	//
	// In ModeUpsert the warehouse orders changes by itself, and says nothing of what
	// became of them. Rows are in the table before the head is, so that the death of
	// the writer in between leaves them to be read, and to be loaded again. A row
	// whose newest change does not carry every column is refused with a *RowsError,
	// a batch with a truncate fails, and the end of a snapshot removes nothing. The
	// event says that all was touched, and covers no column. Its Applied are the
	// rows that were handed over, stale ones too; Stale, Inserted, Updated and
	// Deleted are zero, because nobody knows them.
	Load(ctx context.Context, b *Batch) (schemas.LoadComplete, error)

	// Succeed moves a table to its next generation, and returns the event that
	// announces it: a load like any other, that touches everything and covers no
	// column. A head whose epoch or number is not the expected one is ErrFenced,
	// of the table or of From. After any other error the caller acquires again and compares.
	Succeed(ctx context.Context, s *Succession) (schemas.LoadComplete, error)

	// Loads returns the events of the loads above after, in order, at most max.
	Loads(ctx context.Context, table string, after int64, max int) ([]schemas.LoadComplete, error)

	// SetNeeds records what a spec needs kept of a table; loads take it up from
	// their next one on, and name it in the event's Covers.
	SetNeeds(ctx context.Context, table, spec string, k Kept) error
}
