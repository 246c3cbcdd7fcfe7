package mongofake

import (
	"crypto/rand"
	"math"
	"slices"
	"sort"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// latest is the cluster time of a reader who wants what is there now.
const latest = uint64(math.MaxUint64)

// version is a document as it was from a cluster time on; a deleted one has no
// document.
type version struct {
	at    uint64
	doc   bson.Raw
	older *version
}

// row is all that is remembered of one _id.
type row struct {
	id   bson.RawValue
	head *version
	// owner has written the row and is not committed; pending is what it wrote.
	owner   *unit
	pending bson.Raw
}

// view is what a reader sees: the versions up to a cluster time, and what its own
// unit has written.
type view struct {
	at  uint64
	own *unit
}

func (r *row) see(v view) bson.Raw {
	if v.own != nil && r.owner == v.own {
		return r.pending
	}
	for x := r.head; x != nil; x = x.older {
		if x.at <= v.at {
			return x.doc
		}
	}
	return nil
}

// put makes a version the row's newest, and forgets those that no reader at or
// behind the floor can see.
func (r *row) put(at uint64, doc bson.Raw, floor uint64) {
	r.head = &version{at: at, doc: doc, older: r.head}
	for x := r.head; x != nil; x = x.older {
		if x.at <= floor {
			x.older = nil
		}
	}
}

// collection holds its rows in the order of _id, deleted ones too as long as a
// reader may ask for them.
type collection struct {
	id      [16]byte
	rows    []*row
	dead    int // rows that may hold nothing any more
	images  bool
	indexes []bson.Raw
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// find is the index of the first row whose _id is not less.
func (c *collection) find(id bson.RawValue) (int, bool) {
	if n := len(c.rows); n == 0 || compare(c.rows[n-1].id, id) < 0 {
		return n, false // most keys rise
	}
	i := sort.Search(len(c.rows), func(i int) bool { return compare(c.rows[i].id, id) >= 0 })
	return i, i < len(c.rows) && equal(c.rows[i].id, id)
}

// row is the row of an _id, made if there is none.
func (c *collection) row(id bson.RawValue) *row {
	i, ok := c.find(id)
	if !ok {
		c.rows = slices.Insert(c.rows, i, &row{id: id})
		c.dead++ // until something is put there
	}
	return c.rows[i]
}

// sweep drops rows that hold nothing, when they are many.
func (c *collection) sweep(floor uint64) {
	if c.dead < 1000 || c.dead < len(c.rows)/2 {
		return
	}
	c.rows = slices.DeleteFunc(c.rows, func(r *row) bool {
		return r.owner == nil && (r.head == nil || r.head.doc == nil && r.head.at <= floor)
	})
	c.dead = 0
}

// naming says which collection a namespace named, and when.
type naming struct {
	from, to uint64
	coll     *collection
}

// namespace is a database's name and a collection's.
type namespace struct{ db, coll string }

func (n namespace) String() string { return n.db + "." + n.coll }

// lookupAt is the collection that a namespace named at a cluster time; nil if none.
func (f *Fake) lookupAt(ns namespace, at uint64) *collection {
	names := f.names[ns]
	for i := len(names) - 1; i >= 0; i-- {
		if n := names[i]; n.from <= at && at < n.to || at == latest && n.to == latest {
			return n.coll
		}
	}
	return nil
}

// lookupIn is the collection that a view has. A transaction sees the names of now.
func (f *Fake) lookupIn(ns namespace, v view) *collection {
	if v.own != nil {
		return f.lookup(ns)
	}
	return f.lookupAt(ns, v.at)
}

func (f *Fake) lookup(ns namespace) *collection { return f.lookupAt(ns, latest) }

func (f *Fake) name(ns namespace, c *collection, at uint64) {
	f.names[ns] = append(f.names[ns], naming{from: at, to: latest, coll: c})
}

func (f *Fake) unname(ns namespace, at uint64) {
	if names := f.names[ns]; len(names) > 0 {
		names[len(names)-1].to = at
	}
}

// namespaces are those of a database that name a collection now, in order.
func (f *Fake) namespaces(db string) []namespace {
	var out []namespace
	for ns := range f.names {
		if ns.db == db && f.lookup(ns) != nil {
			out = append(out, ns)
		}
	}
	slices.SortFunc(out, func(a, b namespace) int {
		if a.coll < b.coll {
			return -1
		}
		return 1
	})
	return out
}

// clock gives cluster times: seconds, and a number within the second. They rise.
type clock struct{ last uint64 }

func (c *clock) tick(now time.Time) uint64 {
	c.last = max(c.last+1, uint64(now.Unix())<<32|1)
	return c.last
}

// snapshotFloor is the oldest cluster time that can still be read.
func (f *Fake) snapshotFloor() uint64 {
	kept := uint64(max(0, time.Now().Add(-f.opts.History).Unix())) << 32
	return max(f.forgotten, min(kept, f.clock.last))
}
