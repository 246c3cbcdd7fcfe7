package scenario

import (
	"testing"
	"time"

	"millrace/schemas"
)

// Each load has waited by itself, also of those that became one run.
func TestSubmissions(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)).UTC() }
	core := func(load int64, ms int, applied int64) schemas.LoadComplete {
		return schemas.LoadComplete{Table: "core.t", Load: load, CommittedAt: at(ms), Rows: schemas.RowCounts{Applied: applied}}
	}
	run := func(load, cause int64, started, committed int) schemas.LoadComplete {
		return schemas.LoadComplete{Table: "fan.d", Load: load, StartedAt: at(started), CommittedAt: at(committed), Cause: []schemas.Cause{{Table: "core.t", Load: cause}}}
	}
	loads := []schemas.LoadComplete{
		core(1, 100, 1), run(1, 1, 110, 120), // there before
		core(2, 1000, 1), core(3, 1040, 1), run(2, 3, 1050, 1090),
		run(2, 3, 1050, 1090),                   // announced again
		core(4, 1070, 1),                        // run 2 may have seen it
		core(5, 1200, 0),                        // left every row as it was
		core(6, 1500, 1), run(3, 6, 1490, 1520), // asked before, and had its turn after
		core(7, 2000, 1), run(4, 7, 2300, 2350),
	}
	s := submissions(loads, 2)
	if s.runs != 3 || s.untold != 1 {
		t.Errorf("%d runs, %d untold", s.runs, s.untold)
	}
	if got := s.submit.Quantile(1); got > 0.01 {
		t.Errorf("the least is %v ms", got)
	}
	for q, want := range map[float64]float64{50: 10, 75: 50, 100: 300} {
		if got := s.submit.Quantile(q); got < want*0.98 || got > want*1.02 {
			t.Errorf("submit p%v is %v ms, want %v", q, got, want)
		}
	}
	if got := s.publish.Max(); got < 340 || got > 360 {
		t.Errorf("published after %v ms at most", got)
	}
}
