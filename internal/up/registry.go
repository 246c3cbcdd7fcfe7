package up

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"millrace/internal/kafka"
	"millrace/internal/ops"
	"millrace/schemas/registry"
)

// RunRegistry serves the embedded registry to parts that run apart, below /registry
// of the HTTP port, until ctx ends. It keeps the schemas in the topic; empty:
// <prefix>.schemas, which no registry of anyone else has. The caller sees to it that
// no other process has the topic open. Of o it takes Config, Log and Started.
func RunRegistry(ctx context.Context, o Options, topic string) error {
	brokers := o.Config.Kafka.Brokers
	if len(brokers) == 0 {
		return errors.New("the configuration names no Kafka: a registry needs kafka: {brokers: [host:port]} to keep its schemas, and millrace up has one embedded")
	}
	cluster, err := ClusterOf(o.Config.Kafka)
	if err != nil {
		return err
	}
	if topic == "" {
		if topic, err = (kafka.Names{Prefix: o.Config.Prefix}).Schemas(); err != nil {
			return err
		}
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server, err := ops.New(o.Config.HTTP, metrics)
	if err != nil {
		return err
	}
	schemas, err := registry.Open(ctx, cluster, topic)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	defer schemas.Close() // after the last request
	server.Handle(registryPath+"/", http.StripPrefix(registryPath, schemas))
	alive := func() string { return "" }
	server.SetProbes(alive, alive)
	o.Log.Info("registry is served", "http", fmt.Sprintf("http://%s%s", server.Addr(), registryPath), "topic", topic)
	if o.Started != nil {
		o.Started(RunFile{HTTP: server.Addr(), Kafka: brokers, Registry: "http://" + server.Addr() + registryPath})
	}
	return server.Run(ctx)
}
