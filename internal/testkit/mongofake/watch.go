package mongofake

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// stream is a change stream: where it stands in the oplog, and what it lets
// through.
type stream struct {
	cluster  bool
	ns       namespace // without a collection: of the database
	match    []filter
	full     string
	before   string
	expanded bool
	split    bool

	place    int    // of the next entry
	fragment int    // how many fragments of it were delivered
	invalid  *entry // ended the stream; the client does not know yet
	ended    bool
}

// watch opens a change stream.
func (f *Fake) watch(r *request, stages []bson.RawValue, w *builder) error {
	o := docOf(field(docOf(stages[0]), "$changeStream"))
	s := &stream{
		cluster: truth(field(o, "allChangesForCluster")), ns: namespace{db: r.db, coll: text(r.arg)},
		full: text(field(o, "fullDocument")), before: text(field(o, "fullDocumentBeforeChange")),
		expanded: truth(field(o, "showExpandedEvents")), place: f.end(),
	}
	if s.cluster && r.db != "admin" {
		return badValue("A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database")
	}
	for _, stage := range stages[1:] {
		for op, v := range each(docOf(stage)) {
			switch op {
			case "$match":
				match, err := compile(docOf(v))
				if err != nil {
					return err
				}
				s.match = append(s.match, match)
			case "$changeStreamSplitLargeEvent":
				s.split = true
			default:
				return unknownStage(op)
			}
		}
	}
	if err := f.place(s, o); err != nil {
		return err
	}
	c := &cursor{ns: s.ns.String(), stream: s}
	if s.ns.coll == "" {
		c.ns = s.ns.db + ".$cmd.aggregate"
	}
	n := 101
	if b := field(docOf(r.field("cursor")), "batchSize"); b.Type != 0 {
		n = int(number(b))
	}
	w.open("cursor")
	w.openArray("firstBatch")
	if _, err := f.deliver(s, w, n); err != nil {
		return err
	}
	w.end()
	f.endOfBatch(c, w)
	w.end()
	return nil
}

// place sets the stream to where its options say that it starts.
func (f *Fake) place(s *stream, o bson.Raw) error {
	if t := docOf(field(o, "resumeAfter")); t != nil {
		return f.resume(s, t, false)
	}
	if t := docOf(field(o, "startAfter")); t != nil {
		return f.resume(s, t, true)
	}
	if at, ok := timestamp(field(o, "startAtOperationTime")); ok {
		if at < f.oldest {
			return historyLost()
		}
		s.place = f.after(at-1, everyOp)
	}
	return nil
}

// endOfBatch writes what stands behind the events of a batch.
func (f *Fake) endOfBatch(c *cursor, w *builder) {
	s := c.stream
	w.token("postBatchResumeToken", f.mark(s))
	switch {
	case s.ended:
		delete(f.cursors, c.id)
		c.id = 0
	case c.id == 0:
		f.keep(c)
	}
	w.long("id", c.id)
	w.str("ns", c.ns)
}

// mark is the token of what the stream has looked at.
func (f *Fake) mark(s *stream) token {
	switch {
	case s.ended:
		return token{kind: tokenInvalidate, at: s.invalid.at, op: uint32(s.invalid.op)}
	case s.fragment > 0:
		e := f.entryAt(s.place)
		return token{kind: tokenEvent, at: e.at, op: uint32(e.op), fragment: uint32(s.fragment)}
	case s.place == f.end() && s.invalid == nil:
		return token{kind: tokenMark, at: f.clock.last, op: everyOp}
	case s.place > f.dropped:
		e := f.entryAt(s.place - 1)
		return token{kind: tokenMark, at: e.at, op: uint32(e.op)}
	}
	return token{kind: tokenMark, at: f.oldest}
}

// moreEvents answers a getMore on a stream: with events, or with none when the
// client's patience is over.
func (f *Fake) moreEvents(r *request, c *cursor, n int, w *builder) error {
	patience := time.Second
	if ms := r.field("maxTimeMS"); ms.Type != 0 {
		patience = time.Duration(number(ms)) * time.Millisecond
	}
	deadline := time.Now().Add(patience)
	w.open("cursor")
	w.openArray("nextBatch")
	for {
		count, err := f.deliver(c.stream, w, n)
		if err != nil {
			delete(f.cursors, c.id)
			return err
		}
		if count > 0 || !f.wait(deadline) {
			break
		}
		if f.cursors[c.id] != c {
			return cursorNotFound(c.id)
		}
	}
	if f.now().Sub(time.Unix(int64(f.clock.last>>32), 0)) >= f.opts.Noop {
		if err := f.noop(); err != nil {
			return err
		}
	}
	w.end()
	f.endOfBatch(c, w)
	w.end()
	return nil
}

// deliver writes up to n events into an open array. An error that comes behind
// events waits for the next batch.
func (f *Fake) deliver(s *stream, w *builder, n int) (int, error) {
	count, start := 0, len(w.b)
	for count < n && !s.ended {
		if s.invalid != nil {
			w.open("")
			w.token("_id", token{kind: tokenInvalidate, at: s.invalid.at, op: uint32(s.invalid.op)})
			w.str("operationType", string(kindInvalidate))
			w.time("clusterTime", s.invalid.at)
			w.date("wallTime", s.invalid.wall)
			w.end()
			s.ended = true
			return count + 1, nil
		}
		if s.place < f.dropped {
			return count, &commandError{
				code: 136, name: "CappedPositionLost", labels: []string{labelResumable},
				message: "Executor error during getMore :: caused by :: CollectionScan died due to position in capped collection being deleted.",
			}
		}
		if s.place == f.end() {
			return count, nil
		}
		e := f.entryAt(s.place)
		if !s.sees(e) {
			s.pass(e)
			continue
		}
		written, more, err := f.event(s, e, w, start)
		if err != nil && count > 0 {
			return count, nil
		}
		if err != nil {
			return 0, err
		}
		if written {
			count++
		}
		if more == roomFull {
			return count, nil
		}
		if more == entryDone {
			s.pass(e)
		}
	}
	return count, nil
}

// pass goes on behind an entry.
func (s *stream) pass(e *entry) {
	s.place++
	s.fragment = 0
	if s.ends(e) {
		s.invalid = e
	}
}

// sees says whether the entry is an event of the stream, before its $match.
func (s *stream) sees(e *entry) bool {
	switch e.kind {
	case kindCreate, kindModify, kindIndexes, kindDropIndexes:
		if !s.expanded {
			return false
		}
	}
	switch {
	case s.cluster:
		return e.ns.db != "admin" && e.ns.db != "config" && e.ns.db != "local"
	case s.ns.coll == "":
		return e.ns.db == s.ns.db
	}
	return e.ns == s.ns || e.kind == kindRename && e.to == s.ns
}

// ends says whether the stream is over behind the entry.
func (s *stream) ends(e *entry) bool {
	switch {
	case s.cluster:
		return false
	case s.ns.coll == "":
		return e.kind == kindDropDatabase && e.ns.db == s.ns.db
	}
	return e.kind == kindDrop && e.ns == s.ns || e.kind == kindRename && (e.ns == s.ns || e.to == s.ns)
}
