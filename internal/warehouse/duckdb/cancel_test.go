package duckdb

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// TestCancelledReadsLeaveNothingOpen: a caller that gives up at any moment
// spoils no connection for the next one.
func TestCancelledReadsLeaveNothingOpen(t *testing.T) {
	f := newFile(t)
	read := func(ctx context.Context, query string) error {
		rows, err := f.w.Query(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		return rows.Err()
	}
	given := 0
	for range rounds(3000) {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.IntN(300))*time.Microsecond, cancel)
		if read(ctx, "SELECT sum(range) FROM range(1000)") != nil {
			given++
		}
		timer.Stop()
		cancel()
		if err := read(t.Context(), "SELECT 1"); err != nil {
			t.Fatalf("after %d that were given up: %v", given, err)
		}
	}
	if given == 0 {
		t.Fatal("none was given up")
	}
}

// TestCancelledWritesLeaveNothingOpen is the same for those that write.
func TestCancelledWritesLeaveNothingOpen(t *testing.T) {
	f := newFile(t)
	table := warehouse.CoreTable{Name: "core.t", Mode: schemas.ModeMerge, Key: []string{"id"}, Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}}
	if err := f.w.Ensure(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	var epoch int64
	for range rounds(1000) {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, cancel)
		_, _ = f.w.Acquire(ctx, table.Name, "topic", "id") // committed or not
		timer.Stop()
		cancel()
		head, err := f.w.Acquire(t.Context(), table.Name, "topic", "id")
		if err != nil || head.Epoch <= epoch || head.Epoch > epoch+2 {
			t.Fatalf("head %+v after epoch %d: %v", head, epoch, err)
		}
		epoch = head.Epoch
	}
}

// rounds is how often a short run tries what a long one tries n times.
func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}
