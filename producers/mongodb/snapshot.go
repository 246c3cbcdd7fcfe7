package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/producers"
	"millrace/schemas"
)

// documentsAtOnce is how many one answer of the server holds, of at most 16 MB.
const documentsAtOnce = 1000

// emitRows and emitBytes bound what is handed to emit at once. sampleRows is how
// many documents are looked at before the first version of a table.
const (
	emitRows   = 1024
	emitBytes  = 1 << 20
	sampleRows = 500
)

// ReadChunk reads the next documents in the order of the index of _id, which
// holds all types of it, at one cluster time. A range of one type would miss the
// others, so the chunk begins at a bound of the index.
func (s *source) ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	r := chunkReader{source: s, table: t, emit: emit, limit: limit}
	find := bson.D{
		{Key: "find", Value: t.Name},
		{Key: "hint", Value: bson.D{{Key: idColumn, Value: 1}}},
		{Key: "sort", Value: bson.D{{Key: idColumn, Value: 1}}},
		{Key: "limit", Value: int64(limit) + 1},
	}
	if after != nil {
		id, err := parseID(after[0].Bytes)
		if err != nil {
			return producers.Chunk{}, err
		}
		r.after = after[0].Bytes // the bound itself is read once more
		find = append(find, bson.E{Key: "min", Value: id.under(idColumn)})
	}
	chunk, err := r.read(ctx, find)
	if errors.Is(err, producers.ErrEnough) {
		return chunk, nil
	}
	chunk.End = err == nil && r.seen <= limit
	return chunk, err
}

// ReadKeys reads the documents of the given keys, like a chunk.
func (s *source) ReadKeys(ctx context.Context, t *schemas.Table, keys [][]schemas.Cell, emit func([]schemas.Change) error) (producers.Chunk, error) {
	ids := bson.A{}
	for _, key := range keys {
		id, err := parseID(key[0].Bytes)
		if err != nil {
			return producers.Chunk{}, err
		}
		ids = append(ids, bson.RawValue{Type: id.kind, Value: id.data})
	}
	r := chunkReader{source: s, table: t, emit: emit, limit: len(keys)}
	chunk, err := r.read(ctx, bson.D{
		{Key: "find", Value: t.Name}, {Key: "filter", Value: bson.D{{Key: idColumn, Value: bson.D{{Key: "$in", Value: ids}}}}},
	})
	chunk.End = true
	return chunk, err
}

// chunkReader turns the documents of a query into changes.
type chunkReader struct {
	source *source
	table  *schemas.Table
	emit   func([]schemas.Change) error
	limit  int
	after  []byte

	maker rowMaker
	mem   arena
	point place
	batch []schemas.Change
	seen  int
	rows  int
	last  []byte
}

// read answers ErrEnough with what was read until emit did.
func (r *chunkReader) read(ctx context.Context, find bson.D) (producers.Chunk, error) {
	p := r.source.planOf(r.table)
	if p == nil {
		return producers.Chunk{}, fmt.Errorf("read %s: a newer version is on its way: %w", r.table.ID(), producers.ErrRewritten)
	}
	r.maker = rowMaker{plan: p, mem: &r.mem}
	err := r.source.query(ctx, r.table.Schema, find, func(at uint64, documents [][]byte) error {
		r.point = through(at)
		return r.take(documents)
	})
	if err != nil && !errors.Is(err, producers.ErrEnough) {
		return producers.Chunk{}, fmt.Errorf("read %s: %w", r.table.ID(), rightsError(err, r.table.Schema))
	}
	chunk := producers.Chunk{ReadPoint: r.point.position(r.source.epoch)}
	if r.last != nil {
		chunk.Last = []schemas.Cell{schemas.BytesCell(r.last)}
	}
	return chunk, err
}

