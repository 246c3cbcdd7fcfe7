package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/internal/testkit"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
	"millrace/schemas/registry"
)

// startBigQuery starts a BigQuery in this process, so that it outlives those
// that are killed, and returns the section of a configuration that names it.
func startBigQuery(t *testing.T) (fake *bigqueryfake.Fake, section string) {
	t.Helper()
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{Location: "EU"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return fake, fmt.Sprintf("warehouse: {kind: bigquery, project: %s, location: EU, load_every: 100ms, freshness: 0, endpoints: {jobs: %q, writes: %q}}\n",
		fake.Project(), strings.TrimSuffix(fake.URL(), "/"), fake.GRPCAddr())
}

// owned is how many core tables the part has taken over that was the first to
// be started.
func (i *install) owned(part string) (n int) {
	_, said, ok := strings.Cut(i.log.String(), "millrace "+part+": http://")
	if !ok {
		return 0
	}
	addr, _, _ := strings.Cut(said, "/")
	client := page.Client{Addr: addr}
	defer client.HTTP.CloseIdleConnections()
	status, err := client.Status(i.t.Context())
	if err != nil {
		return 0
	}
	for _, c := range status.Core {
		if c.Owned {
			n++
		}
	}
	return n
}

// serveSchemas serves a registry that outlives the processes, and returns where.
func serveSchemas(t *testing.T, brokers []string) string {
	t.Helper()
	schemas, err := registry.Open(t.Context(), kafka.Cluster{Brokers: brokers, Embedded: true}, registry.DefaultTopic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(schemas.Close)
	served := httptest.NewServer(schemas)
	t.Cleanup(served.Close)
	return served.URL
}

// reader asks a BigQuery that outlives the processes.
func reader(t *testing.T, fake *bigqueryfake.Fake) func(sql string) ([]string, error) {
	t.Helper()
	warehouse, err := bigquery.Open(t.Context(), bigquery.Options{
		Project: fake.Project(), Location: "EU", Endpoints: bigquery.Endpoints{Jobs: fake.URL(), Writes: fake.GRPCAddr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := warehouse.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(sql string) ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		answer, err := warehouse.Select(ctx, sql, 10_000)
		if err != nil {
			return nil, err
		}
		return lines(answer.Rows), nil
	}
}

// What produces, what loads and what derives are processes of their own, which
// share Kafka, a registry and the warehouse, and are killed one by one. One core
// table is merged, of the other BigQuery joins the changes.
func TestPartsApartOnBigQuery(t *testing.T) {
	t.Parallel()
	postgres, mariadb, config := shops(t)
	postgres.exec(t, "ALTER TABLE public.orders REPLICA IDENTITY FULL")
	config = strings.Replace(config, "{event_time: day}", "{event_time: day, mode: upsert}", 1)
	fake, section := startBigQuery(t)
	cluster := testkit.KafkaCluster(t)
	cluster.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		// Who was killed is missed soon.
		join := req.(*kmsg.JoinGroupRequest)
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 6000, 6000
		return nil, nil, false
	})
	brokers := cluster.ListenAddrs()
	schemas, query := serveSchemas(t, brokers), reader(t, fake)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	specs, daily, notes := derivedShops(postgres, mariadb)
	i := newInstall(t, fmt.Sprintf("prefix: apart\n%s%skafka: {brokers: [%q]}\nregistry: {url: %q}\n", config, section, brokers[0], schemas), specs)
	parts := []string{"produce", "consume", "derive"}
	running := map[string]*child{}
	start := func(part string) { running[part] = i.run(part, "--config", "millrace.yaml") }
	t.Cleanup(func() {
		for _, c := range running {
			if t.Failed() {
				c.end(syscall.SIGQUIT) // the log then says what waits for what
			}
			c.end(syscall.SIGKILL)
		}
	})
	start("produce")
	// Who consumes looks for topics that come later only now and then.
	i.await("the topics are there", func() bool { return strings.Count(i.log.String(), "snapshot done") == 2 })
	start("consume")
	start("derive")
	// The tests' broker never misses a member of the group that dies while it joins.
	i.await("both tables are taken", func() bool { return i.owned("consume") == 2 })
	for _, n := range rng.Perm(len(parts)) {
		for end := time.Now().Add(time.Duration(rng.IntN(1500)) * time.Millisecond); time.Now().Before(end); {
			postgres.write(t, rng)
			mariadb.write(t, rng)
		}
		part := parts[n]
		running[part].end(syscall.SIGKILL)
		start(part)
	}
	for _, s := range []*shop{postgres, mariadb, daily, notes} {
		i.awaitEqualIn(t, query, s)
	}
	for part, c := range running {
		select {
		case <-c.exited:
			t.Errorf("%s ended by itself", part)
		default:
		}
	}
}
