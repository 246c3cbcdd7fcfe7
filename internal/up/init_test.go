package up

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/schemas/registry"
)

// What cannot be made ends it with an error; run again, it makes the rest, and
// leaves what is there.
func TestInitGoesOnWhereItFailed(t *testing.T) {
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	cluster := kafka.Cluster{Brokers: testkit.KafkaCluster(t).ListenAddrs(), Embedded: true}
	schemas, err := registry.Open(t.Context(), cluster, registry.DefaultTopic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(schemas.Close)
	served := httptest.NewServer(schemas)
	t.Cleanup(served.Close)
	client, err := kgo.NewClient(cluster.ClientOpts("test", nil, nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	const topic = "p.a.public.t"
	if err := kafka.EnsureTopics(t.Context(), client, cluster.Data(topic, 3, 1)); err != nil {
		t.Fatal(err)
	}
	c := &config.Config{
		Prefix: "p", Kafka: config.Kafka{Brokers: cluster.Brokers}, Registry: config.Registry{URL: served.URL},
		Sources: map[string]config.Source{"a": {Tables: map[string]config.Table{"public.t": {Core: "core.t"}}}},
		Warehouse: config.Warehouse{Kind: config.KindBigQuery, BigQuery: config.BigQuery{
			Project: fake.Project(), Location: "US", JobsURL: strings.TrimSuffix(fake.URL(), "/"), WritesAddr: fake.GRPCAddr(),
		}},
	}
	run := func() (told []string, err error) {
		err = Init(t.Context(), c, slog.New(slog.DiscardHandler), func(thing Thing) {
			told = append(told, fmt.Sprint(thing.State, " ", thing.Name))
		})
		return told, err
	}
	told, err := run()
	if err == nil || !strings.Contains(err.Error(), topic+" exists with 3 partitions, not 4") || !slices.Equal(told, []string{"made topic p.a.positions", "made topic p.a.snapshots"}) {
		t.Errorf("told %q, error %v", told, err)
	}
	if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	fake.On("jobs.insert", 1, bigqueryfake.Refuse(403, "accessDenied", "Access Denied: no right to create datasets"))
	told, err = run()
	if err == nil || !strings.Contains(err.Error(), "make the dataset millrace") ||
		!slices.Contains(told, "there topic p.a.positions") || !slices.Contains(told, "made topic "+topic) || !slices.Contains(told, "made schema of p.loads") {
		t.Errorf("told %q, error %v", told, err)
	}
	told, err = run()
	want := []string{
		"there topic p.a.positions", "there topic p.a.snapshots", "there topic " + topic, "there topic p.loads", "there schema of p.loads",
		"later schema of " + topic + ", by millrace produce: its columns are not known yet",
		"made dataset millrace", "made dataset core", "made dataset core__base", "made dataset millrace_scratch",
		"later table core.t, by millrace consume with its first load",
	}
	if err != nil || !slices.Equal(told, want) {
		t.Errorf("told %q, error %v", told, err)
	}
}
