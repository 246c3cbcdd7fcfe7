package sim

import (
	"flag"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds = flag.Uint64("sim.seeds", 6000, "schedules to explore")
	seed  = flag.Uint64("sim.seed", 0, "the one schedule to explore, shrunk and traced")
	steps = flag.Int("sim.steps", 80, "steps of a schedule")
	rule  = flag.Uint64("sim.without", 0, "rules that are left out, as bits")
)

// explore returns the least failing seed of n, or zero, and what failed.
func explore(rules Rules, n uint64) (uint64, error) {
	var next, least atomic.Uint64
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := next.Add(1); s <= n && least.Load() == 0; s = next.Add(1) {
				if err := (Run{Seed: s, Steps: *steps}).Do(rules); err != nil {
					mu.Lock()
					if least.Load() == 0 || s < least.Load() {
						least.Store(s)
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return least.Load(), first
}

func TestRules(t *testing.T) {
	if *seed > 0 {
		run := Run{Seed: *seed, Steps: *steps}.Shrink(Rules(*rule))
		run.Trace = t.Logf
		t.Fatal(run.Do(Rules(*rule)))
	}
	n := *seeds
	if testing.Short() {
		n /= 4
	}
	if _, err := explore(Rules(*rule), n); err != nil {
		t.Fatal(err)
	}
}

func TestEveryRuleIsNeeded(t *testing.T) {
	names := []string{
		"Born", "Fill", "CarryPositions", "DeadKnowsNothing", "SinceDDL", "SinceGap", "SinceOnly", "TruncateHorizon",
		"SweepHorizon", "SnapshotHorizon", "LowestF", "SnapshotAll", "SnapshotWaits", "WatermarkAll", "WatermarkWaits",
		"WatermarkWaitsKey", "WatermarkHigh", "RereadKey", "RereadAbove", "ReadPoint", "ReadPointAbove", "Filenode",
		"RestartOnDDL", "Fence", "EpochFirst", "PrevCheckpoint", "ClipOffsets", "BlockKey", "CompleteWaits",
	}
	if rules := bits.TrailingZeros64(uint64(lastRule)); rules != len(names) {
		t.Fatalf("%d rules, %d names", rules, len(names))
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			const enough = 40000
			n, err := explore(1<<i, enough)
			if n == 0 {
				t.Fatalf("not caught in %d seeds", enough)
			}
			t.Logf("seed %d: %v", n, err)
		})
	}
}
