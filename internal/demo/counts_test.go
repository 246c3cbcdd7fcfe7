package demo

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/verify"
)

func full() Counts {
	var c Counts
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(1)
	}
	return c
}

// Whatever is counted must have happened, also what is counted from tomorrow on.
func TestACounterThatIsZeroFails(t *testing.T) {
	all := full()
	if missing := all.missing(); len(missing) > 0 {
		t.Fatalf("missing %v", missing)
	}
	for i := range reflect.TypeFor[Counts]().NumField() {
		c := full()
		reflect.ValueOf(&c).Elem().Field(i).SetInt(0)
		missing := c.missing()
		name := reflect.TypeFor[Counts]().Field(i).Name
		if len(missing) != 1 || strings.ReplaceAll(missing[0], "_", "") != strings.ToLower(name) {
			t.Errorf("without %s, %v is missing", name, missing)
		}
	}
}

func TestFault(t *testing.T) {
	good := func() summary {
		return summary{Counts: full(), coreTables: 4, derivedTables: 6, core: latencies{1}, derived: latencies{1}}
	}
	s := good()
	if err := s.fault(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*summary){
		"kills":      func(s *summary) { s.Kills = 0 },
		"mismatches": func(s *summary) { s.mismatches = 2 },
		"core":       func(s *summary) { s.coreTables = 0 },
		"derived":    func(s *summary) { s.derivedTables = 0 },
		"freshness":  func(s *summary) { s.derived = nil },
		"lost":       func(s *summary) { s.lost = 3 },
		"empty":      func(s *summary) { s.empty = []string{"core.t"} },
	} {
		s := good()
		spoil(&s)
		if err := s.fault(); err == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

func TestPercentile(t *testing.T) {
	var hundred latencies
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		l    latencies
		p    int
		want time.Duration
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred, 0, 1},
		{latencies{3, 1, 2}, 50, 2},
		{latencies{3, 1, 2}, 99, 3},
		{latencies{7}, 50, 7},
		{nil, 50, 0},
	} {
		if got := c.l.percentile(c.p); got != c.want {
			t.Errorf("p%d of %d values is %d, want %d", c.p, len(c.l), got, c.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the measured times were sorted in place")
	}
}

func TestSummaryHasEveryField(t *testing.T) {
	s := summary{
		Counts:     Counts{Changes: 1, Late: 2, Moved: 3, Emptied: 4, Deleted: 5, KeyMoves: 6, QuietDays: 7, Kills: 8},
		coreTables: 9, derivedTables: 10, mismatches: 11,
		core: latencies{12 * time.Millisecond}, derived: latencies{13 * time.Millisecond},
	}
	const want = "core_tables=9 derived_tables=10 changes=1 late=2 moved=3 emptied=4 deleted=5 key_moves=6 quiet_days=7 kills=8 " +
		"mismatches=11 core_freshness_p50_ms=12 derived_freshness_p50_ms=13"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestInOrderPutsInputsFirst(t *testing.T) {
	var names []string
	for _, s := range inOrder([]*verify.Spec{
		{Name: "a.c", Query: "SELECT * FROM a.b JOIN a.a"},
		{Name: "a.b", Query: "SELECT * FROM a.a"},
		{Name: "a.a", Query: "SELECT * FROM core.x"},
	}) {
		names = append(names, s.Name)
	}
	if want := []string{"a.a", "a.b", "a.c"}; !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

// A specification is never left out of the proof: that would hide its mismatches.
func TestInOrderKeepsAll(t *testing.T) {
	got := inOrder([]*verify.Spec{{Name: "a.b", Query: "SELECT * FROM a.c"}, {Name: "a.c", Query: "SELECT * FROM a.b"}, {Name: "a.a", Query: "SELECT * FROM core.x"}})
	if len(got) != 3 || got[0].Name != "a.a" {
		t.Errorf("%d of 3 specs are in order", len(got))
	}
}

// Who reads the end is told it in words, and of a demonstration that came to nothing
// no numbers.
func TestTheEndInWords(t *testing.T) {
	s := summary{}
	if got := s.reached(); got != "" {
		t.Errorf("of nothing it says %q", got)
	}
	s = summary{Counts: full(), coreTables: 6, derivedTables: 8}
	if got := s.reached(); !strings.HasPrefix(got, " core_tables=6 derived_tables=8 ") {
		t.Errorf("it says %q", got)
	}
	s.Changes = 1852
	if got := s.sentence(); got != "All 14 tables are equal to what they should be, after 1852 changes." {
		t.Errorf("it says %q", got)
	}
	if got := exports([]string{"A_DSN=it's=a"}); got != `  export A_DSN='it'\''s=a'` {
		t.Errorf("a shell is told %s", got)
	}
}
