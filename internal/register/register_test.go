package register

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"millrace/schemas"
)

const columns = 3

func pos(n int) schemas.Position {
	if n == 0 {
		return schemas.Position{}
	}
	return schemas.Position{Epoch: 1, Major: uint64(n)}
}

// history makes the changes of one key as a source would log them, and rows
// that snapshots read in between.
func history(rng *rand.Rand) []Change {
	var out []Change
	live, value, since := false, schemas.Row{}, 0
	for n := 1; n < 4+rng.IntN(10); n++ {
		c := Change{Pos: pos(n), V: make(schemas.Row, columns), At: make([]schemas.Position, columns)}
		set := func(i int) { c.V[i], c.At[i] = value[i], pos(n) }
		switch {
		case live && rng.IntN(5) == 0:
			c.Op, c.Born, live = schemas.Delete, pos(n), false
		case live && rng.IntN(4) == 0:
			c.Op = schemas.Read
			for i := range columns {
				set(i)
			}
		case live:
			c.Op, c.Born = schemas.Update, pos(since)
			if rng.IntN(6) == 0 {
				since = n
				c.Born = pos(n)
			}
			value = append(schemas.Row{}, value...)
			for i := range columns {
				if rng.IntN(2) == 0 {
					value[i] = schemas.IntCell(int64(100*n + i))
					set(i)
				}
			}
		default:
			c.Op, c.Born, live = schemas.Create, pos(n), true
			value = make(schemas.Row, columns)
			for i := range columns {
				value[i] = schemas.IntCell(int64(100*n + i))
				set(i)
			}
		}
		out = append(out, c)
	}
	return out
}

func TestFoldLaws(t *testing.T) {
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := history(rng)
		pick := func() Change { return h[rng.IntN(len(h))] }
		x, y, z := pick(), pick(), pick()
		if a, b := Fold(x, y), Fold(y, x); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: not commutative: %+v and %+v", seed, a, b)
		}
		if a, b := Fold(Fold(x, y), z), Fold(x, Fold(y, z)); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: not associative: %+v and %+v", seed, a, b)
		}
		if a, b := Fold(x, y), Fold(Fold(x, y), x); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: not idempotent: %+v and %+v", seed, a, b)
		}
	}
}

// Changes of a key are delivered for the first time in order; what was
// delivered may come again in any order and any cut (G2).
func TestAnyCutAndAnyReplayGiveTheSameRow(t *testing.T) {
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		h := history(rng)
		var want Row
		found := false
		for _, c := range h {
			if next, wrote := Apply(want, found, schemas.Position{}, c); wrote {
				want, found = next, true
			}
		}
		var got Row
		found = false
		for i := 0; i < len(h); {
			fold := h[i]
			for i++; i < len(h) && rng.IntN(2) == 0; i++ {
				fold = Fold(fold, h[i])
			}
			for rng.IntN(2) == 0 {
				fold = Fold(fold, h[rng.IntN(i)])
			}
			if next, wrote := Apply(got, found, schemas.Position{}, fold); wrote {
				got, found = next, true
			}
			if again, wrote := Apply(got, found, schemas.Position{}, h[rng.IntN(i)]); wrote {
				t.Fatalf("seed %d: a replayed change wrote %+v onto %+v", seed, again, got)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got %+v, want %+v", seed, got, want)
		}
	}
}

func TestFromChange(t *testing.T) {
	p, since := pos(7), pos(3)
	row := schemas.Row{schemas.IntCell(1), {}, schemas.NullCell()}
	for _, c := range []struct {
		op   schemas.Op
		born schemas.Position
	}{{schemas.Create, p}, {schemas.Delete, p}, {schemas.Update, since}, {schemas.Read, schemas.Position{}}} {
		change := &schemas.Change{Op: c.op, Position: p, Since: since, After: row}
		if c.op == schemas.Delete {
			change.After = nil
		}
		got := FromChange(change, columns)
		if got.Born != c.born {
			t.Errorf("%s: born at %s, want %s", c.op, got.Born, c.born)
		}
		carried := c.op != schemas.Delete
		if got.At[0].IsZero() == carried || !got.At[1].IsZero() || got.At[2].IsZero() == carried {
			t.Errorf("%s: carried at %v", c.op, got.At)
		}
	}
}
