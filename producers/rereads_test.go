package producers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/schemas"
)

// TestManyRereads: more keys than are kept call for a snapshot instead.
func TestManyRereads(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it moves more rows than a short run has time for")
	}
	w := newWorld(t, rand.Uint64(), false, "a")
	var blocked atomic.Bool
	r := w.start(func(r *run, effect string) error {
		for effect == "chunk" && blocked.Load() && !r.killed.Load() {
			time.Sleep(time.Millisecond)
		}
		return nil
	}, func(o *Options) { o.ChunkRows, o.MaxChanges = 500, 1000 })
	const n = maxRereads + 500
	w.db.transact(func(x *memWriter) {
		for i := range int64(n) {
			x.put("a", i)
		}
	})
	r.settle()
	blocked.Store(true)
	w.db.transact(func(x *memWriter) {
		for i := range int64(n) {
			x.move("a", i, i+10*n)
		}
	})
	end := w.db.end()
	for r.p.Status().Complete.Pos.Major < end {
		time.Sleep(time.Millisecond)
	}
	if st := r.p.Status().Tables[0]; st.Rereads > maxRereads || !st.Snapshot.Running {
		t.Errorf("%d keys are kept, and the snapshot is %+v", st.Rereads, st.Snapshot)
	}
	blocked.Store(false)
	r.settle()
	r.finish()
	w.check()
	if done := w.count("a", schemas.SnapshotDone); done < 6 {
		t.Errorf("%d records say that a snapshot is done, want at least two per partition", done)
	}
}

// TestRereadsOfDeltas: a source whose log carries only what changed asks for very
// many rows. The stream waits for them; the table is not snapshotted instead.
func TestRereadsOfDeltas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rand.Uint64(), false, "a")
	r := w.start(nil)
	const n = 3 * maxRereads
	w.db.transact(func(x *memWriter) {
		for i := range int64(n) {
			x.put("a", i)
		}
	})
	r.settle()
	done := w.count("a", schemas.SnapshotDone)
	for i := range int64(n) {
		w.db.transact(func(x *memWriter) { x.patch("a", i) })
	}
	r.settle()
	r.finish()
	w.check()
	if more := w.count("a", schemas.SnapshotDone) - done; more != 0 {
		t.Errorf("the table was snapshotted: %d records say so", more)
	}
	if reads := w.count("a", schemas.Read); reads < n {
		t.Errorf("%d rows were read again, of %d", reads, n)
	}
}

