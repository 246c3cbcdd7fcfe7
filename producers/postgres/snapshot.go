package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"millrace/producers"
	"millrace/schemas"
)

// Bounds of what emit is handed at once.
const (
	emitRows  = 1024
	emitBytes = 1 << 20
)

// snapshots reads rows beside the stream, each chunk at a read point of its
// own. It may be used from several goroutines; each reader is one pair of
// connections and one temporary slot.
type snapshots struct {
	dsn         string
	slot        string
	publication string
	epoch       uint32
	configured  []TableConfig
	types       *types
	wait        time.Duration // for a slot
	exported    func()        // what a test does between the slot and the lock; nil otherwise

	mu     sync.Mutex
	idle   []*reader
	made   int
	closed bool
}

// reader is a connection for rows, and one that exports the snapshot at which
// they are read.
type reader struct {
	sql  *pgx.Conn
	repl *pgconn.PgConn
	slot string
}

// rowSettings are those of connections for rows. A chunk is read by the index of
// the key. To a planner that knows nothing of a new table, a large chunk is cheaper
// if all of the table is read and sorted, for every chunk again; and it would
// compile what it takes to be dear.
var rowSettings = map[string]string{"enable_sort": "off", "jit": "off"}

// ReadChunk reads the next rows of a table in key order.
func (s *Source) ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	rest, err := chunkSQL(t, after, limit)
	if err != nil {
		return producers.Chunk{}, err
	}
	if len(t.Key) == 0 {
		limit = 0
	}
	out, err := s.snapshots.read(ctx, t, rest, limit, emit)
	if err != nil {
		return producers.Chunk{}, fmt.Errorf("read a chunk of %s: %w", t.ID(), err)
	}
	return out, nil
}

// ReadKeys reads the rows of some keys.
func (s *Source) ReadKeys(ctx context.Context, t *schemas.Table, keys [][]schemas.Cell, emit func([]schemas.Change) error) (producers.Chunk, error) {
	if len(t.Key) == 0 || len(keys) == 0 {
		return producers.Chunk{}, fmt.Errorf("read keys of %s: it has none, or none are asked for", t.ID())
	}
	rest, err := keysSQL(t, keys)
	if err != nil {
		return producers.Chunk{}, err
	}
	out, err := s.snapshots.read(ctx, t, rest, 0, emit)
	if err != nil {
		return producers.Chunk{}, fmt.Errorf("read keys of %s: %w", t.ID(), err)
	}
	return out, nil
}

// read reads rows at a new read point: limit of them, of which emit may have enough
// before, or all of them if that is 0. The order is what makes it right: the
// filenodes, then the slot with its snapshot, then the lock and the rows, then the
// filenodes again. A rewrite or TRUNCATE that commits between the slot and the lock
// leaves nothing that the snapshot could see, without an error; one that waits for
// the lock comes after the rows.
func (sn *snapshots) read(ctx context.Context, t *schemas.Table, rest string, limit int, emit func([]schemas.Change) error) (_ producers.Chunk, err error) {
	r, err := sn.take(ctx)
	if err != nil {
		return producers.Chunk{}, err
	}
	defer func() { sn.put(r, err) }()
	c := TableConfig{Name: t.ID()}
	if i := slices.IndexFunc(sn.configured, func(c TableConfig) bool { return c.Name == t.ID() }); i >= 0 {
		c = sn.configured[i]
	}
	nodes, err := filenodes(ctx, r.sql, t)
	if err != nil {
		return producers.Chunk{}, err
	}
	lsn, snapshot, err := createSlot(ctx, r.repl, r.slot, true, sn.wait)
	if err != nil {
		return producers.Chunk{}, err
	}
	if sn.exported != nil {
		sn.exported()
	}
	tx, err := r.begin(ctx, snapshot)
	if err != nil {
		return producers.Chunk{}, err
	}
	defer func() {
		if err != nil && !r.sql.IsClosed() {
			_ = tx.Rollback(context.WithoutCancel(ctx))
		}
	}()
	d, err := sn.describe(ctx, tx, t, c)
	if err != nil {
		return producers.Chunk{}, err
	}
	chunk := producers.Chunk{ReadPoint: schemas.Position{Epoch: sn.epoch, Major: lsn}}
	w := &rowReader{t: t, types: d.types, at: chunk.ReadPoint, tsUs: d.clockUs, emit: emit}
	enough, err := r.copy(ctx, w, "COPY ("+selectSQL(t, d.plain)+rest+") TO STDOUT", limit > 0)
	if err != nil {
		return producers.Chunk{}, rewritten(err)
	}
	after, err := filenodes(ctx, tx, t)
	if err != nil {
		return producers.Chunk{}, err
	}
	if !maps.Equal(nodes, after) {
		return producers.Chunk{}, producers.ErrRewritten
	}
	if err := tx.Commit(ctx); err != nil {
		return producers.Chunk{}, fmt.Errorf("end the snapshot: %w", err)
	}
	chunk.Last, chunk.End = w.last, limit == 0 || !enough && w.rows < limit
	return chunk, nil
}

