package mongofake

import (
	"bytes"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// unit is what is committed at once: the writes of a command, or those of a
// transaction. Until then its rows are its own.
type unit struct {
	at      uint64 // what its reader sees; latest outside of transactions
	multi   bool   // a transaction of the client's: one cluster time for all
	session bson.Raw
	txn     int64
	entries []*entry
	rows    []*row
}

func (u *unit) view() view { return view{at: u.at, own: u} }

// errLocked says that a transaction holds a row. The command has no effect yet
// and is run again once something was committed.
var errLocked = errors.New("a transaction holds the row")

// write notes what becomes of a row: doc is nil for a delete.
func (u *unit) write(c *collection, ns namespace, r *row, k kind, doc, desc, paths bson.Raw) error {
	switch {
	case r.owner != nil && r.owner != u && !u.multi:
		return errLocked
	case r.owner != nil && r.owner != u, u.multi && r.head != nil && r.head.at > u.at:
		return writeConflict()
	}
	if r.owner == nil {
		r.owner = u
		u.rows = append(u.rows, r)
	}
	r.pending = doc
	e := &entry{kind: k, ns: ns, coll: c.id, id: r.id, doc: doc, desc: desc, paths: paths, images: c.images}
	if u.multi {
		e.op, e.session, e.txn = len(u.entries), u.session, u.txn
	}
	u.entries = append(u.entries, e)
	return nil
}

// release sets the unit's rows free.
func (u *unit) release() {
	for _, r := range u.rows {
		r.owner, r.pending = nil, nil
	}
	u.rows, u.entries = nil, nil
}

// commit makes the unit's entries durable, then visible. The reply goes with
// them if the client may ask again. f.mu is held.
func (f *Fake) commit(u *unit, retry *retry, reply bson.Raw) error {
	defer u.release()
	if len(u.entries) > 0 {
		wall := f.now()
		at := f.clock.tick(wall)
		for i, e := range u.entries {
			if i > 0 && !u.multi {
				at = f.clock.tick(wall)
			}
			e.at, e.wall = at, wall.UnixMilli()
		}
		r := &record{kind: recordCommit, at: at, entries: u.entries}
		if retry != nil {
			r.session, r.txn, r.reply = retry.session, retry.txn, reply
		}
		if err := f.log.append(r); err != nil {
			return err
		}
		for _, e := range u.entries {
			f.apply(e)
			if c := f.lookup(e.ns); c != nil {
				c.sweep(f.snapshotFloor())
			}
		}
	}
	if retry != nil {
		f.remember(retry.session, retry.txn, reply)
	}
	f.signal()
	return nil
}

// retry names a write that is answered once, however often it comes.
type retry struct {
	session bson.Raw
	txn     int64
}

// session is what is known of a logical session.
type session struct {
	txn   int64
	reply bson.Raw // of the retryable write, or of the commit, with that number
	open  *unit    // a transaction that has begun
}

func (f *Fake) session(id bson.Raw) *session {
	key := sessionKey(id)
	s := f.sessions[key]
	if s == nil {
		s = &session{txn: -1}
		f.sessions[key] = s
	}
	return s
}

// sessionKey is the UUID of a session, whatever else its document says.
func sessionKey(id bson.Raw) string {
	if v := field(id, "id"); v.Type == bson.TypeBinary {
		return string(v.Value)
	}
	return string(bytes.Clone(id))
}

func (f *Fake) remember(id bson.Raw, txn int64, reply bson.Raw) {
	s := f.session(id)
	s.txn, s.reply = txn, bytes.Clone(reply)
}
