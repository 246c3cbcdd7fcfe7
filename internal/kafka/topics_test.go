package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func testCluster(t *testing.T) (*kfake.Cluster, Cluster) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, Cluster{Brokers: c.ListenAddrs(), Embedded: true}
}

func client(t *testing.T, c Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(c.ClientOpts("test", nil, nil), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestEnsureTopics(t *testing.T) {
	fake, c := testCluster(t)
	cl := client(t, c)
	ctx := t.Context()
	for range 2 { // again: nothing changes
		if err := EnsureTopics(ctx, cl, c.Data("a", 3, 0), c.Compacted("b", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := *fake.TopicInfo("a").Configs["retention.ms"]; got != "-1" {
		t.Errorf("retention.ms of a data topic is %s", got)
	}
	if got := *fake.TopicInfo("b").Configs["cleanup.policy"]; got != "compact" {
		t.Errorf("cleanup.policy of a compacted topic is %s", got)
	}
	err := EnsureTopics(ctx, cl, c.Data("a", 5, 0))
	var wrong *PartitionsError
	if !errors.As(err, &wrong) || wrong.Have != 3 || wrong.Want != 5 || !strings.Contains(err.Error(), "topic a exists with 3 partitions, not 5") {
		t.Errorf("another number of partitions: %v", err)
	}
}

func TestReplayEndsAtTheStableEnd(t *testing.T) {
	_, c := testCluster(t)
	ctx := t.Context()
	if err := EnsureTopics(ctx, client(t, c), c.Compacted("p", 0)); err != nil {
		t.Fatal(err)
	}
	replay := func() string {
		t.Helper()
		var got []string
		if _, err := c.Replay(ctx, "p", func(r *kgo.Record) error {
			got = append(got, string(r.Value))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, " ")
	}
	if got := replay(); got != "" {
		t.Fatalf("an empty topic has %q", got)
	}
	txn := func(id string, end kgo.TransactionEndTry, values ...string) *kgo.Client {
		cl := client(t, c, c.TransactionalOpts(id, 1<<20)...)
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "p", Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if values[len(values)-1] != "open" {
			if err := EndTransaction(ctx, cl, end); err != nil {
				t.Fatal(err)
			}
		}
		return cl
	}
	txn("a", kgo.TryCommit, "1", "2")
	txn("a", kgo.TryAbort, "x")
	if got := replay(); got != "1 2" { // the last record is an abort marker
		t.Fatalf("got %q", got)
	}
	open := txn("b", kgo.TryCommit, "y", "open")
	txn("a", kgo.TryCommit, "3") // hidden behind the open transaction
	if got := replay(); got != "1 2" {
		t.Fatalf("behind an open transaction: %q", got)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := c.AwaitStable(short, "p"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("AwaitStable beside an open transaction: %v", err)
	}
	if err := EndTransaction(ctx, open, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitStable(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if got := replay(); got != "1 2 3" {
		t.Fatalf("got %q", got)
	}
	stop := errors.New("stop")
	if _, err := c.Replay(ctx, "p", func(*kgo.Record) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("the error of fn is lost: %v", err)
	}
	if _, err := c.Replay(ctx, "missing", nil); err == nil {
		t.Fatal("a missing topic is no error")
	}
}

func TestReplayAfterCompaction(t *testing.T) {
	fake, c := testCluster(t)
	ctx := t.Context()
	if err := EnsureTopics(ctx, client(t, c), c.Compacted("p", 0)); err != nil {
		t.Fatal(err)
	}
	cl := client(t, c, c.TransactionalOpts("a", 1<<20)...)
	for n := range 50 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: "p", Key: fmt.Appendf(nil, "k%d", n%2), Value: fmt.Append(nil, n)}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := EndTransaction(ctx, cl, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	fake.Compact()
	last := make(map[string]string)
	if _, err := c.Replay(ctx, "p", func(r *kgo.Record) error {
		last[string(r.Key)] = string(r.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last["k0"] != "48" || last["k1"] != "49" {
		t.Fatalf("got %v", last)
	}
}

func TestClientsShareARegistry(t *testing.T) {
	_, c := testCluster(t)
	reg := prometheus.NewPedanticRegistry()
	for range 2 { // a client that follows a closed one takes its metrics up
		var clients []*kgo.Client
		for _, name := range []string{"one", "two"} {
			cl, err := kgo.NewClient(c.ClientOpts(name, nil, reg)...)
			if err != nil {
				t.Fatal(err)
			}
			clients = append(clients, cl)
		}
		if err := EnsureTopics(t.Context(), clients[0], c.Data("a", 1, 0)); err != nil {
			t.Fatal(err)
		}
		if found, err := reg.Gather(); err != nil || len(found) == 0 {
			t.Fatalf("%d metrics, %v", len(found), err)
		}
		for _, cl := range clients {
			cl.Close()
		}
	}
}