// begin imports the snapshot; the slot that exported it is dropped at once, so
// that it holds no log back while the rows are read.
func (r *reader) begin(ctx context.Context, snapshot string) (pgx.Tx, error) {
	tx, err := r.sql.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin the snapshot: %w", err)
	}
	if _, err = tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+quoteText(snapshot)); err == nil {
		_, err = r.repl.Exec(ctx, "DROP_REPLICATION_SLOT "+r.slot).ReadAll()
	}
	if err != nil {
		if !r.sql.IsClosed() {
			_ = tx.Rollback(context.WithoutCancel(ctx))
		}
		return nil, fmt.Errorf("import the snapshot: %w", err)
	}
	return tx, nil
}

// description is what the snapshot says about the table.
type description struct {
	types   []valueType
	plain   bool // no partitioned table
	clockUs int64
}

// describe takes the table's lock and refuses a table that is not, or no
// longer, the version t: the stream will bring the new one. The catalog in the
// snapshot says what the table was at the read point, the prepared statement
// what it is now, under the lock.
func (sn *snapshots) describe(ctx context.Context, tx pgx.Tx, t *schemas.Table, c TableConfig) (description, error) {
	var d description
	cats, err := readCatalog(ctx, tx, sn.publication, []TableConfig{c})
	if err != nil {
		return d, err
	}
	cat := cats[c.Name]
	if cat == nil || len(cat.Columns) != len(t.Columns) {
		return d, producers.ErrRewritten
	}
	d.plain = cat.Kind == "r"
	for i, col := range cat.Columns {
		vt, err := sn.types.resolve(ctx, tx, col.TypeOID, col.Typmod)
		if err != nil {
			return d, err
		}
		if slices.Contains(c.Text, col.Name) {
			vt = textType
		}
		if col.Name != t.Columns[i].Name || vt.Type != t.Columns[i].Type {
			return d, producers.ErrRewritten
		}
		d.types = append(d.types, vt)
	}
	// Comparisons of the key use the operators of its types, wherever they are.
	path := []string{"pg_catalog"}
	for _, k := range t.Key {
		if s := cat.Columns[k].TypeSchema; !slices.Contains(path, quote(s)) && s != "pg_catalog" {
			path = append(path, quote(s))
		}
	}
	if len(path) > 1 {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = "+strings.Join(path, ", ")); err != nil {
			return d, fmt.Errorf("set the search path: %w", err)
		}
	}
	var clock time.Time
	if err := tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&clock); err != nil {
		return d, fmt.Errorf("read the clock: %w", err)
	}
	d.clockUs = clock.UnixMicro()
	now, err := tx.Conn().PgConn().Prepare(ctx, "", selectSQL(t, d.plain), nil)
	if err != nil {
		return d, rewritten(err)
	}
	var oid uint32 // of what the name means now, which the lock keeps
	if err := tx.QueryRow(ctx, "SELECT coalesce(to_regclass($1)::oid, 0)", quoteName(t.Schema, t.Name)).Scan(&oid); err != nil {
		return d, fmt.Errorf("look the table up: %w", err)
	}
	if oid != cat.OID {
		return d, producers.ErrRewritten
	}
	for i, f := range now.Fields {
		oid, typmod, err := sn.types.base(ctx, tx, cat.Columns[i].TypeOID, cat.Columns[i].Typmod)
		if err != nil {
			return d, err
		}
		if f.DataTypeOID != oid || f.TypeModifier != typmod {
			return d, producers.ErrRewritten
		}
	}
	return d, nil
}

// rewritten turns the server's word for a table that is not what it was into
// ErrRewritten, and its refusal into a HaltError.
func rewritten(err error) error {
	switch code(err) {
	case codeNoColumn, codeNoTable, codeUndefinedFunc:
		return fmt.Errorf("%w: %w", producers.ErrRewritten, err)
	case codeNoPrivilege:
		return &producers.HaltError{Err: err, Hint: "grant the role of the dsn SELECT on the table; with row level security, ALTER ROLE … BYPASSRLS"}
	}
	return err
}

