package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// Thing is something that the platform needs.
type Thing struct {
	State State
	Name  string // for a person, with its kind
}

// State says what became of a thing.
type State string

// The states of things.
const (
	Made  State = "made"
	There State = "there"
	Later State = "later" // what makes it is in its name
)

// Init makes what the parts that run apart would make at their start: topics, the
// schema of load-complete events, datasets. tell is called for each thing in
// turn. What is there already stays as it is.
func Init(ctx context.Context, c *config.Config, log *slog.Logger, tell func(Thing)) (err error) {
	if err := checkApart(c); err != nil {
		return err
	}
	p := &process{
		Options: Options{Config: c, Log: log}, names: kafka.Names{Prefix: c.Prefix},
	}
	if p.cluster, err = ClusterOf(c.Kafka); err != nil {
		return err
	}
	if err := mustAnswer(ctx, c); err != nil {
		return err
	}
	if c.Warehouse.Kind == config.KindDuckDB {
		if err := os.MkdirAll(c.Data, 0o755); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	}
	// Before anything is made: a project of another prefix is refused.
	if p.warehouse, err = openWarehouse(ctx, c, log, prometheus.NewRegistry()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.warehouse.Close()) }()
	if err := p.checkPrefix(ctx); err != nil {
		return err
	}
	if err := p.initTopics(ctx, tell); err != nil {
		return err
	}
	if err := p.initSchemas(ctx, tell); err != nil {
		return err
	}
	return p.initDatasets(ctx, tell)
}

func (p *process) initTopics(ctx context.Context, tell func(Thing)) error {
	topics, err := p.allTopics()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(p.cluster.ClientOpts("init", p.Log, nil)...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	have, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics of %s: %w", strings.Join(p.cluster.Brokers, ", "), err)
	}
	for _, t := range topics {
		if err := kafka.EnsureTopics(ctx, client, t); err != nil {
			return err
		}
		tell(Thing{stateOf(have.Has(t.Name)), "topic " + t.Name})
	}
	return nil
}

func stateOf(there bool) State {
	if there {
		return There
	}
	return Made
}

// allTopics are those that every installation has from its start. Dead letters
// and next generations make theirs.
func (p *process) allTopics() (topics []kafka.Topic, err error) {
	for _, source := range slices.Sorted(maps.Keys(p.Config.Sources)) {
		positions, err1 := p.names.Positions(source)
		snapshots, err2 := p.names.Snapshots(source)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		topics = append(topics, p.cluster.Compacted(positions, 0), p.cluster.Compacted(snapshots, 0))
	}
	tables, err := p.tables()
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		topics = append(topics, p.cluster.Data(t.Topic, partitions, 0))
	}
	loads, err := p.names.Loads()
	return append(topics, p.cluster.Loads(loads)), err
}

// initSchemas registers the schema of load-complete events, and tells which
// topics have none yet: the columns of their tables are the sources' to say.
func (p *process) initSchemas(ctx context.Context, tell func(Thing)) error {
	client, err := RegistryOf(p.Config.Registry)
	if err != nil {
		return err
	}
	loads, err := p.names.Loads()
	if err != nil {
		return err
	}
	there, err := known(ctx, client, loads)
	if err != nil {
		return err
	}
	if _, err := client.Register(ctx, loads+"-value", avro.LoadCompleteSchema); err != nil {
		return err
	}
	tell(Thing{stateOf(there), "schema of " + loads})
	tables, err := p.tables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		switch there, err := known(ctx, client, t.Topic); {
		case err != nil:
			return err
		case there:
			tell(Thing{There, "schema of " + t.Topic})
		default:
			tell(Thing{Later, "schema of " + t.Topic + ", by millrace produce: its columns are not known yet"})
		}
	}
	return nil
}

// known reports whether the registry has a schema of a topic's values.
func known(ctx context.Context, client *registry.Client, topic string) (bool, error) {
	_, err := client.Latest(ctx, topic+"-value")
	if errors.Is(err, registry.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

// initDatasets makes the datasets of all tables, those of the specs too. A spec
// with faults is its own pod's to refuse.
func (p *process) initDatasets(ctx context.Context, tell func(Thing)) error {
	tables, err := p.tables()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	var faulty []string
	if p.Config.Derived != "" {
		specs, _, err := spec.Load(os.DirFS(p.Config.Derived))
		if err != nil {
			return err
		}
		for _, s := range specs {
			if s.Faulty {
				faulty = append(faulty, s.File)
				continue
			}
			dataset, _, _ := strings.Cut(s.Name, ".")
			wanted[dataset] = true
		}
	}
	made, there, err := p.warehouse.Prepare(ctx, slices.Sorted(maps.Keys(wanted)))
	for _, name := range made {
		tell(Thing{Made, "dataset " + name})
	}
	for _, name := range there {
		tell(Thing{There, "dataset " + name})
	}
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, core := range []string{t.Core, t.History} {
			if core == "" {
				continue
			}
			if err := p.tellTable(ctx, core, tell); err != nil {
				return err
			}
		}
	}
	for _, file := range faulty {
		tell(Thing{Later, "what " + file + " needs: the spec has faults, which millrace check tells"})
	}
	return nil
}

func (p *process) tellTable(ctx context.Context, core string, tell func(Thing)) error {
	switch _, err := p.warehouse.Core(ctx, core); {
	case errors.Is(err, warehouse.ErrNoTable):
		tell(Thing{Later, "table " + core + ", by millrace consume with its first load"})
	case err != nil:
		return err
	default:
		tell(Thing{There, "table " + core})
	}
	return nil
}
