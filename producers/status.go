package producers

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"millrace/schemas"
)

// Status is a snapshot of a producer for people.
type Status struct {
	Source   string
	Running  bool  // a session is open
	Err      error // why the last session ended; nil if it was stopped
	Position schemas.Position
	Complete schemas.Progress // of what is committed
	// Retained is how many bytes of its log the server keeps for this producer, as
	// of the last look; 0 if that is not known.
	Retained int64
	Tables   []TableStatus // by ID
}

// Ended reports whether the source is captured no more until a person acts; one whose
// session ended for any other reason is tried again.
func (s Status) Ended() bool { return s.Err != nil && forPerson(s.Err) }

// TableStatus is a snapshot of a captured table for people.
type TableStatus struct {
	ID         string
	Topic      string
	Generation int
	Snapshot   SnapshotStatus
	Rereads    int              // keys that are read again
	Marked     schemas.Progress // the last watermark: what its readers may count on
	Halted     error            // nil: it runs
	Dropped    bool
}

// SnapshotStatus is how far a table's snapshot is.
type SnapshotStatus struct {
	Running bool
	Done    bool // the last that was called for has ended
	Rows    int64
}

// Lag is how far behind the clock the committed changes are complete; zero if
// that is not known yet.
func (s Status) Lag(now time.Time) time.Duration {
	if s.Complete.Time.IsZero() {
		return 0
	}
	return now.Sub(s.Complete.Time)
}

// Status says how the producer stands, as of its last commit.
func (p *Producer) Status() Status { return p.status.get() }

// statusBoard is written by the session and read by anyone.
type statusBoard struct {
	mu     sync.Mutex
	now    Status
	tables map[string]TableStatus
}

func (b *statusBoard) init(source string) {
	b.now.Source, b.tables = source, make(map[string]TableStatus)
}

func (b *statusBoard) get() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.now
	out.Tables = slices.SortedFunc(maps.Values(b.tables), func(x, y TableStatus) int { return cmp.Compare(x.ID, y.ID) })
	return out
}

// opened begins a session: what was halted is tried again.
func (b *statusBoard) opened(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Running, b.now.Err = true, nil
	for id, t := range b.tables {
		t.Halted = nil
		b.tables[id] = t
	}
	b.take(s)
}

func (b *statusBoard) session(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Running, b.now.Err = false, err
}

func (b *statusBoard) committed(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(s)
}

func (b *statusBoard) retained(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.Retained = bytes
}

func (b *statusBoard) take(s *session) {
	b.now.Position, b.now.Complete = s.Last, s.Complete
	for id, t := range s.tables {
		b.tables[id] = TableStatus{
			ID: id, Topic: t.Table.Topic, Generation: t.Table.Generation, Rereads: len(t.Rereads), Marked: t.mark, Halted: t.stopped(), Dropped: t.Dropped,
			Snapshot: SnapshotStatus{Running: t.Snapshot.Running, Done: !t.Snapshot.Running && !t.Snapshot.Low.IsZero(), Rows: t.Snapshot.Rows},
		}
	}
}

// stopped is why a table waits for a person. One that is gone at its source does,
// though nothing has failed: its readers would take it for one that is quiet.
func (t *table) stopped() error {
	if t.halted == nil && t.gone {
		return &HaltError{
			Table: t.id, Err: errors.New("it is gone at the source, and the core table keeps the rows that it had"),
			Hint: "make it again, and it is read anew; or take it out of the configuration and restart millrace",
		}
	}
	return t.halted
}

func (b *statusBoard) halted(id string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tables[id]
	t.ID, t.Halted = id, err
	b.tables[id] = t
}
