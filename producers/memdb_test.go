package producers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

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

// memConfig opens a memDB. hook, if set, is asked at every effect of the source.
type memConfig struct {
	db   *memDB
	hook func(effect string) error
	halt string // a table that cannot be captured
}

func (c *memConfig) Validate() error { return nil }

func (c *memConfig) Open(_ context.Context, from Start, env Env) (Source, error) {
	if err := c.effect("open"); err != nil {
		return nil, err
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	s := &memSource{cfg: c, db: c.db, rng: rand.New(rand.NewPCG(c.db.seed, 78)), env: env, versions: make(map[string]int), tables: make(map[string]*schemas.Table)}
	if c.halt != "" {
		env.Halt(&HaltError{Table: c.db.id(c.halt), Err: errors.New("no key"), Hint: "add one"})
	}
	if from.Token == "" {
		c.db.epoch = from.Epoch
		s.at, c.db.began = c.db.lsn, c.db.lsn
		for _, n := range c.db.names {
			if n == c.halt {
				continue
			}
			t, since := c.db.tables[n], schemas.Position{}
			if _, known := from.Tables[c.db.id(n)]; known {
				since = s.end(s.at)
			}
			s.pending = append(s.pending, s.version(n, t.version, t.columns, t.generation, since, t.keyless))
		}
		return s, nil
	}
	at, err := strconv.ParseUint(string(from.Token), 10, 64)
	if err != nil {
		return nil, err
	}
	if at < c.db.acked {
		return nil, &HaltError{Err: fmt.Errorf("%w: up to %d, and %d is asked for", errGone, c.db.acked, at), Hint: "G1 was violated"}
	}
	s.at = at
	for _, n := range c.db.names {
		v, ok := from.Tables[c.db.id(n)]
		if !ok {
			// As a source does that finds a table it was not given: it begins here.
			t := c.db.tables[n]
			if n != c.halt {
				s.pending = append(s.pending, s.version(n, t.version, t.columns, t.generation, schemas.Position{}, t.keyless))
			}
			continue
		}
		s.versions[n], _ = strconv.Atoi(string(v.State))
		s.tables[n] = v.Table
	}
	return s, nil
}

func (c *memConfig) effect(name string) error {
	if c.hook == nil {
		return nil
	}
	return c.hook(name)
}

type memSource struct {
	cfg      *memConfig
	db       *memDB
	rng      *rand.Rand
	env      Env
	at       uint64 // the end of the last transaction that was read
	inside   int    // items read of the next one
	versions map[string]int
	tables   map[string]*schemas.Table
	pending  []TableVersion
	closed   bool
}

func (s *memSource) version(name string, version, columns, generation int, since schemas.Position, keyless bool) TableVersion {
	t := s.db.table(name, s.env.Topic("public", name, generation), generation, columns, keyless)
	s.versions[name], s.tables[name] = version, t
	return TableVersion{Table: t, State: strconv.AppendInt(nil, int64(version), 10), Since: since}
}

func (s *memSource) token() schemas.Token {
	return schemas.Token(strconv.FormatUint(s.at, 10))
}

func (s *memSource) Next(ctx context.Context) (Batch, error) {
	if err := s.cfg.effect("next"); err != nil {
		return Batch{}, err
	}
	if len(s.pending) > 0 {
		b := Batch{Tables: s.pending, Resume: s.token()}
		s.pending = nil
		return b, nil
	}
	for idle := 0; ; idle++ {
		if b, ok := s.read(idle >= 5); ok {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *memSource) read(idle bool) (Batch, bool) {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.db.log, s.at, func(t memTxn, at uint64) int {
		if t.end <= at {
			return -1
		}
		return 1
	})
	var b Batch
	if i == len(s.db.log) {
		if !idle {
			return b, false
		}
		s.at = s.db.lsn
		b.Resume = s.token()
		b.Complete = schemas.Progress{Pos: s.end(s.at), Time: time.Now()}
		return b, true
	}
	for n := 1 + s.rng.IntN(6); n > 0 && i < len(s.db.log); n-- {
		txn := &s.db.log[i]
		if s.inside < len(txn.items) {
			it := &txn.items[s.inside]
			name := it.table
			if s.versions[name] < it.version {
				if len(b.Changes) > 0 {
					return b, true // a version stands before the changes of its batch
				}
				t := s.db.tables[name]
				b.Tables = append(b.Tables, s.version(name, it.version, it.columns, it.gen, it.since, t.keyless))
			}
			if it.op != 0 && name != s.cfg.halt {
				b.Changes = append(b.Changes, s.change(it))
			}
			s.inside++
		}
		if s.inside == len(txn.items) {
			s.at, s.inside = txn.end, 0
			b.Resume = s.token()
			b.Complete.Pos = s.end(s.at)
			i++
		} else {
			b.Resume = ""
		}
	}
	return b, true
}

// end is above all of the transaction that ended there.
func (s *memSource) end(lsn uint64) schemas.Position {
	return schemas.Position{Epoch: s.db.epoch, Major: lsn, Minor: ^uint64(0), Seq: ^uint32(0)}
}

func (s *memSource) change(it *memItem) schemas.Change {
	t := s.tables[it.table]
	c := schemas.Change{Table: t, Op: it.op, Position: it.pos, TsUs: 5, Reread: it.reread, TxID: strconv.FormatUint(it.pos.Major, 10)}
	switch it.op {
	case schemas.Delete:
		c.Before = memCells(t, it.key, memRow{})
		for i := 1; i < len(c.Before); i++ {
			c.Before[i] = schemas.Cell{}
		}
	case schemas.Truncate:
	default:
		c.After = memCells(t, it.key, it.row)
		if it.unset {
			c.After[2] = schemas.Cell{}
		}
	}
	if it.other >= 0 {
		c.OtherKey = memCells(t, it.other, memRow{})
	}
	return c
}

func memCells(t *schemas.Table, key int64, row memRow) schemas.Row {
	out := schemas.Row{schemas.IntCell(key), schemas.IntCell(row.v), schemas.BytesCell([]byte(row.big))}
	for range len(t.Columns) - 3 {
		out = append(out, schemas.NullCell())
	}
	return out
}

func (s *memSource) Ack(_ context.Context, token schemas.Token) error {
	if err := s.cfg.effect("ack"); err != nil {
		return err
	}
	at, err := strconv.ParseUint(string(token), 10, 64)
	if err != nil {
		return err
	}
	s.db.mu.Lock()
	s.db.acked = max(s.db.acked, at)
	s.db.mu.Unlock()
	return s.cfg.effect("acked")
}

func (s *memSource) Close() error {
	if s.closed {
		return errors.New("closed twice")
	}
	s.closed = true
	return nil
}

func (s *memSource) ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (Chunk, error) {
	return s.rows(ctx, t, emit, func(rows map[int64]memRow) (keys []int64, end bool) {
		keys = slices.Sorted(maps.Keys(rows))
		if after != nil {
			i, found := slices.BinarySearch(keys, after[0].Int)
			if found {
				i++
			}
			keys = keys[i:]
		}
		if len(t.Key) == 0 {
			return keys, true
		}
		return keys[:min(limit, len(keys))], len(keys) <= limit
	})
}

func (s *memSource) ReadKeys(ctx context.Context, t *schemas.Table, wanted [][]schemas.Cell, emit func([]schemas.Change) error) (Chunk, error) {
	return s.rows(ctx, t, emit, func(rows map[int64]memRow) (keys []int64, end bool) {
		for _, k := range wanted {
			if _, ok := rows[k[0].Int]; ok {
				keys = append(keys, k[0].Int)
			}
		}
		return keys, true
	})
}

func (s *memSource) rows(ctx context.Context, t *schemas.Table, emit func([]schemas.Change) error, choose func(map[int64]memRow) ([]int64, bool)) (Chunk, error) {
	if err := s.cfg.effect("chunk"); err != nil {
		return Chunk{}, err
	}
	s.db.mu.Lock()
	table := s.db.tables[t.Name]
	s.db.lsn++
	chunk := Chunk{ReadPoint: schemas.Position{Epoch: s.db.epoch, Major: s.db.lsn}}
	rows, rewrites := maps.Clone(table.rows), table.rewrites
	s.db.mu.Unlock()
	if err := s.cfg.effect("point"); err != nil {
		return Chunk{}, err
	}
	keys, end := choose(rows)
	chunk.End = end
	for part := range slices.Chunk(keys, 3) {
		var out []schemas.Change
		for _, key := range part {
			out = append(out, schemas.Change{Table: t, Op: schemas.Read, Position: chunk.ReadPoint, After: memCells(t, key, rows[key])})
			chunk.Last = []schemas.Cell{schemas.IntCell(key)}
		}
		if err := emit(out); err != nil {
			return Chunk{}, err
		}
		if err := ctx.Err(); err != nil {
			return Chunk{}, err
		}
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if table.rewrites != rewrites {
		return Chunk{}, ErrRewritten
	}
	return chunk, s.cfg.effect("chunked")
}
