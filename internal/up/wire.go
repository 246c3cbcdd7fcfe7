package up

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers"
	"millrace/consumers/batch"
	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/producers"
	"millrace/producers/mongodb"
	"millrace/producers/mysql"
	"millrace/producers/postgres"
	"millrace/schemas/registry"
)

// partitions is the number of partitions of a table's topic.
const partitions = 4

// sources makes a source's section of the configuration, by kind.
func sources(kind string, s config.Source) (producers.Config, error) {
	names := slices.Sorted(maps.Keys(s.Tables))
	switch kind {
	case config.KindPostgres:
		c := &postgres.Config{DSN: s.DSN}
		for _, name := range names {
			c.Tables = append(c.Tables, postgres.TableConfig{Name: name, Key: s.Tables[name].Key, Text: s.Tables[name].Text})
		}
		return c, c.Validate()
	case config.KindMariaDB, config.KindMySQL:
		c := &mysql.Config{DSN: s.DSN, ServerID: s.ServerID}
		for _, name := range names {
			t := s.Tables[name]
			c.Tables = append(c.Tables, mysql.Table{
				Name: name, Key: t.Key, AppendOnly: t.AppendOnly, ZeroDates: t.ZeroDates, IgnoreCascades: t.IgnoreCascades,
			})
		}
		return c, c.Validate()
	case config.KindMongoDB:
		c := &mongodb.Config{DSN: s.DSN}
		for _, name := range names {
			t := mongodb.Table{Name: name, Promote: s.Tables[name].Promote}
			for _, column := range s.Tables[name].Columns {
				t.Columns = append(t.Columns, mongodb.Column(column))
			}
			c.Tables = append(c.Tables, t)
		}
		return c, c.Validate()
	}
	return nil, fmt.Errorf("kind %s is not known", kind)
}

func (p *process) makeProducers() error {
	if !p.Parts.Produce {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.Config.Sources)) {
		if !p.chosen(name) {
			continue
		}
		s := p.Config.Sources[name]
		section, err := sources(s.Kind, s)
		if err != nil {
			return fmt.Errorf("source %s: %w", name, err)
		}
		producer, err := producers.New(producers.Options{
			Prefix: p.Config.Prefix, Source: name, Connector: s.Kind, Config: section, Epoch: s.Epoch, Kafka: p.cluster,
			Registry: p.registry, Partitions: partitions, Log: p.Log, Metrics: p.metrics,
		})
		if err != nil {
			return err
		}
		p.producers = append(p.producers, producer)
		p.kinds = append(p.kinds, s.Kind)
	}
	return nil
}

// tables says which topic feeds which core table.
func (p *process) tables() ([]consumers.Table, error) { return tablesOf(p.Config, "") }

// tablesOf is tables for one group of consumers; empty: for all.
func tablesOf(c *config.Config, group string) ([]consumers.Table, error) {
	names := kafka.Names{Prefix: c.Prefix}
	var out []consumers.Table
	for _, source := range slices.Sorted(maps.Keys(c.Sources)) {
		s := c.Sources[source]
		for _, id := range slices.Sorted(maps.Keys(s.Tables)) {
			t := s.Tables[id]
			if group != "" && c.GroupOf(t) != group {
				continue
			}
			schema, table, _ := strings.Cut(id, ".")
			topic, err := names.Table(kafka.TopicName{Source: source, Schema: schema, Table: table, Generation: 1})
			if err != nil {
				return nil, err
			}
			out = append(out, consumers.Table{Topic: topic, Core: t.Core, History: t.History, EventTimes: t.EventTime, Upsert: t.Upsert})
		}
	}
	return out, nil
}

// kafkaGroup is what Kafka calls a group of consumers.
func kafkaGroup(prefix, group string) string {
	if group == config.DefaultGroup {
		return prefix + ".consumers"
	}
	return prefix + ".consumers." + group
}

// limits are those of a load, and what all topics may hold of memory (G13). BigQuery
// takes seconds for a load of any size, so what waits behind one is loaded in
// large pieces; DuckDB takes them as they come, and shares the memory.
func (p *process) limits() (one batch.Limits, memory int) {
	one = batch.Limits{Rows: 100_000, Bytes: 32 << 20, Age: p.Config.Warehouse.LoadEvery, Quiet: time.Hour}
	if p.Config.Warehouse.Kind == config.KindBigQuery {
		one.Rows, one.Bytes = 200_000, 64<<20
		return one, 192 << 20
	}
	return one, 64 << 20
}

// makeConsumers makes a member of each chosen group that has tables. On the
// embedded broker it makes the topics that it reads, so that it finds them at
// once, and sets offsets back to the ends of a torn log.
func (p *process) makeConsumers(ctx context.Context) error {
	if !p.Parts.Consume {
		return nil
	}
	groups := map[string][]consumers.Table{}
	for _, group := range p.Config.GroupNames() {
		tables, err := tablesOf(p.Config, group)
		if err != nil {
			return err
		}
		if p.chosen(group) && len(tables) > 0 {
			groups[group] = tables
		}
	}
	limits, memory := p.limits()
	for _, group := range p.Config.GroupNames() {
		if groups[group] == nil {
			continue
		}
		consumer, err := consumers.New(consumers.Options{
			Cluster: p.cluster, Names: p.names, Group: kafkaGroup(p.Config.Prefix, group), Tables: groups[group], Loader: p.warehouse,
			Registry: p.registry, Limits: limits, Memory: memory / len(groups), Log: p.Log, Metrics: p.metrics,
		})
		if err != nil {
			return err
		}
		p.consumers = append(p.consumers, consumer)
		if !p.cluster.Embedded {
			continue
		}
		if err := p.makeTopics(ctx, groups[group]); err != nil {
			return err
		}
		if err := consumer.Clip(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) makeTopics(ctx context.Context, tables []consumers.Table) error {
	client, err := kgo.NewClient(p.cluster.ClientOpts("up", p.Log, nil)...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	topics := make([]kafka.Topic, 0, len(tables))
	for _, t := range tables {
		topics = append(topics, p.cluster.Data(t.Topic, partitions, 1))
	}
	return kafka.EnsureTopics(ctx, client, topics...)
}

// registryPath is where the embedded registry stands below the HTTP port.
const registryPath = "/registry"

func (p *process) openRegistry(ctx context.Context) (err error) {
	url := p.Config.Registry.URL
	if url == "" {
		if p.schemas, err = registry.Open(ctx, p.cluster, registry.DefaultTopic); err != nil {
			return fmt.Errorf("open the embedded registry: %w", err)
		}
		p.ops.Handle(registryPath+"/", http.StripPrefix(registryPath, p.schemas))
		p.closers = append(p.closers, func() error {
			p.schemas.Close()
			return nil
		})
		url = p.registryURL()
	}
	p.registry, err = registry.New(url)
	return err
}

func (p *process) registryURL() string {
	if url := p.Config.Registry.URL; url != "" {
		return url
	}
	return "http://" + p.ops.Addr() + registryPath
}
