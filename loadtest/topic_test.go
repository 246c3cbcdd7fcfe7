package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

const partitions = 4 // as `millrace up` makes topics

// topic is a prepared topic of change events, on a broker of its own.
type topic struct {
	cluster  kafka.Cluster
	registry *registry.Client
	table    schemas.Table
	events   int64
	bytes    int64 // of keys and values
	rows     int64 // that are left when all was applied
}

// newTopic fills a topic of a table of twelve columns. Of ten events, five
// create a row, four update one and one deletes one, any of those that live;
// updates carry both images, as MariaDB's do.
func newTopic(b *testing.B, events int) *topic {
	b.Helper()
	t := &topic{cluster: startBroker(b), table: ordersTable()}
	reg, err := registry.Open(b.Context(), t.cluster, registry.DefaultTopic)
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(reg)
	b.Cleanup(func() {
		server.Close()
		reg.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	if t.registry, err = registry.New(server.URL); err != nil {
		b.Fatal(err)
	}
	t.fill(b, events)
	return t
}

func ordersTable() schemas.Table {
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	amount := schemas.Type{Kind: schemas.Decimal, Precision: 18, Scale: 4}
	return schemas.Table{
		Source: "shop", DB: "shop", Schema: "public", Name: "orders", Topic: "bench.shop.public.orders", Generation: 1, Key: []int{0},
		Columns: []schemas.Column{
			{Name: "id", Type: kind(schemas.Int)},
			{Name: "customer_id", Type: kind(schemas.Int)},
			{Name: "status", Type: kind(schemas.String)},
			{Name: "email", Type: kind(schemas.String)},
			{Name: "note", Type: kind(schemas.String)},
			{Name: "amount", Type: amount},
			{Name: "tax", Type: amount},
			{Name: "created_at", Type: kind(schemas.Timestamp)},
			{Name: "updated_at", Type: kind(schemas.Timestamp)},
			{Name: "is_paid", Type: kind(schemas.Bool)},
			{Name: "score", Type: kind(schemas.Float)},
			{Name: "quantity", Type: kind(schemas.Int)},
		},
	}
}

func (t *topic) fill(b *testing.B, events int) {
	b.Helper()
	client, err := kgo.NewClient(append(t.cluster.ClientOpts("fill", nil, nil), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if err := kafka.EnsureTopics(b.Context(), client, t.cluster.Data(t.table.Topic, partitions, 1)); err != nil {
		b.Fatal(err)
	}
	keyID, err := t.registry.Register(b.Context(), t.table.Topic+"-key", avro.KeySchema(&t.table))
	if err != nil {
		b.Fatal(err)
	}
	valueID, err := t.registry.Register(b.Context(), t.table.Topic+"-value", avro.ValueSchema(&t.table))
	if err != nil {
		b.Fatal(err)
	}
	enc, err := avro.NewEncoder(&t.table, "postgres", keyID, valueID)
	if err != nil {
		b.Fatal(err)
	}
	w := &workload{table: &t.table, r: rand.New(rand.NewPCG(1, 1))}
	var failed kgo.FirstErrPromise
	for range events {
		c := w.next()
		row := c.After
		if row == nil {
			row = c.Before
		}
		rec := &kgo.Record{Topic: t.table.Topic}
		if rec.Key, err = enc.AppendKey(nil, row); err != nil {
			b.Fatal(err)
		}
		if rec.Value, err = enc.AppendValue(nil, c); err != nil {
			b.Fatal(err)
		}
		canonical, err := schemas.AppendKey(nil, &t.table, row)
		if err != nil {
			b.Fatal(err)
		}
		rec.Partition = schemas.Partition(canonical, partitions)
		t.bytes += int64(len(rec.Key) + len(rec.Value))
		client.Produce(b.Context(), rec, failed.Promise())
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := failed.Err(); err != nil {
		b.Fatal(err)
	}
	t.events, t.rows = int64(events), int64(len(w.live))
}

// workload makes the changes of a table, from a seed.
type workload struct {
	table *schemas.Table
	r     *rand.Rand
	n     uint64
	live  []schemas.Row
}

func (w *workload) next() *schemas.Change {
	w.n++
	c := &schemas.Change{
		Table: w.table, TsUs: 1767225600000000 + int64(w.n)*1000, //nolint:gosec // small
		Position: schemas.Position{Epoch: 1, Major: 1<<32 + w.n/10, Minor: 1<<32 + w.n, Seq: 1},
		TxID:     fmt.Sprint(w.n / 10), TxOrder: int64(w.n%10) + 1, //nolint:gosec // small
	}
	k := w.r.IntN(10)
	if len(w.live) == 0 {
		k = 0
	}
	switch {
	case k < 5:
		c.Op, c.After = schemas.Create, w.row(int64(w.n)) //nolint:gosec // small
		w.live = append(w.live, c.After)
	case k < 9:
		i := w.r.IntN(len(w.live))
		c.Op, c.Before, c.After = schemas.Update, w.live[i], w.row(w.live[i][0].Int)
		w.live[i] = c.After
	default:
		i := w.r.IntN(len(w.live))
		c.Op, c.Before = schemas.Delete, w.live[i]
		last := len(w.live) - 1
		w.live[i] = w.live[last]
		w.live = slices.Delete(w.live, last, last+1)
	}
	return c
}

func (w *workload) row(id int64) schemas.Row {
	r := w.r
	text := func(s string) schemas.Cell { return schemas.BytesCell([]byte(s)) }
	decimal := func(limit int64) schemas.Cell { return schemas.BytesCell(schemas.AppendTwos(nil, r.Int64N(limit))) }
	created := 1767225600000000 + r.Int64N(30*86400e6)
	row := schemas.Row{
		schemas.IntCell(id), schemas.IntCell(r.Int64N(1e7)), text(statuses[r.IntN(len(statuses))]),
		text(fmt.Sprintf("user%07d@example.com", r.IntN(1e7))), text(strings.Join(words[:3+r.IntN(8)], " ")),
		decimal(1e9), decimal(1e8), schemas.IntCell(created), schemas.IntCell(created + r.Int64N(1e12)),
		schemas.IntCell(int64(r.IntN(2))), schemas.FloatCell(r.Float64() * 100), schemas.IntCell(r.Int64N(1000)),
	}
	for _, nullable := range []int{4, 8, 10} {
		if r.IntN(4) == 0 {
			row[nullable] = schemas.NullCell()
		}
	}
	return row
}

var (
	statuses = strings.Fields("PENDING PAID SHIPPED DELIVERED CANCELLED")
	words    = strings.Fields("express gift fragile leave at door call before arrival warehouse north")
)
