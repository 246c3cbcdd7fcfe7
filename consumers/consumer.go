// Package consumers loads topics of change events into core tables.
//
// Per topic: poll, collect, fold, load in one transaction of the warehouse,
// announce, commit the offsets. The warehouse is the authority on progress
// (G4): the offsets of the head are where reading starts, and Kafka's offsets
// are a copy for people. One member of the group owns all partitions of a
// topic, and its epoch in the head fences every earlier owner (G5).
package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/batch"
	"millrace/consumers/deadletter"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas/registry"
)

// Table says where a topic goes.
type Table struct {
	Topic      string   // of the first generation; partitions never change in number
	Core       string   // the merged table, dataset.table
	History    string   // the append table of every change; empty for none
	Upsert     bool     // Core is in ModeUpsert, in place of ModeMerge
	EventTimes []string // columns; the first is the partition column
}

// Options configure a Consumer. All fields but Metrics are required.
type Options struct {
	Cluster  kafka.Cluster
	Names    kafka.Names
	Group    string
	Tables   []Table
	Loader   warehouse.Loader
	Registry *registry.Client
	Limits   batch.Limits // of one load
	// Memory is bytes of records over all topics, polled and not loaded yet, beyond
	// one poll (G13). A table that was the only one, and is stuck with all of it,
	// leaves those that come later half as much again.
	Memory  int
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Consumer is one member of a consumer group.
type Consumer struct {
	opts    Options
	tables  map[string]Table // by topic
	metrics *metrics
	status  *board
	// setAside is for how long a table is set aside that could not be taken over.
	setAside     time.Duration
	measureEvery time.Duration
	letterKeys   int                        // that dead letters of one topic may block
	client       atomic.Pointer[kgo.Client] // of the session; nil: none runs
}

// New checks the options.
func New(o Options) (*Consumer, error) {
	b := newBoard(o.Tables)
	c := &Consumer{opts: o, tables: map[string]Table{}, metrics: newMetrics(o.Metrics, o.Group, b), status: b, setAside: time.Minute, measureEvery: measureEvery, letterKeys: deadletter.MaxKeys}
	var errs []error
	for _, t := range o.Tables {
		if _, ok := c.tables[t.Topic]; ok {
			errs = append(errs, fmt.Errorf("topic %s feeds two tables", t.Topic))
		}
		if t.Core == "" || t.Topic == "" {
			errs = append(errs, fmt.Errorf("topic %q feeds core table %q: both need a name", t.Topic, t.Core))
		}
		c.tables[t.Topic] = t
	}
	if o.Limits.Rows <= 0 || o.Limits.Bytes <= 0 || o.Limits.Age <= 0 || o.Memory <= 0 {
		errs = append(errs, errors.New("limits of a batch and memory must be above zero"))
	}
	return c, errors.Join(errs...)
}

// Run loads until ctx ends. What it has collected and not loaded then is read
// again by the next owner. A fault of Kafka or of the warehouse is logged and
// tried again with growing pauses.
func (c *Consumer) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 15*time.Second
	for {
		began := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		if errors.Is(err, errSuccessor) || errors.Is(err, errAside) {
			c.opts.Log.Info("consumer joins its group again", "group", c.opts.Group, "why", err)
			continue
		}
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		c.metrics.sessions.Inc()
		c.opts.Log.Warn("consumer joins its group again", "group", c.opts.Group, "pause", wait, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Member reports whether the group counts the consumer as one of its members.
func (c *Consumer) Member() bool {
	client := c.client.Load()
	if client == nil {
		return false
	}
	_, generation := client.GroupMetadata()
	return generation >= 0
}

// Group is the name of the group.
func (c *Consumer) Group() string { return c.opts.Group }

// Status returns what is known of every table, in the order of the options.
func (c *Consumer) Status() []TableStatus { return c.status.snapshot() }
