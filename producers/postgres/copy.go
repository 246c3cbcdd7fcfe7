package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"millrace/producers"
)

// beforeRows is where a transaction goes back to if the server was asked to stop
// sending rows: what it is asked about the table after them, it says under the
// table's lock still.
const beforeRows = "before_rows"

// cancelTimeout bounds the wait for a server that is asked to stop.
const cancelTimeout = 10 * time.Second

// copy copies rows to w, all of them, or, if it may stop, until there are enough,
// and says whether that was so. The transaction goes on, with the locks that it had.
func (r *reader) copy(ctx context.Context, w *rowReader, query string, mayStop bool) (enough bool, err error) {
	rows := &copyRows{row: w.row}
	until := &untilEnough{rows: rows}
	if mayStop {
		query = "SAVEPOINT " + beforeRows + "; " + query // in one message: most chunks do not stop
		until.stop = func() { cancel(ctx, r.sql.PgConn()) }
	}
	_, err = r.sql.PgConn().CopyTo(ctx, until, query)
	if until.enough && (err == nil || code(err) == codeCanceled) {
		if _, err := r.sql.Exec(ctx, "ROLLBACK TO SAVEPOINT "+beforeRows); err != nil {
			return false, fmt.Errorf("go back to before the rows: %w", err)
		}
		return true, nil
	}
	if err == nil && len(rows.rest) > 0 {
		err = fmt.Errorf("%w: the last row has no end", errCopy)
	}
	if err == nil {
		err = w.flush()
	}
	if mayStop && errors.Is(err, producers.ErrEnough) {
		return true, nil
	}
	return false, err
}

// cancel asks the server to stop what the connection runs, and returns when it has
// been told; so it does not stop what runs next. Where that cannot be done, the copy
// goes on to its end, and its rows are dropped.
func cancel(ctx context.Context, conn *pgconn.PgConn) {
	ctx, done := context.WithTimeout(ctx, cancelTimeout)
	defer done()
	_ = conn.CancelRequest(ctx)
}

// untilEnough is where rows are copied to. It ends no copy by an error, which would
// end the connection: it asks the server to stop, and drops what comes until then.
type untilEnough struct {
	rows   *copyRows
	stop   func() // nil: it reads all rows
	enough bool
}

func (u *untilEnough) Write(p []byte) (int, error) {
	if u.enough {
		return len(p), nil
	}
	n, err := u.rows.Write(p)
	if u.stop != nil && errors.Is(err, producers.ErrEnough) {
		u.enough = true
		u.stop()
		return len(p), nil
	}
	return n, err
}
