package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/consumers"
	"millrace/consumers/batch"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Nothing is a warehouse that reads every row and keeps none. It notes which
// offsets it was handed, so that a range that is missing or comes twice is seen.
type Nothing struct {
	mu     sync.Mutex
	heads  map[string]warehouse.Head
	counts Discarded
	loaded func(Discarded)
}

// Discarded is what was handed over.
type Discarded struct {
	Events  int64 // by their offsets
	Gaps    int64 // offsets that were left out
	Repeats int64 // offsets that came again
	Rows    int64 // that were decoded
	Refused int64 // events that became dead letters
}

// NewNothing calls loaded after each load.
func NewNothing(loaded func(Discarded)) *Nothing {
	return &Nothing{heads: map[string]warehouse.Head{}, loaded: loaded}
}

// Ensure does nothing.
func (*Nothing) Ensure(context.Context, warehouse.CoreTable) error { return nil }

// Acquire raises the epoch.
func (n *Nothing) Acquire(_ context.Context, table, topic, topicID string) (warehouse.Head, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.heads[table]
	h.Epoch++
	h.Topic, h.TopicID = topic, topicID
	if h.Offsets == nil {
		h.Offsets = map[int32]int64{}
	}
	n.heads[table] = h
	return h, nil
}

// Load reads every row.
func (n *Nothing) Load(_ context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	e := schemas.LoadComplete{Table: b.Table.Name, Load: b.Load, Epoch: b.Epoch, Mode: b.Table.Mode, Ranges: b.Ranges, Rows: b.Counts}
	b.Rows.Reset()
	for {
		_, err := b.Rows.Next(nowhere{})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return e, err
		}
		e.Rows.Applied++
	}
	n.mu.Lock()
	h := n.heads[b.Table.Name]
	h.Load = b.Load
	for _, r := range b.Ranges {
		next := h.Offsets[r.Partition]
		n.counts.Gaps += max(r.From-next, 0)
		n.counts.Repeats += max(next-r.From, 0)
		n.counts.Events += r.To - r.From
		h.Offsets[r.Partition] = r.To
	}
	n.counts.Rows += e.Rows.Applied
	n.counts.Refused += b.Counts.Quarantined
	n.heads[b.Table.Name] = h
	counts := n.counts
	n.mu.Unlock()
	n.loaded(counts)
	return e, nil
}

// Rewind is never needed: the log does not shrink.
func (*Nothing) Rewind(context.Context, string, int64, map[int32]int64) error { return nil }

// Succeed is never needed.
func (*Nothing) Succeed(context.Context, *warehouse.Succession) (schemas.LoadComplete, error) {
	return schemas.LoadComplete{}, errors.New("the topic has one generation")
}

// Loads has none.
func (*Nothing) Loads(context.Context, string, int64, int) ([]schemas.LoadComplete, error) {
	return nil, nil
}

// SetNeeds does nothing.
func (*Nothing) SetNeeds(context.Context, string, string, warehouse.Kept) error { return nil }

type nowhere struct{}

func (nowhere) Null(int)           {}
func (nowhere) Int(int, int64)     {}
func (nowhere) Float(int, float64) {}
func (nowhere) Bytes(int, []byte)  {}

// discardArgs say what is loaded into nothing.
type discardArgs struct {
	At      where
	Prefix  string
	Tables  []consumers.Table
	Events  int64
	Profile string
}

// runDiscard is a consumer with the limits of `millrace consume`.
func runDiscard(ctx context.Context, a discardArgs, ready func(any) error) (_ any, err error) {
	client, err := a.At.schemas()
	if err != nil {
		return nil, err
	}
	cluster, err := a.At.cluster()
	if err != nil {
		return nil, err
	}
	done := make(chan Discarded, 1)
	c, err := consumers.New(consumers.Options{
		Cluster: cluster, Names: kafka.Names{Prefix: a.Prefix}, Group: a.Prefix, Tables: a.Tables, Registry: client,
		Loader: NewNothing(func(d Discarded) {
			if d.Events+d.Gaps >= a.Events {
				select {
				case done <- d:
				default:
				}
			}
		}),
		Limits: batch.Limits{Rows: 100_000, Bytes: 32 << 20, Age: 100 * time.Millisecond, Quiet: time.Hour}, Memory: 64 << 20,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		return nil, err
	}
	stop, err := profile(a.Profile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := ready(nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var got Discarded
	select {
	case got = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("load into nothing: %w", ctx.Err())
	}
	cancel()
	return got, errors.Join(err, <-ended)
}
