package mongofake

import (
	"sort"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// kind is what an entry of the oplog did.
type kind string

const (
	kindInsert       kind = "insert"
	kindUpdate       kind = "update"
	kindReplace      kind = "replace"
	kindDelete       kind = "delete"
	kindCreate       kind = "create"
	kindDrop         kind = "drop"
	kindDropDatabase kind = "dropDatabase"
	kindRename       kind = "rename"
	kindModify       kind = "modify"
	kindIndexes      kind = "createIndexes"
	kindDropIndexes  kind = "dropIndexes"
	kindInvalidate   kind = "invalidate" // only ever an event
)

// entry is one effect in the oplog. Its documents are shared with the rows.
type entry struct {
	kind kind
	at   uint64
	op   int // its number within its transaction
	ns   namespace
	to   namespace // of a rename
	coll [16]byte
	wall int64

	id     bson.RawValue // of the document
	doc    bson.Raw      // after; nil behind a delete
	before bson.Raw
	images bool     // the collection kept images then
	desc   bson.Raw // updateDescription
	paths  bson.Raw // disambiguatedPaths
	detail bson.Raw // operationDescription

	session bson.Raw // of a transaction
	txn     int64
}

// apply does to the state what the entry says, now and when the log is read again.
func (f *Fake) apply(e *entry) {
	switch e.kind {
	case kindInsert, kindUpdate, kindReplace, kindDelete:
		c := f.lookup(e.ns)
		r := c.row(e.id)
		if r.head == nil || r.head.doc == nil {
			c.dead--
		}
		if e.doc == nil {
			c.dead++
		}
		if r.head != nil {
			e.before = r.head.doc
		}
		r.put(e.at, e.doc, f.snapshotFloor())
	case kindCreate:
		f.name(e.ns, &collection{id: e.coll, images: e.images, indexes: []bson.Raw{idIndex()}}, e.at)
	case kindDrop:
		f.unname(e.ns, e.at)
	case kindRename:
		c := f.lookup(e.ns)
		f.unname(e.ns, e.at)
		f.unname(e.to, e.at)
		f.name(e.to, c, e.at)
	case kindModify:
		f.lookup(e.ns).images = e.images
	case kindIndexes:
		c := f.lookup(e.ns)
		for _, ix := range elements(field(e.detail, "indexes")) {
			c.indexes = append(c.indexes, docOf(ix))
		}
	case kindDropIndexes:
		c := f.lookup(e.ns)
		c.indexes = withoutIndexes(c.indexes, e.detail)
	}
	f.oplog = append(f.oplog, e)
	f.clock.last = max(f.clock.last, e.at)
}

// place is a position in the oplog: at or behind which entry, counted from the
// first one ever.
func (f *Fake) end() int { return f.dropped + len(f.oplog) }

func (f *Fake) entryAt(place int) *entry { return f.oplog[place-f.dropped] }

// after is the place of the first entry that lies behind a cluster time and, in
// it, behind a number within its transaction.
func (f *Fake) after(at uint64, op int) int {
	return f.dropped + sort.Search(len(f.oplog), func(i int) bool {
		e := f.oplog[i]
		return e.at > at || e.at == at && e.op > op
	})
}

// ForgetOplog makes the oplog begin now: whoever resumes from before has lost
// the history.
func (f *Fake) ForgetOplog() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.clock.tick(f.now())
	if err := f.log.append(&record{kind: recordForget, at: at}); err != nil {
		return err
	}
	f.forgetOplog(at)
	f.signal()
	return nil
}

func (f *Fake) forgetOplog(at uint64) {
	f.dropped += len(f.oplog)
	f.oplog = nil
	f.oldest = at
	f.clock.last = max(f.clock.last, at)
}

// ForgetImages takes away the pre- and post-images that were kept so far, until
// the log is read again.
func (f *Fake) ForgetImages() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.oplog {
		e.images = e.images && e.kind == kindCreate
	}
}

// ForgetSnapshots makes the present the oldest time that can be read, until the
// log is read again.
func (f *Fake) ForgetSnapshots() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.noop(); err != nil {
		return err
	}
	f.forgotten = f.clock.last
	return nil
}

// Lag makes the fake say, to clients that connect to it directly, that it is a
// secondary which has applied writes up to a cluster time only; with 0 it is the
// primary again. It answers all else as before.
func (f *Fake) Lag(at uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lagsAt = at
}

// applied is the cluster time up to which it says to have all writes.
func (f *Fake) applied() uint64 {
	if f.lagsAt != 0 {
		return min(f.lagsAt, f.clock.last)
	}
	return f.clock.last
}

// noop lets the cluster time go on without a write. It is in the log, so that no
// later write gets a time that a reader has already passed.
func (f *Fake) noop() error {
	before := f.clock.last
	at := f.clock.tick(f.now())
	if err := f.log.append(&record{kind: recordNoop, at: at}); err != nil {
		f.clock.last = before
		return err
	}
	return nil
}
