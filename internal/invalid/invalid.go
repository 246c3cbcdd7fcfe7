// Package invalid collects what is wrong with a file that a person wrote, so
// that all of it can be said at once, each with its line and its cure.
package invalid

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing to mend.
type Fault struct {
	File    string
	Line    int // from 1; 0 if it is about the whole file
	Field   string
	Problem string
	Cure    string
}

func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Problem)
	if f.Cure != "" {
		b.WriteString("; " + f.Cure)
	}
	return b.String()
}

// Faults are the faults of one or several files.
type Faults []Fault

// Error has one line per fault, by file and line.
func (f Faults) Error() string {
	sorted := slices.Clone(f)
	slices.SortStableFunc(sorted, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	lines := make([]string, len(sorted))
	for i, fault := range sorted {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// Err is nil without faults.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}