// TestUpdateBehindAReadPoint: a row that is read again lies below the update that
// came while it was read, and is older than what that one leaves out.
func TestUpdateBehindAReadPoint(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	w := newWorld(t, seed, false, "a")
	w.db.transact(func(x *memWriter) { x.put("a", 1) })
	var meanwhile atomic.Bool
	r := w.start(func(r *run, effect string) error {
		if effect != "point" || !meanwhile.CompareAndSwap(true, false) {
			return nil
		}
		w.db.transact(func(x *memWriter) { x.update("a", 1, true) })
		for end := w.db.end(); r.p.Status().Complete.Pos.Major < end && !r.killed.Load(); {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	r.settle()
	meanwhile.Store(true)
	w.db.transact(func(x *memWriter) { x.patch("a", 1) })
	r.settle()
	r.finish()
	w.check()
}

// TestSnapshotsBesideRereads: rows that are called for without end keep neither
// a table's snapshot from its end, nor another's.
func TestSnapshotsBesideRereads(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it moves more rows than a short run has time for")
	}
	w := newWorld(t, rand.Uint64(), false, "a", "b")
	const n = 300
	w.db.transact(func(x *memWriter) {
		for i := range int64(n) {
			x.put("a", i)
			x.put("b", i)
		}
	})
	// While one is read, one more row is called for.
	var quiet atomic.Bool
	row := int64(0)
	r := w.start(func(r *run, effect string) error {
		if effect != "chunk" || quiet.Load() {
			return nil
		}
		rereads := r.p.Status().Tables[0].Rereads
		row++
		w.db.transact(func(x *memWriter) { x.patch("a", row%n) })
		for end := time.Now().Add(time.Second); r.p.Status().Tables[0].Rereads == rereads && !r.killed.Load() && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
		return nil
	}, func(o *Options) { o.ChunkRows = 50 })
	done := func() (n int) {
		for _, table := range r.p.Status().Tables {
			if table.Snapshot.Done {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); done() < 2; {
		if time.Now().After(end) {
			t.Fatalf("no snapshot ends: %+v", r.p.Status().Tables)
		}
		time.Sleep(time.Millisecond)
	}
	quiet.Store(true)
	r.settle()
	r.finish()
	w.check()
}

// TestOverflowKeepsWhatFollows: after too many rows were called for, an update
// calls for its row alone, and does not start over the snapshot that reads them.
func TestOverflowKeepsWhatFollows(t *testing.T) {
	key := schemas.Table{Schema: "public", Name: "a", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}}
	s := &session{waiters: map[*table]bool{}}
	a := &table{tableState: tableState{Table: &key}, keys: map[string]int{}, keyTypes: []schemas.Type{key.Columns[0].Type}}
	call := func(n int, reread bool) {
		s.callFor(a, &schemas.Change{Table: &key, Reread: reread, Position: schemas.Position{Epoch: 1, Major: uint64(n)}, After: schemas.Row{schemas.IntCell(int64(n))}})
	}
	for n := range maxRereads + 1 {
		call(n, true)
	}
	above := a.Snapshot.Above
	if call(maxRereads+1, true); !a.Snapshot.Overflow || a.Snapshot.Above != above || len(a.Rereads) != 1 {
		t.Errorf("an update moved the snapshot from %v to %v, and %d keys are kept", above, a.Snapshot.Above, len(a.Rereads))
	}
	for n := range maxRereads + 1 {
		call(2*maxRereads+n, true)
	}
	if !above.Less(a.Snapshot.Above) || len(a.Rereads) > maxRereads {
		t.Errorf("too many once more: the snapshot is above %v, and %d keys are kept", a.Snapshot.Above, len(a.Rereads))
	}
}

// TestLongKeysCrowdToo: keys that are read again are few enough, or short enough,
// before the stream goes on.
func TestLongKeysCrowdToo(t *testing.T) {
	key := schemas.Table{Schema: "public", Name: "a", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.String}}}}
	a := &table{tableState: tableState{Table: &key}, asked: true, keys: map[string]int{}, keyTypes: []schemas.Type{key.Columns[0].Type}}
	s := &session{waiters: map[*table]bool{}, tables: map[string]*table{"a": a}}
	for n := range rereadsAtOnce {
		if s.crowded() {
			break
		}
		id := fmt.Appendf(nil, "%0400d", n)
		s.callFor(a, &schemas.Change{Table: &key, Reread: true, Position: schemas.Position{Epoch: 1, Major: uint64(n + 1)}, After: schemas.Row{schemas.BytesCell(id)}})
	}
	if n := len(a.Rereads); a.Snapshot.Running || n == rereadsAtOnce || n*400 < maxRereadBytes/3 {
		t.Errorf("the stream waits with %d keys of 400 bytes, and the snapshot is %+v", n, a.Snapshot)
	}
}

func TestTurnsGoRound(t *testing.T) {
	for _, c := range []struct {
		last string
		want string
	}{{"", "abc"}, {"a", "bca"}, {"b", "cab"}, {"bb", "cab"}, {"c", "abc"}} {
		ids := []string{"b", "c", "a"}
		slices.SortFunc(ids, func(x, y string) int {
			if comesBefore(x, y, c.last) {
				return -1
			}
			return 1
		})
		if got := strings.Join(ids, ""); got != c.want {
			t.Errorf("after %q come %q, want %q", c.last, got, c.want)
		}
	}
}
