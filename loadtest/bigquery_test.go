package loadtest

import (
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
)

// sends is how often the limit is measured; it takes a fraction of a load's time.
const sends = 5

// loadBigQuery loads the topic into a fake in another process, which reads every
// row and keeps none, so that the scripts find no work. Its limit beside `poll`
// is to send the requests of a load by gRPC, and nothing else.
func (t *topic) loadBigQuery(b *testing.B) {
	sent := t.sendAlone(b, startBigQuery(b))
	var m, limit meter
	for b.Loop() {
		b.StopTimer()
		limit.measure(func() { t.poll(b) })
		w := openBigQuery(b, bigquery.Options{Endpoints: startBigQuery(b)})
		b.StartTimer()
		m.measure(func() { t.load(b, w) })
		b.StopTimer()
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	m.report(b, t, &limit)
	loads := time.Duration(b.N)
	b.ReportMetric(float64(sends*t.events)/sent.cpu.Seconds(), "send-events/cpu-s")
	b.ReportMetric(float64(m.cpu/loads)/float64(sent.cpu/sends), "times-send")
	b.ReportMetric(float64(m.wall/loads)/float64(sent.wall/sends), "times-send-clock")
}

// sendAlone sends what a load has sent, so many times.
func (t *topic) sendAlone(b *testing.B, fake bigquery.Endpoints) (m meter) {
	b.Helper()
	var requests bigqueryfake.Recorder
	w := openBigQuery(b, bigquery.Options{Endpoints: fake, Writes: requests.WriteOptions()})
	staged := t.load(b, w)
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
	return m
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
