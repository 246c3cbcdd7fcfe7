package duckdb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesAreNotRead: whoever may query the warehouse may not read or write the
// machine's files, and sorting still goes to disk.
func TestFilesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.csv")
	if err := os.WriteFile(secret, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(t.Context(), filepath.Join(dir, "w.duckdb"), Options{MemoryLimit: "64MB"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, query := range []string{
		"SELECT * FROM read_csv('" + secret + "')", "FROM '" + secret + "'", "SELECT * FROM read_text('" + secret + "')", "SELECT * FROM glob('" + dir + "/*')",
	} {
		var first any
		if err := w.reads.QueryRowContext(t.Context(), query).Scan(&first); err == nil || !strings.Contains(err.Error(), "disabled") {
			t.Errorf("%s: %v", query, err)
		}
	}
	rows, err := w.Query(t.Context(), "SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY hash(i)) AS r FROM range(4000000) t(i))")
	if err != nil {
		t.Fatalf("sort more than fits into memory: %v", err)
	}
	defer rows.Close()
	var n int64
	if !rows.Next() || rows.Scan(&n) != nil || n != 4_000_000 {
		t.Errorf("sorted %d rows, %v", n, rows.Err())
	}
}
