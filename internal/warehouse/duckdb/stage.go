package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	dk "github.com/duckdb/duckdb-go/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// stageFunction is the table function that hands a batch's rows to DuckDB. Rows
// go into its vectors one value at a time, without a boxed value.
const stageFunction = "millrace_stage"

type stageKey struct{}

// registerStage makes the function, once for the database. Which rows it hands
// out is in the context of the statement that calls it.
func registerStage(conn *sql.Conn) error {
	return dk.RegisterTableUDF(conn, stageFunction, dk.ChunkTableFunction{
		BindArgumentsContext: func(ctx context.Context, _ map[string]any, _ ...any) (dk.ChunkTableSource, error) {
			s, ok := ctx.Value(stageKey{}).(*stageSource)
			if !ok {
				return nil, errors.New("the function belongs to loads")
			}
			return s, nil
		},
	})
}

// stage fills a new stage from the batch, returns how many rows it holds, and
// notes in c whether a key is null.
func (w *Warehouse) stage(ctx context.Context, conn *sql.Conn, c *sqlgen.Core, b *warehouse.Batch) (int64, error) {
	if _, err := conn.ExecContext(ctx, c.CreateStage()); err != nil {
		return 0, fmt.Errorf("make the stage: %w", err)
	}
	if b.Rows == nil {
		return 0, nil
	}
	b.Rows.Reset()
	src, err := newStageSource(c, b)
	if err != nil {
		return 0, fmt.Errorf("lay out the stage: %w", err)
	}
	_, err = conn.ExecContext(context.WithValue(ctx, stageKey{}, src), c.FillStage(stageFunction))
	if src.err != nil {
		err = src.err // DuckDB's error repeats it as text
	}
	if refuses(err) {
		err = w.findRefused(ctx, conn, c, b, err)
	}
	if err != nil {
		return 0, fmt.Errorf("fill the stage: %w", err)
	}
	c.NullKeys = src.sink.nullKeys
	w.metrics.stagedRows.Add(float64(src.rows))
	return src.rows, nil
}

// stageSource writes the rows of a batch into the chunks that DuckDB hands it,
// in one thread.
type stageSource struct {
	rows   int64
	err    error
	batch  *warehouse.Batch
	infos  []dk.ColumnInfo
	sink   chunkSink
	at     []atColumn // staged columns that may be unset
	always []int      // batch ordinals of columns that are never unset
	values []int      // batch ordinals of columns that a delete does not carry
	meta   int        // the first column behind values and positions
	merge  bool
	ended  bool
	text   []byte
	// search has the source go on behind refused values, and number the rows.
	search  bool
	refused []warehouse.RefusedRow
}

type atColumn struct{ batch, chunk int }

func newStageSource(c *sqlgen.Core, b *warehouse.Batch) (*stageSource, error) {
	s := &stageSource{batch: b, merge: c.Mode != schemas.ModeAppend}
	s.sink.cols = make([]sinkColumn, len(b.Table.Columns))
	names, types := c.StageColumns()
	chunk := 0
	for _, col := range c.Columns {
		if !col.Staged {
			continue
		}
		i := batchColumn(b, col.Name)
		// The batch may have a narrower type than the table: DuckDB casts it.
		types[chunk] = b.Table.Columns[i].Type
		s.sink.cols[i] = newSinkColumn(col, types[chunk], chunk)
		if !col.Key {
			s.values = append(s.values, i)
			if !col.Unsettable {
				s.always = append(s.always, i)
			}
		}
		chunk++
	}
	if s.merge {
		for _, col := range c.Columns {
			if col.Staged && col.Unsettable && !col.Key {
				s.at = append(s.at, atColumn{batchColumn(b, col.Name), chunk})
				chunk++
			}
		}
	}
	s.meta = chunk
	for i := range names {
		info, err := vectorType(types[i])
		if err != nil {
			return nil, err
		}
		s.infos = append(s.infos, dk.ColumnInfo{Name: names[i], T: info})
	}
	return s, nil
}

func batchColumn(b *warehouse.Batch, name string) int {
	for i, c := range b.Table.Columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

func (s *stageSource) ColumnInfos() []dk.ColumnInfo     { return s.infos }
func (s *stageSource) Cardinality() *dk.CardinalityInfo { return nil }
func (s *stageSource) Init()                            {}

// FillChunk writes as many rows as fit; none ends the function.
func (s *stageSource) FillChunk(chunk dk.DataChunk) error {
	s.sink.begin(chunk)
	n := 0
	for capacity := dk.GetDataChunkCapacity(); n < capacity && !s.ended; n++ {
		s.sink.row = n
		f, err := s.batch.Rows.Next(&s.sink)
		if errors.Is(err, io.EOF) {
			s.ended = true
			break
		}
		if err != nil {
			s.err = fmt.Errorf("read row %d: %w", s.rows+int64(n), err)
			return s.err
		}
		err = s.finish(f)
		if err == nil && len(s.sink.refused) > 0 {
			err = s.refuse(s.rows+int64(n), f)
		}
		if err != nil {
			s.err = fmt.Errorf("row %d, at %s: %w", s.rows+int64(n), f.Pos, err)
			return s.err
		}
		if s.search {
			set(&s.sink, len(s.infos)-1, s.rows+int64(n))
		}
	}
	s.rows += int64(n)
	return chunk.SetSize(n)
}

// finish writes what the row is, and checks that it keeps what its columns
// promise.
func (s *stageSource) finish(f *warehouse.Folded) error {
	if s.merge && f.Op == schemas.Delete {
		for _, i := range s.values {
			s.sink.Null(i)
		}
	}
	s.sink.fillNulls()
	if !s.merge {
		s.sink.op(s.meta, f.Op)
		s.sink.position(s.meta+1, f.Pos)
		s.sink.instant(s.meta+2, f.TsUs)
		s.text = s.unset(s.text[:0], f)
		s.sink.raw(s.meta+3, s.text)
		return s.sink.err
	}
	if f.At != nil && f.Op != schemas.Delete {
		for _, i := range s.always {
			if f.At[i] != f.Pos {
				return fmt.Errorf("column %q was not carried, and the table says that it always is", s.batch.Table.Columns[i].Name)
			}
		}
	}
	for _, a := range s.at {
		switch {
		case f.Op == schemas.Delete:
			s.sink.position(a.chunk, schemas.Position{})
		case f.At == nil || f.At[a.batch] == f.Pos:
			s.sink.null(a.chunk) // its own position, which need not be written twice
		default:
			s.sink.position(a.chunk, f.At[a.batch])
		}
	}
	s.sink.op(s.meta, f.Op)
	s.sink.position(s.meta+1, f.Pos)
	s.sink.position(s.meta+2, f.Born)
	return s.sink.err
}

// unset appends the text of _unset of a single change.
func (s *stageSource) unset(dst []byte, f *warehouse.Folded) []byte {
	for _, i := range s.values {
		if f.At == nil && f.Op != schemas.Delete || f.At != nil && !f.At[i].IsZero() {
			continue
		}
		if len(dst) == 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, sqlgen.UnsetName(s.batch.Table.Columns[i].Name)...), ',')
	}
	return dst
}
