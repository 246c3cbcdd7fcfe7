// Package spec reads the YAML files that define derived tables.
//
// It is strict: an unknown key, a wrong type or an illegal combination is a
// fault, and all faults of a file are found at once, each with its line and its
// cure. It is pure: it knows nothing of SQL or of other tables; package graph
// joins specs with their queries and inputs.
package spec

import (
	"time"

	"millrace/deriver/window"
	"millrace/schemas"
)

// Scope says which rows of the derived table a run owns.
type Scope string

// The scopes. After a run the table's rows of the owned part are exactly the
// query's result (G8).
const (
	ScopeWindow Scope = "window" // the rows of one window
	ScopeKeys   Scope = "keys"   // the rows of the dirty keys, deletions included
	ScopeTable  Scope = "table"  // everything
	ScopeRows   Scope = "rows"   // only what the run adds
)

// Spec is one derived table as its file defines it, with the defaults filled
// in.
type Spec struct {
	File        string
	Name        string // dataset.table
	Owner       string
	Description string
	Columns     []Column // the contract; empty: the columns are what the query gives
	Strategy    schemas.Mode
	Scope       Scope
	UniqueKey   []string
	Schedule    Schedule
	Freshness   *time.Duration // nil: the warehouse's default
	Complete    bool           // windows wait until the inputs are complete through their end
	Window      *Window
	PartitionBy string
	ClusterBy   []string
	Inputs      []Input // what the file says about inputs, in its order; the query may read more
	Query       string
	QueryFile   string // the file that holds Query: the spec itself if it is inline
	QueryLine   int    // the line of QueryFile on which Query starts
	Audits      []Audit
	Version     string
	Labels      map[string]string
	Access      map[string][]string
	Pod         Pod
	// Faulty says that the file has faults: the spec is not to be run, and serves
	// to find what else is wrong.
	Faulty bool `json:"-"`

	lines map[string]int
}

// Line returns the line that defines field, or the line of the nearest field
// around it, or 1.
func (s *Spec) Line(field string) int {
	for ; field != ""; field = parent(field) {
		if line, ok := s.lines[field]; ok {
			return line
		}
	}
	return 1
}

// KeyWidth is how many columns of UniqueKey own rows in scope keys; 0: no input
// says which keys a change dirties.
func (s *Spec) KeyWidth() int {
	width := 0
	for _, in := range s.Inputs {
		switch {
		case len(in.Key) > 0:
			return len(in.Key)
		case in.Dirty != "":
			width = len(s.UniqueKey)
		}
	}
	return width
}

// Column is a column of the contract.
type Column struct {
	Name        string
	Type        schemas.Type
	Required    bool
	Description string
}

// Window says how the event time is cut.
type Window struct {
	Column string // empty: the first DATE, TIMESTAMP or DATETIME column of the result
	Grid   window.Grid
	Begin  time.Time // the civil date of the first window, in UTC; zero: the inputs' least event time
}

// Schedule says what starts a run.
type Schedule struct {
	OnLoad bool
	Cron   string // five fields, in the window's time zone; empty: none
}

// Input is one entry about an input: a table may have several, and what they
// dirty unites.
type Input struct {
	Table string
	Field string // where the file says it, for faults
	// EventTime makes the input's partitions the windows, alone (same) or read
	// over a wider span (Lookback).
	EventTime string
	Lookback  window.Lookback
	Via       string // dataset.table.column: the windows or keys of that table's rows
	On        string // the column joined with Via; empty: the input's key
	Key       []string
	Dirty     string // a query over the input's changes that gives windows or keys
	Rebuild   bool   // a change recomputes everything
}

// Audit is a check of what a run is about to publish.
type Audit struct {
	Kind    AuditKind
	Columns []string
	Field   string
}

// AuditKind names an audit.
type AuditKind string

// The audits.
const (
	NotNull AuditKind = "not_null" // none of the columns is null in any row
	Unique  AuditKind = "unique"   // no two rows have the same values of the columns
)
