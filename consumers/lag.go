package consumers

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

// measureEvery is how often the ends of the topics are asked for. What is polled
// tells them as well; but a topic whose loads are stuck is not polled.
const measureEvery = 15 * time.Second

// lag counts the records of a topic that are not loaded: those that were not
// polled yet, and those of them that are work and wait for their load. What lies
// unread is counted by its offsets, watermarks and the marks of transactions too.
type lag struct {
	mu        sync.Mutex
	next, end map[int32]int64 // by partition: what is polled next, and where the log ends
	waiting   int64
}

func (l *lag) begin(next, end map[int32]int64) {
	l.next, l.end = map[int32]int64{}, map[int32]int64{}
	for p, n := range next {
		l.next[p], l.end[p] = n, end[p]
	}
}

func (l *lag) polled(p kgo.FetchTopicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[p.Partition] = p.Records[len(p.Records)-1].Offset + 1
	l.end[p.Partition] = max(l.end[p.Partition], p.HighWatermark)
	l.waiting += work(p.Records)
}

// work counts the records that are more than watermarks. A quiet table has those
// too while its load is stuck, and nobody would load them sooner.
func work(records []*kgo.Record) (n int64) {
	for _, r := range records {
		if !isWatermark(r) {
			n++
		}
	}
	return n
}

const opHeader = "op" // of every record that our producers write

// isWatermark goes by the header: what other producers write counts.
func isWatermark(r *kgo.Record) bool {
	for _, h := range r.Headers {
		if h.Key == opHeader {
			return len(h.Value) == 1 && schemas.Op(h.Value[0]) == schemas.Watermark
		}
	}
	return false
}

func (l *lag) ended(partition int32, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end[partition] = max(l.end[partition], end)
}

func (l *lag) loaded(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting -= n
}

func (l *lag) records() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.waiting
	for p, end := range l.end {
		n += max(end-l.next[p]-1, 0) // a transaction ends with a marker, which is no record
	}
	return n
}

func (t *topic) showLag() {
	n := t.lag.records()
	for _, g := range t.targets {
		t.metrics.lag.WithLabelValues(g.of).Set(float64(n))
		t.status.update(g.of, func(st *TableStatus) { st.Lag = n })
	}
}

// hideLag leaves it to the table's next owner: an autoscaler adds up what all
// members say.
func (t *topic) hideLag() {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	if r := t.topics[t.conf.Topic]; r != nil && r.topic == t {
		delete(t.topics, t.conf.Topic)
	}
	for _, g := range t.targets {
		t.metrics.lag.DeleteLabelValues(g.of)
	}
}

// measure asks for the ends of the topics that are owned.
func (s *session) measure(ctx context.Context) error {
	every := time.NewTicker(s.measureEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		s.mu.Lock()
		var names []string
		for name := range s.topics {
			names = append(names, name)
		}
		s.mu.Unlock()
		if len(names) == 0 {
			continue
		}
		ends, err := s.admin.ListEndOffsets(ctx, names...)
		if err != nil {
			continue // the poller meets the same, and says it
		}
		s.mu.Lock()
		for name, of := range ends {
			r := s.topics[name]
			if r == nil {
				continue
			}
			for p, o := range of {
				if o.Err == nil {
					r.topic.lag.ended(p, o.Offset)
				}
			}
			r.topic.showLag()
		}
		s.mu.Unlock()
	}
}
