package consumers

import (
	"testing"

	"millrace/schemas"
)

// A table without rows has only control records, which have no key: its key
// comes from the registry. The same holds for the first load of a later owner.
func TestLoadsWithoutRows(t *testing.T) {
	r := newRig(t)
	s := r.table("orders", 2)
	r.produce(r.control(s, schemas.SnapshotDone, schemas.Position{Epoch: 1, Major: 1}, 1)...)
	_, stop := r.start()
	r.await("the end of the snapshot is loaded", func() bool { return r.mem.head("core.orders").Load > 0 })
	s.n = 1
	r.produce(r.put(s, 1, "v"), r.put(s, 2, "v"))
	r.awaitEqual(s)
	stop()
	_, stop = r.start()
	defer stop()
	s.n++
	r.produce(r.control(s, schemas.Truncate, s.pos(), 1)...)
	clear(s.want)
	r.awaitEqual(s)
}
