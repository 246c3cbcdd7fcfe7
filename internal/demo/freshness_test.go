package demo

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/page"
)

// answers is a warehouse that knows the answers to some queries, by a part of
// their text.
type answers map[string][][]string

func (a answers) Query(_ context.Context, sql string) (*page.Table, error) {
	t := &page.Table{}
	for part, rows := range a {
		if !strings.Contains(sql, part) {
			continue
		}
		for _, row := range rows {
			var out []*string
			for _, v := range row {
				out = append(out, &v)
			}
			t.Rows = append(t.Rows, out)
		}
	}
	return t, nil
}

func TestMeasure(t *testing.T) {
	at := func(ms int) time.Time {
		return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
	}
	event := func(load, ms, cause string) []string {
		return []string{`{"load":` + load + `,"committed_at":"2026-03-01T12:00:00.` + ms + `Z","cause":` + cause + `}`}
	}
	p := answers{
		"core__base.payments":   {{"1", "7"}, {"2", "8"}, {"3", "8"}, {"5", "9"}, {"6", "10"}},
		"core__payments__loads": {event("7", "100", "[]"), event("8", "200", "[]"), event("9", "250", "[]"), event("10", "400", "[]")},
		"analytics__x__loads":   {event("1", "150", `[{"table":"core.orders","load":9}]`), event("2", "300", `[{"table":"core.payments","load":8}]`)},
	}
	probes := []probe{
		{table: "core.payments", id: 1, derived: "analytics.x", committed: at(40)},
		{table: "core.payments", id: 2, derived: "analytics.x", committed: at(50)},
		{table: "core.payments", id: 3, committed: at(60)},
		{table: "core.payments", id: 4, committed: at(70)}, // no row
		// The run that load 8 caused has read load 9 as well, and nothing has read load 10.
		{table: "core.payments", id: 5, derived: "analytics.x", committed: at(240)},
		{table: "core.payments", id: 6, derived: "analytics.x", committed: at(390)},
	}
	f, err := measure(t.Context(), p, probes)
	if err != nil {
		t.Fatal(err)
	}
	wantCore := latencies{60 * time.Millisecond, 150 * time.Millisecond, 140 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}
	// The run that was caused by load 8 is the first to know of load 7.
	wantDerived := latencies{260 * time.Millisecond, 250 * time.Millisecond, 60 * time.Millisecond}
	if !equalLatencies(f.core, wantCore) || !equalLatencies(f.derived, wantDerived) || f.lost != 2 {
		t.Errorf("core %v, derived %v, lost %d", f.core, f.derived, f.lost)
	}
}

func equalLatencies(a, b latencies) bool { return slices.Equal(a, b) }
