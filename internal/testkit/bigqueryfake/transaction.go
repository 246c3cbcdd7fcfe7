package bigqueryfake

import (
	"context"
	"fmt"
	"strings"
)

// maxWaiting is how many statements may wait for a table.
const maxWaiting = 20

// transaction is a transaction of a script, or the one of a single statement.
type transaction struct {
	start int64 // the last commit that it sees
	owns  []*table
}

func (s *session) begin(ctx context.Context) error {
	if s.txn != nil {
		return invalidQuery("Transaction is already in progress; nested transactions are not supported")
	}
	s.mu.Lock()
	s.txn = &transaction{start: s.next()}
	s.mu.Unlock()
	// DuckDB takes its snapshot at the first read; BigQuery at the beginning.
	var n int64
	if _, err := s.conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	return s.conn.QueryRowContext(ctx, "SELECT count(*) FROM main.bq_snapshot").Scan(&n)
}

func (s *session) commit(ctx context.Context) error {
	if s.txn == nil {
		return invalidQuery("There is no active transaction")
	}
	_, err := s.conn.ExecContext(ctx, "COMMIT")
	s.end(err == nil)
	return conflict(err, "")
}

func (s *session) rollback(ctx context.Context) error {
	if s.txn == nil {
		return invalidQuery("There is no active transaction")
	}
	_, err := s.conn.ExecContext(ctx, "ROLLBACK")
	s.end(false)
	return err
}

// end sets the tables of the transaction free.
func (s *session) end(committed bool) {
	if s.txn == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(s.txn, committed)
	s.txn = nil
}

// free is end for any transaction. f.mu is held.
func (f *Fake) free(t *transaction, committed bool) {
	seq := f.next()
	for _, table := range t.owns {
		table.owner = nil
		if committed {
			table.mutated, table.modified = seq, f.now()
		}
	}
	f.changed.Broadcast()
}

// own makes the table the transaction's, to change rows of it. Of two
// transactions that change rows of one table the later is canceled; a statement
// outside of a transaction waits.
func (s *session) own(ctx context.Context, t *table) (done func(committed bool), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.txn != nil {
		if t.owner == s.txn {
			return func(bool) {}, nil
		}
		if t.owner != nil || t.mutated > s.txn.start {
			return nil, aborted(s.opts.Project, t)
		}
		if t.streamed.After(s.now().Add(-streamingBuffer)) {
			return nil, invalidQuery("UPDATE, MERGE or DELETE statement over table %s.%s would affect rows in the streaming buffer, which is not supported in a transaction", t.dataset, t.id)
		}
		t.owner = s.txn
		s.txn.owns = append(s.txn.owns, t)
		return func(bool) {}, nil
	}
	if t.owner != nil && t.waiting >= maxWaiting {
		return nil, &apiError{400, "resourcesExceeded", fmt.Sprintf("Resources exceeded during query execution: Too many DML statements outstanding against table %s:%s.%s, limit is %d.", s.opts.Project, t.dataset, t.id, maxWaiting)}
	}
	t.waiting++
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	for t.owner != nil && ctx.Err() == nil {
		s.changed.Wait()
	}
	stop()
	t.waiting--
	if ctx.Err() != nil {
		return nil, errStopped
	}
	alone := &transaction{owns: []*table{t}}
	t.owner = alone
	return func(committed bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free(alone, committed)
	}, nil
}

func aborted(project string, t *table) *apiError {
	return invalidQuery("Transaction is aborted due to concurrent update against table %s:%s.%s.", project, t.dataset, t.id)
}

// conflict words an error of DuckDB that two transactions met.
func conflict(err error, table string) error {
	if err != nil && strings.Contains(err.Error(), "onflict") {
		return invalidQuery("Transaction is aborted due to concurrent update against table %s.", table)
	}
	return err
}
