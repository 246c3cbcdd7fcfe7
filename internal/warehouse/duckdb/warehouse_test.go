package duckdb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func open(t *testing.T, opts Options) *Warehouse {
	t.Helper()
	w, err := Open(t.Context(), filepath.Join(t.TempDir(), FileName), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// loader loads synthetic rows into one table, and knows the next load.
type loader struct {
	w     *Warehouse
	table warehouse.CoreTable
	head  warehouse.Head
}

func newLoader(ctx context.Context, w *Warehouse, name string) (*loader, error) {
	l := &loader{w: w, table: syntheticTable(false)}
	l.table.Name = name
	if err := w.Ensure(ctx, l.table); err != nil {
		return nil, err
	}
	var err error
	l.head, err = w.Acquire(ctx, name, "topic", "id")
	return l, err
}

// load writes rows first to first+n anew.
func (l *loader) load(ctx context.Context, first, n int) error {
	_, err := l.w.Load(ctx, &warehouse.Batch{
		Table: l.table, Epoch: l.head.Epoch, Load: l.head.Load + 1, Partitions: 1, StartedAt: time.Now(),
		Rows:   &synthetic{first: first, n: n, pos: uint64(l.head.Load) + 1}, //nolint:gosec // small
		Counts: schemas.RowCounts{Read: int64(n)},
	})
	if err == nil {
		l.head.Load++
	}
	return err
}

// runQuery runs a query and reads its result to the end.
func runQuery(ctx context.Context, w *Warehouse, query string) error {
	rows, err := w.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		continue
	}
	return rows.Err()
}

func count(t *testing.T, w *Warehouse, query string) (n int64) {
	t.Helper()
	rows, err := w.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestQueryOnlyReads(t *testing.T) {
	w := open(t, Options{})
	for _, q := range []string{
		"CREATE TABLE main.x (a INT)", "DELETE FROM millrace.x", "SELECT 1; SELECT 2", "ROLLBACK; CREATE TABLE main.x (a INT)",
		"COMMIT", "SET threads = 1", "ATTACH ':memory:' AS other", "COPY (SELECT 1) TO 'out.csv'", "PRAGMA enable_profiling",
		"EXPLAIN ANALYZE CREATE TABLE main.x AS SELECT 1", "SELECT * FROM millrace_stage()",
	} {
		if err := runQuery(t.Context(), w, q); err == nil {
			t.Errorf("%s was run", q)
		}
	}
	// Whatever else is asked, the answer says what can be run, in words that are not the driver's.
	l, err := newLoader(t.Context(), w, "core.a")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.load(t.Context(), 0, 1); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"SELECT 1; SELECT 2", "DELETE FROM core.a", "UPDATE core.a SET id = 1", "INSERT INTO core.a SELECT * FROM core.a",
		"DELETE FROM core__base.a", "TRUNCATE core.a", "DROP VIEW core.a", "MERGE INTO core.a USING (SELECT 1 AS k) ON false WHEN MATCHED THEN DELETE",
	} {
		if err := runQuery(t.Context(), w, q); !errors.Is(err, errReadsOnly) {
			t.Errorf("%s: %v", q, err)
		}
	}
	if err := runQuery(t.Context(), w, "SELECT 'Binder Error: Can only delete from base table' + nothing"); err == nil || errors.Is(err, errReadsOnly) {
		t.Errorf("a query with another fault: %v", err)
	}
	for _, q := range []string{"SELECT 1", "FROM range(1)", "EXPLAIN SELECT 1", "DESCRIBE SELECT 1", "SHOW TABLES", "SUMMARIZE SELECT 1 AS a", "WITH x AS (SELECT 1) SELECT * FROM x"} {
		if err := runQuery(t.Context(), w, q); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
	if n := count(t, w, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'x'"); n != 0 {
		t.Error("a query has made a table")
	}
	if n := count(t, w, "SELECT count(*) FROM (SELECT current_setting('TimeZone') AS z) WHERE z = 'UTC'"); n != 1 {
		t.Error("queries do not run in UTC")
	}
}

// A result is a copy: rows read later are those of the query's time, and they
// hold up neither loads nor checkpoints.
func TestQueryIsOneStateAndHoldsNothing(t *testing.T) {
	w := open(t, Options{WALLimit: 1})
	l, err := newLoader(t.Context(), w, "core.a")
	if err != nil {
		t.Fatal(err)
	}
	const n = 50_000
	if err := l.load(t.Context(), 0, n); err != nil {
		t.Fatal(err)
	}
	rows, err := w.Query(t.Context(), "SELECT _load FROM core__base.a")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := 0
	for rows.Next() {
		if got == 10 {
			if err := l.load(t.Context(), 0, n); err != nil {
				t.Fatal(err)
			}
			if err := w.checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var load int
		if err := rows.Scan(&load); err != nil || load != 1 {
			t.Fatalf("row %d is of load %d, %v", got, load, err)
		}
		got++
	}
	if rows.Err() != nil || got != n {
		t.Fatalf("%d rows, %v", got, rows.Err())
	}
}

func TestTablesLoadAtTheSameTime(t *testing.T) {
	w := open(t, Options{Writers: 2, WALLimit: 100_000, CheckpointWait: time.Minute})
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			l, err := newLoader(t.Context(), w, fmt.Sprintf("core.t%d", i))
			for range 5 {
				if err == nil {
					err = l.load(t.Context(), 0, 300)
				}
			}
			errs[i] = err
		})
	}
	for range 20 {
		count(t, w, "SELECT count(*) FROM duckdb_tables()")
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range errs {
		if n := count(t, w, fmt.Sprintf("SELECT count(*) FROM core.t%d", i)); n != 300 {
			t.Errorf("table %d has %d rows", i, n)
		}
	}
}

// Reads that overlap for ever would keep the log from being truncated: above its
// limit a checkpoint comes between them (the log grew without end).
func TestOverlappingReadsDoNotGrowTheLog(t *testing.T) {
	const limit = 1 << 20
	reg := prometheus.NewRegistry()
	w := open(t, Options{WALLimit: limit, CheckpointWait: time.Minute, Registerer: reg})
	l, err := newLoader(t.Context(), w, "core.a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := runQuery(ctx, w, "SELECT count(*) FROM range(3000000) WHERE range % 7 = 3"); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 30 {
		if err := l.load(t.Context(), i*100, 2000); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	wg.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if gathered(t, reg, "millrace_duckdb_checkpoint_duration_seconds") > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint was made")
		}
	}
}

