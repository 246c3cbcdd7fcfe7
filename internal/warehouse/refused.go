package warehouse

import (
	"fmt"

	"millrace/schemas"
)

// RefusedRow is a value of a staged row that its column cannot hold in this
// warehouse.
type RefusedRow struct {
	Row    int64            // counted from 0, in the order in which Rows yields them
	Pos    schemas.Position // of the change that carried the value: of a fold, not always the newest
	Column string
	Reason string
}

// RowsError is the reason when a load holds values that the warehouse cannot
// take, however often they are loaded. Nothing was committed. It names at least
// one row; the batch without the named changes may be refused again, for others.
type RowsError struct{ Rows []RefusedRow }

func (e *RowsError) Error() string {
	r := e.Rows[0]
	return fmt.Sprintf("%d values that the warehouse cannot take, the first of them at %s in column %q: %s", len(e.Rows), r.Pos, r.Column, r.Reason)
}
