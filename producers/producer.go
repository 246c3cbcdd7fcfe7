package producers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

// ErrFenced is the reason when another process has taken the source over. The
// one that was fenced stays out.
var ErrFenced = errors.New("another producer has taken the source over")

// Producer sends one source's changes to Kafka.
type Producer struct {
	opts    Options
	names   kafka.Names
	id      string // of this process, in every record that it writes
	txnID   string // on the embedded broker each session adds a number
	topics  struct{ positions, snapshots string }
	metrics *metrics
	status  statusBoard

	// drain is how long a stopping producer may take to commit what it has.
	drain time.Duration

	sessions  int
	lastTxnID string
	// seen is whose record was the last when the state was read: if it is then
	// neither that one nor our own, another process has taken over.
	seen struct {
		n      int64
		writer string
		ever   bool
	}
}

// New makes a producer; nothing is connected before Run.
func New(o Options) (*Producer, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Producer{opts: o, names: kafka.Names{Prefix: o.Prefix}, id: strconv.FormatUint(rand.Uint64(), 36), drain: 10 * time.Second}
	var err1, err2, err3 error
	p.txnID, err1 = p.names.TransactionalID(o.Source)
	p.topics.positions, err2 = p.names.Positions(o.Source)
	p.topics.snapshots, err3 = p.names.Snapshots(o.Source)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("make producer of %q: %w", o.Source, err)
	}
	p.status.init(o.Source)
	p.metrics = newMetrics(o.Metrics, o.Source, p.Status)
	return p, nil
}

// Run sends changes until the context ends; then it commits what it has and
// returns nil. Any error of Kafka or of the source begins a new session after a
// pause: the checkpoint is read again, because the commit that failed may have
// happened. A HaltError of the whole source, and ErrFenced, end Run.
func (p *Producer) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = p.opts.RetryMin, p.opts.RetryMax
	for {
		committed, err := p.session(ctx)
		p.status.session(err)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		if forPerson(err) {
			return fmt.Errorf("produce %s: %w", p.opts.Source, err)
		}
		if committed {
			pause.Reset()
		}
		p.metrics.restarts.Inc()
		wait := pause.NextBackOff()
		p.opts.Log.Warn("source is opened again", "source", p.opts.Source, "after", wait, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// client makes the session's client and fences every earlier one.
func (p *Producer) client(ctx context.Context) (*kgo.Client, error) {
	id := p.txnID
	if p.opts.Kafka.Embedded {
		// After a kill of the broker a transactional id is spoilt, so a session
		// never takes one up again. What the session before may have left open is
		// ended by fencing its id.
		if p.lastTxnID != "" {
			old, err := p.fence(ctx, p.lastTxnID, false)
			if err != nil {
				return nil, err
			}
			old.Close()
		}
		id = fmt.Sprintf("%s.%s.%d", p.txnID, p.id, p.sessions)
	}
	p.sessions++
	p.lastTxnID = id
	return p.fence(ctx, id, true)
}

// fence takes a transactional id over: who held it can write no more, and what
// it left open is aborted.
func (p *Producer) fence(ctx context.Context, id string, measured bool) (*kgo.Client, error) {
	o := p.opts
	reg := o.Metrics
	if !measured {
		reg = nil
	}
	cl, err := kgo.NewClient(append(o.Kafka.ClientOpts("producer."+o.Source, o.Log, reg), o.Kafka.TransactionalOpts(id, 2*split*o.MaxBytes)...)...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if _, _, err := cl.ProducerID(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("fence transactional id %s: %w", id, err)
	}
	return cl, nil
}

// read reads the state that the last committed transaction left. Who calls it
// has fenced all who may write it.
func (p *Producer) read(ctx context.Context) (*resumed, error) {
	c := p.opts.Kafka
	if c.Embedded {
		if err := c.AwaitStable(ctx, p.topics.positions, p.topics.snapshots); err != nil {
			return nil, err
		}
	}
	var position *record
	tables := make(map[string]*record)
	if _, err := c.Replay(ctx, p.topics.positions, func(r *kgo.Record) (err error) {
		position, err = parseRecord(r)
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := c.Replay(ctx, p.topics.snapshots, func(r *kgo.Record) (err error) {
		tables[string(r.Key)], err = parseRecord(r)
		return err
	}); err != nil {
		return nil, err
	}
	at, err := resume(position, tables, c.Embedded)
	if err != nil {
		return nil, err
	}
	// Of two processes that fence each other in turn, the one that finds that the
	// other has written gives way (G5).
	if p.seen.ever && at.writer != p.id && (at.n != p.seen.n || at.writer != p.seen.writer) {
		return nil, fmt.Errorf("resume at transaction %d: %w", at.n, ErrFenced)
	}
	p.seen.ever, p.seen.n, p.seen.writer = true, at.n, at.writer
	return at, nil
}
