package up

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/kafka"
	"millrace/schemas/registry"
)

// accessPatience is how long the brokers, or the registry, may take to answer
// whoever only asks whether they do.
const accessPatience = 5 * time.Second

// ClusterOf is the cluster of the brokers that the configuration names.
func ClusterOf(k config.Kafka) (kafka.Cluster, error) {
	c := kafka.Cluster{Brokers: k.Brokers}
	if k.TLS != nil {
		var err error
		if c.TLS, err = k.TLS.Client(); err != nil {
			return c, fmt.Errorf("read the files of kafka.tls: %w", err)
		}
	}
	if k.SASL != nil {
		login := kafka.SASL(*k.SASL)
		c.SASL = &login
	}
	return c, nil
}

// RegistryOf is a client of the registry that the configuration names.
func RegistryOf(r config.Registry) (*registry.Client, error) {
	var opts []registry.Option
	if r.User != "" {
		opts = append(opts, registry.Login(r.User, r.Password))
	}
	if r.CA != "" {
		settings, err := config.TLS{CA: r.CA}.Client()
		if err != nil {
			return nil, fmt.Errorf("read the file of registry.ca: %w", err)
		}
		opts = append(opts, registry.TLS(settings))
	}
	return registry.New(r.URL, opts...)
}

// enter asks the brokers or the registry once. That they refuse us ends the start, as
// only a person can change it; what does not answer may do so later.
func (p *process) enter(ctx context.Context, what string, ask func(context.Context) error) error {
	asked, cancel := context.WithTimeout(ctx, accessPatience)
	defer cancel()
	err := ask(asked)
	var brokers *kafka.RefusedError
	var schemas *registry.RefusedError
	switch {
	case err != nil && ctx.Err() != nil:
		return errAskedToEnd
	case errors.As(err, &brokers), errors.As(err, &schemas):
		return err
	case err != nil:
		p.Log.Warn("start does not wait for what does not answer yet", "what", what, "err", oneLine(err))
	}
	return nil
}

// mustAnswer asks both for who cannot do without them.
func mustAnswer(ctx context.Context, c *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*accessPatience)
	defer cancel()
	var brokers *kafka.RefusedError
	if err := askKafka(ctx, c.Kafka); errors.As(err, &brokers) {
		return err
	} else if err != nil {
		return fmt.Errorf("ask Kafka: %w: start it, or correct kafka.brokers in the configuration", err)
	}
	var schemas *registry.RefusedError
	if err := askRegistry(ctx, c.Registry); errors.As(err, &schemas) {
		return err
	} else if err != nil {
		return fmt.Errorf("ask the registry: %w: start it, or correct registry.url in the configuration", err)
	}
	return nil
}

// access asks the brokers and the registry that the configuration names, at once.
// Those that answer and refuse us are faults; those that do not answer are named as
// not checked.
func (c *Checked) access(ctx context.Context, conf *config.Config) (faults invalid.Faults) {
	ctx, cancel := context.WithTimeout(ctx, accessPatience)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- askRegistry(ctx, conf.Registry) }()
	asked := []struct {
		what string
		err  error
	}{{"Kafka", askKafka(ctx, conf.Kafka)}, {"the registry", <-answered}}
	for _, a := range asked {
		var brokers *kafka.RefusedError
		var schemas *registry.RefusedError
		switch {
		case errors.As(a.err, &brokers):
			faults = append(faults, conf.Fault(brokers.Field, brokers.Problem, brokers.Cure))
		case errors.As(a.err, &schemas):
			faults = append(faults, conf.Fault(schemas.Field, schemas.Problem, schemas.Cure))
		case a.err != nil:
			c.Unchecked = append(c.Unchecked, fmt.Sprintf("%s: it could not be asked: %s", a.what, oneLine(a.err)))
		}
	}
	return faults
}

func askKafka(ctx context.Context, k config.Kafka) error {
	if len(k.Brokers) == 0 {
		return nil
	}
	cluster, err := ClusterOf(k)
	if err != nil {
		return err
	}
	return cluster.Ask(ctx)
}

func askRegistry(ctx context.Context, r config.Registry) error {
	if r.URL == "" {
		return nil
	}
	client, err := RegistryOf(r)
	if err != nil {
		return err
	}
	return client.Ask(ctx)
}
