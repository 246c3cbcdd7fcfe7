package mongofake

import (
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// begin is the unit that a command writes in, or an answer that was given before.
func (f *Fake) begin(r *request) (u *unit, answered bson.Raw, err error) {
	id := docOf(r.field("lsid"))
	n := r.field("txnNumber")
	if r.inTransaction() {
		u, err = f.transaction(r)
		return u, nil, err
	}
	if id != nil && n.Type != 0 {
		s := f.session(id)
		if s.txn == number(n) && s.reply != nil {
			return nil, s.reply, nil
		}
		if s.txn > number(n) {
			return nil, nil, &commandError{code: 225, name: "TransactionTooOld", message: "Retryable write with txnNumber is older than the session's"}
		}
	}
	return &unit{at: latest}, nil, nil
}

// finish ends a command's writes. Those of a transaction wait for its commit.
func (f *Fake) finish(r *request, u *unit, reply bson.Raw) error {
	if u.multi {
		return nil
	}
	var again *retry
	if id, n := docOf(r.field("lsid")), r.field("txnNumber"); id != nil && n.Type != 0 {
		again = &retry{id, number(n)}
	}
	return f.commit(u, again, reply)
}

// writing runs the statements of a write command. A statement's refusal is in the
// reply; in a transaction it ends the transaction.
func (f *Fake) writing(r *request, w *builder, run func(u *unit, w *builder) error) error {
	u, answered, err := f.begin(r)
	if err != nil {
		return err
	}
	if answered != nil {
		w.all(answered)
		return nil
	}
	reply := newBuilder(nil)
	if err := run(u, reply); err != nil {
		f.abandon(r, u)
		return err
	}
	content := reply.doc()
	if err := f.finish(r, u, content); err != nil {
		return err
	}
	w.all(content)
	return nil
}

// abandon gives up what a unit has written. Nobody waits for the rows of a
// command: it never lets go of f.mu while it holds them.
func (f *Fake) abandon(r *request, u *unit) {
	u.release()
	if u.multi {
		f.session(docOf(r.field("lsid"))).open = nil
		f.signal()
	}
}

// statements runs each statement of a command and writes the refusals.
func statements(r *request, u *unit, n int, w *builder, one func(i int) error) error {
	var refused []*commandError
	var at []int
	ordered := r.field("ordered").Type == 0 || truth(r.field("ordered"))
	for i := range n {
		err := one(i)
		var e *commandError
		if !errors.As(err, &e) || u.multi || e.code == 112 {
			if err != nil {
				return err
			}
			continue
		}
		refused, at = append(refused, e), append(at, i)
		if ordered {
			break
		}
	}
	if len(refused) == 0 {
		return nil
	}
	w.openArray("writeErrors")
	for i, e := range refused {
		w.open("")
		w.int("index", at[i])
		w.int("code", e.code)
		w.str("errmsg", e.message)
		w.end()
	}
	w.end()
	return nil
}

func (f *Fake) insert(r *request, w *builder) error {
	return f.writing(r, w, func(u *unit, w *builder) error {
		docs := r.documents("documents")
		c, err := f.collectionFor(r.ns())
		if err != nil {
			return err
		}
		n := 0
		err = statements(r, u, len(docs), w, func(i int) error {
			doc := withID(docs[i])
			row := c.row(field(doc, "_id"))
			if row.see(u.view()) != nil {
				return duplicate(r.ns().String(), row)
			}
			if err := u.write(c, r.ns(), row, kindInsert, doc, nil, nil); err != nil {
				return err
			}
			n++
			return nil
		})
		w.int("n", n)
		return err
	})
}

// withID puts _id first, and makes one if there is none.
func withID(doc bson.Raw) bson.Raw {
	for key := range each(doc) {
		if key == "_id" {
			return doc
		}
		break
	}
	w := newBuilder(nil)
	if id := field(doc, "_id"); id.Type != 0 {
		w.value("_id", id)
	} else {
		w.any("_id", bson.NewObjectID())
	}
	for key, v := range each(doc) {
		if key != "_id" {
			w.value(key, v)
		}
	}
	return w.doc()
}

func (f *Fake) update(r *request, w *builder) error {
	return f.writing(r, w, func(u *unit, w *builder) error {
		n, modified := 0, 0
		ups := newBuilder(nil)
		ups.openArray("upserted")
		updates := r.documents("updates")
		err := statements(r, u, len(updates), w, func(i int) error {
			s := updates[i]
			done, err := f.updateOne(r.ns(), u, statement{
				query: docOf(field(s, "q")), update: field(s, "u"),
				multi: truth(field(s, "multi")), upsert: truth(field(s, "upsert")),
			})
			n += done.matched
			modified += done.modified
			if done.upserted.Type != 0 {
				n++
				ups.open("")
				ups.int("index", i)
				ups.value("_id", done.upserted)
				ups.end()
			}
			return err
		})
		ups.end()
		w.int("n", n)
		w.int("nModified", modified)
		if all := ups.doc(); len(elements(field(all, "upserted"))) > 0 {
			w.all(all)
		}
		return err
	})
}

// statement is one update, or one findAndModify.
type statement struct {
	query         bson.Raw
	update        bson.RawValue
	multi, upsert bool
	sort          bson.Raw
	remove        bool
}

// outcome is what a statement did.
type outcome struct {
	matched, modified int
	upserted          bson.RawValue
	before, after     bson.Raw // of the last document
}

func (f *Fake) updateOne(ns namespace, u *unit, s statement) (outcome, error) {
	var done outcome
	c := f.lookup(ns)
	var rows []*row
	var err error
	if c != nil {
		rows, err = c.matching(u.view(), s)
	}
	if err != nil {
		return done, err
	}
	for _, row := range rows {
		before := row.see(u.view())
		done.matched++
		if s.remove {
			if err := u.write(c, ns, row, kindDelete, nil, nil, nil); err != nil {
				return done, err
			}
			done.before, done.after = before, nil
			continue
		}
		change, err := updated(before, s.update, false)
		if err != nil {
			return done, err
		}
		done.before, done.after = before, change.doc
		if slices.Equal(before, change.doc) {
			continue // without effect, without an event
		}
		if err := u.write(c, ns, row, change.kind, change.doc, change.desc, change.paths); err != nil {
			return done, err
		}
		done.modified++
	}
	if len(rows) > 0 || !s.upsert {
		return done, nil
	}
	doc, err := upserted(s)
	if err != nil {
		return done, err
	}
	if c, err = f.collectionFor(ns); err != nil {
		return done, err
	}
	id := field(doc, "_id")
	r := c.row(id)
	if r.see(u.view()) != nil {
		return done, duplicate(ns.String(), r)
	}
	done.upserted, done.after = id, doc
	return done, u.write(c, ns, r, kindInsert, doc, nil, nil)
}

// matching are the rows that a statement changes.
func (c *collection) matching(v view, s statement) ([]*row, error) {
	match, err := compile(s.query)
	if err != nil {
		return nil, err
	}
	var rows []*row
	for r, doc := range c.scan(v, boundsOf(s.query)) {
		if match(doc) {
			rows = append(rows, r)
			if !s.multi && len(s.sort) <= 5 {
				break
			}
		}
	}
	if len(s.sort) > 5 {
		less := sorter(s.sort)
		slices.SortStableFunc(rows, func(a, b *row) int { return less(a.see(v), b.see(v)) })
	}
	if !s.multi && len(rows) > 1 {
		rows = rows[:1]
	}
	return rows, nil
}

func (f *Fake) delete(r *request, w *builder) error {
	return f.writing(r, w, func(u *unit, w *builder) error {
		n := 0
		deletes := r.documents("deletes")
		err := statements(r, u, len(deletes), w, func(i int) error {
			done, err := f.updateOne(r.ns(), u, statement{
				query: docOf(field(deletes[i], "q")), multi: number(field(deletes[i], "limit")) == 0, remove: true,
			})
			n += done.matched
			return err
		})
		w.int("n", n)
		return err
	})
}

func (f *Fake) findAndModify(r *request, w *builder) error {
	return f.writing(r, w, func(u *unit, w *builder) error {
		remove := truth(r.field("remove"))
		done, err := f.updateOne(r.ns(), u, statement{
			query: docOf(r.field("query")), update: r.field("update"), sort: docOf(r.field("sort")),
			upsert: truth(r.field("upsert")), remove: remove,
		})
		if err != nil {
			return err
		}
		w.open("lastErrorObject")
		w.int("n", min(1, done.matched+len(done.upserted.Value)))
		if !remove {
			w.bool("updatedExisting", done.matched > 0)
		}
		if done.upserted.Type != 0 {
			w.value("upserted", done.upserted)
		}
		w.end()
		value := done.before
		if truth(r.field("new")) {
			value = done.after
		}
		if value == nil {
			w.null("value")
			return nil
		}
		shown, err := project(value, docOf(r.field("fields")))
		if err != nil {
			return err
		}
		w.raw("value", shown)
		return nil
	})
}
