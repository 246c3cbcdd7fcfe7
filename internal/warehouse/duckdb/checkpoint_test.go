package duckdb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// A commit makes a checkpoint only when the log of writes has grown so far.
func TestCheckpointSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int64
		stays bool // the log, after the load
	}{{"below", 0, true}, {"above", 16 << 10, false}} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), FileName)
			w, err := Open(t.Context(), path, Options{CheckpointSize: c.size})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close() //nolint:errcheck // read, not written
			table := syntheticTable(false)
			if err := w.Ensure(t.Context(), table); err != nil {
				t.Fatal(err)
			}
			head, err := w.Acquire(t.Context(), table.Name, "t", "i")
			if err != nil {
				t.Fatal(err)
			}
			const rows = 10_000
			if _, err := w.Load(t.Context(), &warehouse.Batch{
				Table: table, Epoch: head.Epoch, Load: 1, Partitions: 1, StartedAt: time.Now(),
				Rows: &synthetic{n: rows, pos: 1}, Counts: schemas.RowCounts{Read: rows},
			}); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path + ".wal")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if stays := err == nil && info.Size() > rows; stays != c.stays {
				t.Errorf("the log stays: %v, want %v (%v, %v)", stays, c.stays, info, err)
			}
		})
	}
}
