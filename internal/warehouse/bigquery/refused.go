package bigquery

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// errRefused ends the staging of a batch at the first value that BigQuery does
// not take: which ones there are is looked for then, so that a good batch pays
// nothing for it.
var errRefused = errors.New("a value has no equal in BigQuery")

// refusedRows are rows of a batch that the service did not take, with what it
// said of each.
type refusedRows map[int64]string

func (r refusedRows) Error() string {
	for _, message := range r {
		return fmt.Sprintf("%d rows were refused: %s", len(r), message)
	}
	return "no row was refused"
}

// refuses reports whether a batch was not staged because of what its values are.
func refuses(err error) (named refusedRows, ok bool) {
	return named, errors.As(err, &named) || errors.Is(err, errRefused)
}

// refuse notes a value of the row at hand, or the row, if col is negative.
func (e *encoder) refuse(col int, reason string) {
	r := warehouse.RefusedRow{Row: e.row - 1, Pos: e.fold.Pos, Reason: reason}
	if col >= 0 {
		r.Column = e.table.Columns[col].Name
		if at := e.fold.At; at != nil && !at[col].IsZero() {
			r.Pos = at[col]
		}
	}
	e.found = append(e.found, r)
}

// stagedField is how the service names a value's field, which has the column's
// ordinal in the table.
var stagedField = regexp.MustCompile(`\bv(\d+)\b`)

// findRefused reads the batch again and returns a *warehouse.RowsError with all
// that is refused of it: by us, and by the service in the rows that it has named.
// If that is nothing, it returns cause.
func (w *Warehouse) findRefused(ctx context.Context, c *sqlgen.Core, b *warehouse.Batch, named refusedRows, cause error) error {
	b.Rows.Reset()
	e, _, err := encoderOf(c, b, "", 0)
	if err != nil {
		return err
	}
	e.sink.search = true
	for {
		known := len(e.found)
		row, err := e.next(b.Rows)
		if isEnd(err) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return errors.Join(cause, fmt.Errorf("look for refused values: %w", err))
		}
		if n := len(row) + rowFrame; n > w.opts.RequestBytes {
			e.refuse(e.largest(row), fmt.Sprintf("the row has %d bytes, and a request takes %d", n, w.opts.RequestBytes))
		}
		if said, ok := named[e.row-1]; ok && len(e.found) == known {
			e.refuse(e.columnOf(c, said), "BigQuery does not take it: "+said)
		}
		e.sink.buf = e.sink.buf[:0]
	}
	if len(e.found) == 0 {
		return cause
	}
	return &warehouse.RowsError{Rows: e.found}
}

// largest is the column of the row's largest value, or -1.
func (e *encoder) largest(row []byte) int {
	most, field := 0, protowire.Number(0)
	for len(row) > 0 {
		number, kind, n := protowire.ConsumeTag(row)
		if n < 0 {
			return -1
		}
		size := protowire.ConsumeFieldValue(number, kind, row[n:])
		if size < 0 {
			return -1
		}
		if size > most {
			most, field = size, number
		}
		row = row[n+size:]
	}
	for _, c := range e.sink.cols {
		if c.number == int(field) {
			return c.col
		}
	}
	return -1
}

// columnOf is the column of the batch of which the service speaks, or -1.
func (e *encoder) columnOf(c *sqlgen.Core, said string) int {
	if e.upsert {
		return e.columnSaid(said)
	}
	match := stagedField.FindStringSubmatch(said)
	if match == nil {
		return -1
	}
	at, err := strconv.Atoi(match[1])
	if err != nil || at >= len(c.Columns) {
		return -1
	}
	for i, col := range e.table.Columns {
		if col.Name == c.Columns[at].Name {
			return i
		}
	}
	return -1
}
