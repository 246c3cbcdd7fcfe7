package mongodb

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/producers"
	"millrace/schemas"
)

// process is one life of a producer.
type process struct {
	r      *rig
	p      *producers.Producer
	stop   context.CancelFunc
	dead   context.Context
	die    context.CancelFunc
	killed atomic.Bool
	done   chan struct{}
	err    error

	mu      sync.Mutex
	clients []*kgo.Client
}

func (r *rig) run() *process {
	r.t.Helper()
	p := &process{r: r, done: make(chan struct{})}
	p.dead, p.die = context.WithCancel(context.Background())
	var err error
	p.p, err = producers.New(producers.Options{
		Prefix: "p", Source: "s", Connector: "mongodb", Config: &mortalConfig{r.cfg, p}, Registry: r.ids, Partitions: 2,
		Kafka:      r.cluster(kgo.Dialer(p.dial), kgo.WithHooks(p), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })),
		MaxChanges: 12, MaxDelay: 2 * time.Millisecond, ChunkRows: 40, IdleMin: 5 * time.Millisecond, IdleMax: 40 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	r.live.Store(p)
	r.ends.Go(func() {
		defer close(p.done)
		p.err = p.p.Run(ctx)
	})
	r.t.Cleanup(p.kill)
	return p
}

// kill cuts the process off: what it has sent stays, and it does nothing more.
func (p *process) kill() {
	if p.killed.Swap(true) {
		return
	}
	p.die()
	p.stop()
	// What still waits in a client for Kafka would wait until the drain is over.
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cl := range p.clients {
		p.r.ends.Go(cl.Close)
	}
}

// OnNewClient implements kgo.HookNewClient.
func (p *process) OnNewClient(cl *kgo.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = append(p.clients, cl)
}

// at is the end of a process that is killed at the moment, or was before.
func (p *process) at(moment string) error {
	if !p.killed.Load() && p.r.reached(moment) {
		p.kill()
	}
	if p.killed.Load() {
		return errKilled
	}
	return nil
}

func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.killed.Load() {
		return nil, errKilled
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	return mortalConn{c, p}, err
}

// mortalConn brings nothing to a dead process, nor from it.
type mortalConn struct {
	net.Conn
	p *process
}

func (c mortalConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.p.killed.Load() {
		return 0, errKilled
	}
	return n, err
}

func (c mortalConn) Write(b []byte) (int, error) {
	if c.p.killed.Load() {
		return 0, errKilled
	}
	return c.Conn.Write(b)
}

// mortalConfig opens a source that ends with its process.
type mortalConfig struct {
	*Config
	p *process
}

func (c *mortalConfig) Open(ctx context.Context, from producers.Start, env producers.Env) (producers.Source, error) {
	if err := c.p.at("open"); err != nil {
		return nil, err
	}
	src, err := c.Config.Open(ctx, from, env)
	if err != nil {
		return nil, err
	}
	if err := c.p.at("opened"); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return &mortalSource{src, c.p}, nil
}

type mortalSource struct {
	producers.Source
	p *process
}

// living is a context that ends with the process too.
func (s *mortalSource) living(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(s.p.dead, cancel)
	return ctx, func() { unhook(); cancel() }
}

func (s *mortalSource) Next(ctx context.Context) (producers.Batch, error) {
	if err := s.p.at("next"); err != nil {
		return producers.Batch{}, err
	}
	ctx, release := s.living(ctx)
	defer release()
	b, err := s.Source.Next(ctx)
	if dead := s.p.at("read"); dead != nil {
		return producers.Batch{}, dead
	}
	return b, err
}

func (s *mortalSource) ReadChunk(ctx context.Context, t *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	return s.reads(ctx, "chunk", "chunked", emit, func(ctx context.Context, emit func([]schemas.Change) error) (producers.Chunk, error) {
		return s.Source.ReadChunk(ctx, t, after, limit, emit)
	})
}

func (s *mortalSource) ReadKeys(ctx context.Context, t *schemas.Table, keys [][]schemas.Cell, emit func([]schemas.Change) error) (producers.Chunk, error) {
	return s.reads(ctx, "keys", "keysRead", emit, func(ctx context.Context, emit func([]schemas.Change) error) (producers.Chunk, error) {
		return s.Source.ReadKeys(ctx, t, keys, emit)
	})
}

func (s *mortalSource) reads(ctx context.Context, before, after string, emit func([]schemas.Change) error, read func(context.Context, func([]schemas.Change) error) (producers.Chunk, error)) (producers.Chunk, error) {
	if err := s.p.at(before); err != nil {
		return producers.Chunk{}, err
	}
	ctx, release := s.living(ctx)
	defer release()
	chunk, err := read(ctx, func(rows []schemas.Change) error {
		if err := s.p.at("rows"); err != nil {
			return err
		}
		return emit(rows)
	})
	if dead := s.p.at(after); dead != nil {
		return producers.Chunk{}, dead
	}
	return chunk, err
}

// settle waits until every table is complete up to now.
func (p *process) settle() {
	p.r.t.Helper()
	end := p.r.mongo.ClusterTime()
	for limit := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st := p.p.Status()
		settled := len(st.Tables) == len(p.r.cfg.Tables)
		for _, t := range st.Tables {
			if t.Halted != nil {
				p.r.t.Fatalf("seed %d: %v", p.r.seed, t.Halted)
			}
			settled = settled && t.Marked.Pos.Major >= end
		}
		select {
		case <-p.done:
			p.r.t.Fatalf("seed %d: run ended: %v", p.r.seed, p.err)
		default:
		}
		if settled {
			return
		}
		if time.Now().After(limit) {
			p.r.t.Fatalf("seed %d: it does not settle: %+v", p.r.seed, st)
		}
	}
}

// finish stops the process as a person does.
func (p *process) finish() {
	p.r.t.Helper()
	p.stop()
	<-p.done
	if p.err != nil {
		p.r.t.Fatalf("seed %d: run ended: %v", p.r.seed, p.err)
	}
}
