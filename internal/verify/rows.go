package verify

import (
	"context"
	"slices"

	"millrace/internal/page"
)

// Platform is a running process, asked from outside: page.Client is one.
type Platform interface {
	Query(ctx context.Context, sql string) (*page.Table, error)
	Status(ctx context.Context) (*page.Status, error)
}

// without returns the rows without the named columns.
func without(t *page.Table, names ...string) *page.Table {
	var keep []int
	for i, name := range t.Columns {
		if !slices.Contains(names, name) {
			keep = append(keep, i)
		}
	}
	return &page.Table{Columns: pick(t.Columns, keep), Types: pick(t.Types, keep), Rows: project(t, keep)}
}

func project(t *page.Table, at []int) [][]*string {
	out := make([][]*string, len(t.Rows))
	for i, row := range t.Rows {
		out[i] = pick(row, at)
	}
	return out
}

func pick[T any](from []T, at []int) []T {
	out := make([]T, len(at))
	for i, p := range at {
		out[i] = from[p]
	}
	return out
}
