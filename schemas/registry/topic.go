package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// NewClient makes a Kafka client: what reaches the brokers, and the given
// options beside it.
type NewClient func(opts ...kgo.Opt) (*kgo.Client, error)

// topicLog is the topic as a log of records with one writer.
type topicLog struct {
	topic     string
	newClient NewClient
	producer  *kgo.Client
	next      int64 // the offset up to which the log was read
}

func openLog(ctx context.Context, topic string, newClient NewClient) (*topicLog, error) {
	// A record may be given up while its request is under way: its outcome is
	// then unknown, and the same record is written again. Twice is as once.
	producer, err := newClient(
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.AllowIdempotentProduceCancellation(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, fmt.Errorf("make registry's producer: %w", err)
	}
	l := &topicLog{topic: topic, newClient: newClient, producer: producer}
	if err := l.ensure(ctx); err != nil {
		producer.Close()
		return nil, err
	}
	return l, nil
}

func (l *topicLog) close() { l.producer.Close() }

// ensure makes the topic, or checks that it will lose nothing.
func (l *topicLog) ensure(ctx context.Context) error {
	adm := kadm.NewClient(l.producer)
	compact := "compact"
	res, err := adm.CreateTopic(ctx, 1, -1, map[string]*string{"cleanup.policy": &compact}, l.topic)
	if err == nil {
		err = res.Err
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", l.topic, err)
	}
	topics, err := adm.ListTopics(ctx, l.topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", l.topic, err)
	}
	if n := len(topics[l.topic].Partitions); n != 1 {
		return fmt.Errorf("topic %s has %d partitions: the registry needs one: name another topic", l.topic, n)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, l.topic)
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", l.topic, err)
	}
	config, err := configs.On(l.topic, nil)
	if err == nil {
		err = config.Err
	}
	if err != nil {
		return fmt.Errorf("describe topic %s: %w", l.topic, err)
	}
	for _, c := range config.Configs {
		if c.Key == "cleanup.policy" && c.MaybeValue() != compact {
			return fmt.Errorf("topic %s has cleanup.policy=%s and would lose schemas: set it to compact", l.topic, c.MaybeValue())
		}
	}
	return nil
}

// append writes a record and returns its offset. After an error it may be
// written or not, or be written yet.
func (l *topicLog) append(ctx context.Context, r record) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := l.producer.ProduceSync(ctx, &kgo.Record{Topic: l.topic, Key: r.key, Value: r.value}).First()
	if err != nil {
		return 0, fmt.Errorf("write to topic %s: %w", l.topic, err)
	}
	return res.Offset, nil
}

// read hands over what stands between next and the end of the log as it is now.
func (l *topicLog) read(ctx context.Context, apply func(record) error) error {
	ends, err := kadm.NewClient(l.producer).ListEndOffsets(ctx, l.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("find end of topic %s: %w", l.topic, err)
	}
	end, ok := ends.Lookup(l.topic, 0)
	if !ok {
		return fmt.Errorf("find end of topic %s: no partition 0", l.topic)
	}
	if end.Offset < l.next {
		return fmt.Errorf("topic %s ends at %d, but was read up to %d: it was deleted or truncated: stop, and restore it before anything else registers", l.topic, end.Offset, l.next)
	}
	if end.Offset == l.next {
		return nil
	}
	starts, err := kadm.NewClient(l.producer).ListStartOffsets(ctx, l.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("find start of topic %s: %w", l.topic, err)
	}
	from := l.next
	if start, ok := starts.Lookup(l.topic, 0); ok && start.Offset > from {
		if l.next > 0 {
			return fmt.Errorf("topic %s starts at %d, but was read up to %d: records were lost", l.topic, start.Offset, l.next)
		}
		from = start.Offset
	}
	consumer, err := l.newClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {0: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMinBytes(1))
	if err != nil {
		return fmt.Errorf("make registry's consumer: %w", err)
	}
	defer consumer.Close()
	// The last record of a compacted log always stays, so the end is reached.
	for from < end.Offset {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s at %d: %w", l.topic, from, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if err := apply(record{r.Key, r.Value}); err != nil {
				return fmt.Errorf("topic %s at offset %d: %w", l.topic, r.Offset, err)
			}
			from = r.Offset + 1
			l.next = from
		}
	}
	return nil
}
