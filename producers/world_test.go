package producers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// memRegistry gives ids and remembers the schemas.
type memRegistry struct {
	mu     sync.Mutex
	ids    map[string]uint32
	byID   map[uint32]string
	refuse string // a subject that is incompatible
}

func (r *memRegistry) Register(_ context.Context, subject, schema string) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if subject == r.refuse {
		return 0, &registry.IncompatibleError{Subject: subject, Reason: "test"}
	}
	id, ok := r.ids[schema]
	if !ok {
		id = uint32(len(r.ids) + 1)
		r.ids[schema], r.byID[id] = id, schema
	}
	return id, nil
}

// world is a database, a Kafka cluster and the producers that ran between them.
type world struct {
	t          *testing.T
	seed       uint64
	db         *memDB
	fake       *kfake.Cluster
	registry   *memRegistry
	decoders   map[uint32]*avro.Decoder
	embedded   bool
	torn       bool // the broker lost records
	partitions int32
	zombies    sync.WaitGroup
	live       atomic.Pointer[run] // the last that was started
	drain      time.Duration       // what a killed process takes to end
}

func newWorld(t *testing.T, seed uint64, embedded bool, tables ...string) *world {
	t.Helper()
	w := &world{
		t: t, seed: seed, db: newMemDB(seed, tables...), fake: testkit.KafkaCluster(t), embedded: embedded, partitions: 3,
		registry: &memRegistry{ids: map[string]uint32{}, byID: map[uint32]string{}}, decoders: map[uint32]*avro.Decoder{},
	}
	t.Cleanup(w.zombies.Wait)
	return w
}

func (w *world) cluster(opts ...kgo.Opt) kafka.Cluster {
	// The race detector looks at each byte of the buffers of compression: megabytes.
	opts = append(opts, kgo.MetadataMinAge(20*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	return kafka.Cluster{Brokers: w.fake.ListenAddrs(), Embedded: w.embedded, Client: opts}
}

// run is one process: a producer that can be stopped or killed.
type run struct {
	w      *world
	p      *Producer
	cfg    *memConfig
	stop   context.CancelFunc
	done   chan struct{}
	err    error
	killed atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
}

var errKilled = errors.New("killed")

// start runs a producer. hook is asked at every effect of its source.
func (w *world) start(hook func(*run, string) error, tune ...func(*Options)) *run {
	w.t.Helper()
	r := &run{w: w, done: make(chan struct{})}
	r.cfg = &memConfig{db: w.db, hook: func(effect string) error {
		if r.killed.Load() {
			return errKilled
		}
		if hook != nil {
			return hook(r, effect)
		}
		return nil
	}}
	o := Options{
		Prefix: "p", Source: "s", Connector: "mem", Config: r.cfg, Registry: w.registry, Partitions: w.partitions,
		Kafka:      w.cluster(kgo.Dialer(r.dial), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })),
		MaxChanges: 12, MaxDelay: 2 * time.Millisecond, ChunkRows: 4, MaxChunkRows: 8, IdleMin: 5 * time.Millisecond, IdleMax: 40 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond,
	}
	if os.Getenv("MILLRACE_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	for _, f := range tune {
		f(&o)
	}
	var err error
	if r.p, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	w.live.Store(r)
	if w.drain > 0 {
		r.p.drain = w.drain
	}
	go func() {
		defer close(r.done)
		r.err = r.p.Run(ctx)
	}()
	w.t.Cleanup(cancel)
	return r
}

func (r *run) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if r.killed.Load() {
		return nil, errKilled
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
	return mortal{c, r}, nil
}

// mortal is a connection that brings no reply once its process was killed.
type mortal struct {
	net.Conn
	r *run
}

func (c mortal) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.r.killed.Load() {
		return 0, errKilled
	}
	return n, err
}

func (c mortal) Write(b []byte) (int, error) {
	if c.r.killed.Load() {
		return 0, errKilled
	}
	return c.Conn.Write(b)
}

// kill cuts the process off: what it has sent stays, nothing is cleaned up.
func (r *run) kill() {
	if r.killed.Swap(true) {
		return
	}
	r.stop()
	r.w.zombies.Go(func() { <-r.done })
}

// killAll kills the process, and the embedded broker with it: of its open
// transaction nothing stays.
func (r *run) killAll() {
	r.w.t.Helper()
	r.kill()
	<-r.done
	if !r.w.embedded || r.p.lastTxnID == "" {
		return
	}
	c := r.w.cluster()
	cl, err := kgo.NewClient(append(c.ClientOpts("end", nil, nil), c.TransactionalOpts(r.p.lastTxnID, 1<<20)...)...)
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(r.w.t.Context()); err != nil {
		r.w.t.Fatal(err)
	}
}

