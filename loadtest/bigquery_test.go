package loadtest

import (
	"testing"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
)

// sends is how often the limit is measured; it takes a fraction of a load's time.
const sends = 5

// loadBigQuery loads the topic into a fake in another process, which reads every
// row and keeps none, so that the scripts find no work. Its limit beside `poll`
// is to send the requests of a load by gRPC, and nothing else.
func (t *topic) loadBigQuery(b *testing.B) {
	perEvent := t.sendAlone(b, startBigQuery(b))
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
	b.ReportMetric(1/perEvent, "send-events/cpu-s")
	b.ReportMetric(m.cpu.Seconds()/float64(int64(b.N)*t.events)/perEvent, "times-send")
}

// sendAlone is the CPU, in seconds an event, of sending what a load has sent.
func (t *topic) sendAlone(b *testing.B, fake bigquery.Endpoints) float64 {
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
	var m meter
	for range sends {
		m.measure(func() {
			if err := requests.Send(b.Context(), fake.Writes, 2); err != nil {
				b.Fatal(err)
			}
		})
	}
	return m.cpu.Seconds() / float64(sends*t.events)
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
