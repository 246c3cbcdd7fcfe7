package window

import (
	"fmt"
	"time"

	"millrace/schemas"
)

// Layouts of the values of touched ranges and spans, one per kind of event
// time.
const (
	dateLayout     = time.DateOnly
	dateTimeLayout = "2006-01-02T15:04:05"
)

// Span returns the half-open span of an input of kind that the query of w
// reads, as texts that the warehouse takes as literals of that kind.
func (g Grid) Span(w Window, back Lookback, kind schemas.Kind) (from, to string) {
	start := back.before(w.Start)
	switch kind {
	case schemas.Date:
		return start.Format(dateLayout), w.End.Format(dateLayout)
	case schemas.DateTime:
		return start.Format(dateTimeLayout), w.End.Format(dateTimeLayout)
	default:
		return g.instant(start).Format(time.RFC3339), g.instant(w.End).Format(time.RFC3339)
	}
}

// Bound is the part of time in which windows exist: those that start at or
// after From and before To, both civil.
type Bound struct {
	From time.Time
	To   time.Time
}

// Dirty returns the windows within bound that read any of the touched ranges,
// in order, and the number of ranges of which a part lies outside of bound.
func (g Grid) Dirty(touched schemas.Touched, back Lookback, bound Bound) (windows []Window, outside int, err error) {
	seen := make(map[time.Time]bool)
	for _, r := range touched.Ranges {
		first, last, err := g.reading(r, back)
		if err != nil {
			return nil, 0, fmt.Errorf("touched range of %s: %w", touched.Column, err)
		}
		if first.Start.Before(bound.From) || !last.Start.Before(bound.To) {
			outside++
		}
		if first.Start.Before(bound.From) {
			first = g.atOrAfter(bound.From)
		}
		for w := first; !last.Start.Before(w.Start) && w.Start.Before(bound.To); w = g.Next(w) {
			if !seen[w.Start] {
				seen[w.Start] = true
				windows = append(windows, w)
			}
		}
	}
	return windows, outside, nil
}

// reading returns the first and the last window that read any of [r[0], r[1]).
func (g Grid) reading(r [2]string, back Lookback) (first, last Window, err error) {
	from, kind, err := parseBound(r[0])
	if err != nil {
		return first, last, err
	}
	to, toKind, err := parseBound(r[1])
	if err != nil {
		return first, last, err
	}
	if kind != toKind || !from.Before(to) {
		return first, last, fmt.Errorf("[%s, %s) is not a range", r[0], r[1])
	}
	latest := to.Add(-time.Nanosecond)
	if kind == schemas.Date {
		latest = to.AddDate(0, 0, -1)
	}
	if kind == schemas.Timestamp {
		first, last = g.Instant(from), g.Instant(latest)
	} else {
		first, last = g.Civil(from), g.Civil(latest)
	}
	if back.IsZero() {
		return first, last, nil
	}
	// The last window whose span starts at or before the latest value. Starts
	// of spans do not decrease, so walking on from a near guess finds it.
	for w := g.Civil(back.after(last.Start)); ; w = g.Previous(w) {
		if !w.Start.After(last.Start) || g.reads(w, back, latest, kind) {
			last = w
			break
		}
	}
	for w := g.Next(last); g.reads(w, back, latest, kind); w = g.Next(w) {
		last = w
	}
	return first, last, nil
}

// reads reports whether the span of w starts at or before the value.
func (g Grid) reads(w Window, back Lookback, value time.Time, kind schemas.Kind) bool {
	start := back.before(w.Start)
	switch kind {
	case schemas.Date:
		start = date(start.Date())
	case schemas.Timestamp:
		start = g.instant(start)
	}
	return !start.After(value)
}

func (g Grid) atOrAfter(civil time.Time) Window {
	w := g.Civil(civil)
	if w.Start.Before(civil) {
		w = g.Next(w)
	}
	return w
}

// parseBound reads one end of a touched range; its form says its kind.
func parseBound(text string) (time.Time, schemas.Kind, error) {
	if t, err := time.Parse(dateLayout, text); err == nil {
		return t, schemas.Date, nil
	}
	if t, err := time.Parse(dateTimeLayout, text); err == nil {
		return t, schemas.DateTime, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, 0, fmt.Errorf("%q is neither a date, a civil time nor an instant", text)
	}
	return t.UTC(), schemas.Timestamp, nil
}
