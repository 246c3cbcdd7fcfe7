// Package window cuts event time into windows.
//
// A window is a half-open span of civil time in a zone: an hour, day, week
// (from Monday) or month. It is pure. Windows tile time: every instant, every
// date and every civil time lies in exactly one, also where a zone's clocks
// jump, so a day has 23 to 25 hours and now and then none at all.
package window

import (
	"fmt"
	"time"
)

// Size is the length of windows.
type Size string

// The sizes.
const (
	Hour  Size = "hour"
	Day   Size = "day"
	Week  Size = "week"
	Month Size = "month"
)

// Sizes are all sizes, the shortest first.
var Sizes = [...]Size{Hour, Day, Week, Month}

// Grid is how time is cut. Hours are the hours of UTC: their Zone is UTC.
type Grid struct {
	Size Size
	Zone *time.Location
}

// Window is one span of a Grid, from Start to before End. Both are civil
// times of the grid's zone, written as if they were UTC. Start names the
// window.
type Window struct {
	Start time.Time
	End   time.Time
}

// Civil returns the window of a civil time or date, given as if it were UTC.
func (g Grid) Civil(t time.Time) Window {
	t = t.UTC()
	y, m, d := t.Date()
	switch g.Size {
	case Hour:
		start := t.Truncate(time.Hour)
		return Window{start, start.Add(time.Hour)}
	case Week:
		sinceMonday := (int(t.Weekday()) + 6) % 7
		start := date(y, m, d-sinceMonday)
		return Window{start, start.AddDate(0, 0, 7)}
	case Month:
		return Window{date(y, m, 1), date(y, m+1, 1)}
	default:
		return Window{date(y, m, d), date(y, m, d+1)}
	}
}

// Instant returns the window of an instant.
func (g Grid) Instant(t time.Time) Window {
	local := t.In(g.Zone)
	y, m, d := local.Date()
	w := g.Civil(time.Date(y, m, d, local.Hour(), 0, 0, 0, time.UTC))
	// Clocks that go back over midnight give an earlier date to later instants.
	for {
		from, to := g.Instants(w)
		switch {
		case t.Before(from):
			w = g.Previous(w)
		case !t.Before(to):
			w = g.Next(w)
		default:
			return w
		}
	}
}

// Next returns the window that starts where w ends.
func (g Grid) Next(w Window) Window { return g.Civil(w.End) }

// Previous returns the window that ends where w starts.
func (g Grid) Previous(w Window) Window { return g.Civil(w.Start.Add(-time.Nanosecond)) }

// Instants returns the instants at which w starts and ends. They are equal for
// a day that a zone left out.
func (g Grid) Instants(w Window) (from, to time.Time) {
	return g.instant(w.Start), g.instant(w.End)
}

// instant is the first instant at which the clocks of the zone have reached
// the civil time.
func (g Grid) instant(civil time.Time) time.Time {
	if g.Zone == time.UTC {
		return civil
	}
	// Offsets lie within a day, so this is before the civil time in every zone.
	t := civil.Add(-26 * time.Hour)
	for {
		local := t.In(g.Zone)
		_, offset := local.Zone()
		reached := civil.Add(-time.Duration(offset) * time.Second)
		_, change := local.ZoneBounds()
		if change.IsZero() || reached.Before(change) {
			if reached.Before(t) {
				reached = t // the clocks jumped over it
			}
			return reached.UTC()
		}
		t = change
	}
}

// Range returns the windows from the one that contains from to the last that
// starts before to, at most limit of them; more reports whether some were left
// out. Both are civil times.
func (g Grid) Range(from, to time.Time, limit int) (windows []Window, more bool) {
	for w := g.Civil(from); w.Start.Before(to); w = g.Next(w) {
		if len(windows) == limit {
			return windows, true
		}
		windows = append(windows, w)
	}
	return windows, false
}

// Lookback is how far before a window its query reads an input. The zero
// Lookback reads the window alone.
type Lookback struct {
	N    int
	Unit Size
}

// IsZero reports whether nothing before the window is read.
func (l Lookback) IsZero() bool { return l.N == 0 }

func (l Lookback) String() string {
	if l.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%d%c", l.N, l.Unit[0])
}

// before moves a civil time back by l.
func (l Lookback) before(t time.Time) time.Time {
	switch l.Unit {
	case Hour:
		return t.Add(-time.Duration(l.N) * time.Hour)
	case Week:
		return t.AddDate(0, 0, -7*l.N)
	default:
		return t.AddDate(0, 0, -l.N)
	}
}

// after moves a civil time on by l.
func (l Lookback) after(t time.Time) time.Time {
	switch l.Unit {
	case Hour:
		return t.Add(time.Duration(l.N) * time.Hour)
	case Week:
		return t.AddDate(0, 0, 7*l.N)
	default:
		return t.AddDate(0, 0, l.N)
	}
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
