package duckdb

import (
	"errors"
	"testing"
	"time"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// TestFencedSuccessionNumbersNothing: the rows of an append table get the number
// of the step that takes them in, and no other from an owner of before.
func TestFencedSuccessionNumbersNothing(t *testing.T) {
	w := open(t, Options{})
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	table := warehouse.CoreTable{Name: "core.e", Mode: schemas.ModeAppend, Key: []string{}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "v", Type: schemas.Type{Kind: schemas.Int}},
	}}
	staged := table
	staged.Name = "core.e__g2"
	load := func(c warehouse.CoreTable, epoch, n int64) {
		t.Helper()
		_, err := w.Load(ctx, &warehouse.Batch{Table: c, Epoch: epoch, Load: n, Partitions: 1, Rows: &one{kind: schemas.Int, value: schemas.IntCell(n)}, Counts: schemas.RowCounts{Read: 1}})
		ok(err)
	}
	ok(w.Ensure(ctx, table))
	h, err := w.Acquire(ctx, table.Name, "t", "i")
	ok(err)
	load(table, h.Epoch, 1)
	ok(w.Ensure(ctx, staged))
	f, err := w.Acquire(ctx, staged.Name, "t.g2", "i2")
	ok(err)
	load(staged, f.Epoch, 1)
	s := &warehouse.Succession{Table: table, Epoch: h.Epoch, Load: 2, Generation: 2, From: staged.Name, FromEpoch: f.Epoch, StartedAt: time.Now()}
	_, err = w.Succeed(ctx, s)
	ok(err)
	sum := func() int64 { return count(t, w, "SELECT sum(_load) FROM core__base.e__g2") }
	h2, err := w.Acquire(ctx, table.Name, "t", "i")
	ok(err)
	_, err = w.Load(ctx, &warehouse.Batch{Table: table, Epoch: h2.Epoch, Load: 3, Partitions: 1, Rows: &two{}, Counts: schemas.RowCounts{Read: 1}})
	ok(err)
	before := sum()
	if before != 2+3 {
		t.Fatalf("the rows came with loads that add up to %d, want 2 and 3", before)
	}
	_, err = w.Succeed(ctx, s) // the old owner, once more
	if !errors.Is(err, warehouse.ErrFenced) {
		t.Errorf("the old owner: %v", err)
	}
	if after := sum(); after != before {
		t.Errorf("the sum of _load was %d and is %d: the fenced writer has numbered the rows anew", before, after)
	}
}

// two is a batch of another row.
type two struct{ one }

func (o *two) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	o.kind, o.value = schemas.Int, schemas.IntCell(7)
	f, err := o.one.Next(sink)
	if err == nil {
		f.Pos.Major, f.Born.Major = 9, 9
	}
	return f, err
}
