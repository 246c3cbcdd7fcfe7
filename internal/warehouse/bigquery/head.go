package bigquery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/coretable"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

func (w *Warehouse) readHead(ctx context.Context, n sqlgen.Name) (coretable.Head, error) {
	rows, err := w.query(ctx, n, w.dialect.ReadHead(n))
	if err != nil {
		return coretable.Head{}, fmt.Errorf("read the head of %s: %w", n, err)
	}
	return headOf(n, rows)
}

func headRows(n sqlgen.Name, rows int) error {
	return &warehouse.ChangedError{Problem: fmt.Sprintf("the head of %s has %d rows in %s.%s, and not one", n, rows, sqlgen.Schema, n.Own("head")), Cure: hintColumn}
}

// headOf reads the columns of ReadHead.
func headOf(n sqlgen.Name, rows [][]any) (h coretable.Head, err error) {
	if len(rows) != 1 || len(rows[0]) != 17 {
		return h, headRows(n, len(rows))
	}
	r := rows[0]
	h.Name, h.Mode, h.Topic, h.TopicID = str(r[0]), schemas.Mode(str(r[1])), str(r[5]), str(r[6])
	h.Epoch, _ = r[3].(int64)
	h.Load, _ = r[4].(int64)
	generation, _ := r[16].(int64)
	h.Generation = int(generation)
	if at, ok := r[11].(time.Time); ok {
		h.Complete.Time = at.UTC()
	}
	h.Snapshot.Running, _ = r[13].(bool)
	h.Snapshot.Done, _ = r[14].(bool)
	err = errors.Join(
		json.Unmarshal([]byte(str(r[2])), &h.Key), json.Unmarshal([]byte(str(r[7])), &h.Offsets),
		json.Unmarshal([]byte(str(r[8])), &h.Marks), json.Unmarshal([]byte(str(r[15])), &h.Unsettable),
		h.Horizon.UnmarshalText([]byte(str(r[9]))), h.Complete.Pos.UnmarshalText([]byte(str(r[10]))),
		h.Ended.UnmarshalText([]byte(str(r[12]))))
	if err != nil {
		return h, fmt.Errorf("decode the head of %s: %w", n, err)
	}
	return h, nil
}

// Acquire takes the table over. It waits for a load that is being committed, as long
// as its patience lasts: of two transactions that write one head, the service cancels
// one. Then it is warehouse.ErrBusy.
func (w *Warehouse) Acquire(ctx context.Context, name, topic, topicID string) (warehouse.Head, error) {
	t, err := w.entry(name)
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", name, err)
	}
	def, err := w.definition(ctx, t)
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", name, err)
	}
	res, err := w.run(ctx, task{
		what: "acquire", table: name, id: w.jobID("acquire", name, randomID()), attempts: math.MaxInt,
		text: func(string) string { return w.dialect.TakeOverScript(t.name, topic, topicID) },
	})
	if err != nil && classOf(err) == fenced { // it has raised every epoch that there was: there is no row
		t.forget()
		if _, readErr := w.readHead(ctx, t.name); readErr != nil {
			err = readErr
		}
	}
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", name, asBusy(err))
	}
	h, err := headOf(t.name, res.rows)
	if err != nil {
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", name, err)
	}
	t.learn(&h)
	t.follows(h.Epoch)
	if h.Generation != def.Generation {
		t.forget() // another writer has moved it on
	}
	if err := w.finish(ctx, t, h.Epoch); err != nil {
		t.forget()
		return warehouse.Head{}, fmt.Errorf("acquire %s: %w", name, err)
	}
	return copyOf(h.Head), nil
}

// asBusy says of a takeover that was given up for now whether others are the reason.
func asBusy(err error) error {
	if errors.Is(err, errPatience) && classOf(err) == conflict {
		return fmt.Errorf("%w: %w", warehouse.ErrBusy, err)
	}
	return err
}

