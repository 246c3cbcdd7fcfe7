package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/schemas"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// Zones whose clocks jump at 1, 2, 0 and 24 o'clock, by half an hour, and over
// a whole day.
var zones = []string{
	"UTC", "America/New_York", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut",
	"Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata", "America/St_Johns", "Africa/Casablanca",
}

func grids(t testing.TB) []Grid {
	out := []Grid{{Hour, time.UTC}}
	for _, name := range zones {
		for _, size := range []Size{Day, Week, Month} {
			out = append(out, Grid{size, zone(t, name)})
		}
	}
	return out
}

func instants() *rapid.Generator[time.Time] {
	return rapid.Custom(func(r *rapid.T) time.Time {
		// From 1985 to 2035, with a liking for the hours around midnight UTC.
		sec := rapid.Int64Range(473_385_600, 2_051_222_400).Draw(r, "sec")
		if rapid.Bool().Draw(r, "round") {
			sec -= sec % 1800
		}
		return time.Unix(sec, 0).UTC()
	})
}

func TestEveryInstantLiesInExactlyOneWindow(t *testing.T) {
	all := grids(t)
	rapid.Check(t, func(r *rapid.T) {
		g := rapid.SampledFrom(all).Draw(r, "grid")
		at := instants().Draw(r, "at")
		w := g.Instant(at)
		for _, c := range []struct {
			w    Window
			want bool
		}{{w, true}, {g.Previous(w), false}, {g.Next(w), false}} {
			from, to := g.Instants(c.w)
			if in := !at.Before(from) && at.Before(to); in != c.want {
				r.Fatalf("%s in %s %s [%s, %s): %v", at, g.Zone, c.w, from, to, in)
			}
		}
		_, end := g.Instants(w)
		if start, _ := g.Instants(g.Next(w)); !start.Equal(end) {
			r.Fatalf("a gap between %s and the next window", w)
		}
	})
}

func TestEveryCivilTimeLiesInExactlyOneWindow(t *testing.T) {
	all := grids(t)
	rapid.Check(t, func(r *rapid.T) {
		g := rapid.SampledFrom(all).Draw(r, "grid")
		at := instants().Draw(r, "at")
		w := g.Civil(at)
		if at.Before(w.Start) || !at.Before(w.End) {
			r.Fatalf("%s is not in %s", at, w)
		}
		if n := g.Next(w); !n.Start.Equal(w.End) || g.Previous(n) != w {
			r.Fatalf("%s and %s do not tile", w, n)
		}
	})
}

func TestDaysWhereClocksJump(t *testing.T) {
	for _, c := range []struct {
		zone, day, from string
		hours           float64
	}{
		{"America/New_York", "2024-03-10", "2024-03-10T05:00:00Z", 23},
		{"America/New_York", "2024-11-03", "2024-11-03T04:00:00Z", 25},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", 23}, // no midnight: starts at 01:00
		{"America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00:00Z", 25}, // 23:00 comes twice
		{"Asia/Beirut", "2024-03-31", "2024-03-30T22:00:00Z", 23},
		{"Australia/Lord_Howe", "2024-04-07", "2024-04-06T13:00:00Z", 24.5},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", 0}, // left out
		{"Asia/Kolkata", "2024-01-01", "2023-12-31T18:30:00Z", 24},
	} {
		g := Grid{Day, zone(t, c.zone)}
		day, _ := time.Parse(time.DateOnly, c.day)
		from, to := g.Instants(g.Civil(day))
		if got := from.Format(time.RFC3339); got != c.from || to.Sub(from).Hours() != c.hours {
			t.Errorf("%s in %s: from %s, %v h; want %s, %v h", c.day, c.zone, got, to.Sub(from).Hours(), c.from, c.hours)
		}
	}
}

