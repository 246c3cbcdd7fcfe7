package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// gate keeps transactions apart from checkpoints: DuckDB makes one only while
// no other transaction is open. Reads may be long and overlap; loads are short.
// So a checkpoint first holds new reads back until the open ones have ended,
// while loads go on, and then waits for the loads.
type gate struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	reads   int
	loads   int
	noReads bool
	noLoads bool
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// update changes the state as soon as ready says that it may.
func (g *gate) update(ctx context.Context, ready func() bool, change func()) error {
	for {
		g.mu.Lock()
		if ready() {
			change()
			close(g.changed)
			g.changed = make(chan struct{})
			g.mu.Unlock()
			return nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (g *gate) now(change func()) {
	_ = g.update(context.Background(), func() bool { return true }, change)
}

func (g *gate) enterRead(ctx context.Context) error {
	return g.update(ctx, func() bool { return !g.noReads }, func() { g.reads++ })
}

func (g *gate) leaveRead() { g.now(func() { g.reads-- }) }

func (g *gate) enterLoad(ctx context.Context) error {
	return g.update(ctx, func() bool { return !g.noLoads }, func() { g.loads++ })
}

func (g *gate) leaveLoad() { g.now(func() { g.loads-- }) }

// alone runs do while nothing else is inside, nor another alone.
func (g *gate) alone(ctx context.Context, do func() error) error {
	if err := g.update(ctx, func() bool { return !g.noReads }, func() { g.noReads = true }); err != nil {
		return err
	}
	defer g.now(func() { g.noReads, g.noLoads = false, false })
	if err := g.update(ctx, func() bool { return g.reads == 0 }, func() { g.noLoads = true }); err != nil {
		return err
	}
	if err := g.update(ctx, func() bool { return g.loads == 0 }, func() {}); err != nil {
		return err
	}
	return do()
}

var errCheckpointWait = errors.New("open transactions did not end in time")

// watchWAL measures the write-ahead log after a commit and calls for a
// checkpoint if it has grown too long.
func (w *Warehouse) watchWAL() {
	var size int64
	if info, err := os.Stat(w.path + ".wal"); err == nil {
		size = info.Size()
	}
	w.metrics.walBytes.Set(float64(size))
	if size > w.opts.WALLimit {
		select {
		case w.grow <- struct{}{}:
		default:
		}
	}
}

// checkpoints makes the checkpoints that watchWAL calls for.
func (w *Warehouse) checkpoints(ctx context.Context) {
	for {
		select {
		case <-w.grow:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		if err := w.checkpoint(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			w.metrics.checkpointFailures.Inc()
			w.opts.Logger.Warn("checkpoint put off", "wal_limit_bytes", w.opts.WALLimit, "err", err)
			// What waited goes first; a later load calls again.
			select {
			case <-time.After(w.opts.CheckpointWait):
			case <-ctx.Done():
				return
			}
			continue
		}
		w.metrics.checkpointSeconds.Observe(time.Since(began).Seconds())
	}
}

func (w *Warehouse) checkpoint(ctx context.Context) error {
	wait, cancel := context.WithTimeoutCause(ctx, w.opts.CheckpointWait, errCheckpointWait)
	defer cancel()
	return w.gate.alone(wait, func() error {
		if _, err := w.db.ExecContext(ctx, "CHECKPOINT"); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		w.metrics.walBytes.Set(0)
		return nil
	})
}
