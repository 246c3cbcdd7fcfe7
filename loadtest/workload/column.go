package workload

import (
	"fmt"
	"hash/fnv"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Type is the type of a column.
type Type string

// The types of columns. Every database has them, and every warehouse can give
// them back exactly.
const (
	Int     Type = "int"
	Text    Type = "text"
	Decimal Type = "decimal" // 18 digits, 4 of them behind the point
	Bool    Type = "bool"
	Double  Type = "double"
	Time    Type = "time" // an instant, to the microsecond
	Date    Type = "date"
	Long    Type = "long" // a text that may be stored beside its row
)

// Types are those that a scenario may name.
var Types = []Type{Text, Int, Decimal, Bool, Double, Time, Date}

// Column is a column of every table.
type Column struct {
	Name string
	Type Type
}

// The columns that every table has, before those that differ.
const (
	ID       = "id"          // the key
	Intended = "intended_us" // when the change was to be made, in microseconds since 1970
	Created  = "created_at"  // the event time
	Note     = "note"        // long now and then, and left alone by most updates
)

// Columns are those of every table of the workload.
func (s *Spec) Columns() []Column {
	out := []Column{{ID, Int}, {Intended, Int}, {Created, Time}}
	if s.Toast > 0 {
		out = append(out, Column{Note, Long})
	}
	for i := 0; len(out) < s.Width; i++ {
		t := s.Types[i%len(s.Types)]
		out = append(out, Column{fmt.Sprintf("%s_%d", t, i+1), t})
	}
	return out
}

// base is the time around which event times lie.
var base = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

// Value is what a column of a row holds: nil, int64, string, bool, float64 or
// time.Time; a decimal and a date are strings. It is a function of the seed, the
// key and the version alone, so that a row need not be kept.
func (s *Spec) Value(c Column, o Op) any {
	switch c.Name {
	case ID:
		return o.Key
	case Intended:
		return o.IntendedUs
	case Created:
		at := base.Add(time.Duration(o.Key%86_400) * time.Second)
		h := mix(s.Seed, uint64(o.Key), 1) //nolint:gosec // a hash
		if int(h%100) < s.Late {           //nolint:gosec // below 100
			at = at.Add(-time.Duration(h>>8%(30*86_400)) * time.Second) //nolint:gosec // a month
		}
		return at
	case Note:
		return s.note(o)
	}
	h := mix(s.Seed, uint64(o.Key), uint64(o.Version)<<16|uint64(len(c.Name))<<8|uint64(c.Name[len(c.Name)-1])) //nolint:gosec // a hash
	if h%16 == 0 {
		return nil
	}
	h >>= 4
	switch c.Type {
	case Int:
		return int64(h % 1_000_000) //nolint:gosec // small
	case Decimal:
		return fmt.Sprintf("%d.%04d", h%100_000_000, h>>32%10_000)
	case Bool:
		return h&1 == 1
	case Double:
		return float64(h%1_000_000) / 8
	case Time:
		return base.Add(-time.Duration(h%(30*86_400_000_000)) * time.Microsecond) //nolint:gosec // a month
	case Date:
		return base.AddDate(0, 0, -int(h%1000)).Format(time.DateOnly) //nolint:gosec // small
	}
	return words[h%uint64(len(words))] + " " + words[h>>8%uint64(len(words))] + " " + strconv.FormatUint(h>>16%1_000_000_000, 36)
}

var words = strings.Fields("express gift fragile leave at door call before arrival warehouse north south paid open shipped returned")

// rewrites is how many versions share a note: an update of the others leaves it
// alone.
const rewrites = 4

// WritesNote reports whether the version of the row brings a note of its own.
func (o Op) WritesNote() bool { return o.Kind != Update || o.Version%rewrites == 0 }

func (s *Spec) note(o Op) any {
	h := mix(s.Seed, uint64(o.Key), uint64(o.Version-o.Version%rewrites)<<8|7) //nolint:gosec // a hash
	short := strconv.FormatUint(h, 36)
	if int(h%100) >= s.Toast { //nolint:gosec // below 100
		return short
	}
	var b strings.Builder
	for i := uint64(0); b.Len() < 6000; i++ { // what does not compress is stored aside
		b.WriteString(strconv.FormatUint(mix(h, i, 3), 36))
	}
	return b.String()
}

// mix is a hash of three numbers.
func mix(a, b, c uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 ^ b*0xbf58476d1ce4e5b9 ^ c*0x94d049bb133111eb
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Literal is the value as text, in the spelling that Sum takes: an instant in
// microseconds since 1970, a bool as 0 or 1.
func Literal(v any) *string {
	var text string
	switch v := v.(type) {
	case nil:
		return nil
	case int64:
		text = strconv.FormatInt(v, 10)
	case bool:
		text = "0"
		if v {
			text = "1"
		}
	case float64:
		text = strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		text = strconv.FormatInt(v.UnixMicro(), 10)
	default:
		text = v.(string)
	}
	return &text
}

// Sum is the checksum of a row whose values are texts, in the order of the
// columns: the sum of its terms. Spellings of one value sum up to the same: 1.50
// and 1.5, true and 1. The order of rows does not count, because each has a sum of
// its own.
func Sum(columns []Column, row []*string) (sum uint64) {
	for i, v := range row {
		sum += Term(columns[i], v)
	}
	return sum
}

// Term is what one value adds to the checksum of its row.
func Term(c Column, v *string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name)) // a hash takes everything
	if v != nil {
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(spell(c.Type, *v)))
	}
	return mix(h.Sum64(), 0, 0)
}

func spell(t Type, v string) string {
	switch t {
	case Bool:
		if v == "t" || v == "1" || strings.EqualFold(v, "true") {
			return "1"
		}
		return "0"
	case Double:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	case Decimal:
		if r, ok := new(big.Rat).SetString(v); ok {
			return r.FloatString(4)
		}
	}
	return v
}
