package postgres

import (
	"testing"
	"time"

	"millrace/producers"
)

// What the slot keeps grows while nothing is acknowledged, and is told also when
// nothing of it is ours.
func TestRetainedLog(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	look := func() (bytes int64) {
		c.src.nextTick = time.Time{}
		c.until("a look at the slot", func(b producers.Batch) bool {
			bytes = b.Retained
			return bytes > 0
		})
		return bytes
	}
	before := look()
	c.exec("CREATE TABLE elsewhere AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 1000)")
	if after := look(); after < before+500_000 {
		t.Errorf("%d bytes are kept, and %d before a megabyte was written", after, before)
	}
}
