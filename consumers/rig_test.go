package consumers

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"millrace/consumers/batch"
	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, testkit.IgnoreServers(),
		// BigQuery's client lets go of a connection 20 s after it was closed; what it
		// counts by never ends.
		goleak.IgnoreAnyFunction("cloud.google.com/go/bigquery/storage/managedwriter.(*connection).getStream.func1"),
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// rig is a broker, a registry, a warehouse in memory, and hand-made topics.
type rig struct {
	t        *testing.T
	broker   *kfake.Cluster
	cluster  kafka.Cluster
	registry *registry.Client
	mem      *memory
	client   *kgo.Client
	tables   []Table
	sources  map[string]*sourceTable
	limits   batch.Limits
	memory   int
	loader   warehouse.Loader // of the members to be started
	setAside time.Duration
	keys     int // that letters may block
	measure  time.Duration
	group    string
	log      *slog.Logger
}

// sourceTable writes one topic as a producer does, and knows what its core
// table must be.
type sourceTable struct {
	schemas.Table
	enc        *avro.Encoder
	keyID      uint32
	valueID    uint32
	partitions int32
	n          int
	want       map[string]string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	broker := testkit.KafkaCluster(t, kfake.GroupMinSessionTimeout(500*time.Millisecond))
	r := &rig{
		t: t, broker: broker, cluster: kafka.Cluster{Brokers: broker.ListenAddrs(), Embedded: true},
		group: "g", log: slog.New(slog.DiscardHandler), mem: newMemory(), sources: map[string]*sourceTable{}, limits: batch.Limits{Rows: 50, Bytes: 1 << 20, Age: 5 * time.Millisecond}, memory: 1 << 20,
	}
	r.loader = r.mem
	r.registry = testRegistry(t, r.cluster)
	var err error
	if r.client, err = kgo.NewClient(append(r.cluster.ClientOpts("test", nil, nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

// testRegistry is the embedded registry behind its client.
func testRegistry(t *testing.T, cluster kafka.Cluster) *registry.Client {
	t.Helper()
	reg, err := registry.Open(t.Context(), cluster, registry.DefaultTopic)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(reg)
	client, err := registry.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		reg.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return client
}

func (r *rig) ctx() context.Context { return r.t.Context() }

// table makes a topic with an integer key and a text, feeding core.<name>.
func (r *rig) table(name string, partitions int32) *sourceTable { return r.keyed(name, partitions, 0) }

// keyed makes one whose key is the columns of the given ordinals.
func (r *rig) keyed(name string, partitions int32, key ...int) *sourceTable {
	r.t.Helper()
	s := &sourceTable{partitions: partitions, want: map[string]string{}, Table: schemas.Table{
		Source: "src", Schema: "public", Name: name,
		Topic: "p.src.public." + name, Generation: 1, Key: key, Columns: []schemas.Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "x", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
		},
	}}
	if err := kafka.EnsureTopics(r.ctx(), r.client, r.cluster.Data(s.Topic, partitions, 1)); err != nil {
		r.t.Fatal(err)
	}
	r.register(s)
	r.sources[name] = s
	r.tables = append(r.tables, Table{Topic: s.Topic, Core: "core." + name})
	return s
}

func (r *rig) register(s *sourceTable) {
	r.t.Helper()
	var err error
	if len(s.Key) > 0 {
		if s.keyID, err = r.registry.Register(r.ctx(), s.Topic+"-key", avro.KeySchema(&s.Table)); err != nil {
			r.t.Fatal(err)
		}
	}
	if s.valueID, err = r.registry.Register(r.ctx(), s.Topic+"-value", avro.ValueSchema(&s.Table)); err != nil {
		r.t.Fatal(err)
	}
	if s.enc, err = avro.NewEncoder(&s.Table, "test", s.keyID, s.valueID); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) record(s *sourceTable, c schemas.Change) *kgo.Record {
	r.t.Helper()
	c.Table = &s.Table
	row := c.After
	if c.Op == schemas.Delete {
		row = c.Before
	}
	value, err := s.enc.AppendValue(nil, &c)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(s.Key) == 0 {
		return &kgo.Record{Topic: s.Topic, Value: value}
	}
	key, err := s.enc.AppendKey(nil, row)
	if err != nil {
		r.t.Fatal(err)
	}
	canonical, err := schemas.AppendKey(nil, &s.Table, row)
	if err != nil {
		r.t.Fatal(err)
	}
	return &kgo.Record{Topic: s.Topic, Key: key, Value: value, Partition: schemas.Partition(canonical, s.partitions)}
}

func (r *rig) produce(records ...*kgo.Record) {
	r.t.Helper()
	if err := r.client.ProduceSync(r.ctx(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// put writes a row as a create or an update, del deletes it.
func (r *rig) put(s *sourceTable, id int64, x string) *kgo.Record {
	s.n++
	op := schemas.Update
	if _, ok := s.want[wantKey(id)]; !ok {
		op = schemas.Create
	}
	s.want[wantKey(id)] = fmt.Sprintf("2:%d |2:0 %s|", id, x)
	return r.record(s, schemas.Change{Op: op, Position: s.pos(), TsUs: int64(s.n), After: schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte(x))}})
}

func (r *rig) del(s *sourceTable, id int64) *kgo.Record {
	s.n++
	delete(s.want, wantKey(id))
	return r.record(s, schemas.Change{Op: schemas.Delete, Position: s.pos(), TsUs: int64(s.n), Before: schemas.Row{schemas.IntCell(id), {}}})
}

func wantKey(id int64) string { return fmt.Sprintf("%d |", id) }

func (s *sourceTable) pos() schemas.Position {
	return schemas.Position{Epoch: 1, Major: uint64(s.n)}
}

// control sends a control record to every partition.
func (r *rig) control(s *sourceTable, op schemas.Op, pos schemas.Position, us int64) []*kgo.Record {
	r.t.Helper()
	value, err := s.enc.AppendValue(nil, &schemas.Change{Table: &s.Table, Op: op, Position: pos, TsUs: us})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []*kgo.Record
	for p := range s.partitions {
		out = append(out, &kgo.Record{Topic: s.Topic, Value: value, Partition: p})
	}
	return out
}

// start runs a member of the group; stop ends it and waits.
func (r *rig) start() (c *Consumer, stop func()) {
	r.t.Helper()
	c, err := New(Options{
		Cluster: r.cluster, Names: kafka.Names{Prefix: "p"}, Group: r.group, Tables: r.tables, Loader: r.loader, Registry: r.registry,
		Limits: r.limits, Memory: r.memory, Log: r.log, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.setAside > 0 {
		c.setAside = r.setAside
	}
	if r.keys > 0 {
		c.letterKeys = r.keys
	}
	if r.measure > 0 {
		c.measureEvery = r.measure
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	r.t.Cleanup(stop)
	return c, stop
}

// await fails the test if something does not come about at all.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			r.t.Fatalf("waited in vain: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// awaitEqual waits until the core table is what the source says.
func (r *rig) awaitEqual(s *sourceTable) {
	r.t.Helper()
	r.await("core."+s.Name+" equals its source", func() bool { return maps.Equal(r.mem.live("core."+s.Name), s.want) })
}

// awaitAnnounced waits until every load is announced. A load whose owner ends
// between the two is announced by the next owner.
func (r *rig) awaitAnnounced(tables ...*sourceTable) {
	r.t.Helper()
	r.await("all loads are announced", func() bool {
		last := map[string]int64{}
		for _, e := range r.events() {
			last[e.Table] = max(last[e.Table], e.Load)
		}
		return !slices.ContainsFunc(tables, func(s *sourceTable) bool { return r.mem.head("core."+s.Name).Load != last["core."+s.Name] })
	})
}

// events reads the announcements so far.
func (r *rig) events() []schemas.LoadComplete {
	r.t.Helper()
	var out []schemas.LoadComplete
	for _, rec := range r.topic("p.loads") {
		_, body, err := avro.SplitHeader(rec.Value)
		if err != nil {
			r.t.Fatal(err)
		}
		e, err := avro.DecodeLoadComplete(body)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// topic reads all records that a topic holds now.
func (r *rig) topic(name string) []*kgo.Record {
	r.t.Helper()
	ends, err := kadm.NewClient(r.client).ListEndOffsets(r.ctx(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.Brokers...), kgo.ConsumeTopics(name), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(r.ctx(), time.Minute)
	defer cancel()
	var out []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.t.Fatalf("read %s: %v, still %v", name, err, left)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
			if !rec.Attrs.IsControl() {
				out = append(out, rec)
			}
		})
	}
	slices.SortStableFunc(out, func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) })
	return out
}

func status(c *Consumer, table string) TableStatus {
	for _, s := range c.Status() {
		if s.Table == table {
			return s
		}
	}
	return TableStatus{}
}

var errDown = fmt.Errorf("the warehouse is down")

var _ warehouse.Loader = (*memory)(nil)
