package mongodb

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/producers"
	"millrace/schemas"
)

// event is a change event, taken apart. All of it is borrowed.
type event struct {
	size     int
	op       string
	token    []byte
	time     uint64
	wall     int64 // microseconds
	db, coll []byte
	toDB, to []byte
	uuid     string // of the collection, and of the one that a rename replaced;
	replaced string // only where expanded events are asked for
	id       value
	full     value
	before   value
	delta    value
	session  value
	txn      value
}

func parse(raw []byte) (event, error) {
	ev := event{size: len(raw)}
	e := fields(raw)
	for e.next() {
		switch v := e.val; string(e.key) {
		case "_id":
			ev.token = v.data
		case "operationType":
			ev.op = string(v.text())
		case "clusterTime":
			ev.time, _ = v.timestamp()
		case "wallTime":
			if ms, ok := v.integer(); ok {
				ev.wall = ms * 1000
			}
		case "ns":
			if v.isDoc() {
				ev.db, ev.coll = lookup(v.data, "db").text(), lookup(v.data, "coll").text()
			}
		case "to":
			if v.isDoc() {
				ev.toDB, ev.to = lookup(v.data, "db").text(), lookup(v.data, "coll").text()
			}
		case "collectionUUID":
			ev.uuid = shortUUID(v)
		case "operationDescription":
			if v.isDoc() {
				ev.replaced = shortUUID(lookup(v.data, "dropTarget"))
			}
		case "documentKey":
			if v.isDoc() {
				ev.id = lookup(v.data, idColumn)
			}
		case "fullDocument":
			ev.full = v
		case "fullDocumentBeforeChange":
			ev.before = v
		case "updateDescription":
			ev.delta = v
		case "lsid":
			ev.session = v
		case "txnNumber":
			ev.txn = v
		}
	}
	switch {
	case e.err != nil:
		return ev, e.err
	case ev.op == "" || ev.token == nil:
		return ev, errors.New("a change event lacks its type or its token")
	case ev.time == 0 && ev.op != "invalidate":
		return ev, fmt.Errorf("a change event %s lacks its cluster time", ev.op)
	}
	if ev.wall == 0 {
		ev.wall = int64(ev.time>>32) * 1e6 //nolint:gosec // 32 bits
	}
	return ev, nil
}

// join collects the parts of an event that was too large for one message. It
// returns nil while parts are missing.
func (s *source) join(raw []byte) ([]byte, error) {
	split := lookup(raw, "splitEvent")
	if !split.isDoc() {
		if len(s.parts) > 0 {
			return nil, errors.New("the parts of a split change event do not follow each other")
		}
		return raw, nil
	}
	n, _ := lookup(split.data, "fragment").integer()
	of, _ := lookup(split.data, "of").integer()
	if n != int64(len(s.parts)+1) || of < n {
		return nil, fmt.Errorf("part %d of %d of a split change event came after %d", n, of, len(s.parts))
	}
	s.parts = append(s.parts, raw)
	if n < of {
		return nil, nil
	}
	whole := append([]byte(nil), 0, 0, 0, 0) // the length
	for i, part := range s.parts {
		for e := fields(part); e.next(); {
			// The token behind the last part is the one behind the event.
			if name := string(e.key); name == "splitEvent" || name == "_id" && i < len(s.parts)-1 {
				continue
			}
			whole = append(append(append(append(whole, byte(e.val.kind)), e.key...), 0), e.val.data...)
		}
	}
	whole = append(whole, 0)
	binary.LittleEndian.PutUint32(whole, uint32(len(whole))) //nolint:gosec // below a few messages
	s.parts = s.parts[:0]
	return whole, nil
}

