package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/deriver"
	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/invalid"
	"millrace/internal/kafka"
	"millrace/internal/page"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// derivers runs the derived tables of a folder of specs.
type derivers struct {
	*process
	dialect *duckdb.Dialect
	specs   []*spec.Spec
	texts   specTexts // of the specs' files, as they were read
	client  *kgo.Client
	loads   string // the topic of load-complete events
	loadsID uint32 // of their schema
	metrics *deriver.Metrics

	mu      sync.Mutex
	nodes   []*graph.Node
	running []*deriver.Deriver
	waiting string // why nothing runs yet
	broken  map[string]string
}

// freshness is how often a derived table is computed at most, by default.
const freshness = 0

// openDerivers reads the specs and refuses those with faults, before anything
// else has started.
func (p *process) openDerivers(ctx context.Context) (*derivers, error) {
	if !p.Parts.Derive || p.Config.Derived == "" {
		return nil, nil
	}
	d := &derivers{process: p, waiting: "starting", broken: map[string]string{}}
	var faults invalid.Faults
	var err error
	if d.texts, err = readSpecTexts(os.DirFS(p.Config.Derived)); err != nil {
		return nil, err
	}
	if d.specs, faults, err = spec.Load(os.DirFS(p.Config.Derived)); err != nil {
		return nil, err
	}
	if d.dialect, err = duckdb.OpenDialect(ctx); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, d.dialect.Close)
	tables, _, err := p.graphTables(ctx, nil)
	if err != nil {
		return nil, err
	}
	g, more, err := graph.Build(ctx, d.dialect, d.specs, tables)
	if err != nil {
		return nil, fmt.Errorf("read the specs: %w", err)
	}
	if err := inFolder(p.Config.Derived, append(faults, more...)).Err(); err != nil {
		return nil, err
	}
	for _, n := range g.Nodes {
		for table, kept := range deriver.Needs(n) {
			if err := p.duck.SetNeeds(ctx, table, n.Spec.Name, kept); err != nil {
				return nil, fmt.Errorf("write down what %s needs of %s: %w", n.Spec.Name, table, err)
			}
		}
	}
	d.metrics, err = deriver.NewMetrics(p.metrics)
	return d, err
}

// run starts each derived table as soon as the columns of the tables that it
// reads are known, and keeps it up to date. A table whose spec does not fit the
// columns is shown and left out; the others run.
func (d *derivers) run(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.client.Close()
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return d.listen(inner) })
	group.Go(func() error { return d.startAll(inner, group) })
	return group.Wait()
}