// filenodes are the files of the table, or of each of its leaf partitions, as
// they are now: the function reads the newest catalog, also inside a snapshot.
func filenodes(ctx context.Context, q querier, t *schemas.Table) (map[uint32]uint32, error) {
	rows, err := q.Query(ctx, `WITH RECURSIVE tree AS (
			SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
			UNION ALL SELECT c.oid, c.relkind FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid AND tree.relkind = 'p' JOIN pg_class c ON c.oid = i.inhrelid
		) SELECT oid, coalesce(pg_relation_filenode(oid), 0) FROM tree WHERE relkind <> 'p'`, t.Schema, t.Name)
	if err != nil {
		return nil, fmt.Errorf("read filenodes: %w", err)
	}
	out := map[uint32]uint32{}
	var oid, node uint32
	if _, err := pgx.ForEachRow(rows, []any{&oid, &node}, func() error { out[oid] = node; return nil }); err != nil {
		return nil, fmt.Errorf("read filenodes: %w", err)
	}
	return out, nil
}

// rowReader makes changes of rows.
type rowReader struct {
	t     *schemas.Table
	types []valueType
	at    schemas.Position
	tsUs  int64
	emit  func([]schemas.Change) error

	arena   arena
	changes []schemas.Change
	rows    int
	last    []schemas.Cell
}

func (w *rowReader) row(fields []field) error {
	if len(fields) == 1 && len(w.types) == 0 && len(fields[0].data) == 0 {
		fields = nil // a table without columns
	}
	if len(fields) != len(w.types) {
		return fmt.Errorf("%w: a row has %d fields, not %d", errCopy, len(fields), len(w.types))
	}
	row := w.arena.row(len(fields))
	for i, f := range fields {
		if f.kind == fieldNull {
			row[i] = schemas.NullCell()
			continue
		}
		c, err := w.types[i].cell(f.data, &w.arena)
		if err != nil {
			var key []string
			for _, k := range w.t.Key {
				key = append(key, w.t.Columns[k].Name+"="+string(fields[k].data))
			}
			return badValue(w.t, i, strings.Join(key, ", "), f.data, err)
		}
		row[i] = c
	}
	w.rows++
	w.changes = append(w.changes, schemas.Change{Table: w.t, Op: schemas.Read, Position: w.at, TsUs: w.tsUs, After: row})
	if len(w.changes) >= emitRows || w.arena.used >= emitBytes {
		return w.flush()
	}
	return nil
}

func (w *rowReader) flush() error {
	if len(w.changes) == 0 {
		return nil
	}
	if len(w.t.Key) > 0 {
		row := w.changes[len(w.changes)-1].After
		key := make([]schemas.Cell, len(w.t.Key))
		for i, k := range w.t.Key {
			key[i] = row[k]
		}
		w.last = cloneCells(key)
	}
	if err := w.emit(w.changes); err != nil {
		return err
	}
	w.changes = w.changes[:0]
	w.arena.reset()
	return nil
}

// take returns a reader, a new one if all are in use.
func (sn *snapshots) take(ctx context.Context) (*reader, error) {
	sn.mu.Lock()
	if sn.closed {
		sn.mu.Unlock()
		return nil, errors.New("the source is closed")
	}
	if n := len(sn.idle); n > 0 {
		r := sn.idle[n-1]
		sn.idle = sn.idle[:n-1]
		sn.mu.Unlock()
		return r, nil
	}
	sn.made++
	n := sn.made
	sn.mu.Unlock()
	sql, err := dial(ctx, sn.dsn, rowSettings)
	if err != nil {
		return nil, err
	}
	repl, _, err := dialReplication(ctx, sn.dsn)
	if err != nil {
		_ = sql.Close(ctx)
		return nil, err
	}
	base := sn.slot
	if len(base) > maxIdentifier-20 {
		base = base[:maxIdentifier-20]
	}
	return &reader{sql: sql, repl: repl, slot: fmt.Sprintf("%s_%d_%d", base, repl.PID(), n)}, nil
}

// put takes a reader back. After a fault its connections end, and with them
// its slot.
func (sn *snapshots) put(r *reader, err error) {
	sn.mu.Lock()
	keep := err == nil && !sn.closed
	if keep {
		sn.idle = append(sn.idle, r)
	}
	sn.mu.Unlock()
	if !keep {
		r.close()
	}
}

func (r *reader) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.sql.Close(ctx)
	_ = r.repl.Close(ctx)
}

func (sn *snapshots) close() {
	sn.mu.Lock()
	idle := sn.idle
	sn.idle, sn.closed = nil, true
	sn.mu.Unlock()
	for _, r := range idle {
		r.close()
	}
}
