package mongofake

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// progress is what became of an entry that a stream wrote.
type progress int

const (
	entryDone progress = iota
	entryOpen          // fragments follow
	roomFull           // it goes into the next batch
)

// event writes the entry as an event, or its next fragment, into an open array
// that began at start. It writes nothing if a $match refuses it.
func (f *Fake) event(s *stream, e *entry, w *builder, start int) (written bool, p progress, err error) {
	before, index := len(w.b), w.index[len(w.index)-1]
	undo := func() { w.b, w.index[len(w.index)-1] = w.b[:before], index }
	w.open("")
	begin := w.stack[len(w.stack)-1]
	if err := f.writeEvent(s, e, w); err != nil {
		w.end()
		undo()
		return false, entryDone, err
	}
	w.end()
	doc := bson.Raw(w.b[begin:])
	for _, match := range s.match {
		if !match(doc) {
			undo()
			return false, entryDone, nil
		}
	}
	p = entryDone
	if len(doc) > f.opts.MaxEvent {
		whole := append(bson.Raw(nil), doc...)
		undo()
		if !s.split {
			return false, p, &commandError{
				code: 10334, name: "BSONObjectTooLarge", labels: []string{labelNotResumable},
				message: fmt.Sprintf("BSONObj size: %d is invalid. Size must be between 0 and %d", len(whole), f.opts.MaxEvent),
			}
		}
		parts, err := fragments(whole, f.opts.MaxEvent)
		if err != nil {
			return false, p, err
		}
		if s.fragment >= len(parts) {
			return false, entryDone, nil // resumed behind the last one
		}
		w.open("")
		w.token("_id", token{kind: tokenEvent, at: e.at, op: uint32(e.op), fragment: uint32(s.fragment + 1)})
		w.open("splitEvent")
		w.int("fragment", s.fragment+1)
		w.int("of", len(parts))
		w.end()
		w.b = append(w.b, parts[s.fragment]...)
		w.end()
		if s.fragment+1 < len(parts) {
			p = entryOpen
		}
	}
	if before > start && len(w.b)-start > maxReply {
		undo()
		return false, roomFull, nil
	}
	if p == entryOpen {
		s.fragment++
	}
	return true, p, nil
}

// fragments are the elements of an event but _id, in parts that leave room for it.
func fragments(event bson.Raw, limit int) ([][]byte, error) {
	const room = 200
	var out [][]byte
	for key, v := range each(event) {
		if key == "_id" {
			continue
		}
		n := 1 + len(key) + 1 + len(v.Value)
		if n+room > limit {
			return nil, &commandError{code: 7182500, name: "Location7182500", message: "Splitting the event needs a field that is too large: " + key, labels: []string{labelNotResumable}}
		}
		if len(out) == 0 || len(out[len(out)-1])+n+room > limit {
			out = append(out, nil)
		}
		last := append(out[len(out)-1], byte(v.Type))
		last = append(append(last, key...), 0)
		out[len(out)-1] = append(last, v.Value...)
	}
	return out, nil
}

// writeEvent writes the elements of an event.
func (f *Fake) writeEvent(s *stream, e *entry, w *builder) error {
	w.token("_id", token{kind: tokenEvent, at: e.at, op: uint32(e.op)})
	w.str("operationType", string(e.kind))
	w.time("clusterTime", e.at)
	if s.expanded && e.kind != kindDropDatabase {
		w.uuid("collectionUUID", e.coll)
	}
	w.date("wallTime", e.wall)
	if err := f.writeImages(s, e, w); err != nil {
		return err
	}
	w.open("ns")
	w.str("db", e.ns.db)
	if e.kind != kindDropDatabase {
		w.str("coll", e.ns.coll)
	}
	w.end()
	if e.kind == kindRename {
		w.open("to")
		w.str("db", e.to.db)
		w.str("coll", e.to.coll)
		w.end()
	}
	if e.id.Type != 0 {
		w.open("documentKey")
		w.value("_id", e.id)
		w.end()
	}
	if e.desc != nil {
		w.open("updateDescription")
		w.all(e.desc)
		if s.expanded {
			w.open("disambiguatedPaths")
			w.all(e.paths)
			w.end()
		}
		w.end()
	}
	if s.expanded && e.detail != nil {
		w.raw("operationDescription", e.detail)
	}
	if e.session != nil {
		w.raw("lsid", e.session)
		w.long("txnNumber", e.txn)
	}
	return nil
}

// writeImages writes the document after and before the change, as far as the
// stream asks for them.
func (f *Fake) writeImages(s *stream, e *entry, w *builder) error {
	switch e.kind {
	case kindInsert, kindReplace:
		w.raw("fullDocument", e.doc)
	case kindUpdate:
		switch s.full {
		case "updateLookup":
			var now bson.Raw
			if c := f.lookup(e.ns); c != nil {
				if i, ok := c.find(e.id); ok {
					now = c.rows[i].see(view{at: latest})
				}
			}
			w.rawOrNull("fullDocument", now)
		case "whenAvailable", "required":
			if !e.images && s.full == "required" {
				return noImage("post-image")
			}
			w.rawOrNull("fullDocument", imageOf(e, e.doc))
		}
	}
	switch e.kind {
	case kindUpdate, kindReplace, kindDelete:
		switch s.before {
		case "whenAvailable", "required":
			if !e.images && s.before == "required" {
				return noImage("pre-image")
			}
			w.rawOrNull("fullDocumentBeforeChange", imageOf(e, e.before))
		}
	}
	return nil
}

func imageOf(e *entry, doc bson.Raw) bson.Raw {
	if !e.images {
		return nil
	}
	return doc
}

func (w *builder) rawOrNull(key string, doc bson.Raw) {
	if doc == nil {
		w.null(key)
		return
	}
	w.raw(key, doc)
}
