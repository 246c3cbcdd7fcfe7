package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// holding is a partitioner that holds up the record with the value "last", and
// with it the client, which stores a topic only after its first records have
// been given their partitions. That record fails.
type holding struct{ entered, release chan struct{} }

func (h holding) ForTopic(string) kgo.TopicPartitioner { return h }
func (h holding) RequiresConsistency(*kgo.Record) bool { return true }

func (h holding) Partition(r *kgo.Record, _ int) int {
	if string(r.Value) != "last" {
		return 0
	}
	close(h.entered)
	<-h.release
	return -1
}

func TestRecordsBeforeTheirTopicIsStoredAreCommitted(t *testing.T) {
	// With transactions of the second version the client would end it by an abort,
	// with those before it would leave it open.
	for _, release := range []*kversion.Versions{kversion.V3_9_0(), kversion.Stable()} {
		_, c := testCluster(t)
		if err := EnsureTopics(t.Context(), client(t, c), c.Compacted("p", 0)); err != nil {
			t.Fatal(err)
		}
		h := holding{make(chan struct{}), make(chan struct{})}
		cl := client(t, c, append(c.TransactionalOpts("a", 1<<20), kgo.RecordPartitioner(h), kgo.MaxVersions(release))...)
		if err := errors.Join(cl.Ping(t.Context()), cl.BeginTransaction()); err != nil {
			t.Fatal(err)
		}
		acked, failed := make(chan error, 1), make(chan error, 1)
		promise := func(to chan error) func(*kgo.Record, error) {
			return func(_ *kgo.Record, err error) { to <- err }
		}
		cl.Produce(t.Context(), &kgo.Record{Topic: "p", Key: []byte("k"), Value: []byte("first")}, promise(acked))
		cl.Produce(t.Context(), &kgo.Record{Topic: "p", Key: []byte("k"), Value: []byte("last")}, promise(failed))
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		<-h.entered
		time.AfterFunc(100*time.Millisecond, func() { close(h.release) })
		if err := EndTransaction(t.Context(), cl, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil {
			t.Error("a record without a partition does not fail")
		}
		var got string
		if _, err := c.Replay(t.Context(), "p", func(r *kgo.Record) error {
			got += string(r.Value)
			return nil
		}); err != nil || got != "first" {
			t.Errorf("Kafka %s: %q is committed (%v)", release.VersionGuess(), got, err)
		}
	}
}
