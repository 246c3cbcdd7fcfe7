package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Replay hands every committed record of partition 0 of the topic to fn, in
// order, up to the last stable offset at the time of the call, and returns that
// offset. It is for small compacted topics: compaction may have removed any
// record but the last of each key.
//
// A producer that wants its own last word must have fenced its predecessor
// first: a transaction that is still open hides all that is behind it.
//
// It fetches by hand, because a consumer never says that it has reached an
// offset at which no record is left for it: on the embedded broker, a
// transaction that was cut off by a kill is aborted without a marker behind it.
func (c Cluster) Replay(ctx context.Context, topic string, fn func(*kgo.Record) error) (int64, error) {
	cl, err := kgo.NewClient(c.ClientOpts("replay", nil, nil)...)
	if err != nil {
		return 0, fmt.Errorf("replay %s: %w", topic, err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	stable, err := listOne(ctx, adm.ListCommittedOffsets, topic)
	if err != nil {
		return 0, fmt.Errorf("find the stable end of %s: %w", topic, err)
	}
	next, err := listOne(ctx, adm.ListStartOffsets, topic)
	if err != nil {
		return 0, fmt.Errorf("find the start of %s: %w", topic, err)
	}
	for pause := 10 * time.Millisecond; next < stable; {
		got, after, err := fetch(ctx, cl, adm, topic, next)
		switch {
		case errors.Is(err, kerr.OffsetOutOfRange): // compaction has moved the start
			start, err := listOne(ctx, adm.ListStartOffsets, topic)
			if err != nil {
				return 0, fmt.Errorf("find the start of %s: %w", topic, err)
			}
			next = max(next+1, start)
			continue
		case kerr.IsRetriable(err):
			select {
			case <-ctx.Done():
				return 0, fmt.Errorf("replay %s: %w", topic, errors.Join(ctx.Err(), err))
			case <-time.After(pause):
			}
			pause = min(2*pause, time.Second)
			continue
		case err != nil:
			return 0, fmt.Errorf("replay %s: %w", topic, err)
		}
		for _, r := range got.Records {
			if r.Offset >= stable {
				break
			}
			if err := fn(r); err != nil {
				return 0, fmt.Errorf("replay %s at offset %d: %w", topic, r.Offset, err)
			}
		}
		if after <= next && got.LastStableOffset >= stable {
			break // compaction has removed what stood last
		}
		next = max(next, after)
	}
	return stable, nil
}

// fetch reads committed records of partition 0 from the offset on, and says at
// which offset to go on.
func fetch(ctx context.Context, cl *kgo.Client, adm *kadm.Client, topic string, from int64) (kgo.FetchPartition, int64, error) {
	var none kgo.FetchPartition
	details, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return none, 0, err
	}
	d := details[topic]
	if d.Err != nil {
		return none, 0, d.Err
	}
	if d.Partitions[0].Err != nil {
		return none, 0, d.Partitions[0].Err
	}
	req := kmsg.NewFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 50, 1, 16<<20, 1
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.PartitionMaxBytes = from, 16<<20
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, d.ID, []kmsg.FetchRequestTopicPartition{part}
	req.Topics = []kmsg.FetchRequestTopic{t}
	answer, err := cl.Broker(int(d.Partitions[0].Leader)).RetriableRequest(ctx, &req)
	if err != nil {
		return none, 0, err
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if !ok || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return none, 0, errors.Join(errors.New("the broker answered for other partitions than it was asked for"), kerr.ErrorForCode(resp.ErrorCode))
	}
	got, after := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: topic,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got, after, got.Err
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
