package duckdb

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// TestCancelledReadsLeaveNothingOpen: a caller that gives up at any moment
// spoils no connection for the next one.
func TestCancelledReadsLeaveNothingOpen(t *testing.T) {
	f := newFile(t)
	given := 0
	for range 3000 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.IntN(300))*time.Microsecond, cancel)
		rows, err := f.w.Query(ctx, "SELECT sum(range) FROM range(1000)")
		if err == nil {
			_ = rows.Close()
		} else {
			given++
		}
		timer.Stop()
		cancel()
		rows, err = f.w.Query(t.Context(), "SELECT 1")
		if err != nil {
			t.Fatalf("after %d that were given up: %v", given, err)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if given == 0 {
		t.Fatal("none was given up")
	}
}
