package sim

import (
	"fmt"
	"math/rand/v2"
)

// Run is one schedule: a seed, a number of steps, and steps that are left out. Every step draws
// from its own generator, so leaving one out does not disturb the others.
type Run struct {
	Seed  uint64
	Steps int
	Skip  map[int]bool
	Trace func(format string, args ...any)
}

func (run Run) rng(step int) *rand.Rand { return rand.New(rand.NewPCG(run.Seed, uint64(step))) }

var actions = []struct {
	name   string
	weight int
}{
	{"transact", 24},
	{"stream", 16},
	{"snapshot", 24},
	{"load", 20},
	{"watermark", 6},
	{"crash", 4},
	{"sweep", 3},
	{"rewind", 3},
	{"rewrite", 2},
	{"failover", 1},
	{"break", 1},
	{"takeover", 1},
	{"zombie", 1},
	{"redrive", 2},
}

// mix makes some actions frequent and some rare, another way for every seed.
func mix(rng *rand.Rand) []int {
	weights := make([]int, len(actions))
	for i, a := range actions {
		weights[i] = a.weight * [4]int{1, 2, 2, 5}[rng.IntN(4)]
		if i > 3 && rng.IntN(3) == 0 {
			weights[i] = 0
		}
	}
	return weights
}

func choose(rng *rand.Rand, weights []int) string {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := rng.IntN(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return actions[i].name
		}
	}
	panic("no action")
}

// Do explores one schedule under the rules and returns the first violation.
func (run Run) Do(rules Rules) (err error) {
	rng := run.rng(-1)
	src := &Source{rules: rules, mysql: rng.IntN(2) == 0, epoch: 1, major: 1, minor: 4}
	for range rng.IntN(3) {
		src.Transact(rng)
	}
	if src.log = nil; rng.IntN(4) == 0 {
		src.Rewrite(rng)
		src.log = nil
	}
	partitions := 1 + rng.IntN(3)
	p := &Producer{rules: rules, src: src, topic: make([][]Change, partitions), tail: make([]int, partitions)}
	p.snapshot = true
	p.commit()
	p.commit()
	t := NewTable(rules, partitions)
	letters := rng.IntN(4) == 0
	t.bad = func(c Change) bool { return letters && uint64(c.Pos)*0x9e3779b97f4a7c15>>59 == run.Seed&31 }
	weights := mix(rng)
	zombie := t.head.clone()
	t.head.epoch++
	load := func(rng *rand.Rand, as Head, most int) error {
		_, err := t.Load(as, cut(rng, p.topic, as.offsets, most))
		return err
	}
	clip := func() { // a torn log may end below what was loaded
		for i := range partitions {
			t.head.offsets[i] = min(t.head.offsets[i], len(p.topic[i]))
			zombie.offsets[i] = min(zombie.offsets[i], len(p.topic[i]))
		}
	}
	for step := range run.Steps {
		if run.Skip[step] {
			continue
		}
		rng := run.rng(step)
		what := choose(rng, weights)
		switch what {
		case "transact":
			src.Transact(rng)
		case "rewrite":
			src.Rewrite(rng)
		case "failover":
			src.Failover()
		case "break":
			src.lost = true
		case "stream":
			p.Stream(1 + rng.IntN(4))
		case "snapshot":
			p.Snapshot(rng)
		case "watermark":
			p.Watermark()
		case "crash":
			p.Crash(rng, rng.IntN(2) == 0)
			if !rules.no(ClipOffsets) {
				clip()
			}
		case "load":
			err = load(rng, t.head, 1+rng.IntN(8))
		case "sweep":
			t.Sweep()
		case "rewind":
			for i := range partitions {
				t.head.offsets[i] = rng.IntN(t.head.offsets[i]+1) * rng.IntN(2)
			}
		case "takeover":
			zombie = t.head.clone()
			t.head.epoch++
		case "zombie":
			err = load(rng, zombie, 4)
		case "redrive":
			t.Redrive(rng.IntN(keys))
		}
		if err == nil {
			err = t.Check(src)
		}
		if run.Trace != nil {
			run.Trace("%3d %-9s topic %v\n    rows %+v head %+v", step, what, p.topic, t.rows, t.head)
		}
		if err != nil {
			return fmt.Errorf("seed %d step %d (%s): %w", run.Seed, step, what, err)
		}
	}
	if err = run.settle(rules, src, p, t); err != nil {
		return fmt.Errorf("seed %d at rest: %w", run.Seed, err)
	}
	return nil
}

// settle lets everything arrive, then checks the result, every other cut, and replays.
func (run Run) settle(rules Rules, src *Source, p *Producer, t *Table) error {
	rng := run.rng(-2)
	t.bad = func(Change) bool { return false }
	for {
		p.Stream(100)
		p.Snapshot(rng)
		if !p.snapshot && p.reread == [keys]Pos{} {
			break
		}
	}
	p.Watermark()
	drain := func(t *Table, most int) error {
		for {
			left := 0
			for i, log := range p.topic {
				left += max(0, len(log)-t.head.offsets[i])
			}
			if left == 0 {
				return nil
			}
			if _, err := t.Load(t.head, cut(rng, p.topic, t.head.offsets, most)); err != nil {
				return err
			}
		}
	}
	if err := drain(t, 6); err != nil {
		return err
	}
	for k := range keys {
		t.Redrive(k)
	}
	if _, err := t.Load(t.head, make([][]Change, len(p.topic))); err != nil { // for an s that waited
		return err
	}
	if err := t.Check(src); err != nil {
		return err
	}
	now := func(k int) Row {
		im := src.rows[k]
		return Row{V: im.v, Known: [cols]bool{im.live, im.live}}
	}
	want := t.Live()
	for k, row := range want {
		row.Pos = 0
		if row != now(k) {
			return fmt.Errorf("key %d is %+v, the source has %+v", k, row, src.rows[k])
		}
	}
	for _, most := range []int{1, 3, 1 << 20} {
		other := NewTable(rules, len(p.topic))
		if err := drain(other, most); err != nil {
			return err
		}
		if got := other.Live(); got != want {
			return fmt.Errorf("cut by %d gives %+v, not %+v", most, got, want)
		}
	}
	for range 2 {
		t.Sweep()
		for i := range t.head.offsets {
			t.head.offsets[i] = rng.IntN(t.head.offsets[i]+1) * rng.IntN(2)
		}
		if err := drain(t, 5); err != nil {
			return err
		}
		if got := t.Live(); got != want {
			return fmt.Errorf("a replay gives %+v, not %+v", got, want)
		}
	}
	return nil
}

// Shrink leaves out every step without which the run still fails.
func (run Run) Shrink(rules Rules) Run {
	run.Skip = map[int]bool{}
	for n := 1; n <= run.Steps; n++ {
		if (Run{Seed: run.Seed, Steps: n}).Do(rules) != nil {
			run.Steps = n
			break
		}
	}
	for i := run.Steps - 1; i >= 0; i-- {
		if run.Skip[i] = true; run.Do(rules) == nil {
			delete(run.Skip, i)
		}
	}
	return run
}
