package main

import (
	"runtime"
	"testing"
	"time"

	"millrace/consumers/batch"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
)

// sends is how often the limit is measured in a round; it takes little CPU.
const sends = 3

// bigQueryLimits are those of a consumer that loads BigQuery, with the memory for
// records.
func bigQueryLimits() (batch.Limits, int) {
	return batch.Limits{Rows: 200_000, Bytes: 64 << 20, Age: 100 * time.Millisecond}, 192 << 20
}

// loadBigQuery loads the topic into a fake in another process, which reads every
// row and keeps none, so that the scripts find no work. Its limit beside `poll`
// is to send the requests of a load by gRPC, and nothing else.
func (t *topic) loadBigQuery(b *testing.B) {
	var m, limit, sent meter
	limits, memory := bigQueryLimits()
	for b.Loop() {
		b.StopTimer()
		limit.measure(func() { t.poll(b) })
		t.sendAlone(b, &sent)
		runtime.GC() // what was sent is no part of what is measured
		w := openBigQuery(b, bigquery.Options{Endpoints: startBigQuery(b)})
		b.StartTimer()
		m.measure(func() { t.load(b, w, limits, memory) })
		b.StopTimer()
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	m.report(b, t, &limit)
	b.ReportMetric(float64(sends*int64(b.N)*t.events)/sent.cpu.Seconds(), "send-events/cpu-s")
	b.ReportMetric(sends*float64(m.cpu)/float64(sent.cpu), "times-send")
	b.ReportMetric(sends*float64(m.wall)/float64(sent.wall), "times-send-clock")
}

// sendAlone sends what a load has sent, so many times.
func (t *topic) sendAlone(b *testing.B, m *meter) {
	b.Helper()
	fake := startBigQuery(b)
	var requests bigqueryfake.Recorder
	w := openBigQuery(b, bigquery.Options{Endpoints: fake, Writes: requests.WriteOptions()})
	limits, memory := bigQueryLimits()
	staged := t.load(b, w, limits, memory)
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if n := requests.Rows(); n != staged {
		b.Fatalf("%d rows were sent, %d are loaded", n, staged)
	}
	for range sends {
		m.measure(func() {
			if err := requests.Send(b.Context(), fake.Writes, 2); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func openBigQuery(b *testing.B, opts bigquery.Options) *bigquery.Warehouse {
	b.Helper()
	opts.Project, opts.Location = "test-project", "US"
	w, err := bigquery.Open(b.Context(), opts)
	if err != nil {
		b.Fatal(err)
	}
	return w
}
