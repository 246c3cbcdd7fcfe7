package avro

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestHeader(t *testing.T) {
	b := AppendHeader([]byte{9}, 0xdeadbeef)
	id, rest, err := SplitHeader(append(b[1:], 7, 8))
	if err != nil || id != 0xdeadbeef || len(rest) != 2 || rest[0] != 7 {
		t.Errorf("%x %x %v", id, rest, err)
	}
	for _, b := range [][]byte{nil, {0}, {0, 0, 0, 0}, {1, 0, 0, 0, 1}, []byte("{}   ")} {
		if _, _, err := SplitHeader(b); err == nil {
			t.Errorf("%x has a header", b)
		}
	}
}

// The varints are those of encoding/binary, in the middle of a buffer and at
// its end.
func TestLong(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 8))
	check := func(v int64) {
		t.Helper()
		want := binary.AppendVarint([]byte{7}, v)
		got := appendLong([]byte{7}, v)
		if string(got) != string(want) {
			t.Fatalf("seed=%d: %d is %x, want %x", seed, v, got, want)
		}
		for _, tail := range []int{0, 1, 7, 12} {
			b := append(want[:len(want):len(want)], make([]byte, tail)...)
			if back, next := long(b, 1); back != v || next != len(want) {
				t.Fatalf("seed=%d: %x reads as %d to %d, want %d to %d", seed, b, back, next, v, len(want))
			}
			for n := 1; n < len(want); n++ {
				if _, next := long(want[:n:n], 1); next != shortVarint {
					t.Fatalf("seed=%d: %x is a number", seed, want[:n])
				}
			}
		}
	}
	for shift := range 64 {
		for _, d := range []int64{-1, 0, 1} {
			check(int64(1)<<shift + d)
			check(-(int64(1) << shift) + d)
		}
	}
	check(math.MaxInt64)
	check(math.MinInt64)
	for range 20_000 {
		check(int64(r.Uint64() >> r.IntN(64))) //nolint:gosec // any bits
	}
}

func TestLongHasOneForm(t *testing.T) {
	for n := 2; n <= 12; n++ {
		for _, tail := range []int{0, 12} {
			b := make([]byte, n+tail)
			for i := range n - 1 {
				b[i] = 0x80
			}
			if _, next := long(b, 0); next != badVarint {
				t.Errorf("zero in %d bytes before %d others: next %d", n, tail, next)
			}
		}
	}
}
