package testkit

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka starts a Kafka cluster of one broker inside the process and returns its
// address. Topics are made by whoever needs them, never by their first use.
func Kafka(t testing.TB) []string {
	t.Helper()
	return KafkaCluster(t).ListenAddrs()
}

// KafkaCluster is Kafka for tests that inject faults: Cluster.ControlKey meets
// every request. Further options win over the one broker.
func KafkaCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatalf("start a Kafka cluster: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}
