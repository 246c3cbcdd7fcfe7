package consumers

import "testing"

// A table that halted here and goes to another member is that one's to speak of: a
// halt that was cured would be told for ever, and hide that the table is stale.
func TestHaltIsLeftWithTheTable(t *testing.T) {
	r := newRig(t)
	bad, good := r.table("a_bad", 1), r.table("b_good", 1)
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	first, stop := r.start()
	defer stop()
	r.awaitEqual(bad)
	rec := r.put(bad, 2, "v")
	delete(bad.want, wantKey(2))
	rec.Key = []byte{1, 2, 3}
	r.produce(rec)
	r.await("it halts", func() bool { return status(first, "core.a_bad").Halted != "" })
	r.mem.mu.Lock()
	r.mem.table("core.a_bad").head.Offsets[0] = 2 // someone has seen to it
	r.mem.mu.Unlock()
	second, away := r.start()
	defer away()
	r.await("another has it", func() bool { return status(second, "core.a_bad").Owned })
	r.produce(r.put(bad, 3, "v"))
	r.awaitEqual(bad)
	r.await("the first has let go", func() bool { return status(first, "core.a_bad").Halted == "" })
}
