package measure

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit"
)

// The accounting finds each of the three faults, and only that.
func TestAccountFindsEachFault(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(rows *[][2]uint64)
		want  Account
	}{
		"sound":      {func(*[][2]uint64) {}, Account{}},
		"lost":       {func(rows *[][2]uint64) { *rows = (*rows)[1:] }, Account{Lost: 1}},
		"duplicated": {func(rows *[][2]uint64) { *rows = append(*rows, (*rows)[3]) }, Account{Duplicated: 1}},
		"wrong":      {func(rows *[][2]uint64) { (*rows)[2][1]++ }, Account{Wrong: 1}},
		"deleted":    {func(rows *[][2]uint64) { *rows = append(*rows, [2]uint64{99, 1}) }, Account{Wrong: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			source := Rows{}
			var rows [][2]uint64
			for i := range uint64(10) {
				source[int64(i)] = i * i
				rows = append(rows, [2]uint64{i, i * i})
			}
			c.spoil(&rows)
			var got Account
			target := NewTarget("t", &got)
			for _, r := range rows {
				target.Add(int64(r[0]), r[1])
			}
			target.Compare(source)
			if got.Lost != c.want.Lost || got.Duplicated != c.want.Duplicated || got.Wrong != c.want.Wrong {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got.OK() != (name == "sound") || len(got.Examples) == 0 != got.OK() {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestExamplesAreFew(t *testing.T) {
	var a Account
	for i := range 100 {
		a.Note(&a.Lost, "key %d", i)
	}
	if a.Lost != 100 || len(a.Examples) != examples || a.Examples[0] != "key 0" {
		t.Errorf("%+v", a)
	}
}

func TestHistogram(t *testing.T) {
	h := NewHistogram()
	if h.Quantile(50) != 0 || h.Max() != 0 || h.Points() != nil {
		t.Error("an empty one holds something")
	}
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]float64{50: 500, 99: 990, 100: 1000} {
		if got := h.Quantile(q); got < want*0.998 || got > want*1.002 {
			t.Errorf("p%v is %v, want %v", q, got, want)
		}
	}
	h.Add(2 * time.Hour)
	h.Add(-time.Second) // clocks of two machines
	h.Add(0)
	if h.Clamped != 2 || h.Count() != 1003 {
		t.Errorf("%d of %d are outside", h.Clamped, h.Count())
	}
}

// This process uses CPU and memory, and the watch sees it.
func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		testkit.Unable(t, "a system that tells of its processes (Linux)")
	}
	w := Begin(map[string]int{"me": os.Getpid(), "nobody": 1 << 30})
	block := strings.Repeat("x", 50_000_000)
	n := 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		n += strings.Count(block, "y")
	}
	wall, processes := w.End()
	me := Of(processes, "me")
	if n != 0 || wall < 300*time.Millisecond || me.CPUSeconds <= 0 || me.PeakRSSMB < 50 || len(me.Series) == 0 {
		t.Errorf("in %v: %+v", wall, me)
	}
	if nobody := Of(processes, "nobody"); nobody.CPUSeconds != 0 || nobody.PeakRSSMB != 0 {
		t.Errorf("nobody: %+v", nobody)
	}
}