// process takes one event. It reports hold, and has done nothing that counts, if
// the batch must be handed over before the event.
func (s *source) process(ctx context.Context, raw []byte) (hold bool, err error) {
	ev, err := parse(raw)
	if err != nil {
		return false, halt(err, "the server is newer than this source, or its log is damaged: "+snapshotAgain)
	}
	if ev.op == "invalidate" { // has no time of its own everywhere; the stream ends behind it
		s.token = ev.token
		return false, nil
	}
	s.follow(&ev)
	before := s.at
	if ev.time != s.at.time {
		if ev.time < s.at.time {
			return false, halt(fmt.Errorf("a change of %s came after %s", place{ev.time, 0}, s.at), snapshotAgain)
		}
		if s.at = (place{time: ev.time}); ev.time == s.ahead.time {
			s.at = s.ahead
		}
	}
	switch ev.op {
	case "insert", "update", "replace", "delete":
		if hold, err = s.row(ctx, &ev); err != nil {
			return false, err
		}
	case "drop":
		s.emptied(s.named(ev.db, ev.coll), &ev)
	case "dropDatabase":
		// Each of its collections was dropped by an event of its own before it. Were
		// this one counted, its positions would depend on which tables are captured (G3).
	case "rename":
		hold = s.renamed(&ev)
	default:
		return false, halt(fmt.Errorf("a change event is a %q, which this source does not know", ev.op), snapshotAgain)
	}
	if hold {
		s.at = before
		return true, nil
	}
	if s.token = ev.token; !s.group.open {
		s.bound()
	}
	return false, nil
}

// follow ends the transaction before the event, and begins its own.
func (s *source) follow(ev *event) {
	if ev.txn.kind == 0 {
		s.endGroup()
		return
	}
	if s.group.open && s.group.time == ev.time && s.group.id == transactionID(ev) {
		return
	}
	s.endGroup()
	s.group = group{open: true, time: ev.time, id: transactionID(ev), first: len(s.out.Changes)}
}

// transactionID is the session and its number of the transaction.
func transactionID(ev *event) string {
	n, _ := ev.txn.integer()
	var id []byte
	if ev.session.isDoc() {
		if v := lookup(ev.session.data, "id"); v.kind == bson.TypeBinary {
			id, _ = v.binary()
		}
	}
	return hex.EncodeToString(id) + ":" + strconv.FormatInt(n, 10)
}

// named is the captured table of that name, or nil. Also the changes of a halted
// one are numbered: it may not halt when they come again (G3).
func (s *source) named(db, collection []byte) *tracked {
	s.name = append(append(append(s.name[:0], db...), '.'), collection...)
	return s.tables[string(s.name)]
}

// row takes a change of one document.
func (s *source) row(ctx context.Context, ev *event) (hold bool, err error) {
	t := s.named(ev.db, ev.coll)
	if t == nil {
		return false, nil
	}
	s.at.seq++
	if t.halted || !s.skip.less(s.at) {
		return false, nil
	}
	if err := s.learn(ctx, t); err != nil {
		return false, err
	}
	c := schemas.Change{Table: t.table, Op: schemas.Update}
	for {
		m := rowMaker{plan: t.plan, mem: &s.mem}
		c.Table = t.table
		if err := s.images(&m, ev, &c); err != nil {
			return s.refuse(t, ev, err), nil
		}
		if len(m.found) == 0 {
			break
		}
		if len(s.out.Changes) > 0 {
			return true, nil
		}
		s.promote(t, m.found)
	}
	if c.Reread {
		s.calls++
	}
	s.lent += ev.size
	s.emit(ev, c)
	return false, nil
}

// refuse leaves a change out that has no place in its table's rows, and halts the
// table for it (G12). Not so if the log had it before Open: whoever started us may
// have cured the document since, and what the log holds of it comes all the same. In
// its place all rows are read from above that point; if one still cannot be read,
// the snapshot halts the table.
func (s *source) refuse(t *tracked, ev *event, err error) (hold bool) {
	switch at := s.at.position(s.epoch); {
	case ev.op == "delete": // a key without a text was never sent, so there is no row to delete
		s.env.Log.Warn("delete of a document without a row", "source", s.env.Source, "table", t.id(), "position", at.String(), "err", err)
	case s.at.time > s.opened:
		s.stop(t, ev, err)
	case t.renewed:
	case len(s.out.Changes) > 0:
		return true
	default:
		t.renewed = true
		s.env.Log.Warn("table is read again: a change from before the start cannot be carried", "source", s.env.Source, "table", t.id(), "position", at.String(), "err", err)
		v := t.version()
		v.Since = through(s.opened).position(s.epoch)
		s.announce(v)
	}
	return false
}

