package loadtest

import (
	"strconv"
	"testing"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
)

// sends is how often the limit is measured; it takes a fraction of a load's time.
const sends = 5

// loadBigQuery loads the topic into a fake in another process, which keeps the
// rows and runs the scripts. Its limit beside `poll` is to send what a load has
// sent by gRPC, and nothing else.
func (t *topic) loadBigQuery(b *testing.B) {
	requests, sent := &bigqueryfake.Recorder{}, meter{}
	fake := startBigQuery(b)
	w := openBigQuery(b, bigquery.Options{Endpoints: fake, Writes: requests.WriteOptions()})
	t.load(b, w)
	for range sends {
		sent.measure(func() {
			if err := requests.Send(b.Context(), fake.Writes, 2); err != nil {
				b.Fatal(err)
			}
		})
	}
	perEvent := sent.cpu.Seconds() / float64(sends*t.events)
	b.Logf("%d rows sent", requests.Rows())
	requests = nil
	t.checkBigQuery(b, w)
	var m, limit meter
	for b.Loop() {
		b.StopTimer()
		limit.measure(func() { t.poll(b) })
		w := openBigQuery(b, bigquery.Options{Endpoints: startBigQuery(b)})
		b.StartTimer()
		m.measure(func() { t.load(b, w) })
		b.StopTimer()
		t.checkBigQuery(b, w)
		b.StartTimer()
	}
	m.report(b, t, &limit)
	b.ReportMetric(m.cpu.Seconds()/float64(int64(b.N)*t.events)/perEvent, "times-send")
	b.ReportMetric(1/perEvent, "send-events/cpu-s")
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

func (t *topic) checkBigQuery(b *testing.B, w *bigquery.Warehouse) {
	b.Helper()
	got, err := w.Select(b.Context(), "SELECT count(*) FROM "+core, 1)
	if err != nil {
		b.Fatal(err)
	}
	if n := *got.Rows[0][0]; n != strconv.FormatInt(t.rows, 10) {
		b.Fatalf("%s rows are in the table, want %d", n, t.rows)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
