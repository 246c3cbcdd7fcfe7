package up

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"millrace/internal/config"
	"millrace/internal/testkit"
	"millrace/schemas/registry"
)

// served runs a registry until the returned function ends it.
func served(t *testing.T, brokers []string, topic string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started, ended := make(chan RunFile, 1), make(chan error, 1)
	go func() {
		ended <- RunRegistry(ctx, Options{
			Config: &config.Config{Prefix: "shop", HTTP: "127.0.0.1:0", Kafka: config.Kafka{Brokers: brokers}},
			Log:    slog.New(slog.DiscardHandler), Started: func(f RunFile) { started <- f },
		}, topic)
	}()
	select {
	case f := <-started:
		return f.Registry, func() {
			t.Helper()
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("it ends with %v", err)
			}
		}
	case err := <-ended:
		t.Fatalf("it does not start: %v", err)
		return "", nil
	}
}

// A registry that is started again has what it had, under the same ids, and keeps
// away from the topic of anyone else's.
func TestRegistryForPartsApart(t *testing.T) {
	brokers := testkit.KafkaCluster(t).ListenAddrs()
	register := func(url, schema string) int {
		t.Helper()
		client, err := registry.New(url)
		if err != nil {
			t.Fatal(err)
		}
		id, err := client.Register(t.Context(), "shop.orders-value", schema)
		if err != nil {
			t.Fatal(err)
		}
		return int(id)
	}
	const first, second = `{"type":"record","name":"R","fields":[]}`, `{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":0}]}`
	url, stop := served(t, brokers, "")
	id := register(url, first)
	resp, err := http.Get(strings.TrimSuffix(url, "/registry") + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("it is not ready: %v, %v", resp, err)
	}
	resp.Body.Close()
	stop()

	url, stop = served(t, brokers, "")
	if again, other := register(url, first), register(url, second); again != id || other == id {
		t.Errorf("after a restart the ids are %d and %d, not %d and another", again, other, id)
	}
	stop()

	// What up kept on these brokers is in the topic that it has always had.
	url, stop = served(t, brokers, registry.DefaultTopic)
	if id := register(url, second); id != 1 {
		t.Errorf("the first schema of another topic has the id %d", id)
	}
	stop()
}

func TestRegistryNeedsKafka(t *testing.T) {
	err := RunRegistry(t.Context(), Options{Config: &config.Config{Prefix: "shop", HTTP: "127.0.0.1:0"}}, "")
	if err == nil || !strings.Contains(err.Error(), "names no Kafka") {
		t.Errorf("it says %v", err)
	}
}
