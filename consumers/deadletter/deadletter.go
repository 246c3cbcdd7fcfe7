// Package deadletter keeps what a consumer could not understand: the record's
// own bytes and the reason (G12), on the dead-letter topic of its topic.
//
// A dead letter blocks its key: later changes of the key follow it, so that
// they can be applied in order once it is resolved (G2). Which keys are blocked
// is read back from the topic, so it survives every owner.
package deadletter

import (
	"context"
	"fmt"
	"hash/maphash"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

// The headers of a dead letter. Its key and value are the record's own.
const (
	HeaderTopic     = "millrace.topic"
	HeaderPartition = "millrace.partition"
	HeaderOffset    = "millrace.offset"
	HeaderReason    = "millrace.reason"
	HeaderKey       = "millrace.key" // the canonical key that it blocks
)

// Letter is one dead letter.
type Letter struct {
	Partition  int32
	Offset     int64
	Key, Value []byte
	Canonical  []byte // the canonical key that it blocks; empty for a table without a key
	Reason     string
}

// Queue is the dead-letter topic of one topic. It belongs to the one owner of
// the topic, and is not for use by several goroutines.
type Queue struct {
	cluster kafka.Cluster
	client  *kgo.Client
	topic   string
	name    string
	made    bool
	blocked map[string]int64 // canonical key, to the offset of its first letter
	seed    maphash.Seed
	seen    map[place]bool
}

// place names a letter. The embedded broker may lose its newest records in a
// crash, and others then take their offsets: hence the value.
type place struct {
	partition int32
	offset    int64
	value     uint64
}

func (q *Queue) place(l *Letter) place {
	return place{l.Partition, l.Offset, maphash.Bytes(q.seed, l.Value)}
}

// Open reads which keys of the topic are blocked. The dead-letter topic need
// not exist: it is made with its first letter.
func Open(ctx context.Context, cluster kafka.Cluster, names kafka.Names, client *kgo.Client, topic string) (*Queue, error) {
	name, err := names.DeadLetter(topic)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		cluster: cluster, client: client, topic: topic, name: name,
		blocked: map[string]int64{}, seed: maphash.MakeSeed(), seen: map[place]bool{},
	}
	details, err := kadm.NewClient(client).ListTopics(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	if !details.Has(name) {
		return q, nil
	}
	q.made = true
	_, err = cluster.Replay(ctx, name, func(r *kgo.Record) error {
		at := place{value: maphash.Bytes(q.seed, r.Value)}
		var key []byte
		for _, h := range r.Headers {
			switch h.Key {
			case HeaderKey:
				key = h.Value
			case HeaderPartition:
				n, err := strconv.ParseInt(string(h.Value), 10, 32)
				if err != nil {
					return fmt.Errorf("read header %s: %w", h.Key, err)
				}
				at.partition = int32(n)
			case HeaderOffset:
				if at.offset, err = strconv.ParseInt(string(h.Value), 10, 64); err != nil {
					return fmt.Errorf("read header %s: %w", h.Key, err)
				}
			}
		}
		q.Block(key, at.offset)
		q.seen[at] = true
		return nil
	})
	return q, err
}

// Blocks reports whether an unresolved letter blocks a change of the canonical
// key: one that lies behind it. All changes of a key are in one partition. What
// lies before was loaded, or is read again because the load beside the letter
// did not commit.
func (q *Queue) Blocks(canonical []byte, offset int64) bool {
	first, ok := q.blocked[string(canonical)]
	return ok && first < offset
}

// Len is the number of unresolved letters.
func (q *Queue) Len() int { return len(q.seen) }

// Block makes later changes of the key follow a letter that is about to be put.
func (q *Queue) Block(canonical []byte, offset int64) {
	if len(canonical) == 0 {
		return
	}
	if first, ok := q.blocked[string(canonical)]; !ok || offset < first {
		q.blocked[string(canonical)] = offset
	}
}

// Put returns when Kafka has acknowledged the letters: only then may the load
// that leaves them out commit. A letter that is already there is not put again.
func (q *Queue) Put(ctx context.Context, letters []Letter) error {
	var records []*kgo.Record
	for i := range letters {
		l := &letters[i]
		q.Block(l.Canonical, l.Offset)
		if q.seen[q.place(l)] {
			continue
		}
		records = append(records, &kgo.Record{Topic: q.name, Partition: 0, Key: l.Key, Value: l.Value, Headers: []kgo.RecordHeader{
			{Key: HeaderTopic, Value: []byte(q.topic)},
			{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(l.Partition), 10)},
			{Key: HeaderOffset, Value: strconv.AppendInt(nil, l.Offset, 10)},
			{Key: HeaderReason, Value: []byte(l.Reason)},
			{Key: HeaderKey, Value: append([]byte(nil), l.Canonical...)},
		}})
	}
	if len(records) == 0 {
		return nil
	}
	if !q.made {
		if err := kafka.EnsureTopics(ctx, q.client, q.cluster.Letters(q.name, 0)); err != nil {
			return fmt.Errorf("make dead-letter topic: %w", err)
		}
		q.made = true
	}
	for len(records) > 0 {
		n := batch(records)
		for _, put := range q.client.ProduceSync(ctx, records[:n]...) {
			if put.Err != nil {
				h := put.Record.Headers
				return fmt.Errorf("put offset %s of partition %s of %s on %s: %w", h[2].Value, h[1].Value, q.topic, q.name, put.Err)
			}
		}
		records = records[n:]
	}
	for i := range letters {
		q.seen[q.place(&letters[i])] = true
	}
	return nil
}

// batch is how many of the records any topic takes at once: one at least, which may
// be too long by itself.
func batch(records []*kgo.Record) int {
	n, bytes := 0, 0
	for ; n < len(records); n++ {
		r := records[n]
		bytes += len(r.Key) + len(r.Value) + 128
		for _, h := range r.Headers {
			bytes += len(h.Key) + len(h.Value)
		}
		if n > 0 && bytes > kafka.MaxRecordBytes {
			break
		}
	}
	return n
}
