package warehouse

import (
	"time"

	"millrace/schemas"
)

// MaxTouched is how many ranges a Touched lists. Above it, ranges are widened
// to days, months, then years; what still has more is everything.
const MaxTouched = 1000

const (
	hour = int64(3600)
	day  = 24 * hour
)

// Touch makes the Touched of a column of the given kind from the sorted,
// distinct numbers of the hours (for a DATE: the days) since 1970 that a load
// touched. Adjacent ones become one range. It reports all if even years were
// too many; the Touched then lists none.
func Touch(column string, kind schemas.Kind, buckets []int64, null bool) (t schemas.Touched, all bool) {
	unit := hour
	if kind == schemas.Date {
		unit = day
	}
	spans := make([]span, 0, min(len(buckets), MaxTouched))
	for _, b := range buckets {
		spans = join(spans, span{b * unit, (b + 1) * unit})
	}
	for _, widen := range []func(int64, int) int64{toDay, toMonth, toYear} {
		if len(spans) <= MaxTouched {
			break
		}
		wide := spans[:0]
		for _, s := range spans {
			// The last second that the span holds says where it ends.
			wide = join(wide, span{widen(s.from, 0), widen(s.to-1, 1)})
		}
		spans = wide
	}
	t = schemas.Touched{Column: column, Null: null}
	if len(spans) > MaxTouched {
		return t, true
	}
	for _, s := range spans {
		t.Ranges = append(t.Ranges, [2]string{format(kind, s.from), format(kind, s.to)})
	}
	return t, false
}

// span is a half-open span of seconds since 1970.
type span struct{ from, to int64 }

// join appends s, which does not begin before the last span does.
func join(spans []span, s span) []span {
	if n := len(spans); n > 0 && s.from <= spans[n-1].to {
		spans[n-1].to = max(spans[n-1].to, s.to)
		return spans
	}
	return append(spans, s)
}

// toDay, toMonth and toYear give the start of the unit that holds the second, or
// of the one that stands so many units after it.
func toDay(sec int64, after int) int64 {
	d := sec / day
	if sec%day < 0 {
		d--
	}
	return (d + int64(after)) * day
}

func toMonth(sec int64, after int) int64 {
	y, m, _ := time.Unix(sec, 0).UTC().Date()
	return time.Date(y, m+time.Month(after), 1, 0, 0, 0, 0, time.UTC).Unix()
}

func toYear(sec int64, after int) int64 {
	return time.Date(time.Unix(sec, 0).UTC().Year()+after, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
}

func format(kind schemas.Kind, sec int64) string {
	layout := time.RFC3339
	switch kind {
	case schemas.Date:
		layout = time.DateOnly
	case schemas.DateTime:
		layout = "2006-01-02T15:04:05"
	}
	return time.Unix(sec, 0).UTC().Format(layout)
}
