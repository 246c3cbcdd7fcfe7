package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topic is a topic as it should be.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16              // 0: the broker's default
	Configs    map[string]*string // beside the broker's defaults
}

// PartitionsError is the reason when a topic exists with another number of
// partitions: keys would move, and their order with them (G2).
type PartitionsError struct {
	Topic      string
	Have, Want int32
}

func (e *PartitionsError) Error() string {
	return fmt.Sprintf("topic %s exists with %d partitions, not %d: set partitions to %d, or delete the topic if nothing in it is needed",
		e.Topic, e.Have, e.Want, e.Have)
}

// Data is the configuration of a topic of changes: kept, never compacted. On
// the embedded broker it has no retention; elsewhere the broker's default holds.
func (c Cluster) Data(name string, partitions int32, replicas int16) Topic {
	t := Topic{Name: name, Partitions: partitions, Replicas: replicas, Configs: map[string]*string{"cleanup.policy": kadm.StringPtr("delete")}}
	if c.Embedded {
		t.Configs["retention.ms"], t.Configs["retention.bytes"] = kadm.StringPtr("-1"), kadm.StringPtr("-1")
	}
	return t
}

// MaxLetterBytes is how long a dead letter may be: a record that was just short
// enough for its own topic, its canonical key once more, and the reason.
const MaxLetterBytes = 4 << 20

// Letters is the configuration of a topic of dead letters, which wait for a person.
func (c Cluster) Letters(name string, replicas int16) Topic {
	t := c.Data(name, 1, replicas)
	t.Configs["retention.ms"] = kadm.StringPtr("-1")
	t.Configs["max.message.bytes"] = kadm.StringPtr(strconv.Itoa(MaxLetterBytes))
	return t
}

// Compacted is the configuration of a topic of one partition that keeps the
// last record of every key.
func (Cluster) Compacted(name string, replicas int16) Topic {
	return Topic{Name: name, Partitions: 1, Replicas: replicas, Configs: map[string]*string{
		"cleanup.policy": kadm.StringPtr("compact"),
		// Small segments: a compacted topic is read whole at every start, and
		// Kafka does not compact the segment that it writes to.
		"segment.bytes": kadm.StringPtr("16777216"),
		"segment.ms":    kadm.StringPtr("3600000"),
	}}
}

// LoadsPartitions is the number of partitions of the topic of load-complete
// events. Its records are keyed by table.
const LoadsPartitions = 256

// Loads is the configuration of the topic of load-complete events. The logs of
// loads in the warehouse hold all of them: the topic only wakes, and the
// broker's default retention holds on the embedded broker too.
func (Cluster) Loads(name string) Topic { return Topic{Name: name, Partitions: LoadsPartitions} }

// EnsureTopics makes the topics that are not there and returns when the
// brokers know all of them. One that exists with another number of partitions
// is a PartitionsError; its configuration is left as it is.
func EnsureTopics(ctx context.Context, cl *kgo.Client, topics ...Topic) error {
	adm := kadm.NewClient(cl)
	for _, t := range topics {
		replicas := t.Replicas
		if replicas == 0 {
			replicas = -1
		}
		if _, err := adm.CreateTopic(ctx, t.Partitions, replicas, t.Configs, t.Name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	for _, t := range topics {
		have, err := partitions(ctx, adm, t.Name)
		if err != nil {
			return fmt.Errorf("describe topic %s: %w", t.Name, err)
		}
		if have != t.Partitions {
			return &PartitionsError{Topic: t.Name, Have: have, Want: t.Partitions}
		}
	}
	return nil
}

// partitions waits until the brokers know the topic: a creation is answered
// before it has reached all of them.
func partitions(ctx context.Context, adm *kadm.Client, topic string) (int32, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		details, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return 0, err
		}
		d := details[topic]
		if d.Err == nil && len(d.Partitions) > 0 {
			return int32(len(d.Partitions)), nil //nolint:gosec // few
		}
		if d.Err != nil && !kerr.IsRetriable(d.Err) {
			return 0, d.Err
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), d.Err)
		case <-time.After(pause):
		}
	}
}
