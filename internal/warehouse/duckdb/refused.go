package duckdb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	dk "github.com/duckdb/duckdb-go/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// errRefused ends the filling of a stage at the first refused value: which ones
// there are is looked for then, so that a good batch pays nothing for it.
var errRefused = errors.New("a value has no equal in DuckDB")

// refuses reports whether a stage was not filled because of what its values are.
func refuses(err error) bool {
	var e *dk.Error
	return errors.Is(err, errRefused) || errors.As(err, &e) && (e.Type == dk.ErrorTypeConversion || e.Type == dk.ErrorTypeOutOfRange)
}

// refuse takes the refused values of the row at hand up.
func (s *stageSource) refuse(row int64, f *warehouse.Folded) error {
	if !s.search {
		return errRefused
	}
	for _, r := range s.sink.refused {
		pos := f.Pos
		if f.At != nil && !f.At[r.col].IsZero() {
			pos = f.At[r.col]
		}
		s.refused = append(s.refused, warehouse.RefusedRow{
			Row: row, Pos: pos, Column: s.batch.Table.Columns[r.col].Name, Reason: r.reason.Error(),
		})
	}
	s.sink.refused = s.sink.refused[:0]
	return nil
}

// findRefused reads the batch again and returns a *warehouse.RowsError with all
// that is refused of it: by the sink, and by DuckDB's casts. If that is nothing,
// it returns cause.
func (w *Warehouse) findRefused(ctx context.Context, conn *sql.Conn, c *sqlgen.Core, b *warehouse.Batch, cause error) error {
	b.Rows.Reset()
	src, err := newStageSource(c, b)
	if err != nil {
		return fmt.Errorf("lay out the stage: %w", err)
	}
	if err := src.number(); err != nil {
		return err
	}
	query, staged := c.Refused(stageFunction)
	cells := make([]sql.NullString, len(staged))
	var row int64
	into := []any{&row}
	for i := range cells {
		into = append(into, &cells[i])
	}
	var found []warehouse.RefusedRow
	err = each(context.WithValue(ctx, stageKey{}, src), conn, query, func(rows *sql.Rows) error {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, at := range cells {
			if !at.Valid {
				continue
			}
			col := c.Columns[staged[i]]
			r := warehouse.RefusedRow{Row: row, Column: col.Name, Reason: "DuckDB does not take it as " + w.dialect.Type(col.Type)}
			if err := r.Pos.UnmarshalText([]byte(at.String)); err != nil {
				return fmt.Errorf("read a position: %w", err)
			}
			found = append(found, r)
		}
		return nil
	})
	if src.err != nil {
		return src.err
	}
	if err != nil {
		return errors.Join(cause, fmt.Errorf("look for refused values: %w", err))
	}
	if found = append(found, src.refused...); len(found) == 0 {
		return cause
	}
	slices.SortStableFunc(found, func(x, y warehouse.RefusedRow) int { return cmp.Compare(x.Row, y.Row) })
	return &warehouse.RowsError{Rows: found}
}

// number has the source number its rows, in a last column.
func (s *stageSource) number() error {
	info, err := vectorType(schemas.Type{Kind: schemas.Int})
	if err != nil {
		return err
	}
	s.search = true
	s.infos = append(s.infos, dk.ColumnInfo{Name: sqlgen.RowNumber, T: info})
	return nil
}
