package batch

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

// Whatever order changes come in, and whether they are counted one by one or
// were counted as they came, a load has one row for each key: of its newest.
func TestEveryKeyIsFoundAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := textWorld(t)
	b := New(wide)
	for round, size := range []int{1, group - 1, group, 3000, 20, 20_000} {
		b.Reset()
		w.next = map[int32]int64{}
		newest, changes := map[int64]int{}, map[[2]int]bool{}
		inOrder := round%2 == 0
		for n := range size {
			id, at := rng.Int64N(int64(size)/2+1), n+1
			if !inOrder {
				at = rng.IntN(size) + 1
			}
			newest[id] = max(newest[id], at)
			changes[[2]int{int(id), at}] = true
			w.add(b, int32(id%3), change(schemas.Update, at, id, "v")) //nolint:gosec // small
		}
		for _, mode := range []schemas.Mode{schemas.ModeMerge, schemas.ModeAppend} {
			l := load(t, b, w.core(mode), nil)
			rows := read(t, l.Rows, 2)
			if want := int64(size - len(rows)); l.Counts.Read != int64(size) || l.Counts.Folded != want {
				t.Fatalf("%d changes, mode %s: counts %+v with %d rows", size, mode, l.Counts, len(rows))
			}
			if mode == schemas.ModeAppend {
				if len(rows) != len(changes) {
					t.Fatalf("%d rows of %d changes", len(rows), len(changes))
				}
				continue
			}
			if len(rows) != len(newest) {
				t.Fatalf("%d rows of %d keys", len(rows), len(newest))
			}
			for _, r := range rows {
				if r.Pos != pos(newest[r.row[0].Int]) {
					t.Fatalf("key %d stands at %s, want %d", r.row[0].Int, r.Pos, newest[r.row[0].Int])
				}
			}
			b.dropped = true // nothing was: but now each is looked at
			slow := load(t, b, w.core(mode), nil)
			b.dropped = false
			if slow.Counts != l.Counts || slow.PosMin != l.PosMin || slow.PosMax != l.PosMax || slow.Snapshotting != l.Snapshotting {
				t.Fatalf("%d changes: counted as they came %+v, one by one %+v", size, l, slow)
			}
		}
	}
}

// Keys of one hash are told apart.
func TestKeysOfOneHash(t *testing.T) {
	w := textWorld(t)
	b := New(wide)
	for n := range 40 {
		w.add(b, 0, change(schemas.Update, n+1, int64(n%20), "v"))
	}
	if b.placed != 0 {
		t.Fatal("they were placed already")
	}
	for n := range int32(40) {
		b.placeOne(n, 7)
	}
	b.placed = 40
	if rows := read(t, load(t, b, w.core(schemas.ModeMerge), nil).Rows, 2); len(rows) != 20 {
		t.Errorf("%d rows of 20 keys", len(rows))
	}
}

// What an emptied batch keeps of its memory refers to no record: the bytes of the
// last batch would count for nothing (G13).
func TestResetLetsRecordsGo(t *testing.T) {
	w := textWorld(t)
	b := New(wide)
	for n := range 3*chunkEntries + 1 {
		w.add(b, 0, change(schemas.Update, n+1, int64(n), "v"))
	}
	b.Reset()
	if len(b.entries.chunks) != 4 {
		t.Errorf("%d chunks are kept", len(b.entries.chunks))
	}
	for _, c := range b.entries.chunks {
		for i := range c {
			if e := &c[i]; e.value != nil || e.rawKey != nil || e.key != nil || e.rare != nil {
				t.Fatal("an entry still refers to its record")
			}
		}
	}
}

// A record whose bytes are its own is not copied, and counts all the same.
func TestKeep(t *testing.T) {
	b := New(wide)
	r := Record{Key: []byte("key"), Value: []byte(strings.Repeat("v", 1000))}
	if own := b.Keep(r, true); &own.Value[0] != &r.Value[0] || b.Size() != 1003 {
		t.Errorf("it was copied, or counts for %d bytes", b.Size())
	}
	for size := range 3 { // chunks of all sizes
		r.Value = []byte(strings.Repeat("w", 100<<(5*size)))
		kept := b.Keep(r, false)
		clear(r.Value)
		if string(kept.Value) != strings.Repeat("w", 100<<(5*size)) || string(kept.Key) != "key" {
			t.Errorf("a value of %d bytes was not copied", len(r.Value))
		}
	}
	if none := b.Keep(Record{Value: []byte("v")}, false); none.Key != nil {
		t.Error("a key was made of none")
	}
}
