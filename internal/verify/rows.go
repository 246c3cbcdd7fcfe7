package verify

import (
	"context"
	"slices"
)

// Rows is the result of a query: every value as DuckDB writes it, nil for NULL.
type Rows struct {
	Columns []string    `json:"columns"`
	Types   []string    `json:"types"`
	Values  [][]*string `json:"rows"`
}

// Warehouse answers one SELECT.
type Warehouse interface {
	Query(ctx context.Context, query string) (*Rows, error)
}

// column is the place of the named column, or -1.
func (r *Rows) column(name string) int { return slices.Index(r.Columns, name) }

// without returns the rows without the named columns.
func (r *Rows) without(names ...string) *Rows {
	var keep []int
	for i, name := range r.Columns {
		if !slices.Contains(names, name) {
			keep = append(keep, i)
		}
	}
	out := &Rows{Columns: pick(r.Columns, keep), Types: pick(r.Types, keep), Values: make([][]*string, len(r.Values))}
	for i, row := range r.Values {
		out.Values[i] = pick(row, keep)
	}
	return out
}

func pick[T any](from []T, at []int) []T {
	out := make([]T, len(at))
	for i, p := range at {
		if p < len(from) {
			out[i] = from[p]
		}
	}
	return out
}
