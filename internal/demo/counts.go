package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Counts is what the workload did. Each must have happened, else the
// demonstration has shown nothing about it.
type Counts struct {
	Changes       int // rows that a commit changed
	Late          int // payments whose day was over when they came
	Moved         int // payments that moved to another day
	Emptied       int // days and customers that lost all rows
	Deleted       int
	KeyMoves      int // rows whose primary key changed
	QuietDays     int // days of the calendar on which nothing was ever paid
	Kills         int
	Early         int // payments that came before their order
	SchemaChanges int
}

// missing names what never happened.
func (c *Counts) missing() []string {
	var out []string
	for _, n := range []struct {
		name  string
		count int
	}{
		{"changes", c.Changes},
		{"late", c.Late},
		{"moved", c.Moved},
		{"emptied", c.Emptied},
		{"deleted", c.Deleted},
		{"key_moves", c.KeyMoves},
		{"quiet_days", c.QuietDays},
		{"kills", c.Kills},
		{"early", c.Early},
		{"schema_changes", c.SchemaChanges},
	} {
		if n.count == 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// summary is what the last line tells.
type summary struct {
	Counts
	coreTables, derivedTables, mismatches int
	empty                                 []string // tables that had no row to compare
	core, derived                         latencies
	lost                                  int // changes whose freshness is not known
}

func (s *summary) String() string {
	return fmt.Sprintf("core_tables=%d derived_tables=%d changes=%d late=%d moved=%d emptied=%d deleted=%d key_moves=%d quiet_days=%d kills=%d "+
		"mismatches=%d core_freshness_p50_ms=%d derived_freshness_p50_ms=%d",
		s.coreTables, s.derivedTables, s.Changes, s.Late, s.Moved, s.Emptied, s.Deleted, s.KeyMoves, s.QuietDays, s.Kills,
		s.mismatches, s.core.percentile(50).Milliseconds(), s.derived.percentile(50).Milliseconds())
}

// reached are the numbers of a demonstration that failed; empty if it did not come to
// any.
func (s *summary) reached() string {
	if s.coreTables == 0 && s.Changes == 0 {
		return ""
	}
	return " " + s.String()
}

// sentence is the result of a demonstration that succeeded, for people.
func (s *summary) sentence() string {
	return fmt.Sprintf("All %d tables are equal to what they should be, after %d changes.", s.coreTables+s.derivedTables, s.Changes)
}

// fault says why the demonstration has not succeeded, if it has not.
func (s *summary) fault() error {
	switch missing := s.missing(); {
	case len(missing) > 0:
		return fmt.Errorf("these never happened, so nothing is shown about them: %s", strings.Join(missing, ", "))
	case s.mismatches > 0:
		return fmt.Errorf("%d mismatches", s.mismatches)
	case s.coreTables == 0 || s.derivedTables == 0:
		return fmt.Errorf("%d core and %d derived tables were compared", s.coreTables, s.derivedTables)
	case len(s.empty) > 0:
		return fmt.Errorf("nothing is shown about tables that should have rows and have none: %s", strings.Join(s.empty, ", "))
	case s.lost > 0:
		return fmt.Errorf("the freshness of %d changes is not known: the log of loads does not say which load or run brought them", s.lost)
	case len(s.core) == 0 || len(s.derived) == 0:
		return fmt.Errorf("the freshness of %d core and %d derived rows was measured", len(s.core), len(s.derived))
	}
	return nil
}

// latencies are measured times.
type latencies []time.Duration

// percentile is the least measured time that at least p of a hundred do not
// exceed; zero if nothing was measured.
func (l latencies) percentile(p int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