// cut closes the connections of a process that lives on.
func (r *run) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// finish stops the process gracefully.
func (r *run) finish() {
	r.w.t.Helper()
	r.stop()
	<-r.done
	if r.err != nil {
		r.w.t.Fatalf("seed %d: run ended: %v", r.w.seed, r.err)
	}
}

// settle waits until every table's watermark stands at the end of the log: all
// was sent, and every snapshot is done.
func (r *run) settle() {
	r.w.t.Helper()
	r.w.db.mu.Lock()
	end := schemas.Position{Epoch: r.w.db.epoch, Major: r.w.db.lsn}
	r.w.db.mu.Unlock()
	for range 20_000 {
		st := r.p.Status()
		settled := len(st.Tables) == len(r.w.db.names)
		for _, t := range st.Tables {
			settled = settled && !t.Marked.Pos.Less(end)
		}
		if settled {
			return
		}
		select {
		case <-r.done:
			r.w.t.Fatalf("seed %d: run ended: %v", r.w.seed, r.err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	r.w.t.Fatalf("seed %d: the producer does not settle: %+v", r.w.seed, r.p.Status())
}

// got is a record of a table's topic, decoded.
type got struct {
	change    schemas.Change
	key       string // canonical
	partition int32
	offset    int64
	raw       string
}

// consume reads what is committed in the table's topic of its generation, per partition.
func (w *world) consume(name string) [][]got {
	w.t.Helper()
	w.db.mu.Lock()
	generation := w.db.tables[name].generation
	w.db.mu.Unlock()
	topic, err := kafka.Names{Prefix: "p"}.Table(kafka.TopicName{Source: "s", Schema: "public", Table: name, Generation: generation})
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([][]got, w.partitions)
	for _, r := range w.read(topic) {
		g := w.decode(name, generation, r)
		out[r.Partition] = append(out[r.Partition], g)
	}
	return out
}

// read reads a topic to its stable end: a record behind it says that all was seen.
func (w *world) read(topic string) []*kgo.Record {
	w.t.Helper()
	return slices.DeleteFunc(w.readAll(topic), func(r *kgo.Record) bool { return r.Attrs.IsControl() })
}

// readAll is read, with the markers of transactions.
func (w *world) readAll(topic string) []*kgo.Record {
	w.t.Helper()
	c := w.cluster()
	c.Embedded = true // fetches that do not wait for more
	cl, err := kgo.NewClient(append(append(c.ClientOpts("check", nil, nil), c.ConsumerOpts()...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords())...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	left := make(map[int32]int64)
	stable.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var out []*kgo.Record
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			w.t.Fatalf("seed %d: read %s: %v, still %v", w.seed, topic, err, left)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			out = append(out, r)
		})
	}
	return out
}

func (w *world) decode(name string, generation int, r *kgo.Record) got {
	w.t.Helper()
	fail := func(err error) {
		if err != nil {
			w.t.Fatalf("seed %d: %s/%d@%d: %v", w.seed, r.Topic, r.Partition, r.Offset, err)
		}
	}
	id, body, err := avro.SplitHeader(r.Value)
	fail(err)
	d := w.decoders[id]
	if d == nil {
		d, err = avro.NewDecoder(w.registry.byID[id])
		fail(err)
		w.decoders[id] = d
	}
	var e avro.Envelope
	fail(d.Envelope(body, &e))
	fail(d.Validate(body))
	g := got{partition: r.Partition, offset: r.Offset, raw: string(r.Key) + "\x00" + string(r.Value)}
	w.db.mu.Lock()
	table := w.db.tables[name]
	g.change = schemas.Change{Table: w.db.table(name, r.Topic, generation, table.columns, table.keyless), Op: e.Op, Position: e.Pos, TsUs: e.TsUs, Since: e.Since}
	w.db.mu.Unlock()
	if e.After != nil {
		g.change.After, err = d.Cells(nil, e.After)
		fail(err)
		for _, ord := range e.Unset {
			g.change.After[ord] = schemas.Cell{}
		}
	}
	headers := make(map[string]string)
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["op"] != e.Op.String() || headers["pos"] != e.Pos.String() {
		fail(fmt.Errorf("headers %v of op %s at %v", headers, e.Op, e.Pos))
	}
	if r.Key == nil {
		if e.Op.IsData() && !table.keyless {
			fail(fmt.Errorf("op %s without a key", e.Op))
		}
		return g
	}
	keyID, keyBody, err := avro.SplitHeader(r.Key)
	fail(err)
	kd, err := avro.NewKeyDecoder(w.registry.byID[keyID])
	fail(err)
	cells, err := kd.Cells(nil, keyBody)
	fail(err)
	g.key = string(schemas.AppendKeyValues(nil, kd.Types(), cells))
	if want := schemas.Partition([]byte(g.key), w.partitions); want != r.Partition {
		fail(fmt.Errorf("in partition %d, want %d", r.Partition, want))
	}
	return g
}
