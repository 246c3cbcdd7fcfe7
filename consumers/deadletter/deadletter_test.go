package deadletter

import (
	"errors"
	"testing"
)

func TestBlockedKeysAreBounded(t *testing.T) {
	key := func(b byte, length int) []byte {
		k := make([]byte, length)
		k[0] = b
		return k
	}
	for _, c := range []struct {
		name       string
		keys, size int
		fits       byte
	}{{"in number", 2, 4, 2}, {"in bytes", 100, maxBytes / 3, 3}} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(Reader{}, c.keys)
			for n := range c.fits {
				if err := q.Block(key(n, c.size), 10); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Block(key(c.fits, c.size), 10); !errors.Is(err, ErrFull) {
				t.Fatalf("one more: %v", err)
			}
			if q.Blocks(key(c.fits, c.size), 11) {
				t.Error("what was refused blocks")
			}
			if err := q.Block(key(0, c.size), 5); err != nil {
				t.Errorf("a key that waits already: %v", err)
			}
			if !q.Blocks(key(0, c.size), 6) {
				t.Error("an earlier letter is not known")
			}
			if err := q.Block(nil, 1); err != nil {
				t.Errorf("a letter without a key: %v", err)
			}
		})
	}
}

// What lies before the offsets that are read next is counted, and not remembered.
func TestSettle(t *testing.T) {
	q := newQueue(Reader{}, 1)
	for n := range int64(10) {
		q.remember(q.place(&Letter{Offset: n}))
		q.remember(q.place(&Letter{Offset: n}))
	}
	q.Settle(map[int32]int64{0: 8})
	if len(q.seen) != 2 || q.Len() != 10 {
		t.Errorf("%d of %d are remembered", len(q.seen), q.Len())
	}
	for n := range int64(maxPlaces) {
		q.remember(q.place(&Letter{Offset: 100 + n}))
	}
	if len(q.seen) != maxPlaces || q.Len() != 10+maxPlaces {
		t.Errorf("%d of %d are remembered", len(q.seen), q.Len())
	}
}
