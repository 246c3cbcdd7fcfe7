package consumers

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

// A quiet table whose load is stuck is behind by nothing that a further member
// could load.
func TestLagLeavesWatermarksOut(t *testing.T) {
	record := func(offset int64, op schemas.Op) *kgo.Record {
		r := &kgo.Record{Offset: offset}
		if op != 0 {
			r.Headers = []kgo.RecordHeader{{Key: "pos", Value: []byte("w")}, {Key: opHeader, Value: []byte{byte(op)}}}
		}
		return r
	}
	polled := func(l *lag, end int64, records ...*kgo.Record) {
		p := kgo.FetchTopicPartition{FetchPartition: kgo.FetchPartition{Records: records, HighWatermark: end}}
		l.polled(p)
	}
	expect := func(l *lag, want int64) {
		t.Helper()
		if got := l.records(); got != want {
			t.Errorf("the lag is %d, want %d", got, want)
		}
	}
	var l lag
	l.begin(map[int32]int64{0: 5}, map[int32]int64{0: 5})
	expect(&l, 0)
	watermarks := []*kgo.Record{record(5, schemas.Watermark), record(7, schemas.Watermark)}
	polled(&l, 9, watermarks...) // each in a transaction, which ends with a marker
	expect(&l, 0)

	// An insert, the end of a snapshot, and what another's producer wrote are work.
	mixed := []*kgo.Record{record(9, schemas.Create), record(10, schemas.SnapshotDone), record(11, schemas.Watermark), record(12, 0)}
	polled(&l, 20, mixed...)
	expect(&l, 3+6) // of what was not read, nothing is known but that it is there
	l.loaded(work(watermarks))
	expect(&l, 3+6)
	l.loaded(work(mixed))
	expect(&l, 6)
}
