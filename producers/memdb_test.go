package producers

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"

	"millrace/schemas"
)

// errGone is the reason when the log was acknowledged beyond what is asked for.
var errGone = errors.New("the log is gone")

// memDB is a database in memory with a log, and its own history for the checks.
// Tables have the columns id, v and big; a change may leave big out.
type memDB struct {
	mu     sync.Mutex
	seed   uint64
	rng    *rand.Rand // of those who write
	epoch  uint32
	lsn    uint64
	value  int64
	tables map[string]*memTable
	log    []memTxn
	acked  uint64 // the log up to it may be gone
	began  uint64 // what lies at or below it, only snapshots bring
	names  []string
}

type memRow struct {
	v   int64
	big string
}

type memTable struct {
	name       string
	version    int
	generation int
	columns    int // 3, and one more for each that was added
	since      schemas.Position
	rewrites   int
	rows       map[int64]memRow
	history    map[int64][]memEntry
	keyless    bool
	deltas     bool // its log carries what is left out only if the row is read again
}

type memEntry struct {
	pos  schemas.Position
	live bool
	row  memRow
}

// memItem is a change of the log, or a version that takes effect there.
type memItem struct {
	table   string
	version int
	since   schemas.Position
	columns int
	gen     int
	op      schemas.Op // zero: only the version
	pos     schemas.Position
	key     int64
	other   int64 // of a key change; -1: none
	row     memRow
	unset   bool
	reread  bool // what is unset has changed too
}

type memTxn struct {
	end   uint64
	items []memItem
}

func newMemDB(seed uint64, names ...string) *memDB {
	db := &memDB{seed: seed, rng: rand.New(rand.NewPCG(seed, 77)), epoch: 1, lsn: 10, tables: make(map[string]*memTable), names: names}
	for _, n := range names {
		db.tables[n] = &memTable{name: n, version: 1, generation: 1, columns: 3, rows: map[int64]memRow{}, history: map[int64][]memEntry{}}
	}
	return db
}

// end is where the log ends.
func (db *memDB) end() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.lsn
}

// lose forgets the log.
func (db *memDB) lose() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.lsn++
	db.acked = db.lsn
}

func (db *memDB) id(name string) string { return "public." + name }

// table is a version of a table as the source announces it.
func (db *memDB) table(name, topic string, generation, columns int, keyless bool) *schemas.Table {
	t := &schemas.Table{Source: "mem", DB: "db", Schema: "public", Name: name, Topic: topic, Generation: generation, Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "v", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "big", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
	}}
	if keyless {
		t.Key = nil
	}
	for i := 3; i < columns; i++ {
		t.Columns = append(t.Columns, schemas.Column{Name: fmt.Sprint("c", i), Type: schemas.Type{Kind: schemas.Int}})
	}
	return t
}

// begin starts a transaction; commit gives it to the log.
type memWriter struct {
	db  *memDB
	txn memTxn
}

func (db *memDB) transact(do func(*memWriter)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.lsn++
	w := &memWriter{db: db, txn: memTxn{end: db.lsn}}
	do(w)
	db.log = append(db.log, w.txn)
}

func (w *memWriter) pos() schemas.Position {
	return schemas.Position{Epoch: w.db.epoch, Major: w.txn.end, Minor: uint64(len(w.txn.items) + 1), Seq: 1}
}

func (w *memWriter) emit(t *memTable, op schemas.Op, key, other int64, row memRow, unset bool) {
	it := memItem{table: t.name, version: t.version, since: t.since, columns: t.columns, gen: t.generation, op: op, pos: w.pos(), key: key, other: other, row: row, unset: unset}
	w.txn.items = append(w.txn.items, it)
	t.set(key, it.pos, op != schemas.Delete, row)
}

func (t *memTable) set(key int64, pos schemas.Position, live bool, row memRow) {
	if live {
		t.rows[key] = row
	} else {
		delete(t.rows, key)
	}
	t.history[key] = append(t.history[key], memEntry{pos, live, row})
}

func (w *memWriter) put(name string, key int64) {
	t := w.db.tables[name]
	if _, live := t.rows[key]; !live {
		w.db.value++
		w.emit(t, schemas.Create, key, -1, memRow{v: w.db.value, big: "big" + strconv.FormatInt(w.db.value, 10)}, false)
		return
	}
	w.update(name, key, w.db.rng.IntN(2) == 0)
}

