package warehouse

import (
	"context"
	"errors"
)

// Warehouse is all that a process asks of one.
type Warehouse interface {
	Loader

	// Runner returns what keeps derived tables. It is closed with the warehouse.
	Runner() Runner

	// Prepare makes the datasets that are not there: those of the platform itself
	// and the given ones. It names those that it made and those that were there,
	// also beside an error.
	Prepare(ctx context.Context, datasets []string) (made, there []string, err error)

	// Core returns a core table as it is: its columns in their order, or
	// ErrNoTable. It knows no descriptions and no event times.
	Core(ctx context.Context, table string) (CoreTable, error)

	// Count is the number of rows that readers see of a table.
	Count(ctx context.Context, table string) (int64, error)

	// Select answers one reading statement of a person. It gives at most max rows;
	// more of them are ErrTooManyRows.
	Select(ctx context.Context, query string, max int) (*Answer, error)

	// Loaded returns a core table of the dataset core and the topic that it was
	// loaded from; none if there is none. All tables of a platform have topics of
	// one prefix.
	Loaded(ctx context.Context) (table, topic string, err error)

	Close() error
}

// ErrTooManyRows is the reason when an answer is longer than it may be.
var ErrTooManyRows = errors.New("the answer has too many rows: add a LIMIT")

// Answer is what a query gives: values are texts in the warehouse's own spelling,
// nil for NULL.
type Answer struct {
	Columns []string
	Types   []string // in the warehouse's own words
	Rows    [][]*string
}
