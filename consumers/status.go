package consumers

import (
	"slices"
	"sync"
	"time"

	"millrace/schemas"
)

// TableStatus is what a consumer knows of one core table.
type TableStatus struct {
	Table    string
	Topic    string // of the generation that is read
	Owned    bool   // by this consumer
	Halted   string // why it is not loaded, and what to do; empty if it is
	Trouble  string // why a load or the takeover is tried again; empty if neither is
	Load     int64  // the last
	LoadedAt time.Time
	Complete schemas.Progress
	Snapshot schemas.SnapshotState
	Lag      int64 // records between what was loaded and the end of the topic, as of the last poll
	Letters  int   // unresolved dead letters
	Rows     schemas.RowCounts
}

// board is the status of all tables.
type board struct {
	mu     sync.Mutex
	order  []string
	tables map[string]*TableStatus
}

func newBoard(tables []Table) *board {
	b := &board{tables: map[string]*TableStatus{}}
	add := func(name, topic string) {
		if name != "" && b.tables[name] == nil {
			b.order = append(b.order, name)
			b.tables[name] = &TableStatus{Table: name, Topic: topic}
		}
	}
	for _, t := range tables {
		add(t.Core, t.Topic)
		add(t.History, t.Topic)
	}
	return b
}

func (b *board) update(table string, change func(*TableStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.tables[table]; s != nil {
		change(s)
	}
}

func (b *board) snapshot() []TableStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]TableStatus, 0, len(b.order))
	for _, name := range b.order {
		out = append(out, *b.tables[name])
	}
	return slices.Clip(out)
}