// update changes v; big may be left out, as it does not change then.
func (w *memWriter) update(name string, key int64, unset bool) {
	t := w.db.tables[name]
	w.db.value++
	row := memRow{v: w.db.value, big: "big" + strconv.FormatInt(w.db.value, 10)}
	if unset {
		row.big = t.rows[key].big
	}
	w.emit(t, schemas.Update, key, -1, row, unset)
	w.txn.items[len(w.txn.items)-1].reread = unset && t.deltas
}

func (w *memWriter) remove(name string, key int64) {
	if t := w.db.tables[name]; t.rows[key] != (memRow{}) {
		w.emit(t, schemas.Delete, key, -1, memRow{}, false)
	}
}

// move changes a key; big is not logged, as the log leaves out what did not change.
func (w *memWriter) move(name string, from, to int64) {
	t := w.db.tables[name]
	row, live := t.rows[from]
	if _, taken := t.rows[to]; !live || taken || from == to {
		return
	}
	w.emit(t, schemas.Delete, from, to, memRow{}, false)
	w.emit(t, schemas.Create, to, from, row, true)
}

// patch changes both columns, of which the log carries one: the row is to be read
// again. From then on each update of the table that leaves one out asks for that.
func (w *memWriter) patch(name string, key int64) {
	t := w.db.tables[name]
	if _, live := t.rows[key]; !live || t.keyless {
		return
	}
	t.deltas = true
	w.db.value++
	w.emit(t, schemas.Update, key, -1, memRow{v: w.db.value, big: "patched" + strconv.FormatInt(w.db.value, 10)}, true)
	w.txn.items[len(w.txn.items)-1].reread = true
}

func (w *memWriter) truncate(name string) {
	t := w.db.tables[name]
	it := memItem{table: name, version: t.version, since: t.since, columns: t.columns, gen: t.generation, op: schemas.Truncate, pos: w.pos(), other: -1}
	w.txn.items = append(w.txn.items, it)
	for key := range maps.Clone(t.rows) {
		t.set(key, it.pos, false, memRow{})
	}
	t.rewrites++
}

// addColumn makes a new version; rewrite changes every row without an event.
func (w *memWriter) addColumn(name string, rewrite bool) {
	t := w.db.tables[name]
	t.version++
	t.columns++
	if rewrite {
		t.since = w.pos()
		t.rewrites++
		for key, row := range maps.Clone(t.rows) {
			w.db.value++
			row.v = w.db.value
			t.set(key, t.since, true, row)
		}
	}
	w.txn.items = append(w.txn.items, memItem{table: name, version: t.version, since: t.since, columns: t.columns, gen: t.generation, pos: w.pos(), other: -1})
}

// renew makes a new generation, as a new key does.
func (w *memWriter) renew(name string) {
	w.db.tables[name].generation++
	w.addColumn(name, true)
}

// at is the row as of a position.
func (t *memTable) at(key int64, p schemas.Position) (memRow, bool) {
	h := t.history[key]
	for i := len(h) - 1; i >= 0; i-- {
		if !p.Less(h[i].pos) {
			return h[i].row, h[i].live
		}
	}
	return memRow{}, false
}

// random is one random transaction over the keys.
func (db *memDB) random(keys int64, ddl bool) {
	db.transact(func(w *memWriter) {
		for range 1 + db.rng.IntN(4) {
			name := db.names[db.rng.IntN(len(db.names))]
			key := db.rng.Int64N(keys)
			switch n := db.rng.IntN(100); {
			case n < 15:
				w.remove(name, key)
			case n < 30:
				w.move(name, key, db.rng.Int64N(keys))
			case n < 32:
				w.truncate(name)
			case n < 34 && ddl:
				w.addColumn(name, db.rng.IntN(2) == 0)
			case n < 36:
				w.remove(name, key)
				w.put(name, key)
			case n < 44 && name != db.names[0]: // the first is as the table of a log that leaves out what did not change
				w.patch(name, key)
			default:
				w.put(name, key)
			}
		}
	})
}
