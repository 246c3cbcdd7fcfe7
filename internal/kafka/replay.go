package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Replay hands every committed record of partition 0 of the topic to fn, in
// order, up to the last stable offset at the time of the call, and returns that
// offset. fn must not keep the record's bytes. It is for small compacted topics:
// compaction may have removed any record but the last of each key.
//
// A producer that wants its own last word must have fenced its predecessor
// first: a transaction that is still open hides all that is behind it.
func (c Cluster) Replay(ctx context.Context, topic string, fn func(*kgo.Record) error) (int64, error) {
	cl, err := kgo.NewClient(append(c.ClientOpts("replay", nil, nil),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The last record below the end may be a commit marker, or of an aborted
		// transaction: without markers the end would never be seen.
		kgo.KeepControlRecords(),
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // compaction may move the start while we read
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))...)
	if err != nil {
		return 0, fmt.Errorf("replay %s: %w", topic, err)
	}
	defer cl.Close()

	adm := kadm.NewClient(cl)
	stable, err := listOne(ctx, adm.ListCommittedOffsets, topic)
	if err != nil {
		return 0, fmt.Errorf("find the stable end of %s: %w", topic, err)
	}
	start, err := listOne(ctx, adm.ListStartOffsets, topic)
	if err != nil {
		return 0, fmt.Errorf("find the start of %s: %w", topic, err)
	}
	for next := start; next < stable; {
		fetches := cl.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			var lost *kgo.ErrDataLoss
			if errors.As(e.Err, &lost) {
				continue // compaction moved the start; the client goes on from there
			}
			return 0, fmt.Errorf("replay %s: %w", topic, e.Err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			if r.Offset >= stable {
				return stable, nil
			}
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			if err := fn(r); err != nil {
				return 0, fmt.Errorf("replay %s at offset %d: %w", topic, r.Offset, err)
			}
		}
		// Compaction can remove what stood last below the stable end, and its
		// marker: then only the start says that nothing is left.
		if fetches.NumRecords() == 0 {
			if start, err = listOne(ctx, adm.ListStartOffsets, topic); err != nil {
				return 0, fmt.Errorf("find the start of %s: %w", topic, err)
			}
			next = max(next, start)
		}
	}
	return stable, nil
}

// AwaitStable waits until no transaction is open on partition 0 of the topics:
// what a dead producer left open ends by its timeout.
func (c Cluster) AwaitStable(ctx context.Context, topics ...string) error {
	cl, err := kgo.NewClient(c.ClientOpts("await", nil, nil)...)
	if err != nil {
		return fmt.Errorf("await the end of transactions: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for _, topic := range topics {
		for {
			stable, err := listOne(ctx, adm.ListCommittedOffsets, topic)
			if err != nil {
				return fmt.Errorf("find the stable end of %s: %w", topic, err)
			}
			end, err := listOne(ctx, adm.ListEndOffsets, topic)
			if err != nil {
				return fmt.Errorf("find the end of %s: %w", topic, err)
			}
			if stable >= end {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("await the end of transactions on %s: %w", topic, ctx.Err())
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

func listOne(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topic string) (int64, error) {
	listed, err := list(ctx, topic)
	if err != nil {
		return 0, err
	}
	o, ok := listed.Lookup(topic, 0)
	if !ok {
		return 0, errors.New("the topic does not exist")
	}
	return o.Offset, o.Err
}
