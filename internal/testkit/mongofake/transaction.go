package mongofake

import (
	"bytes"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// inTransaction says whether the command belongs to a transaction of the client's.
func (r *request) inTransaction() bool {
	v := r.field("autocommit")
	return v.Type == bson.TypeBoolean && !v.Boolean()
}

// transaction is the open one that a command belongs to.
func (f *Fake) transaction(r *request) (*unit, error) {
	id, n := docOf(r.field("lsid")), number(r.field("txnNumber"))
	if id == nil {
		return nil, noTransaction(n)
	}
	s := f.session(id)
	if truth(r.field("startTransaction")) {
		if s.txn > n || s.txn == n && (s.open != nil || s.reply != nil) {
			return nil, &commandError{code: 225, name: "TransactionTooOld", message: "Cannot start a transaction with a txnNumber that was used"}
		}
		if s.open != nil {
			s.open.release()
		}
		at := latest
		if len(f.oplog) > 0 || f.clock.last > 0 {
			at = f.clock.last
		}
		s.txn, s.reply = n, nil
		s.open = &unit{at: at, multi: true, session: bytes.Clone(id), txn: n}
	}
	if s.open == nil || s.txn != n {
		return nil, noTransaction(n)
	}
	return s.open, nil
}

func (f *Fake) commitTransaction(r *request, w *builder) error {
	id, n := docOf(r.field("lsid")), number(r.field("txnNumber"))
	if id == nil {
		return noTransaction(n)
	}
	s := f.session(id)
	if s.txn == n && s.open == nil && s.reply != nil {
		return nil // it is committed
	}
	u, err := f.transaction(r)
	if err != nil {
		return err
	}
	s.open = nil
	return f.commit(u, &retry{u.session, u.txn}, emptyDoc())
}

func (f *Fake) abortTransaction(r *request, _ *builder) error {
	u, err := f.transaction(r)
	if err != nil {
		return err
	}
	f.abandon(r, u)
	return nil
}

// endSessions ends what the sessions have open.
func (f *Fake) endSessions(r *request, _ *builder) error {
	for _, v := range elements(r.arg) {
		s, ok := f.sessions[sessionKey(docOf(v))]
		if ok && s.open != nil {
			s.open.release()
			s.open = nil
			f.signal()
		}
		delete(f.sessions, sessionKey(docOf(v)))
	}
	return nil
}
