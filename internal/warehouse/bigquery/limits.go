package bigquery

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Quotas that are known before they are hit. Of the others, see
// docs/runbooks/bigquery.md: loads of a table follow each other, and each is one
// job, so that no two of our statements change one table at a time, and the rate
// of statements stays far below 25 in 10 s.
const (
	maxStatement = 1 << 20 // bytes of a job's text
	// roomForHead is what a load's text may have besides what the table's columns
	// make of it: offsets, marks and ranges of all partitions, and bounds of keys.
	roomForHead = 128 << 10
	// A table's definition may be changed five times in ten seconds. One of them
	// is left to others; and it is not known when in a job's time a change is made.
	updatesAtOnce = 4
	updatesWithin = 11 * time.Second
)

// lengthError is a text that the service would not take.
type lengthError struct{ have, most int }

func (e *lengthError) Error() string {
	return fmt.Sprintf("the statement has %d bytes, and BigQuery takes %d", e.have, e.most)
}

func checkLength(text string) error {
	if len(text) > maxStatement {
		return cure(&lengthError{len(text), maxStatement})
	}
	return nil
}

// checkWidth refuses a table whose loads would be too long a text, before
// anything of it is made or read.
func (w *Warehouse) checkWidth(def coretable.Definition, n sqlgen.Name, want warehouse.CoreTable) error {
	if def.Mode == schemas.ModeUpsert {
		return nil // no column is in the text of its loads
	}
	core, _, err := def.Core(w.dialect, n, want)
	if err != nil {
		return err
	}
	text := core.Script(sqlgen.LoadScript{Staged: 1, Head: make([]string, headColumns), Removes: true, MayRun: true})
	if len(text) > maxStatement-roomForHead {
		return cure(fmt.Errorf("a load of %d columns: %w", len(def.Columns), &lengthError{len(text), maxStatement - roomForHead}))
	}
	return nil
}

// updates spaces the changes of each table's definition. Those that other
// processes make are not counted: the service refuses what is too much, and then
// it is tried again.
type updates struct {
	now   func() time.Time
	sleep func(context.Context, time.Duration) error

	mu sync.Mutex
	at map[string][]time.Time // by table, the last ones
}

func newUpdates() *updates {
	return &updates{now: time.Now, sleep: sleep, at: map[string][]time.Time{}}
}

var changed = regexp.MustCompile("^(?:ALTER TABLE|CREATE OR REPLACE (?:VIEW|TABLE)) (?:IF EXISTS )?((?:`[^`]*`\\.?)+)")

// chunks cuts statements into scripts that may run one after the other, each once
// wait has returned. A statement that asserts stands before every one of them.
func (u *updates) chunks(statements []string) (out [][]string) {
	var guard []string
	if len(statements) > 0 && len(statements[0]) > 6 && statements[0][:6] == "ASSERT" {
		guard = statements[:1]
	}
	count, part := map[string]int{}, []string(nil)
	for _, s := range statements {
		m := changed.FindStringSubmatch(s)
		if m != nil && count[m[1]] == updatesAtOnce {
			out = append(out, part)
			count, part = map[string]int{}, append([]string(nil), guard...)
		}
		if m != nil {
			count[m[1]]++
		}
		part = append(part, s)
	}
	return append(out, part)
}

// changes counts by table how often the statements change a definition.
func changes(statements []string) map[string]int {
	out := map[string]int{}
	for _, s := range statements {
		if m := changed.FindStringSubmatch(s); m != nil {
			out[m[1]]++
		}
	}
	return out
}

// wait returns when the statements can run, and counts them.
func (u *updates) wait(ctx context.Context, statements []string) error {
	want := changes(statements)
	for {
		d := u.take(want)
		if d <= 0 {
			return nil
		}
		if err := u.sleep(ctx, d); err != nil {
			return err
		}
	}
}

// take counts the changes if there is room for them, or says how long there will
// be none.
func (u *updates) take(want map[string]int) (wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	for table, n := range want {
		recent := u.at[table]
		for len(recent) > 0 && now.Sub(recent[0]) >= updatesWithin {
			recent = recent[1:]
		}
		u.at[table] = recent
		if over := len(recent) + n - updatesAtOnce; over > 0 {
			wait = max(wait, updatesWithin-now.Sub(recent[min(over, len(recent))-1]))
		}
	}
	if wait > 0 {
		return wait
	}
	for table, n := range want {
		for range n {
			u.at[table] = append(u.at[table], now)
		}
	}
	return 0
}

// ran says that the statements have run just now.
func (u *updates) ran(statements []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	for table, n := range changes(statements) {
		recent := u.at[table]
		for i := max(0, len(recent)-n); i < len(recent); i++ {
			recent[i] = now
		}
	}
}

func isTooLong(err error) bool {
	var e *lengthError
	return errors.As(err, &e)
}
