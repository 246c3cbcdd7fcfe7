package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"millrace/producers"
)

// slotWait bounds the making of a slot. The server waits for every transaction
// that is writing.
const slotWait = time.Minute

// createSlot makes a slot. A temporary one exports its snapshot, which can be
// imported until the next command on conn.
func createSlot(ctx context.Context, conn *pgconn.PgConn, name string, temporary bool, wait time.Duration) (lsn uint64, snapshot string, err error) {
	opts := pglogrepl.CreateReplicationSlotOptions{Mode: pglogrepl.LogicalReplication, SnapshotAction: "NOEXPORT_SNAPSHOT"}
	if temporary {
		opts.Temporary, opts.SnapshotAction = true, "EXPORT_SNAPSHOT"
	}
	bound, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	res, err := pglogrepl.CreateReplicationSlot(bound, conn, name, "pgoutput", opts)
	switch {
	case err == nil:
	case bound.Err() != nil && ctx.Err() == nil:
		return 0, "", &slowSlotError{name: name, waited: wait}
	case code(err) == codeTooManySlots:
		return 0, "", &producers.HaltError{
			Err:  fmt.Errorf("create slot %s: %w", name, err),
			Hint: "ALTER SYSTEM SET max_replication_slots = 20, then restart the server; a source needs two, its slot and that of a snapshot",
		}
	case code(err) == codeNoPrivilege:
		return 0, "", &producers.HaltError{Err: fmt.Errorf("create slot %s: %w", name, err), Hint: "ALTER ROLE … REPLICATION for the role of the dsn"}
	default:
		return 0, "", fmt.Errorf("create slot %s: %w", name, err)
	}
	at, err := pglogrepl.ParseLSN(res.ConsistentPoint)
	if err != nil {
		return 0, "", fmt.Errorf("create slot %s: %w", name, err)
	}
	return uint64(at), res.SnapshotName, nil
}

var errSlowSlot = errors.New("long transactions are open")

// slowSlotError says for whom the server waits. It is no HaltError: the
// transactions may end by themselves.
type slowSlotError struct {
	name   string
	waited time.Duration
}

func (e *slowSlotError) Error() string {
	return fmt.Sprintf("create slot %s: not done after %s, because %v: "+
		"SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start", e.name, e.waited, errSlowSlot)
}

func (e *slowSlotError) Unwrap() error { return errSlowSlot }
