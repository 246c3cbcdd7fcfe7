package producers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/kafka"
)

// Registry gives a schema its id. Registering the same schema again gives the
// same id. An error that is a *HaltError halts the table; any other is tried
// again.
type Registry interface {
	Register(ctx context.Context, subject, schema string) (uint32, error)
}

// Options is what a Producer is made of.
type Options struct {
	Prefix    string // of all topics of the installation
	Source    string // the source's name in the configuration
	Connector string // the kind of source, as it stands in every event
	Config    Config
	Kafka     kafka.Cluster
	Registry  Registry
	// Epoch is the least that the source's positions have. Where the checkpoint's is
	// lower, the source begins again: from now on, with a snapshot of every table.
	// Default 1.
	Epoch uint32

	Partitions int32 // of a new table's topic; default 4
	Replicas   int16 // default: the broker's

	// A transaction ends at the end of a source's transaction, once it has this
	// many changes, or bytes, or this age; at four times that, anywhere.
	MaxChanges int           // default 10,000
	MaxBytes   int           // default 8 MiB
	MaxDelay   time.Duration // default 50 ms
	// ChunkRows is how many rows of a table's snapshot are read at once: as many as
	// this in the beginning, and at least; twice as many as before after a chunk
	// that took little time, half as many after one that took long, and at most
	// MaxChunkRows. Defaults: 10,000; 16 times ChunkRows.
	ChunkRows, MaxChunkRows int
	// ChunkBytes ends a chunk early, once the records of its rows have so many:
	// whatever waits for its end does not wait longer where rows are wide. A table
	// without a key is read whole all the same. Default 256 MiB.
	ChunkBytes int
	// Idle progress is checkpointed after IdleMin, and after twice as long each
	// time, up to IdleMax. Defaults: 1 s; 10 s on the embedded broker, else 5 min.
	IdleMin, IdleMax time.Duration
	// RetryMin is the first pause after an error, RetryMax the longest. Defaults:
	// 200 ms, 30 s.
	RetryMin, RetryMax time.Duration

	Log     *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
	Now     func() time.Time      // default: time.Now
}

func (o *Options) complete() error {
	var missing []error
	for name, empty := range map[string]bool{
		"Prefix": o.Prefix == "", "Source": o.Source == "", "Connector": o.Connector == "", "Config": o.Config == nil,
		"Kafka.Brokers": len(o.Kafka.Brokers) == 0, "Registry": o.Registry == nil,
	} {
		if empty {
			missing = append(missing, fmt.Errorf("%s is not set", name))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return fmt.Errorf("make producer of %q: %w", o.Source, err)
	}
	idleMax := 5 * time.Minute
	if o.Kafka.Embedded {
		idleMax = 10 * time.Second
	}
	setDefault(&o.Epoch, 1)
	setDefault(&o.Partitions, 4)
	setDefault(&o.MaxChanges, 10_000)
	setDefault(&o.MaxBytes, 8<<20)
	setDefault(&o.MaxDelay, 50*time.Millisecond)
	setDefault(&o.ChunkRows, 10_000)
	setDefault(&o.MaxChunkRows, 16*o.ChunkRows)
	o.MaxChunkRows = max(o.MaxChunkRows, o.ChunkRows)
	setDefault(&o.ChunkBytes, 256<<20)
	setDefault(&o.IdleMin, time.Second)
	setDefault(&o.IdleMax, max(idleMax, o.IdleMin))
	setDefault(&o.RetryMin, 200*time.Millisecond)
	setDefault(&o.RetryMax, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// split is how far past the limits a transaction of the source is kept whole.
const split = 4
