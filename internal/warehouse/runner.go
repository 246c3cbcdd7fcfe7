package warehouse

import (
	"context"
	"errors"
	"strconv"
	"time"

	"millrace/schemas"
)

// ErrRevision is the reason when a derived table's head was written by a later
// revision of the specs: this process is out of date and stays out.
var ErrRevision = errors.New("a later revision owns the table")

// ErrNotThere is the reason when a table that is to be read has not been made
// yet.
var ErrNotThere = errors.New("the table is not there yet")

// ViolationError says that a run's result was not what the spec promises. It
// was not published.
type ViolationError struct {
	Check string // the check's name
	Part  int    // which part, from 0
	Rows  int64  // how many rows, or groups of rows, violate it
}

// CheckOwned is the check that every run makes: its rows lie in the windows, or
// have the keys, that it computes (G8).
const CheckOwned = "inside the owned part"

func (e *ViolationError) Error() string {
	if e.Check == CheckOwned {
		return "the query gave " + plural(e.Rows) + " of other windows or keys than it was asked for: compute each window, or key, from its own rows"
	}
	return "audit " + e.Check + " found " + plural(e.Rows)
}

// DerivedTable is what a derived table is to be like.
type DerivedTable struct {
	Name    string // dataset.table
	Columns []ResultColumn
	// Append tables have a column _load beside Columns.
	Append bool
	// Key are the columns that identify a row, if the spec names them. Owning
	// is the prefix of it by which dirty keys own rows; empty in other scopes.
	Key    []string
	Owning []string
	// Window is the column whose windows own rows; empty in other scopes.
	Window string
	// EventTimes names the columns whose touched ranges every run lists.
	EventTimes []string
	// Partition is the column by whose days the table is kept, and Cluster those by
	// which rows lie together, where the warehouse keeps tables so; empty: Window,
	// and Key.
	Partition string
	Cluster   []string
	// Description and Labels are for people.
	Description string
	Labels      map[string]string
}

// DerivedHead is how far a derived table is. It commits with the rows.
type DerivedHead struct {
	Epoch    int64
	Load     int64 // the number of the last run that changed something
	Revision int64
	CodeHash string
	// Absorbed holds, per input, the last load whose effect on this table is
	// known: published, or in the dirt. It is nil before the first start.
	Absorbed map[string]int64
	Begin    time.Time // civil start of the first window
	Frontier time.Time // civil end of the last window that has entered
	Complete time.Time // the least of the inputs' complete times, through Absorbed
	Ready    bool      // what the first start made dirty was published once
}

// Dirt is a window, or the whole table (a zero Window), that has to be computed.
type Dirt struct {
	Window   time.Time // civil start
	Mark     int64     // rises whenever the window is dirtied
	Backfill bool      // comes after what is live
	Since    time.Time
	Cause    []schemas.Cause
	Error    string // why the last run failed; empty: it is not held
	Failures int
	RetryAt  time.Time // zero: at once
}

// KeyDirt sums up the dirty keys of a table.
type KeyDirt struct {
	Keys    int64
	Mark    int64     // the greatest
	RetryAt time.Time // the least of those that are held; zero: some are due at once
	Since   time.Time
	Error   string
}

// InputState is how far an input is, of whatever kind.
type InputState struct {
	Load     int64
	Complete time.Time
	Ready    bool // its snapshot, or first computation, is done
	// Swept is the last load whose changes are no longer kept.
	Swept int64
}

// Part is one query of a run and the rows of the table that it owns (G8).
type Part struct {
	Query string
	// Owned is the condition on the table's rows that the part owns, and that
	// every row of the result fulfils. Empty: the part only adds.
	Owned string
	Dirt  Dirt // what is cleared, unless its mark has risen
}

// Check is what a run's result must fulfil before it is published: no row for
// which Violated holds, no two rows with the same values of Unique.
type Check struct {
	Name     string
	Violated string
	Unique   []string
}

// Step is one transaction of a derived table: progress, and the parts of a run.
type Step struct {
	Table DerivedTable
	Epoch int64
	Load  int64 // the head's Load

	// Head is what the head becomes, but for Epoch and Load.
	Head DerivedHead
	// WasHash is the code hash that the head must have.
	WasHash string

	// Forget empties the dirt first: new code makes everything dirty. Rows without
	// a value in a column that owns rows, which Acquire may have made anew, go; if
	// there were any, the event touches everything.
	Forget bool
	// Mark is written into the dirt, over what is there for the same window.
	Mark []Dirt
	// MarkKeys are queries whose rows, of the owning columns, enter the dirt
	// with KeyMark before the run looks for the keys that it owns.
	MarkKeys []string
	KeyMark  int64
	// HoldKeys says that the keys that are due are held, with the reason.
	HoldKeys *Dirt

	// Parts are computed each by itself, checked, and published together.
	Parts  []Part
	ByKeys bool // the one part owns the dirty keys that are due
	Checks []Check

	Cause       []schemas.Cause
	Mode        schemas.Mode
	StartedAt   time.Time
	TraceParent string
}

// Runner keeps derived tables. Calls for different tables may run at the same
// time; those for one table come one after another from its owner.
type Runner interface {
	// Acquire takes the table over for a new writer: it makes the table's head,
	// log and dirt if there are none, raises the epoch and sets the revision, or
	// returns ErrRevision if the head's is greater. A negative revision takes
	// the head's own. It then gives the table its columns: those that are
	// missing are added, those that are not wanted go, and one of another type
	// is made anew. If the table itself was taken away by hand, it is made again,
	// and its head is one that no run has touched, but for its load number.
	Acquire(ctx context.Context, t DerivedTable, revision int64) (DerivedHead, error)

	// Turn waits for the caller's turn to look for loads and to commit what they
	// call for; it fails only when ctx ends. A warehouse that runs only so much at
	// a time serves those who wait in the order in which they came. They wait
	// before they look, so that what comes meanwhile is computed by one run. Leave
	// gives the turn back; Commit does not ask for one.
	Turn(ctx context.Context) (leave func(), err error)

	// Dirt returns what is dirty.
	Dirt(ctx context.Context, t DerivedTable) ([]Dirt, KeyDirt, error)

	// Inputs returns how far tables are. A table that is not there yet is
	// absent from the map.
	Inputs(ctx context.Context, tables []string) (map[string]InputState, error)

	// Loads returns the events of the loads above after, in order, at most max.
	Loads(ctx context.Context, table string, after int64, max int) ([]schemas.LoadComplete, error)

	// Touched runs a query of one event-time column and returns the ranges in
	// which its values lie.
	Touched(ctx context.Context, query string) (schemas.Touched, error)

	// Commit runs the step in one transaction (G4) and returns the event that
	// announces it. The event's Load is 0 if the run changed no row: then the
	// progress alone was committed. The reads of the parts see what was
	// committed before the call began. ErrFenced and *ViolationError are told
	// apart; on any other error nothing was committed, or the outcome is
	// unknown: the caller acquires again.
	Commit(ctx context.Context, s *Step) (schemas.LoadComplete, error)

	// SetNeeds is Loader's, and serves derived tables as well. A spec that needs
	// changes and is silent for 30 days no longer counts: it says it again now
	// and then.
	SetNeeds(ctx context.Context, table, spec string, k Kept) error

	// Sweep removes the changes of a table that every spec which needs them has
	// absorbed.
	Sweep(ctx context.Context, table string) error
}

func plural(rows int64) string {
	if rows == 1 {
		return "1 row"
	}
	return strconv.FormatInt(rows, 10) + " rows"
}
