// Package embedded is a Kafka broker inside the process, on a folder of its
// own: kfake with what it lacks for keeping data.
//
// It promises what a laptop needs: acknowledged records outlive a kill -9 of
// the process (not a loss of power), and one process at a time uses a folder.
// It does not promise what Kafka does after a kill: a transactional id whose
// transaction was open then must not be used again, because what it commits
// afterwards stays invisible to read_committed; and the last transaction may be
// torn, some of its records gone although the others are there. Those who write
// take a new transactional id at every start and resume before their last
// transaction.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options is what a broker is started with.
type Options struct {
	Dir  string       // the data folder; the broker keeps its files in kafka below it
	Addr string       // host:port to listen on; port 0 takes a free one. Default 127.0.0.1:0
	Log  *slog.Logger // default: none
}

// Broker is a running broker. It is closed once, by whoever started it.
type Broker struct {
	cluster *kfake.Cluster
	lock    *lock
	addr    string
	dir     string
}

// Start locks the folder, loads what is in it and listens. If another process
// holds the lock, the error is a RunningError.
func Start(ctx context.Context, o Options) (*Broker, error) {
	l, err := acquire(o.Dir)
	if err != nil {
		return nil, err
	}
	b, err := start(ctx, o)
	if err == nil {
		b.lock, err = l, l.announce(b.addr)
	}
	if err != nil {
		if b != nil {
			b.cluster.Close()
		}
		return nil, errors.Join(fmt.Errorf("start embedded broker in %s: %w", o.Dir, err), l.release())
	}
	return b, nil
}

func start(ctx context.Context, o Options) (*Broker, error) {
	addr := o.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	b := &Broker{dir: filepath.Join(o.Dir, "kafka")}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("millrace"),
		kfake.DataDir(b.dir),
		kfake.BrokerConfigs(settings()),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			var lc net.ListenConfig
			ln, err := lc.Listen(ctx, network, addr)
			if err == nil {
				b.addr = ln.Addr().String()
			}
			return ln, err
		}),
	}
	if o.Log != nil {
		opts = append(opts, kfake.WithLogger(logger{o.Log}))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, err
	}
	b.cluster = cluster
	return b, nil
}

func settings() map[string]string {
	return map[string]string{
		// The default is an hour: a source that writes a checkpoint a second would
		// fill its topic, and be slow to resume.
		"log.cleaner.backoff.ms": "60000",
		// The heads in the warehouse point into the topics for as long as a table lives.
		"log.retention.ms":    "-1",
		"log.retention.bytes": "-1",
		// Every start of a producer takes a new transactional id; the old ones go.
		"transactional.id.expiration.ms": "86400000",
		// Offsets in groups are a copy, but a laptop may rest for a month.
		"offsets.retention.minutes": "525600",
	}
}

// Addr is the host:port at which clients reach the broker.
func (b *Broker) Addr() string { return b.addr }

// Close answers the requests that have arrived, writes everything to the
// folder and unlocks it.
func (b *Broker) Close() error {
	b.cluster.Close()
	if err := b.lock.release(); err != nil {
		return fmt.Errorf("close embedded broker in %s: %w", b.dir, err)
	}
	return nil
}

// slowEnd begins a warning about a commit of many records, which is no anomaly.
const slowEnd = "txn: EndTxn slow"

type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		if !strings.HasPrefix(format, slowEnd) {
			to = slog.LevelWarn
		}
	}
	ctx := context.Background()
	if l.log.Enabled(ctx, to) {
		l.log.Log(ctx, to, "embedded broker", "says", fmt.Sprintf(format, args...))
	}
}
