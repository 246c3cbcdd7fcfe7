package mongofake

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// cursor is what a client has not read yet: documents, or a change stream.
type cursor struct {
	id     int64
	ns     string
	docs   []bson.Raw
	at     uint64 // of a snapshot
	stream *stream
}

// maxReply bounds the documents of one batch; the head of the reply has room above.
const maxReply = maxDocument - 16<<10

// fill writes documents of a cursor into an open array.
func (c *cursor) fill(w *builder, n int) {
	start := len(w.b)
	for len(c.docs) > 0 && n > 0 {
		if len(w.b) > start && len(w.b)-start+len(c.docs[0]) > maxReply {
			return
		}
		w.raw("", c.docs[0])
		c.docs = c.docs[1:]
		n--
	}
}

// firstBatch answers with a cursor's first documents and keeps the rest.
func (f *Fake) firstBatch(w *builder, c *cursor, n int, single bool) {
	w.open("cursor")
	w.openArray("firstBatch")
	c.fill(w, n)
	w.end()
	if len(c.docs) > 0 && !single {
		f.keep(c)
	}
	if c.at != 0 {
		w.time("atClusterTime", c.at)
	}
	w.long("id", c.id)
	w.str("ns", c.ns)
	w.end()
}

// keep gives a cursor its number.
func (f *Fake) keep(c *cursor) {
	f.nextCursor++
	c.id = f.nextCursor
	f.cursors[c.id] = c
}

func (f *Fake) getMore(r *request, w *builder) error {
	c := f.cursors[number(r.arg)]
	if c == nil {
		return cursorNotFound(number(r.arg))
	}
	n := int(number(r.field("batchSize")))
	if n <= 0 {
		n = 1 << 30
	}
	if c.stream != nil {
		return f.moreEvents(r, c, n, w)
	}
	w.open("cursor")
	w.openArray("nextBatch")
	c.fill(w, n)
	w.end()
	id := c.id
	if len(c.docs) == 0 {
		delete(f.cursors, id)
		id = 0
	}
	if c.at != 0 {
		w.time("atClusterTime", c.at)
	}
	w.long("id", id)
	w.str("ns", c.ns)
	w.end()
	return nil
}

func (f *Fake) killCursors(r *request, w *builder) error {
	w.openArray("cursorsKilled")
	for _, v := range elements(r.field("cursors")) {
		delete(f.cursors, number(v))
		w.value("", v)
	}
	w.end()
	for _, key := range []string{"cursorsNotFound", "cursorsAlive", "cursorsUnknown"} {
		w.openArray(key)
		w.end()
	}
	f.signal() // who waits on one of them
	return nil
}