// copyOf shares no map with the head that is kept.
func copyOf(h warehouse.Head) warehouse.Head {
	moved := coretable.Head{Head: h}.Moved(nil)
	h.Offsets = moved.Offsets
	marks := make(map[int32]warehouse.Mark, len(h.Marks))
	for p, m := range h.Marks {
		marks[p] = m
	}
	h.Marks = marks
	return h
}

// Rewind sets the offsets of the named partitions, under the epoch.
func (w *Warehouse) Rewind(ctx context.Context, name string, epoch int64, offsets map[int32]int64) error {
	if err := w.rewind(ctx, name, epoch, offsets); err != nil {
		return fmt.Errorf("rewind %s: %w", name, err)
	}
	return nil
}

func (w *Warehouse) rewind(ctx context.Context, name string, epoch int64, offsets map[int32]int64) error {
	t, err := w.entry(name)
	if err != nil {
		return err
	}
	h, err := w.owned(ctx, t, epoch)
	if err != nil {
		return err
	}
	if h.Mode == schemas.ModeUpsert {
		if err := w.remembers(ctx, t, h, offsets); err != nil {
			return err
		}
	}
	h = h.Moved(offsets)
	text, err := encode(h.Offsets)
	if err != nil {
		return fmt.Errorf("encode offsets: %w", err)
	}
	t.learn(nil) // until the outcome is known
	_, err = w.run(ctx, task{
		what: "rewind", table: name, id: w.jobID("rewind", name, randomID()),
		text: func(string) string { return w.dialect.MoveOffsetsScript(t.name, text, epoch) },
	})
	if err != nil {
		return asFenced(err)
	}
	t.learn(&h)
	return nil
}

// owned is the head, if its epoch is the given one. The kept head is right as
// long as it is: only an Acquire changes what its owner has not written.
func (w *Warehouse) owned(ctx context.Context, t *table, epoch int64) (coretable.Head, error) {
	h := t.known()
	if h == nil || h.Epoch != epoch {
		read, err := w.readHead(ctx, t.name)
		if err != nil {
			return read, err
		}
		h = &read
		t.learn(h)
	}
	if h.Epoch != epoch {
		return *h, fmt.Errorf("the head is at epoch %d: %w", h.Epoch, warehouse.ErrFenced)
	}
	return *h, nil
}

// settle is asFenced of a job that moves the head. If attempts were made before
// the one that was fenced, one of them may have moved it: while the epoch is still
// the writer's, the outcome is unknown.
func settle(ctx context.Context, err error, own int64, epoch func(context.Context) (int64, error)) error {
	if !errors.As(err, new(*repeatedError)) {
		return asFenced(err)
	}
	have, readErr := epoch(ctx)
	switch {
	case readErr != nil:
		return errors.Join(err, readErr)
	case have != own:
		return fmt.Errorf("the head is at epoch %d: %w: %w", have, warehouse.ErrFenced, err)
	}
	return fmt.Errorf("the attempts before this one may have committed: %w", err)
}

// epochOf reads the epoch of a core table.
func (w *Warehouse) epochOf(n sqlgen.Name) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		h, err := w.readHead(ctx, n)
		return h.Epoch, err
	}
}

// asFenced gives an error its meaning for the caller.
func asFenced(err error) error {
	if classOf(err) == fenced {
		return fmt.Errorf("%w: %w", warehouse.ErrFenced, err)
	}
	return err
}

// Loads returns the events of the loads above after, in order, at most limit.
func (w *Warehouse) Loads(ctx context.Context, name string, after int64, limit int) ([]schemas.LoadComplete, error) {
	n, err := w.dialect.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("read the loads of %s: %w", name, err)
	}
	rows, err := w.query(ctx, n, sqlgen.Bind(w.dialect.ReadLoads(n), strconv.FormatInt(after, 10), strconv.Itoa(limit)))
	if err != nil {
		return nil, fmt.Errorf("read the loads of %s: %w", name, err)
	}
	out := make([]schemas.LoadComplete, 0, len(rows))
	for _, r := range rows {
		e, err := parseEvent(str(r[0]))
		if err != nil {
			return nil, fmt.Errorf("decode a load of %s: %w", name, err)
		}
		out = append(out, e)
	}
	return out, nil
}
