// Package sourcetest is the suite that every source passes. It drives a real
// database with statements that all of them understand, reads it through the
// source, and compares with what the database itself says. A database that takes
// no SQL runs the cases whose statements have verbs, and says of each other one
// why it has no place there.
package sourcetest

import (
	"testing"

	"millrace/producers"
	"millrace/schemas"
)

// Harness is a database of its own for one case, and how to reach it. Names of
// tables are bare; statements use them unqualified.
type Harness struct {
	// Exec runs statements one after the other in one session, the same for all
	// calls.
	Exec func(t testing.TB, stmts ...string)
	// Session opens another session. What it returns runs one statement, and may
	// be called from another goroutine than the test's.
	Session func(t testing.TB) func(stmt string) error
	// Write and Writer stand in for Exec and Session where the database takes no SQL.
	Write  func(t testing.TB, stmts ...Statement)
	Writer func(t testing.TB) func(Statement) error
	// Lacks is, by the name of a case, why the database cannot have it;
	// Savepoints why it has none.
	Lacks      map[string]string
	Savepoints string
	// Partial says that an update carries the columns that it names alone.
	Partial bool
	// Hidden are columns that the source adds to those of the suite's tables.
	Hidden []string
	// Key is the cell of a key; nil: an integer.
	Key func(n int64) schemas.Cell
	// Rows reads the columns of a table by another path than the source: one
	// string per row, ordered by the first column, the values as the database's
	// text joined with |, NULL for null.
	Rows func(t testing.TB, table string, columns ...string) []string
	// ID is the ID of a table: schema.name.
	ID func(table string) string
	// Config captures the tables. Every call returns a new one.
	Config func(tables ...string) producers.Config
	// Kill stops the server as kill -9 does, and starts it again. Nil if the
	// server is shared.
	Kill func(t testing.TB)

	// Types is the table of types: a column is made of each.
	Types []TypeCase
	// Unset says that an update does not log a big value that it leaves alone.
	// BigType is the type of such a column. The value is random text of 100 kB.
	Unset   bool
	BigType string
}

// TypeCase is a type of the source with values that are hard to keep.
type TypeCase struct {
	SQL    string   // the type
	Values []string // as SQL literals
	Want   []schemas.Cell
	// Type is what the column must be captured as; the zero Type is not checked.
	// Want, if it is not nil, holds the cells of Values.
	Type schemas.Type
}

// Run runs the suite. It calls open for every case.
func Run(t *testing.T, open func(t *testing.T) *Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Harness)
	}{
		{"Changes", testChanges},
		{"Transactions", testTransactions},
		{"RollbacksAreAbsent", testRollbacks},
		{"KeyChangeIsDeleteAndCreate", testKeyChange},
		{"CompositeKey", testCompositeKey},
		{"Truncate", testTruncate},
		{"BeginsWithAToken", testBegin},
		{"ResumeFromEveryToken", testResume},
		{"WhatIsNotAcknowledgedIsKept", testAck},
		{"SnapshotsStartSurvivesACrash", testSnapshotStart},
		{"SecondOpenAnnouncesNothing", testSecondOpen},
		{"IdleProgress", testIdle},
		{"Cancel", testCancel},
		{"ChunksCoverTheTable", testChunks},
		{"ChunksEndWhenEmitHasEnough", testEnough},
		{"ChunksBesideWritesConverge", testConverge},
		{"ReadKeys", testReadKeys},
		{"SnapshotAndStreamAgree", testTypes},
		{"AddNullableColumn", testAddNullable},
		{"AddColumnWithDefault", testAddDefault},
		{"RenameColumn", testRename},
		{"DDLWhileDown", testDDLWhileDown},
		{"NewEpoch", testNewEpoch},
		{"Unset", testUnset},
		{"HugeTransaction", testHuge},
		{"KilledServer", testKill},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			if reason := h.Lacks[c.name]; reason != "" {
				t.Skip(reason)
			}
			c.run(t, h)
		})
	}
}

const items = "items"

// makeItems makes the table that most cases write to.
func makeItems(t *testing.T, h *Harness) {
	t.Helper()
	h.exec(t, create(itemTable), create(fenceTable))
}

func (h *Harness) exec(t testing.TB, stmts ...Statement) {
	t.Helper()
	if h.Write != nil {
		h.Write(t, stmts...)
		return
	}
	texts := make([]string, len(stmts))
	for i, s := range stmts {
		texts[i] = s.SQL()
	}
	h.Exec(t, texts...)
}

func (h *Harness) session(t testing.TB) func(Statement) error {
	if h.Writer != nil {
		return h.Writer(t)
	}
	write := h.Session(t)
	return func(s Statement) error { return write(s.SQL()) }
}

func (h *Harness) key(n int64) schemas.Cell {
	if h.Key != nil {
		return h.Key(n)
	}
	return schemas.IntCell(n)
}

func (h *Harness) keysChange() bool { return h.Lacks["KeyChangeIsDeleteAndCreate"] == "" }

func (h *Harness) compositeKeys() bool { return h.Lacks["CompositeKey"] == "" }

var itemColumns = []string{"id", "name", "amount"}