// startAll looks for columns until all of them are known.
func (d *derivers) startAll(ctx context.Context, group *errgroup.Group) error {
	started := map[string]bool{}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		tables, unknown, err := d.graphTables(ctx, d.dialect)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		if err != nil {
			d.Log.Warn("derived tables wait for the schemas of core tables", "err", err)
			d.wait("the schema registry: " + err.Error())
		} else {
			g, faults, err := graph.Build(ctx, d.dialect, d.specs, tables)
			if err != nil {
				return fmt.Errorf("read the specs: %w", err)
			}
			for _, n := range g.Nodes {
				if n.Columns != nil && !started[n.Spec.Name] {
					started[n.Spec.Name] = true
					d.start(ctx, group, n)
				}
			}
			if len(unknown) == 0 {
				d.leaveOut(g, faults)
				return nil
			}
			d.wait("the columns of " + strings.Join(unknown, ", "))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (d *derivers) start(ctx context.Context, group *errgroup.Group, n *graph.Node) {
	table, err := deriver.New(deriver.Options{
		Node: n, Runner: d.duck.Runner(), Spelling: d.dialect, Announce: d.announce, Revision: -1,
		Freshness: freshness, Metrics: d.metrics, Logger: d.Log,
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.Log.Error("derived table left out", "table", n.Spec.Name, "err", err)
		d.broken[n.Spec.Name] = err.Error()
		return
	}
	d.running, d.nodes = append(d.running, table), append(d.nodes, n)
	group.Go(func() error {
		if err := table.Run(ctx); err != nil {
			d.Log.Error("derived table stays out", "table", n.Spec.Name, "err", err)
		}
		return nil
	})
}

func (d *derivers) wait(why string) {
	d.mu.Lock()
	d.waiting = why
	d.mu.Unlock()
}

// leaveOut remembers why specs are not among the graph's nodes.
func (d *derivers) leaveOut(g *graph.Graph, faults invalid.Faults) {
	if err := faults.Err(); err != nil {
		d.Log.Error("derived tables left out", "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.specs {
		if slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Spec == s }) {
			continue
		}
		d.broken[s.Name] = "a table that it reads is left out"
		for _, f := range faults {
			if f.File == s.File || f.File == s.QueryFile {
				d.broken[s.Name] = f.String()
				break
			}
		}
	}
}

// open makes the topic of load-complete events and the client that reads and
// writes it. Reading begins at its end: the warehouse's logs have what came
// before.
func (d *derivers) open(ctx context.Context) (err error) {
	if d.loads, err = d.names.Loads(); err != nil {
		return err
	}
	if d.loadsID, err = d.registry.Register(ctx, d.loads+"-value", avro.LoadCompleteSchema); err != nil {
		return err
	}
	opts := append(d.cluster.ClientOpts("deriver", d.Log, nil), d.cluster.ConsumerOpts()...)
	opts = append(opts, d.cluster.PlainProducerOpts()...)
	opts = append(opts, kgo.ConsumeTopics(d.loads), kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if d.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	if err := kafka.EnsureTopics(ctx, d.client, d.cluster.Loads(d.loads)); err != nil {
		d.client.Close()
		return err
	}
	return nil
}

// listen wakes the derivers. What it misses they find by themselves.
func (d *derivers) listen(ctx context.Context) error {
	for {
		fetches := d.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		for _, e := range fetches.Errors() {
			d.Log.Warn("poll load-complete events", "topic", e.Topic, "err", e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			event, err := decodeLoad(r.Value)
			if err != nil {
				d.Log.Warn("load-complete event cannot be read", "partition", r.Partition, "offset", r.Offset, "err", err)
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, table := range d.running {
				table.Notify(event)
			}
		})
	}
}

func decodeLoad(value []byte) (schemas.LoadComplete, error) {
	_, body, err := avro.SplitHeader(value)
	if err != nil {
		return schemas.LoadComplete{}, err
	}
	return avro.DecodeLoadComplete(body)
}

// show computes a part of a derived table and publishes nothing.
func (p *process) show(ctx context.Context, table, window string, key []string) (*page.Shown, error) {
	if p.derivers == nil {
		return nil, errors.New("this process derives no tables")
	}
	p.derivers.mu.Lock()
	at := slices.IndexFunc(p.derivers.nodes, func(n *graph.Node) bool { return n.Spec.Name == table })
	if at < 0 {
		p.derivers.mu.Unlock()
		return nil, fmt.Errorf("no derived table %s runs here: see millrace status", table)
	}
	node := p.derivers.nodes[at]
	p.derivers.mu.Unlock()
	sql, err := deriver.Show(node, p.derivers.dialect, deriver.Choice{Window: window, Key: key})
	if err != nil {
		return nil, err
	}
	result, err := p.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return &page.Shown{SQL: sql, Result: result}, nil
}

// announce returns when Kafka has acknowledged the event.
func (d *derivers) announce(ctx context.Context, e schemas.LoadComplete) error {
	value, err := avro.AppendLoadComplete(avro.AppendHeader(nil, d.loadsID), &e)
	if err != nil {
		return fmt.Errorf("encode run %d of %s: %w", e.Load, e.Table, err)
	}
	if err := d.client.ProduceSync(ctx, &kgo.Record{Topic: d.loads, Key: []byte(e.Table), Value: value}).FirstErr(); err != nil {
		return fmt.Errorf("announce run %d of %s: %w", e.Load, e.Table, err)
	}
	return nil
}
