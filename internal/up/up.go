// Package up runs Millrace, or parts of it, in one process: it opens what the
// configuration leaves to be embedded, wires the parts together, and ends them
// in the right order.
package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"millrace/consumers"
	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/kafka/embedded"
	"millrace/internal/ops"
	"millrace/internal/page"
	"millrace/internal/warehouse"
	"millrace/producers"
	"millrace/schemas"
	"millrace/schemas/registry"
)

// StopsWithin is how long a process may take to end that was asked to: a producer
// has ten seconds to commit what it has read, requests have three, and what a
// consumer or a deriver had not committed is the next one's. Whoever kills it
// waits for longer.
const StopsWithin = 30 * time.Second

// Parts says which parts of Millrace the process runs.
type Parts struct {
	Produce bool
	Consume bool
	Derive  bool
}

// All is every part.
func All() Parts { return Parts{Produce: true, Consume: true, Derive: true} }

// Options is what Run needs.
type Options struct {
	Config *config.Config
	Parts  Parts
	// Only are the sources, groups of consumers or derived tables to run, of the
	// one kind that Parts names; none: all.
	Only []string
	// Revision is that of the specs: a derived table whose head has a later one is
	// another's (G5). 0: the head's own.
	Revision int64
	Version  string
	Log      *slog.Logger
	// Started is called once everything runs, with the addresses.
	Started func(RunFile)
}

// process is everything that one process has open.
type process struct {
	Options
	metrics   *prometheus.Registry
	began     time.Time
	names     kafka.Names
	cluster   kafka.Cluster
	broker    *embedded.Broker // nil if Kafka is elsewhere
	ops       *ops.Server
	schemas   *registry.Registry // nil if the registry is elsewhere
	registry  *registry.Client
	warehouse warehouse.Warehouse       // nil if only producers run
	surveyed  map[string]*schemas.Table // of a check: tables by topic, as their sources say

	producers []*producers.Producer
	kinds     []string              // of the producers' sources
	halted    atomic.Int32          // producers that have ended for good
	consumers []*consumers.Consumer // one for each group
	derivers  *derivers             // nil if none are derived

	closers []func() error
}

// Run opens everything, runs it until ctx ends, and closes it. What it returns
// is for a person: it says what to do.
func Run(ctx context.Context, o Options) (err error) {
	p := &process{Options: o, metrics: prometheus.NewRegistry(), began: time.Now(), names: kafka.Names{Prefix: o.Config.Prefix}}
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newBuild(o.Version))
	defer func() {
		if errors.Is(err, errAskedToEnd) {
			err = nil
		}
		for i := len(p.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, p.closers[i]())
		}
		if err == nil {
			o.Log.Info("stopped")
		}
	}()
	if err := p.check(); err != nil {
		return err
	}
	if p.embeds() {
		if err := os.MkdirAll(o.Config.Data, 0o755); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	}
	if err := p.openKafka(ctx); err != nil {
		return err
	}
	if err := p.openHTTP(); err != nil {
		return err
	}
	// The HTTP port serves the embedded registry, which producers and consumers
	// need while they end: it ends after them.
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- p.ops.Run(served) }()
	p.closers = append(p.closers, func() error {
		stop()
		return <-ended
	})
	if err := p.openRegistry(ctx); err != nil {
		return err
	}
	if err := p.openWarehouse(ctx); err != nil {
		return err
	}
	if err := p.outlast(ctx, "the prefix of its tables", func() error { return p.checkPrefix(ctx) }); err != nil {
		return err
	}
	return p.run(ctx)
}

// embeds reports whether the process keeps anything in the data folder.
func (p *process) embeds() bool {
	return p.Parts == All() || !p.Parts.only(Parts{Produce: true}) && p.Config.Warehouse.Kind == config.KindDuckDB
}

// check refuses what cannot work before anything is opened.
func (p *process) check() error {
	if p.Parts == All() {
		return nil
	}
	if err := checkApart(p.Config); err != nil {
		return err
	}
	return p.checkOnly()
}

// checkApart refuses a configuration whose parts cannot run apart.
func checkApart(c *config.Config) error {
	if len(c.Kafka.Brokers) == 0 {
		return errors.New("the configuration names no Kafka: parts that run apart need kafka: {brokers: [host:port]} in the configuration, or run millrace up")
	}
	if c.Registry.URL == "" {
		return errors.New("the configuration names no schema registry: parts that run apart need registry: {url: http://host:port}, or run millrace up")
	}
	return nil
}

// run starts the parts and waits for all of them. Producers begin last: the
// offsets of a torn log must have been set back before anything is repeated.
func (p *process) run(ctx context.Context) (err error) {
	if err := p.makeProducers(); err != nil {
		return err
	}
	if err := p.makeConsumers(ctx); err != nil {
		return err
	}
	// Before the first load: what specs need kept is kept from then on.
	if p.derivers, err = p.openDerivers(ctx); err != nil {
		return err
	}
	// From here on nothing of the process changes: it can be shown.
	p.ops.Handle("/", page.Handler(page.Process{Status: p.status, Query: p.query, Show: p.show}))
	if err := p.writeRunFile(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range p.consumers {
		group.Go(func() error { return c.Run(ctx) })
	}
	if p.Parts.Consume && len(p.consumers) == 0 {
		p.Log.Warn("no core table is in these groups: nothing is loaded here", "groups", p.Only)
		group.Go(func() error {
			<-ctx.Done()
			return nil
		})
	}
	if p.derivers != nil {
		group.Go(func() error { return p.derivers.run(ctx) })
	}
	for _, source := range p.producers {
		group.Go(func() error { return p.produce(ctx, source) })
	}
	p.ops.SetProbes(func() string { return p.notReady(ctx) }, p.dead)
	p.Log.Info("running", "http", "http://"+p.ops.Addr(), "kafka", p.cluster.Brokers, "ready_after", time.Since(p.began).Round(time.Millisecond))
	if p.Started != nil {
		p.Started(p.runFile())
	}
	return group.Wait()
}

// produce runs one source. A source that halts is shown and does not end the
// others; when all have halted, nothing runs any more and the process ends.
func (p *process) produce(ctx context.Context, source *producers.Producer) error {
	err := source.Run(ctx)
	var halt *producers.HaltError
	if !errors.As(err, &halt) {
		return err
	}
	p.Log.Error("source halted", "source", source.Status().Source, "err", err)
	if int(p.halted.Add(1)) == len(p.producers) {
		return err
	}
	return nil
}

func (p *process) openKafka(ctx context.Context) error {
	if len(p.Config.Kafka.Brokers) > 0 {
		var err error
		if p.cluster, err = ClusterOf(p.Config.Kafka); err != nil {
			return err
		}
		return p.enter(ctx, "Kafka", p.cluster.Ask)
	}
	broker, err := embedded.Start(ctx, embedded.Options{Dir: p.Config.Data, Log: p.Log})
	if err != nil {
		return err
	}
	p.broker = broker
	p.closers = append(p.closers, broker.Close)
	p.cluster = kafka.Cluster{Brokers: []string{broker.Addr()}, Embedded: true}
	return nil
}

func (p *process) openHTTP() (err error) {
	p.ops, err = ops.New(p.Config.HTTP, p.metrics)
	return err
}

func (p *process) openWarehouse(ctx context.Context) (err error) {
	if !p.Parts.Consume && !p.Parts.Derive {
		return nil
	}
	if p.warehouse, err = openWarehouse(ctx, p.Config, p.Log, p.metrics); err != nil {
		return err
	}
	p.closers = append(p.closers, p.warehouse.Close)
	return nil
}
