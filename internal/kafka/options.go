package kafka

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"
)

// Cluster is how a Kafka cluster is reached, and what is different if it is
// the embedded one.
type Cluster struct {
	Brokers []string
	// Embedded says that the broker is the one of package embedded.
	Embedded bool
	TLS      *tls.Config // nil: in the clear
	SASL     *SASL       // nil: without a login
	// Client is added to the options of every client, such as a dialer.
	Client []kgo.Opt
}

// TransactionTimeout is how long a transaction of a dead producer can hold up
// those who read behind it.
const TransactionTimeout = 10 * time.Second

// MaxBatchBytes is the greatest batch that a topic takes by Kafka's defaults.
const MaxBatchBytes = 1_000_012

// MaxRecordBytes is how long the key, value and headers of a record may be
// together, before compression. A longer one can never be sent.
const MaxRecordBytes = MaxBatchBytes - 512

// ClientOpts are the options that every client has. Log and metrics may be nil.
func (c Cluster) ClientOpts(name string, log *slog.Logger, metrics prometheus.Registerer) []kgo.Opt {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID("millrace." + name), c.compression()}
	if log != nil {
		opts = append(opts, kgo.WithLogger(logger{log.With("client", name)}))
	}
	if metrics != nil {
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"client": name}, metrics)
		opts = append(opts, kgo.WithHooks(kprom.NewMetrics("millrace_kafka", kprom.Registerer(labelled))))
	}
	if c.Embedded {
		// A topic is made and used at once, and the broker is next door.
		opts = append(opts, kgo.MetadataMinAge(100*time.Millisecond))
	}
	opts = append(opts, c.access()...)
	return append(opts, c.Client...)
}

// TransactionalOpts are those of a producer that writes in transactions. Its
// user sets every record's partition. Records are retried until the
// transaction ends; a record that failed must abort it, so every record needs
// a promise that keeps the first error: a commit succeeds without it.
func (c Cluster) TransactionalOpts(id string, maxBufferedBytes int) []kgo.Opt {
	return []kgo.Opt{
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(TransactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.UnknownTopicRetries(-1),
		kgo.StopProducerOnDataLossDetected(),
		kgo.ProducerBatchMaxBytes(MaxBatchBytes),
		kgo.MaxBufferedRecords(50_000),
		kgo.MaxBufferedBytes(maxBufferedBytes),
	}
}

// compression is off on the embedded broker: its disk is near and its CPU is ours.
func (c Cluster) compression() kgo.ProducerOpt {
	if c.Embedded {
		return kgo.ProducerBatchCompression(kgo.NoCompression())
	}
	return kgo.ProducerBatchCompression(kgo.SnappyCompression())
}

// PlainProducerOpts are those of a producer that writes without transactions:
// acknowledged by all replicas, each record once while the producer lives.
func (c Cluster) PlainProducerOpts() []kgo.Opt {
	return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0)}
}

// ConsumerOpts are those of every consumer: it sees what is committed, never
// jumps over a gap by itself, and holds a bounded number of compressed bytes.
func (c Cluster) ConsumerOpts() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(4 << 20),
		kgo.FetchMaxPartitionBytes(512 << 10),
		kgo.MaxConcurrentFetches(2),
		kgo.MaxDecompressBatchBytes(32 << 20),
	}
	if c.Embedded {
		return append(opts, kgo.FetchMinBytes(1), kgo.FetchMaxWait(100*time.Millisecond))
	}
	return append(opts, kgo.FetchMinBytes(64<<10), kgo.FetchMaxWait(250*time.Millisecond))
}

// GroupOpts are those of a member of a group in which a topic has one reader
// (G5). Offsets are committed by hand, and the group moves only while nothing
// polled is being handed over.
func (c Cluster) GroupOpts(group string) []kgo.Opt {
	refresh := 30 * time.Second // a topic that is made later is found then
	if c.Embedded {
		refresh = time.Second
	}
	return append(c.ConsumerOpts(),
		kgo.MetadataMaxAge(refresh),
		kgo.ConsumerGroup(group),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.Balancers(WholeTopics()),
	)
}

// logger hands the client's log to slog, one level down: what a client calls
// info is of no interest in normal operation.
type logger struct{ log *slog.Logger }

func (l logger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	}
	return kgo.LogLevelError
}

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelError
	case kgo.LogLevelWarn:
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, msg, keyvals...) //nolint:sloglint // the client's own messages
}
