package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers"
	"millrace/consumers/batch"
	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/loadtest/scenario"
	"millrace/schemas"
)

const core = "core.orders"

// BenchmarkPipeline reads a prepared topic: polled and thrown away, through
// consumers into a loader that decodes every row and throws it away, and
// through consumers into DuckDB or a fake of BigQuery, committed. An operation is
// the whole topic.
func BenchmarkPipeline(b *testing.B) {
	t := newTopic(b, eventCount(b))
	b.Run("poll", func(b *testing.B) {
		var m meter
		for b.Loop() {
			m.measure(func() { t.poll(b) })
		}
		m.report(b, t, nil)
	})
	b.Run("load-bigquery", t.loadBigQuery)
	b.Run("load-discard", func(b *testing.B) {
		t.measureLoads(b, func(b *testing.B) (warehouse.Loader, func()) {
			return scenario.NewNothing(func(scenario.Discarded) {}), func() {}
		})
	})
	b.Run("load-duckdb", func(b *testing.B) {
		t.measureLoads(b, func(b *testing.B) (warehouse.Loader, func()) {
			w, err := duckdb.Open(b.Context(), filepath.Join(b.TempDir(), duckdb.FileName), duckdb.Options{})
			if err != nil {
				b.Fatal(err)
			}
			return w, func() {
				t.checkRows(b, w)
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// eventCount is how many events the topic has: fewer where a test only wants to
// see that the benchmark runs.
func eventCount(b *testing.B) int {
	b.Helper()
	text := os.Getenv(eventsOfTest)
	if text == "" {
		return 500_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// measureLoads loads the topic again and again, each time after a poll of it.
func (t *topic) measureLoads(b *testing.B, open func(b *testing.B) (l warehouse.Loader, done func())) {
	b.Helper()
	var m, limit meter
	for b.Loop() {
		b.StopTimer()
		limit.measure(func() { t.poll(b) })
		loader, done := open(b)
		b.StartTimer()
		limits, memory := embeddedLimits()
		m.measure(func() { t.load(b, loader, limits, memory) })
		b.StopTimer()
		done()
		b.StartTimer()
	}
	m.report(b, t, &limit)
}

// meter adds up the time and the CPU of this process.
type meter struct{ wall, cpu time.Duration }

func (m *meter) measure(do func()) {
	cpu, began := testkit.CPUTime(), time.Now()
	do()
	m.wall += time.Since(began)
	m.cpu += testkit.CPUTime() - cpu
}

func (m *meter) report(b *testing.B, t *topic, limit *meter) {
	n := float64(t.events) * float64(b.N)
	b.SetBytes(t.bytes)
	b.ReportMetric(n/m.wall.Seconds(), "events/s")
	b.ReportMetric(n/m.cpu.Seconds(), "events/cpu-s")
	if limit != nil {
		b.ReportMetric(limit.cpu.Seconds()/m.cpu.Seconds(), "ratio")
	}
}

// poll reads the topic with the client options of consumers.
func (t *topic) poll(b *testing.B) {
	b.Helper()
	client, err := kgo.NewClient(append(append(t.cluster.ClientOpts("poll", nil, nil), t.cluster.ConsumerOpts()...),
		kgo.ConsumeTopics(t.table.Topic))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for left := t.events; left > 0; {
		fetches := client.PollRecords(b.Context(), 10_000)
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		left -= int64(fetches.NumRecords())
	}
}

// embeddedLimits are those of `millrace up` on DuckDB, with the memory for records.
func embeddedLimits() (batch.Limits, int) {
	return batch.Limits{Rows: 100_000, Bytes: 32 << 20, Age: 100 * time.Millisecond}, 64 << 20
}

// load runs a consumer, within the limits, until the loader has
// committed the whole topic. It returns how many rows were staged for that.
func (t *topic) load(b *testing.B, loader warehouse.Loader, limits batch.Limits, memory int) int64 {
	b.Helper()
	until := &counting{Loader: loader, left: t.events, done: make(chan struct{})}
	c, err := consumers.New(consumers.Options{
		Cluster: t.cluster, Names: kafka.Names{Prefix: "bench"}, Group: "bench",
		Tables: []consumers.Table{{Topic: t.table.Topic, Core: core, EventTimes: []string{"created_at"}}},
		Loader: until, Registry: t.registry,
		Limits: limits, Memory: memory,
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	select {
	case <-until.done:
	case <-time.After(5 * time.Minute):
		b.Error("the topic was not loaded")
	}
	cancel()
	running.Wait()
	return until.staged
}

// counting says when so many events are loaded.
type counting struct {
	warehouse.Loader
	left   int64
	staged int64
	done   chan struct{}
}

func (c *counting) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	e, err := c.Loader.Load(ctx, b)
	if err != nil {
		return e, err
	}
	for _, r := range e.Ranges {
		c.left -= r.To - r.From
	}
	c.staged += e.Rows.Read - e.Rows.Folded
	if c.left == 0 {
		close(c.done)
	}
	return e, nil
}

// checkRows fails the benchmark if what it measured was not a load.
func (t *topic) checkRows(b *testing.B, w *duckdb.Warehouse) {
	b.Helper()
	rows, err := w.Query(b.Context(), "SELECT count(*) FROM "+core)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var n int64
	if rows.Next() {
		err = rows.Scan(&n)
	}
	if err := errors.Join(err, rows.Err()); err != nil || n != t.rows {
		b.Fatalf("%d rows are in the table, want %d: %v", n, t.rows, err)
	}
}
