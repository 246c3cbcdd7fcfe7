package duckdb

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// BenchmarkRun measures one run of a derived table, with what a deriver asks the
// warehouse before it, among as many derived tables: a load of a core table calls
// for a run of each table that reads it.
func BenchmarkRun(b *testing.B) {
	for _, tables := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("tables=%d", tables), func(b *testing.B) { benchmarkRun(b, tables) })
	}
}

func benchmarkRun(b *testing.B, tables int) {
	w, err := Open(b.Context(), filepath.Join(b.TempDir(), FileName), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // measured, not kept
	core := syntheticTable(false)
	if err := w.Ensure(b.Context(), core); err != nil {
		b.Fatal(err)
	}
	head, err := w.Acquire(b.Context(), core.Name, "t", "i")
	if err != nil {
		b.Fatal(err)
	}
	load := func(rows int) {
		head.Load++
		batch := &warehouse.Batch{
			Table: core, Epoch: head.Epoch, Load: head.Load, Partitions: 1, StartedAt: time.Now(),
			Rows:   &synthetic{first: int(head.Load) * 1000, n: rows, pos: uint64(head.Load)}, //nolint:gosec // small
			Counts: schemas.RowCounts{Read: int64(rows)},
		}
		if _, err := w.Load(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	load(100)
	derived := make([]*benchDerived, tables)
	for i := range derived {
		derived[i] = newBenchDerived(b, w, i)
		derived[i].run(b, head.Load)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%10 == 0 {
			load(1)
		}
		derived[i%tables].run(b, head.Load)
	}
}

// benchDerived is a derived table with the writer that keeps it.
type benchDerived struct {
	warehouse.Runner
	table warehouse.DerivedTable
	head  warehouse.DerivedHead
}

func newBenchDerived(b *testing.B, w *Warehouse, i int) *benchDerived {
	b.Helper()
	d := &benchDerived{Runner: w.Runner(), table: warehouse.DerivedTable{Name: fmt.Sprintf("fan.d%04d", i), Key: []string{"bucket"}}}
	for _, c := range [][2]string{{"bucket", "BIGINT"}, {"n", "BIGINT"}, {"total", "DECIMAL(38,2)"}} {
		d.table.Columns = append(d.table.Columns, warehouse.ResultColumn{Name: c[0], SQLType: c[1]})
	}
	head, err := d.Acquire(b.Context(), d.table, 1)
	if err != nil {
		b.Fatal(err)
	}
	d.head = head
	return d
}

func (d *benchDerived) run(b *testing.B, load int64) {
	b.Helper()
	if _, err := d.Inputs(b.Context(), []string{"core.bench"}); err != nil {
		b.Fatal(err)
	}
	if _, err := d.Loads(b.Context(), "core.bench", load-1, 1000); err != nil {
		b.Fatal(err)
	}
	was := d.head
	d.head.CodeHash, d.head.Absorbed, d.head.Ready = "code", map[string]int64{"core.bench": load}, true
	event, err := d.Commit(b.Context(), &warehouse.Step{
		Table: d.table, Epoch: was.Epoch, Load: was.Load, Head: d.head, WasHash: was.CodeHash, Forget: was.Absorbed == nil, Mode: "replace",
		Checks: []warehouse.Check{{Name: "not_null(bucket)", Violated: `"bucket" IS NULL`}, {Name: "unique(bucket)", Unique: []string{"bucket"}}},
		Parts: []warehouse.Part{{
			Query: "SELECT MOD(id, 10) AS bucket, COUNT(*) AS n, SUM(amount) AS total\nFROM (SELECT * FROM core.bench) AS bench\nGROUP BY 1", Owned: "TRUE",
			Dirt: warehouse.Dirt{Mark: 1},
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	d.head.Load = max(d.head.Load, event.Load)
}
