// Package invalid is how a file that a person wrote is refused: every fault of
// it at once, each with the place and the cure.
package invalid

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that a person must change.
type Fault struct {
	File    string // as the person named it
	Line    int    // from 1; 0 if the fault has no line, such as a field that is absent
	Field   string // its path from the top, with dots
	Problem string
	Cure    string
}

// String is file:line: field: problem; cure. What is empty is left out.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	for _, part := range []string{f.Field, f.Problem} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	if f.Cure != "" {
		b.WriteString("; ")
		b.WriteString(f.Cure)
	}
	return b.String()
}

// Faults collects faults. The zero value is empty and ready.
type Faults []Fault

// Add adds a fault.
func (f *Faults) Add(file string, line int, field, problem, cure string) {
	*f = append(*f, Fault{File: file, Line: line, Field: field, Problem: problem, Cure: cure})
}

// Err is nil if there is no fault, else an error that is a Faults: sorted by
// file, line and field, without repetitions. It is a copy; f may go on growing.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	out := slices.Clone(f)
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Problem, b.Problem), cmp.Compare(a.Cure, b.Cure))
	})
	return slices.Compact(out)
}

// Error holds one fault a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}
