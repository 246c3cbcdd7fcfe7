package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPositionsAreShown(t *testing.T) {
	for position, want := range map[string]string{
		"": "-",
		"00000001/00000000016B3748/0000000000000000/00000000": "1/16B3748/0/0",
		"00000002/FFFFFFFFFFFFFFF0/0000000000000010/0000000A": "2/FFFFFFFFFFFFFFF0/10/A",
	} {
		var out strings.Builder
		s := Status{Sources: []Source{{Source: "s", Kind: "k", Position: position}}}
		if err := s.Write(&out); err != nil {
			t.Fatal(err)
		}
		if line := strings.Fields(strings.Split(out.String(), "\n")[3]); len(line) < 4 || line[3] != want && want != "" {
			t.Errorf("%q is shown in %q, want %q", position, line, want)
		}
		if got := shortPosition(position); got != want {
			t.Errorf("%q is %q, want %q", position, got, want)
		}
	}
}

func TestTheNextRunIsShown(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		table Derived
		want  string
	}{
		{Derived{Dirty: 3, Next: at, Freshness: "1h"}, "3 to be computed, next run at 2026-03-01 09:00:00 UTC, freshness 1h"},
		{Derived{Dirty: 3, Next: at}, "3 to be computed, next run at 2026-03-01 09:00:00 UTC"},
		{Derived{Dirty: 3}, "3 to be computed"},
		{Derived{Gathers: true, Next: at, Freshness: "1m"}, "loads gather, next run at 2026-03-01 09:00:00 UTC, freshness 1m"},
		{Derived{Next: at, Freshness: "1h"}, "up to date"},
		{Derived{Waits: "to start"}, "waits to start"},
		{Derived{Waits: "for the snapshot of core.a"}, "waits for the snapshot of core.a"},
		{Derived{Outside: 1, Begin: at}, "up to date; 1 change lies before 2026-03-01, where its windows begin, or after now: see begin in docs/derived-tables.md"},
		{Derived{Outside: 2, Begin: at}, "up to date; 2 changes lie before 2026-03-01, where its windows begin, or after now: see begin in docs/derived-tables.md"},
		{
			Derived{Outside: 2, Begin: at, Earlier: at.AddDate(0, 0, -60)},
			"up to date from 2026-03-01 on, where its windows begin; rows from 2025-12-31 on lie before: to have them, write begin: 2025-12-31",
		},
		{Derived{Held: 2, Error: "a row lies outside"}, "2 held: a row lies outside"},
		{Derived{Dirty: 3, Error: "no answer"}, "no answer"}, // nothing is held: it was not computed
	} {
		if got := c.table.state(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestStatesAreOneLine(t *testing.T) {
	var out strings.Builder
	s := Status{Derived: []Derived{{Table: "a.b", Held: 1, Error: "Conversion Error: no\n\nLINE 1: x\n        ^"}}}
	if err := s.Write(&out); err != nil {
		t.Fatal(err)
	}
	if want := "1 held: Conversion Error: no LINE 1: x ^\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("got %q, want it to end with %q", out.String(), want)
	}
}

// Only what waits for a person is halted.
func TestASourceThatIsTriedAgainIsNotHalted(t *testing.T) {
	for want, s := range map[string]Source{
		"streaming":                    {},
		"opening":                      {Opening: true},
		"retrying: EOF":                {Retrying: "EOF"},
		"retrying: EOF; HALTED t: key": {Retrying: "EOF", Tables: []SourceTable{{Table: "t", Halted: "key"}}},
		"HALTED: slot":                 {Halted: "slot"},
	} {
		if got := s.state(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A registry has an HTTP port and no tables.
func TestWhatHasNoTables(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	addr := server.Listener.Addr().String()
	_, err := (&Client{Addr: addr}).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "what answers at "+addr+" has no tables to tell of") {
		t.Errorf("got %v", err)
	}
}