// images makes the rows before and after a change.
func (s *source) images(m *rowMaker, ev *event, c *schemas.Change) (err error) {
	c.After, c.Before, c.Reread = nil, s.imageBefore(m, ev), false
	switch ev.op {
	case "delete":
		c.Op = schemas.Delete
		if c.Before == nil {
			c.Before = m.mem.row(len(m.plan.table.Columns))
			return m.id(c.Before, ev.id)
		}
		return nil
	case "insert":
		c.Op = schemas.Create
	}
	switch {
	case ev.full.isDoc():
		c.After, err = m.full(ev.full.data)
		return errors.Join(err, m.conflict)
	case ev.op != "update" || !ev.delta.isDoc():
		return fmt.Errorf("its %s carries no document", ev.op)
	}
	c.After, err = m.delta(ev.id, ev.delta.data)
	c.Reread = true
	return errors.Join(err, m.conflict)
}

// imageBefore is the row of the document before a change, or nil. A document
// that cannot be read halted its table when it came; the change that corrects or
// removes it carries it once more, and is itself whole without it.
func (s *source) imageBefore(m *rowMaker, ev *event) schemas.Row {
	if !ev.before.isDoc() {
		return nil
	}
	old := rowMaker{plan: m.plan, mem: m.mem} // what only an old document has is no reason for a column
	row, err := old.full(ev.before.data)
	if err == nil {
		return row
	}
	t := s.named(ev.db, ev.coll)
	level := slog.LevelDebug
	if !t.unread { // it may be so for very many
		t.unread, level = true, slog.LevelWarn
	}
	s.env.Log.Log(context.Background(), level, "change is sent without the document before it, which cannot be read",
		"source", s.env.Source, "table", t.id(), "position", s.at.position(s.epoch).String(), "err", err)
	return nil
}

// stop halts a table for a document that has no place in its rows (G12).
func (s *source) stop(t *tracked, ev *event, err error) {
	id, bad := appendID(nil, ev.id)
	if bad != nil {
		id = []byte("?")
	}
	t.halted = true
	s.env.Halt(t.haltError(fmt.Errorf("document %s at %s: %w", id, s.at, err), badDocument))
}

const badDocument = "correct the document, then restart millrace: the table is then snapshotted again"

// emit gives c its place and appends it.
func (s *source) emit(ev *event, c schemas.Change) {
	c.Position, c.TsUs = s.at.position(s.epoch), ev.wall
	if s.group.open {
		s.group.order++
		c.TxID, c.TxOrder = s.group.id, s.group.order
	}
	s.out.Changes = append(s.out.Changes, c)
}

// emptied says that all rows of a table are gone. When the collection comes back,
// it is empty, and what it gets comes as changes.
func (s *source) emptied(t *tracked, ev *event) {
	if t == nil {
		return
	}
	s.at.seq++
	if !s.skip.less(s.at) {
		return
	}
	t.giveUp()
	if t.halted {
		return
	}
	s.env.Log.Warn("collection is gone at the source", "source", s.env.Source, "table", t.id(), "event", ev.op)
	s.emit(ev, schemas.Change{Table: t.table, Op: schemas.Truncate})
}

// renamed takes a rename: what goes away is as good as dropped, and what comes
// under a captured name brings rows that no event carries.
func (s *source) renamed(ev *event) (hold bool) {
	if to := s.named(ev.toDB, ev.to); to != nil {
		if len(s.out.Changes) > 0 {
			return true
		}
		s.at.seq++
		if s.skip.less(s.at) {
			to.giveUp()
		}
		if !to.halted && s.skip.less(s.at) {
			s.env.Log.Warn("another collection takes the name of a captured one, and is read whole",
				"source", s.env.Source, "table", to.id(), "from", string(slices.Concat(ev.db, []byte("."), ev.coll)))
			v := to.version()
			v.Since = s.at.position(s.epoch)
			s.announce(v)
			s.emit(ev, schemas.Change{Table: to.table, Op: schemas.Truncate})
		}
	}
	if t := s.named(ev.db, ev.coll); t != nil {
		s.env.Log.Warn("captured collection was renamed: its rows are gone until one of its name is there again",
			"source", s.env.Source, "table", t.id(), "to", string(slices.Concat(ev.toDB, []byte("."), ev.to)))
		s.emptied(t, ev)
	}
	return false
}

var _ producers.Source = (*source)(nil)