func gathered(t *testing.T, reg *prometheus.Registry, name string) uint64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return 0
}

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	open(t, Options{Registerer: reg})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	want := []string{
		"millrace_duckdb_checkpoint_duration_seconds", "millrace_duckdb_checkpoints_put_off_total",
		"millrace_duckdb_staged_rows_total", "millrace_duckdb_wal_bytes",
	}
	if !slices.Equal(names, want) {
		t.Errorf("metrics %q, want %q", names, want)
	}
}

func TestGateLetsLoadsPassWhileReadsEnd(t *testing.T) {
	g := newGate()
	ctx := t.Context()
	enter := func(f func(context.Context) error) error {
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		return f(short)
	}
	if err := errors.Join(g.enterRead(ctx), g.enterLoad(ctx)); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	inside := make(chan struct{})
	go func() { ran <- g.alone(ctx, func() error { close(inside); return nil }) }()
	for enter(g.enterRead) == nil { // until the checkpoint waits
		g.leaveRead()
	}
	if err := enter(g.enterLoad); err != nil {
		t.Fatalf("a load waits for a read: %v", err)
	}
	g.leaveLoad()
	g.leaveRead()
	for enter(g.enterLoad) == nil { // until it waits for the loads
		g.leaveLoad()
	}
	select {
	case <-inside:
		t.Fatal("the checkpoint ran beside a load")
	default:
	}
	g.leaveLoad()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.enterRead(ctx), g.enterLoad(ctx)); err != nil {
		t.Fatal(err)
	}
	g.leaveLoad()
	// Two checkpoints are not beside each other either.
	g.leaveRead()
	var both sync.WaitGroup
	running := 0
	for range 4 {
		both.Go(func() {
			_ = g.alone(ctx, func() error {
				if running++; running != 1 {
					t.Error("two checkpoints at a time")
				}
				running--
				return nil
			})
		})
	}
	both.Wait()
	if err := errors.Join(g.enterRead(ctx), g.enterLoad(ctx)); err != nil {
		t.Fatal(err)
	}
	// One that cannot come in lets the others pass again.
	short, cancel := context.WithTimeoutCause(ctx, 10*time.Millisecond, errCheckpointWait)
	defer cancel()
	if err := g.alone(short, func() error { return nil }); !errors.Is(err, errCheckpointWait) {
		t.Fatalf("a read is open: %v", err)
	}
	if err := enter(g.enterRead); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureIsWholeOrNothing(t *testing.T) {
	f := newFile(t)
	table := syntheticTable(true)
	for _, add := range []string{"", "added"} {
		if add != "" {
			table.Columns = append(table.Columns, schemas.Column{Name: add, Type: schemas.Type{Kind: schemas.Int}})
		}
		before := count(t, f.w, "SELECT count(*) FROM duckdb_columns() WHERE NOT internal")
		f.faults.Fail(PointDefineCommit, 1)
		if err := f.w.Ensure(t.Context(), table); err == nil {
			t.Fatal("the fault did not come up")
		}
		f.crash(t)
		if after := count(t, f.w, "SELECT count(*) FROM duckdb_columns() WHERE NOT internal"); after != before {
			t.Fatalf("%d columns are left of %d", after, before)
		}
		if err := f.w.Ensure(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		f.crash(t)
		if n := count(t, f.w, "SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'core' AND table_name = 'bench'"); n != int64(len(table.Columns)) {
			t.Fatalf("the view has %d columns, want %d", n, len(table.Columns))
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "missing", FileName), Options{}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), FileName), Options{MemoryLimit: "a lot"}); err == nil || !strings.Contains(err.Error(), "memory_limit") {
		t.Errorf("a limit that is none: %v", err)
	}
}
