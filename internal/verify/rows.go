package verify

import (
	"context"
	"slices"
	"time"

	"millrace/internal/page"
)

// Platform is a running process, asked from outside: page.Client is one. If its
// warehouse is not DuckDB, or takes longer than that, On says so.
type Platform interface {
	Query(ctx context.Context, sql string) (*page.Table, error)
	Status(ctx context.Context) (*page.Status, error)
}

// On is a platform with what is known of its warehouse.
type On struct {
	Platform
	BigQuery bool // else it is DuckDB
	// Patience is how long a table may take to hold what its source or its inputs
	// hold; 0: a minute.
	Patience time.Duration
	// Show computes a window of a derived table in the warehouse, or with none all
	// of the table; nil: that cannot be.
	Show func(ctx context.Context, table, window string) (*page.Table, error)
}

// of is what is known of a platform.
func of(p Platform) On {
	on, ok := p.(On)
	if !ok {
		on = On{Platform: p}
	}
	if on.Patience == 0 {
		on.Patience = patience
	}
	return on
}

// quoted is the name of a table, dataset.table.
func (on On) quoted(table string) string { return on.dotted(cutName(table)) }

func (on On) dotted(dataset, name string) string { return on.ident(dataset) + "." + on.ident(name) }

func (on On) ident(name string) string {
	if on.BigQuery {
		return bigqueryIdent(name)
	}
	return ident(name)
}

// rows reads a whole table.
func (on On) rows(ctx context.Context, table string) (*page.Table, error) {
	return on.Query(ctx, "SELECT * FROM "+on.quoted(table))
}

// compare compares what a table should be with what it is, in the words of the
// warehouse.
func (on On) compare(table string, want, got *page.Table, key []string) Report {
	if on.BigQuery {
		want, got = inBigQuery(want, got)
	}
	return Compare(table, want, got, key)
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
