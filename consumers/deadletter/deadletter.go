// Package deadletter keeps what a consumer could not understand: the record's
// own bytes and the reason (G12), on the dead-letter topic of its topic.
//
// A dead letter blocks its key: later changes of the key follow it, so that
// they can be applied in order once it is resolved (G2). Which keys are blocked
// is read back from the topic, so it survives every owner.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

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
	HeaderKey       = "millrace.key"    // the canonical key that it blocks
	HeaderTables    = "millrace.tables" // that lack it, by commas; without it: all that the topic feeds
)

// What the owner of a topic remembers of its letters is bounded (G13): the keys that
// they block, and places. Letters are not: a table without keys blocks none.
const (
	MaxKeys   = 100_000  // that letters of one topic block
	maxBytes  = 16 << 20 // of these keys
	maxPlaces = 100_000
)

// ErrFull says that no further key can be blocked.
var ErrFull = errors.New("no more keys can wait behind dead letters")

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
	Reader
	made    bool
	keys    int              // how many may be blocked
	blocked map[string]int64 // canonical key, to the offset of its first letter
	bytes   int              // of the keys in it
	seed    maphash.Seed
	seen    map[place]bool // letters of what may be read again, as many as are remembered
	others  int            // how many there are beside
}

// Reader says whose letters are read, and where.
type Reader struct {
	Cluster kafka.Cluster
	Client  *kgo.Client
	Topic   string   // that the letters were records of
	Name    string   // of their own topic
	Tables  []string // that the topic feeds; letters of others alone are passed over
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

func newQueue(r Reader, keys int) *Queue {
	return &Queue{Reader: r, keys: keys, blocked: map[string]int64{}, seed: maphash.MakeSeed(), seen: map[place]bool{}}
}

// Open reads which keys of the topic are blocked. The dead-letter topic need
// not exist: it is made with its first letter. Next are the offsets that are read
// next: only letters of what follows can be put again.
//
// At most keys can be blocked. What is read may be twice as many: an owner that was
// fenced may have put its own beside those of the next.
func Open(ctx context.Context, r Reader, next map[int32]int64, keys int) (*Queue, error) {
	q := newQueue(r, 2*keys)
	made, err := r.each(ctx, func(l *Letter) error {
		if len(l.Canonical) > 0 {
			if err := q.Block(l.Canonical, l.Offset); err != nil {
				return err
			}
		}
		if l.Offset < next[l.Partition] {
			q.others++
		} else {
			q.remember(q.place(l))
		}
		return nil
	})
	q.made, q.keys = made, keys
	return q, err
}

// Count counts the letters, and remembers none.
func Count(ctx context.Context, r Reader) (n int, err error) {
	_, err = r.each(ctx, func(*Letter) error {
		n++
		return nil
	})
	return n, err
}

// each reads the letters that are there, and reports whether their topic is.
func (r *Reader) each(ctx context.Context, do func(*Letter) error) (bool, error) {
	details, err := kadm.NewClient(r.Client).ListTopics(ctx, r.Name)
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", r.Name, err)
	}
	if !details.Has(r.Name) {
		return false, nil
	}
	_, err = r.Cluster.Replay(ctx, r.Name, func(rec *kgo.Record) error {
		l, tables := Letter{Key: rec.Key, Value: rec.Value}, ""
		for _, h := range rec.Headers {
			switch h.Key {
			case HeaderTables:
				tables = string(h.Value)
			case HeaderKey:
				l.Canonical = h.Value
			case HeaderPartition:
				n, err := strconv.ParseInt(string(h.Value), 10, 32)
				if err != nil {
					return fmt.Errorf("read header %s: %w", h.Key, err)
				}
				l.Partition = int32(n)
			case HeaderOffset:
				if l.Offset, err = strconv.ParseInt(string(h.Value), 10, 64); err != nil {
					return fmt.Errorf("read header %s: %w", h.Key, err)
				}
			}
		}
		if tables != "" && !slices.ContainsFunc(strings.Split(tables, ","), func(t string) bool { return slices.Contains(r.Tables, t) }) {
			return nil
		}
		return do(&l)
	})
	return true, err
}

// remember counts a letter, which is not put again if there is room to know it by.
func (q *Queue) remember(at place) {
	switch {
	case q.seen[at]:
	case len(q.seen) < maxPlaces:
		q.seen[at] = true
	default:
		q.others++
	}
}

// Settle says which offsets are read next: the letters of what lies before are only
// counted from now on.
func (q *Queue) Settle(next map[int32]int64) {
	for at := range q.seen {
		if at.offset < next[at.partition] {
			delete(q.seen, at)
			q.others++
		}
	}
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
func (q *Queue) Len() int { return len(q.seen) + q.others }

// Block makes later changes of the key follow a letter that is about to be put. It
// returns ErrFull if there is no room to remember that: then the letter must not be
// put, nor its record passed.
func (q *Queue) Block(canonical []byte, offset int64) error {
	if len(canonical) == 0 {
		return nil
	}
	first, ok := q.blocked[string(canonical)]
	if !ok {
		if len(q.blocked) >= q.keys || q.bytes+len(canonical) > maxBytes {
			return fmt.Errorf("block a key by a dead letter of %s, beside %d others of %d bytes: %w", q.Topic, len(q.blocked), q.bytes, ErrFull)
		}
		q.bytes += len(canonical)
	}
	if !ok || offset < first {
		q.blocked[string(canonical)] = offset
	}
	return nil
}

// Put returns when Kafka has acknowledged the letters: only then may the load
// that leaves them out commit. A letter that is already there is not put again. After
// ErrFull none was put.
func (q *Queue) Put(ctx context.Context, letters []Letter) error {
	var records []*kgo.Record
	for i := range letters {
		l := &letters[i]
		if err := q.Block(l.Canonical, l.Offset); err != nil {
			return err
		}
		if q.seen[q.place(l)] {
			continue
		}
		records = append(records, &kgo.Record{Topic: q.Name, Partition: 0, Key: l.Key, Value: l.Value, Headers: []kgo.RecordHeader{
			{Key: HeaderTopic, Value: []byte(q.Topic)},
			{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(l.Partition), 10)},
			{Key: HeaderOffset, Value: strconv.AppendInt(nil, l.Offset, 10)},
			{Key: HeaderReason, Value: []byte(l.Reason)},
			{Key: HeaderKey, Value: append([]byte(nil), l.Canonical...)},
			{Key: HeaderTables, Value: []byte(strings.Join(q.Tables, ","))},
		}})
	}
	if len(records) == 0 {
		return nil
	}
	if !q.made {
		if err := kafka.EnsureTopics(ctx, q.Client, q.Cluster.Letters(q.Name, 0)); err != nil {
			return fmt.Errorf("make dead-letter topic: %w", err)
		}
		q.made = true
	}
	for len(records) > 0 {
		n := batch(records)
		for _, put := range q.Client.ProduceSync(ctx, records[:n]...) {
			if put.Err != nil {
				h := put.Record.Headers
				return fmt.Errorf("put offset %s of partition %s of %s on %s: %w", h[2].Value, h[1].Value, q.Topic, q.Name, put.Err)
			}
		}
		records = records[n:]
	}
	for i := range letters {
		q.remember(q.place(&letters[i]))
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
