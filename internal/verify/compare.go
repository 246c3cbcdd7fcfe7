package verify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/internal/page"
)

// Kind says how two tables differ.
type Kind string

// The kinds of differences.
const (
	Column  Kind = "column"  // a column is not there, or has another type
	Missing Kind = "missing" // a row is not in the warehouse
	Extra   Kind = "extra"   // a row is in the warehouse only
	Differs Kind = "differs" // a row has another value
)

// Difference is one fault of a table.
type Difference struct {
	Kind Kind
	Row  string // which row or column
	Text string // what is wrong with it

	key string // the identity of the row's key
}

func (d Difference) String() string {
	if d.Text == "" {
		return fmt.Sprintf("%s: %s", d.Kind, d.Row)
	}
	return fmt.Sprintf("%s: %s: %s", d.Kind, d.Row, d.Text)
}

// Report says how a table of the warehouse compares.
type Report struct {
	Table       string
	Rows        int // that should be there
	Differences []Difference
	Note        string // how it was compared, if not as all tables are
}

// Compare compares two results as bags of rows: the order of rows and of
// columns does not count, how often a row is there does. The columns of key,
// which may be none, tell which two rows are meant to be the same.
func Compare(table string, want, got *page.Table, key []string) Report {
	r := Report{Table: table, Rows: len(want.Rows)}
	var wantAt, gotAt []int
	for i, name := range want.Columns {
		j := slices.Index(got.Columns, name)
		if j < 0 {
			r.add(Column, name, "is not in the warehouse")
			continue
		}
		if want.Types[i] != got.Types[j] {
			r.add(Column, name, fmt.Sprintf("should be %s, is %s", want.Types[i], got.Types[j]))
		}
		wantAt, gotAt = append(wantAt, i), append(gotAt, j)
	}
	for _, name := range got.Columns {
		if slices.Index(want.Columns, name) < 0 {
			r.add(Column, name, "is in the warehouse only")
		}
	}
	columns := pick(want.Columns, wantAt)
	left, right := project(want, wantAt), project(got, gotAt)
	missing, extra := apart(left, right)
	r.pair(columns, missing, extra, key)
	return r
}

func (r *Report) add(kind Kind, row, text string) {
	r.Differences = append(r.Differences, Difference{Kind: kind, Row: row, Text: text})
}

// apart returns the rows of a that b lacks, and those of b that a lacks, sorted.
func apart(a, b [][]*string) (onlyA, onlyB [][]*string) {
	count := make(map[string]int, len(b))
	for _, row := range b {
		count[identity(row)]++
	}
	for _, row := range a {
		if id := identity(row); count[id] > 0 {
			count[id]--
		} else {
			onlyA = append(onlyA, row)
		}
	}
	for _, row := range b {
		if id := identity(row); count[id] > 0 {
			count[id]--
			onlyB = append(onlyB, row)
		}
	}
	byIdentity := func(x, y []*string) int { return strings.Compare(identity(x), identity(y)) }
	slices.SortFunc(onlyA, byIdentity)
	slices.SortFunc(onlyB, byIdentity)
	return onlyA, onlyB
}

// identity is a text that equal rows share, and no others.
func identity(row []*string) string {
	var b strings.Builder
	for _, v := range row {
		if v == nil {
			b.WriteString("N;")
			continue
		}
		b.WriteString(strconv.Itoa(len(*v)))
		b.WriteByte(':')
		b.WriteString(*v)
	}
	return b.String()
}

// pair turns rows that stand on one side only into differences: two that share
// a key are one row with another value.
func (r *Report) pair(columns []string, missing, extra [][]*string, key []string) {
	var keyAt []int
	for _, name := range key {
		if i := slices.Index(columns, name); i >= 0 {
			keyAt = append(keyAt, i)
		}
	}
	others := make(map[string][]int)
	if len(keyAt) > 0 && len(keyAt) == len(key) {
		for i, row := range extra {
			id := identity(pick(row, keyAt))
			others[id] = append(others[id], i)
		}
	}
	paired := make(map[int]bool)
	for _, row := range missing {
		id := identity(pick(row, keyAt))
		d := Difference{Kind: Missing, Row: describe(columns, row, nil), key: id}
		if found := others[id]; len(found) > 0 {
			others[id] = found[1:]
			paired[found[0]] = true
			d.Kind, d.Row, d.Text = Differs, describe(columns, row, keyAt), changes(columns, row, extra[found[0]])
		}
		r.Differences = append(r.Differences, d)
	}
	for i, row := range extra {
		if !paired[i] {
			r.Differences = append(r.Differences, Difference{Kind: Extra, Row: describe(columns, row, nil), key: identity(pick(row, keyAt))})
		}
	}
}

// describe writes the columns at the places, or all of them.
func describe(columns []string, row []*string, at []int) string {
	var parts []string
	for i, name := range columns {
		if at == nil || slices.Contains(at, i) {
			parts = append(parts, name+"="+show(row[i]))
		}
	}
	return strings.Join(parts, " ")
}

func changes(columns []string, want, got []*string) string {
	var parts []string
	for i, name := range columns {
		if identity(want[i:i+1]) != identity(got[i:i+1]) {
			parts = append(parts, fmt.Sprintf("%s should be %s, is %s", name, show(want[i]), show(got[i])))
		}
	}
	return strings.Join(parts, "; ")
}

// longest is how much of a value is shown.
const longest = 40

func show(v *string) string {
	switch {
	case v == nil:
		return "NULL"
	case len(*v) > longest:
		return strconv.Quote((*v)[:longest]) + "…"
	}
	return *v
}
