package duckdb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

func (w *Warehouse) readHead(ctx context.Context, conn *sql.Conn, n sqlgen.Name) (coretable.Head, error) {
	var h coretable.Head
	var key, offsets, marks, horizon, completePos, ended, unsettable string
	var completeTime sql.NullTime
	found := false
	err := each(ctx, conn, w.dialect.ReadHead(n), func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&h.Name, &h.Mode, &key, &h.Epoch, &h.Load, &h.Topic, &h.TopicID, &offsets, &marks, &horizon,
			&completePos, &completeTime, &ended, &h.Snapshot.Running, &h.Snapshot.Done, &unsettable, &h.Generation)
	})
	if err != nil {
		return h, fmt.Errorf("read the head of %s: %w", n, err)
	}
	if !found {
		return h, fmt.Errorf("read the head of %s: it has none", n)
	}
	if completeTime.Valid {
		h.Complete.Time = completeTime.Time.UTC()
	}
	err = errors.Join(
		json.Unmarshal([]byte(key), &h.Key), json.Unmarshal([]byte(offsets), &h.Offsets),
		json.Unmarshal([]byte(marks), &h.Marks), json.Unmarshal([]byte(unsettable), &h.Unsettable),
		h.Horizon.UnmarshalText([]byte(horizon)), h.Complete.Pos.UnmarshalText([]byte(completePos)),
		h.Ended.UnmarshalText([]byte(ended)))
	if err != nil {
		return h, fmt.Errorf("decode the head of %s: %w", n, err)
	}
	return h, nil
}

// parameters are those of Advance.
func parameters(h coretable.Head, load, epoch int64) ([]any, error) {
	offsets, err := encode(h.Offsets)
	if err != nil {
		return nil, fmt.Errorf("encode offsets: %w", err)
	}
	marks, err := encode(h.Marks)
	if err != nil {
		return nil, fmt.Errorf("encode marks: %w", err)
	}
	complete := sql.NullTime{Time: h.Complete.Time, Valid: !h.Complete.Time.IsZero()}
	return []any{
		offsets, marks, h.Horizon.String(), h.Complete.Pos.String(), complete, h.Ended.String(), h.Snapshot.Running, h.Snapshot.Done, load, epoch,
	}, nil
}

// Acquire takes the table over. It waits for a load that is being committed: of
// two writers of one head, DuckDB lets the first one win.
func (w *Warehouse) Acquire(ctx context.Context, table, topic, topicID string) (warehouse.Head, error) {
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", table, err)
	}
	defer leave()
	t, release, err := w.hold(ctx, conn, table)
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", table, err)
	}
	defer release()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		h, err := w.takeOver(ctx, conn, t.name, topic, topicID)
		if err == nil {
			return h.Head, nil
		}
		if !isConflict(err) {
			return warehouse.Head{}, fmt.Errorf("acquire %s: %w", table, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return warehouse.Head{}, fmt.Errorf("acquire %s: %w", table, errors.Join(context.Cause(ctx), err))
		}
	}
}

func (w *Warehouse) takeOver(ctx context.Context, conn *sql.Conn, n sqlgen.Name, topic, topicID string) (h coretable.Head, err error) {
	if err := w.opts.Fault.At(ctx, PointAcquireBegin); err != nil {
		return h, err
	}
	err = tx(ctx, conn, func() error {
		if err := exactlyOne(conn.ExecContext(ctx, w.dialect.TakeOver(n), topic, topicID)); err != nil {
			return fmt.Errorf("raise the epoch: %w", err)
		}
		h, err = w.readHead(ctx, conn, n)
		return err
	})
	if err == nil {
		err = w.opts.Fault.At(ctx, PointAcquireCommitted)
	}
	return h, err
}

// errNotOne is the reason when a statement that must change one row did not.
var errNotOne = errors.New("the statement changed another number of rows than one")

func exactlyOne(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errNotOne, err)
	}
	return nil
}

// Rewind sets the offsets of the named partitions, under the epoch.
func (w *Warehouse) Rewind(ctx context.Context, table string, epoch int64, offsets map[int32]int64) error {
	conn, leave, err := w.writer(ctx)
	if err != nil {
		return fmt.Errorf("rewind %s: %w", table, err)
	}
	defer leave()
	t, release, err := w.hold(ctx, conn, table)
	if err != nil {
		return fmt.Errorf("rewind %s: %w", table, err)
	}
	defer release()
	err = tx(ctx, conn, func() error {
		h, err := w.readHead(ctx, conn, t.name)
		if err != nil {
			return err
		}
		text, err := encode(h.Moved(offsets).Offsets)
		if err != nil {
			return fmt.Errorf("encode offsets: %w", err)
		}
		return exactlyOne(conn.ExecContext(ctx, w.dialect.MoveOffsets(t.name), text, epoch))
	})
	if err != nil {
		return fmt.Errorf("rewind %s: %w", table, w.fenced(ctx, conn, t.name, err, func(h coretable.Head) bool { return h.Epoch != epoch }))
	}
	return nil
}

// fenced gives the error of a write its meaning: if the head was not the
// writer's, or another write came first and now lost says that it is no longer,
// the writer is fenced. Anything else is what it was.
func (w *Warehouse) fenced(ctx context.Context, conn *sql.Conn, n sqlgen.Name, err error, lost func(coretable.Head) bool) error {
	if errors.Is(err, errNotOne) {
		return fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	if !isConflict(err) {
		return err
	}
	h, readErr := w.readHead(context.WithoutCancel(ctx), conn, n)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if lost(h) {
		return fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	return err
}

// Loads returns the events of the loads above after, in order, at most limit.
func (w *Warehouse) Loads(ctx context.Context, table string, after int64, limit int) ([]schemas.LoadComplete, error) {
	n, err := w.dialect.ParseName(table)
	if err != nil {
		return nil, fmt.Errorf("read the loads of %s: %w", table, err)
	}
	rows, err := w.Query(ctx, w.dialect.ReadLoads(n), after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the loads of %s: %w", table, err)
	}
	defer rows.Close()
	var out []schemas.LoadComplete
	for rows.Next() {
		var text []byte
		var e schemas.LoadComplete
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read the loads of %s: %w", table, err)
		}
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("decode a load of %s: %w", table, err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the loads of %s: %w", table, err)
	}
	return out, nil
}
