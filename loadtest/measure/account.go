package measure

import "fmt"

// Rows are the rows of a table: key and checksum.
type Rows map[int64]uint64

// Account says how a target compares with its source. All of it must be zero.
type Account struct {
	Lost       int64 `json:"lost"`       // rows or events that are missing in the target
	Duplicated int64 `json:"duplicated"` // those that are there more than once
	Wrong      int64 `json:"wrong"`      // rows with other values, and rows that should not be there
	// Examples name the first of them.
	Examples []string `json:"examples,omitempty"`
}

// OK reports whether nothing is lost, duplicated or wrong.
func (a *Account) OK() bool { return a.Lost == 0 && a.Duplicated == 0 && a.Wrong == 0 }

const examples = 5

// Note adds one finding to a count of the account.
func (a *Account) Note(count *int64, format string, args ...any) {
	*count++
	if len(a.Examples) < examples {
		a.Examples = append(a.Examples, fmt.Sprintf(format, args...))
	}
}

// Target collects the rows of a table that is to equal its source.
type Target struct {
	table   string
	rows    Rows
	account *Account
}

// NewTarget collects into the account.
func NewTarget(table string, a *Account) *Target {
	return &Target{table: table, rows: Rows{}, account: a}
}

// Add takes a row. A key that is there already is a duplicate.
func (t *Target) Add(key int64, sum uint64) {
	if _, ok := t.rows[key]; ok {
		t.account.Note(&t.account.Duplicated, "%s: key %d is there twice", t.table, key)
		return
	}
	t.rows[key] = sum
}

// Compare compares what was collected with what the source holds.
func (t *Target) Compare(source Rows) {
	a := t.account
	for key, want := range source {
		switch got, ok := t.rows[key]; {
		case !ok:
			a.Note(&a.Lost, "%s: key %d is missing", t.table, key)
		case got != want:
			a.Note(&a.Wrong, "%s: key %d has other values than its source", t.table, key)
		}
	}
	for key := range t.rows {
		if _, ok := source[key]; !ok {
			a.Note(&a.Wrong, "%s: key %d is not in the source", t.table, key)
		}
	}
}
