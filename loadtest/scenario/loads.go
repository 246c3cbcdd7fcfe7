package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/loadtest/measure"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// tailer follows the topic of load-complete events.
type tailer struct {
	client *kgo.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	seen   map[string]map[int64]bool // announcing is at least once (G6)
	loads  []schemas.LoadComplete
	loaded int64
}

// tail follows the topic, which is made if it is not there.
func (r *rig) tail(ctx context.Context, at where) (*tailer, error) {
	topic, err := kafka.Names{Prefix: r.prefix}.Loads()
	if err != nil {
		return nil, err
	}
	cluster, err := at.cluster()
	if err != nil {
		return nil, err
	}
	opts := append(cluster.ClientOpts("tail", nil, nil), cluster.ConsumerOpts()...)
	opts = append(opts, kgo.ConsumeTopics(topic), kgo.FetchMinBytes(1), kgo.FetchMaxWait(100*time.Millisecond))
	t := &tailer{seen: map[string]map[int64]bool{}}
	if t.client, err = kgo.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	if err := kafka.EnsureTopics(ctx, t.client, cluster.Loads(topic)); err != nil {
		t.client.Close()
		return nil, err
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.done.Go(func() { t.follow(ctx) })
	return t, nil
}

func (t *tailer) close() {
	t.cancel()
	t.done.Wait()
	t.client.Close()
}

func (t *tailer) follow(ctx context.Context) {
	for ctx.Err() == nil {
		t.client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			_, body, err := avro.SplitHeader(rec.Value)
			if err != nil {
				return
			}
			if e, err := avro.DecodeLoadComplete(body); err == nil && e.Load > 0 {
				t.add(e)
			}
		})
	}
}

func (t *tailer) add(e schemas.LoadComplete) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[e.Table] == nil {
		t.seen[e.Table] = map[int64]bool{}
	}
	if t.seen[e.Table][e.Load] {
		return
	}
	t.seen[e.Table][e.Load] = true
	t.loads = append(t.loads, e)
	if isCore(e) {
		t.loaded += e.Rows.Read
	}
}

// isCore tells a load from a run of a derived table.
func isCore(e schemas.LoadComplete) bool { return strings.HasPrefix(e.Table, "core.") }

// events is how many data events core tables have read.
func (t *tailer) events() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loaded
}

func (t *tailer) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.loads)
}

// all are the loads so far.
func (t *tailer) all() []schemas.LoadComplete {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.loads)
}

// last is when the last load was committed that read anything.
func (t *tailer) last() (at time.Time) {
	for _, e := range t.all() {
		if isCore(e) && e.Rows.Read > 0 && e.CommittedAt.After(at) {
			at = e.CommittedAt
		}
	}
	return at
}

// timeline is how many events were loaded by when, since it began.
func (t *tailer) timeline(began time.Time) []measure.Sample {
	loads := t.all()
	slices.SortFunc(loads, func(a, b schemas.LoadComplete) int { return a.CommittedAt.Compare(b.CommittedAt) })
	var out []measure.Sample
	var sum int64
	every := 1 + len(loads)/300
	for i, e := range loads {
		if !isCore(e) || e.CommittedAt.Before(began) {
			continue
		}
		sum += e.Rows.Read
		if i%every == 0 || i == len(loads)-1 {
			out = append(out, measure.Sample{Seconds: e.CommittedAt.Sub(began).Seconds(), Events: sum})
		}
	}
	return out
}
