// Package page shows what a running process does: as JSON for the command
// line, and as a page for people.
package page

import "time"

// Status is what a process knows of all that it runs.
type Status struct {
	Version string    `json:"version"`
	Now     time.Time `json:"now"`
	Started time.Time `json:"started"`
	Sources []Source  `json:"sources"`
	Core    []Core    `json:"core"`
	Derived []Derived `json:"derived"`
	Notes   []string  `json:"notes,omitempty"` // what a person may not expect
}

// Source is a captured database.
type Source struct {
	Source   string        `json:"source"`
	Kind     string        `json:"kind"`
	Halted   string        `json:"halted,omitempty"`   // why it is not captured until a person acts, and what to do
	Retrying string        `json:"retrying,omitempty"` // why it is not captured now; it is tried again by itself
	Opening  bool          `json:"opening,omitempty"`  // it was not read yet
	Position string        `json:"position,omitempty"`
	Complete time.Time     `json:"complete,omitzero"` // everything up to it was captured
	Tables   []SourceTable `json:"tables"`
}

// SourceTable is a captured table.
type SourceTable struct {
	Table    string `json:"table"`
	Topic    string `json:"topic,omitempty"`
	Halted   string `json:"halted,omitempty"`
	Rows     int64  `json:"rows"`     // changes sent by this process
	Snapshot string `json:"snapshot"` // empty, or how far it is
}

// Core is a core table.
type Core struct {
	Table    string    `json:"table"`
	Topic    string    `json:"topic"`
	Owned    bool      `json:"owned"`
	Halted   string    `json:"halted,omitempty"`
	Trouble  string    `json:"trouble,omitempty"` // why a load is tried again
	Rows     int64     `json:"rows"`              // that readers see; -1 if not counted
	Load     int64     `json:"load"`
	LoadedAt time.Time `json:"loaded_at,omitzero"`
	Complete Progress  `json:"complete"`
	Snapshot Snapshot  `json:"snapshot"`
	Lag      int64     `json:"lag"` // records that are not loaded yet
	Letters  int       `json:"letters"`
	Counts   Counts    `json:"counts"`
}

// Progress is up to where a table is complete.
type Progress struct {
	Pos  string    `json:"pos,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// Snapshot is how far the snapshot of a table is.
type Snapshot struct {
	Running bool `json:"running"`
	Done    bool `json:"done"`
}

// Counts are change events by what became of them, since the process started.
type Counts struct {
	Read        int64 `json:"read"`
	Applied     int64 `json:"applied"`
	Folded      int64 `json:"folded"`
	Stale       int64 `json:"stale"`
	Quarantined int64 `json:"quarantined"`
}

// Derived is a derived table.
type Derived struct {
	Table    string    `json:"table"`
	Rows     int64     `json:"rows"` // -1 if not counted
	Load     int64     `json:"load"`
	LoadedAt time.Time `json:"loaded_at,omitzero"`
	Complete time.Time `json:"complete,omitzero"`
	Waits    string    `json:"waits,omitempty"` // what it waits for or to do, such as "for the snapshot of core.a"; empty when it is up to date
	Dirty    int64     `json:"dirty"`           // windows or keys to be computed
	Held     int       `json:"held"`            // those that failed and wait to be tried again
	// Next is before when no run comes, though there is something to compute, or
	// loads gather. Freshness says why, as 1h; empty: a schedule does.
	Next      time.Time `json:"next,omitzero"`
	Freshness string    `json:"freshness,omitempty"`
	Gathers   bool      `json:"gathers,omitempty"` // its inputs have loads that it has not looked at
	Outside   int64     `json:"outside"`           // touched spans before its first window or after its last
	Begin     time.Time `json:"begin,omitzero"`    // of its first window
	// Earlier is the first window that its inputs have rows for, where that lies
	// before Begin though nobody wrote a begin.
	Earlier time.Time `json:"earlier,omitzero"`
	// Drained are the loads of its inputs whose effect is in it, or dirty; none:
	// it has not begun.
	Drained map[string]int64 `json:"drained,omitempty"`
	Error   string           `json:"error,omitempty"`
	Stale   string           `json:"stale,omitempty"` // its spec on disk is another one: what to do
}