// The windows that Dirty names are those, and only those, whose span holds a
// value of the touched range.
func TestDirtyIsExact(t *testing.T) {
	all := grids(t)
	rapid.Check(t, func(r *rapid.T) {
		g := rapid.SampledFrom(all).Draw(r, "grid")
		kinds := []schemas.Kind{schemas.Timestamp, schemas.Date, schemas.DateTime}
		if g.Size == Hour {
			kinds = kinds[:1]
		}
		kind := rapid.SampledFrom(kinds).Draw(r, "kind")
		back := Lookback{}
		if rapid.Bool().Draw(r, "back") {
			back = Lookback{rapid.IntRange(1, 40).Draw(r, "n"), rapid.SampledFrom([]Size{Hour, Day, Week}).Draw(r, "unit")}
			if kind == schemas.Date && back.Unit == Hour {
				back.Unit = Day
			}
		}
		from := instants().Draw(r, "from").Truncate(time.Hour)
		to := from.Add(time.Duration(rapid.IntRange(1, 200).Draw(r, "hours")) * time.Hour)
		if kind == schemas.Date {
			from, to = date(from.Date()), date(to.Add(24*time.Hour).Date())
		}
		layout := map[schemas.Kind]string{schemas.Timestamp: time.RFC3339, schemas.Date: dateLayout, schemas.DateTime: dateTimeLayout}[kind]
		touched := schemas.Touched{Column: "t", Ranges: [][2]string{{from.Format(layout), to.Format(layout)}}}

		around := Bound{from.AddDate(0, 0, -70), to.AddDate(0, 12, 70)}
		got, _, err := g.Dirty(touched, back, around)
		if err != nil {
			r.Fatal(err)
		}
		found := make(map[time.Time]bool)
		for _, w := range got {
			found[w.Start] = true
		}
		every, _ := g.Range(around.From, around.To, 100_000)
		for _, w := range every {
			if w.Start.Before(around.From) || !w.Start.Before(around.To) {
				continue
			}
			spanFrom, spanTo := g.Span(w, back, kind)
			sf, _ := time.Parse(layout, spanFrom)
			st, _ := time.Parse(layout, spanTo)
			if want := sf.Before(to) && from.Before(st) && sf.Before(st); want != found[w.Start] {
				r.Fatalf("%s %s %s back %v: touched [%s, %s), span [%s, %s): dirty %v, want %v",
					g.Size, g.Zone, w.Start, back, from, to, spanFrom, spanTo, found[w.Start], want)
			}
		}
	})
}

func TestDirtyOutsideIsReported(t *testing.T) {
	g := Grid{Day, time.UTC}
	bound := Bound{date(2024, 1, 1), date(2024, 1, 4)}
	touched := schemas.Touched{Column: "d", Ranges: [][2]string{
		{"2023-12-31", "2024-01-02"}, {"2024-01-03", "2024-01-04"}, {"2099-01-01", "2099-01-02"},
	}}
	got, outside, err := g.Dirty(touched, Lookback{}, bound)
	if err != nil || outside != 2 || len(got) != 2 || got[0].Start.Day() != 1 || got[1].Start.Day() != 3 {
		t.Fatalf("got %v, outside %d, %v", got, outside, err)
	}
}

func TestDirtyRefusesWhatItCannotRead(t *testing.T) {
	for _, r := range [][2]string{{"x", "2024-01-01"}, {"2024-01-02", "2024-01-01"}, {"2024-01-01", "2024-01-02T00:00:00Z"}} {
		if _, _, err := (Grid{Day, time.UTC}).Dirty(schemas.Touched{Ranges: [][2]string{r}}, Lookback{}, Bound{}); err == nil {
			t.Errorf("%v was taken", r)
		}
	}
}

func TestRangeIsLimited(t *testing.T) {
	got, more := (Grid{Day, time.UTC}).Range(date(2024, 1, 1), date(2025, 1, 1), 3)
	if len(got) != 3 || !more {
		t.Fatalf("%v %v", got, more)
	}
}
