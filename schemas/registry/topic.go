package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

// topicLog is the topic as a log of records with one writer.
type topicLog struct {
	topic    string
	cluster  kafka.Cluster
	producer *kgo.Client
	next     int64          // where the next record will stand if nobody else writes
	given    <-chan outcome // of a record that append gave up; nil if there is none
}

func openLog(ctx context.Context, cluster kafka.Cluster, topic string) (*topicLog, error) {
	opts := append(cluster.ClientOpts("registry", nil, nil), cluster.PlainProducerOpts()...)
	// A record may be given up while its request is under way: its outcome is
	// then unknown, and the same record is written again. Twice is as once.
	opts = append(opts, kgo.AllowIdempotentProduceCancellation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	producer, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make registry's Kafka client: %w", err)
	}
	l := &topicLog{topic: topic, cluster: cluster, producer: producer}
	if err := l.ensure(ctx); err != nil {
		producer.Close()
		return nil, err
	}
	return l, nil
}

func (l *topicLog) close() { l.producer.Close() }

// ensure makes the topic, or checks that it will lose nothing.
func (l *topicLog) ensure(ctx context.Context) error {
	if err := kafka.EnsureTopics(ctx, l.producer, l.cluster.Compacted(l.topic, 0)); err != nil {
		return err
	}
	configs, err := kadm.NewClient(l.producer).DescribeTopicConfigs(ctx, l.topic)
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", l.topic, err)
	}
	topic, err := configs.On(l.topic, nil)
	if err = errors.Join(err, topic.Err); err != nil {
		return fmt.Errorf("describe topic %s: %w", l.topic, err)
	}
	for _, c := range topic.Configs {
		if c.Key == "cleanup.policy" && c.MaybeValue() != "compact" {
			return fmt.Errorf("topic %s has cleanup.policy=%s and would lose schemas: set it to compact", l.topic, c.MaybeValue())
		}
	}
	return nil
}

type outcome struct {
	offset int64
	err    error
}

// idle waits until the client has made up its mind about a record that was given
// up. What is produced before would fail along with it.
func (l *topicLog) idle(ctx context.Context) error {
	if l.given == nil {
		return nil
	}
	select {
	case <-l.given:
		l.given = nil
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the last write to topic %s: %w", l.topic, ctx.Err())
	}
}

// append writes a record and returns its offset. After an error it may be
// written or not, or be written yet: a request under way outlives the context.
func (l *topicLog) append(ctx context.Context, r record) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := l.idle(ctx); err != nil {
		return 0, err
	}
	done := make(chan outcome, 1)
	l.producer.Produce(ctx, &kgo.Record{Topic: l.topic, Key: r.key, Value: r.value}, func(r *kgo.Record, err error) {
		done <- outcome{r.Offset, err}
	})
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		l.given, o.err = done, ctx.Err()
	}
	if o.err != nil {
		return 0, fmt.Errorf("write to topic %s: %w", l.topic, o.err)
	}
	return o.offset, nil
}

// read returns what the log says from its start to its end as it is now.
func (l *topicLog) read(ctx context.Context) (*state, error) {
	s := newState()
	end, err := l.cluster.Replay(ctx, l.topic, func(r *kgo.Record) error { return s.apply(record{r.Key, r.Value}) })
	if err != nil {
		return nil, err
	}
	if end < l.next {
		return nil, fmt.Errorf("topic %s ends at %d, but there were %d records: it was deleted or truncated: stop, and restore it", l.topic, end, l.next)
	}
	l.next = end
	return s, nil
}
