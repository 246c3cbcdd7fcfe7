package producers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"millrace/schemas"
)

// memConfig opens a memDB. hook, if set, is asked at every effect of the source.
type memConfig struct {
	db   *memDB
	hook func(effect string) error
	halt string // a table that cannot be captured
	gone string // a table that was dropped
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
		if n == c.gone {
			v.Dropped = true
			s.pending = append(s.pending, v)
		}
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
		for i := range out { // lent until emit returns
			for _, c := range out[i].After {
				for k := range c.Bytes {
					c.Bytes[k] = '!'
				}
			}
			clear(out[i].After)
			out[i] = schemas.Change{}
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