// take emits documents. If one has a field that is to become a column, none of
// them is emitted: the version that has the column comes first.
func (r *chunkReader) take(documents [][]byte) error {
	for _, doc := range documents {
		r.seen++
		if r.rows == r.limit {
			continue
		}
		row, err := r.maker.full(doc)
		if err = errors.Join(err, r.maker.conflict); err != nil {
			return r.fault(doc, err)
		}
		if r.after != nil && string(row[idOrd].Bytes) == string(r.after) {
			continue
		}
		r.rows++
		r.last = append(r.last[:0], row[idOrd].Bytes...)
		r.batch = append(r.batch, schemas.Change{
			Table: r.table, Op: schemas.Read, Position: r.point.position(r.source.epoch), After: row,
			TsUs: int64(r.point.time>>32) * 1e6, //nolint:gosec // 32 bits
		})
		if len(r.maker.found) == 0 && (len(r.batch) >= emitRows || len(r.mem.bytes) >= emitBytes) {
			if err := r.flush(); err != nil {
				return err
			}
		}
	}
	if len(r.maker.found) > 0 {
		return r.source.report(r.table, r.maker.found)
	}
	return r.flush()
}

func (r *chunkReader) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	err := r.emit(r.batch)
	r.batch = r.batch[:0]
	r.mem.reset()
	return err
}

func (r *chunkReader) fault(doc []byte, err error) error {
	id, bad := appendID(nil, lookup(doc, idColumn))
	if bad != nil {
		id = []byte("?")
	}
	return &producers.HaltError{Table: r.table.ID(), Err: fmt.Errorf("document %s: %w", id, err), Hint: badDocument}
}

// query runs a find at a cluster time that the server chooses, and hands over its
// documents, answer by answer, with that time.
func (s *source) query(ctx context.Context, db string, find bson.D, take func(at uint64, documents [][]byte) error) error {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return fmt.Errorf("start a session: %w", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	ctx = mongo.NewSessionContext(ctx, session)
	at := s.client.Database(db)
	reply, err := run(ctx, at, append(slices.Clone(find),
		bson.E{Key: "batchSize", Value: documentsAtOnce}, bson.E{Key: "readConcern", Value: bson.D{{Key: "level", Value: "snapshot"}}}))
	if err != nil {
		return err
	}
	point, ok := lookup(lookup(reply, "cursor").data, "atClusterTime").timestamp()
	if !ok {
		return errors.New("the server does not say at which cluster time it read")
	}
	for batch := "firstBatch"; ; batch = "nextBatch" {
		cursor := lookup(reply, "cursor").data
		var documents [][]byte
		e := fields(lookup(cursor, batch).data)
		for e.next() {
			documents = append(documents, e.val.data)
		}
		if e.err != nil {
			return e.err
		}
		id, _ := lookup(cursor, "id").integer()
		if err := take(point, documents); err != nil {
			s.forget(ctx, at, find, id)
			return err
		}
		if id == 0 {
			return nil
		}
		if reply, err = run(ctx, at, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: find[0].Value}, {Key: "batchSize", Value: documentsAtOnce}}); err != nil {
			return err
		}
	}
}

// forget frees what a query that ended early holds at the server.
func (s *source) forget(ctx context.Context, db *mongo.Database, find bson.D, cursor int64) {
	if cursor == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, _ = run(ctx, db, bson.D{{Key: "killCursors", Value: find[0].Value}, {Key: "cursors", Value: bson.A{cursor}}}) // else it ends by itself
}

// sample looks at some documents for fields to promote, so that most columns are
// there with the first version. Whatever else turns up is a version of its own.
func (s *source) sample(ctx context.Context, t *tracked) ([]Column, error) {
	if !t.cfg.Promote {
		return nil, nil
	}
	probe := tracked{cfg: t.cfg, db: t.db, collection: t.collection}
	s.take(&probe, nil)
	var mem arena
	m := rowMaker{plan: probe.plan, mem: &mem}
	reply, err := run(ctx, s.client.Database(t.db), bson.D{{Key: "find", Value: t.collection}, {Key: "limit", Value: sampleRows}, {Key: "singleBatch", Value: true}, {Key: "batchSize", Value: sampleRows}})
	if err != nil {
		return nil, rightsError(err, t.db)
	}
	for e := fields(lookup(lookup(reply, "cursor").data, "firstBatch").data); e.next(); {
		for f := fields(e.val.data); f.next(); {
			m.look(f.key, f.val)
		}
	}
	var out []Column
	for _, f := range m.found {
		out = append(out, Column{Name: f.name, Type: f.typ})
	}
	return out, nil
}
