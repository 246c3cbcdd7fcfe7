package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

func testChanges(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "one", "1.10"),
		insert(itemTable, []any{2, nil, nil}, []any{3, "it's", "-0.05"}),
		update(2, "amount", 7),
		remove(1),
		item(1, "again", "0"),
		update(2, "name", "x"), update(3, "name", "x"))
	r.sync(t)
	got := h.describe(r.changes())
	want := "c 1|one|1.10\nc 2|NULL|NULL\nc 3|it's|-0.05\nu 2|NULL|7.00\nd 1\nc 1|again|0.00\nu 2|x|7.00\nu 3|x|-0.05\n"
	if h.Partial {
		want = "c 1|one|1.10\nc 2|NULL|NULL\nc 3|it's|-0.05\nu 2|UNSET|7.00\nd 1\nc 1|again|0.00\nu 2|x|UNSET\nu 3|x|UNSET\n"
	}
	if got != want {
		t.Fatalf("got:\n%swant:\n%s", got, want)
	}
	now := time.Now()
	for _, c := range r.changes() {
		at := time.UnixMicro(c.TsUs)
		if at.After(now.Add(time.Hour)) || at.Before(now.Add(-time.Hour)) {
			t.Errorf("%s at %v was committed at %v, it is %v", c.Op, c.Position, at, now)
		}
	}
}

func testTransactions(t *testing.T, h *Harness) {
	makeItems(t, h)
	h.exec(t, create(otherTable))
	r := newReader(t, h, items, "other")
	r.ready(t)
	const n = 5
	for i := range n {
		n := int64(i)
		h.exec(t, begin, item(n, "a", "1"), insert(otherTable, []any{n, "b"}), update(n, "amount", 2), commit)
	}
	r.sync(t)
	ids := make(map[string]int)
	var order []string
	for _, b := range r.batches {
		for i, c := range b.changes {
			if c.Table.ID() == h.ID("fence") {
				continue
			}
			order = append(order, fmt.Sprint(c.Op, " ", c.Table.Name, " ", number(c.After[0])))
			ids[c.TxID]++
			if i == len(b.changes)-1 && b.resume != "" && b.complete.Pos.Less(c.Position) {
				t.Errorf("a transaction ended at %v, and the log is complete up to %v only", c.Position, b.complete.Pos)
			}
		}
	}
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("c items ", i), fmt.Sprint("c other ", i), fmt.Sprint("u items ", i))
	}
	diff(t, "order over tables", order, want)
	if _, none := ids[""]; !none {
		for id, changes := range ids {
			if changes != 3 {
				t.Errorf("transaction %s has %d changes, want 3", id, changes)
			}
		}
	}
}

func testRollbacks(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, begin, item(1, "gone", "1"), rollback, begin, item(2, "kept", "1"))
	if h.Savepoints == "" {
		h.exec(t, sql("SAVEPOINT s"), item(3, "gone", "1"), update(2, "name", "gone"), sql("ROLLBACK TO SAVEPOINT s"))
	}
	h.exec(t, item(4, "kept", "1"), commit)
	r.sync(t)
	if got, want := h.describe(r.changes()), "c 2|kept|1.00\nc 4|kept|1.00\n"; got != want {
		t.Fatalf("got:\n%swant:\n%s", got, want)
	}
}

func testKeyChange(t *testing.T, h *Harness) {
	makeItems(t, h)
	h.exec(t, item(1, "a", "1"))
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, sql("UPDATE items SET id = 10, name = 'b' WHERE id = 1"))
	r.sync(t)
	got := r.changes()
	if text := h.describe(got); text != "d 1\nc 10|b|1.00\n" {
		t.Fatalf("got:\n%s", text)
	}
	if k := keyText(got[0].Table, got[0].OtherKey); k != "10" {
		t.Errorf("the delete names %q as the new key", k)
	}
	if k := keyText(got[1].Table, got[1].OtherKey); k != "1" {
		t.Errorf("the create names %q as the old key", k)
	}
}

func testCompositeKey(t *testing.T, h *Harness) {
	makeItems(t, h)
	h.Exec(t, "CREATE TABLE pairs (v VARCHAR(20), b BIGINT NOT NULL, a VARCHAR(20) NOT NULL, PRIMARY KEY (a, b))")
	r := newReader(t, h, "pairs")
	r.ready(t)
	h.Exec(t, "INSERT INTO pairs VALUES ('v', 2, 'x')", "UPDATE pairs SET v = 'w'", "UPDATE pairs SET b = 3", "DELETE FROM pairs")
	r.sync(t)
	var got []string
	for _, c := range r.changes("pairs") {
		image := c.After
		if c.Op == schemas.Delete {
			image = c.Before
		}
		got = append(got, c.Op.String()+" "+keyText(c.Table, image))
	}
	if s := strings.Join(got, ", "); s != "c x|2, u x|2, d x|2, c x|3, d x|3" {
		t.Fatalf("got %s", s)
	}
}

func testTruncate(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "a", "1"), Statement{Verb: Truncate, Table: itemTable}, item(2, "b", "1"))
	r.sync(t)
	var ops []string
	for _, c := range r.changes() {
		ops = append(ops, c.Op.String())
	}
	if s := strings.Join(ops, ""); s != "ctc" {
		t.Fatalf("ops %s, want ctc", s)
	}
	diff(t, "after a truncate", h.fold(t, r.table(t, items), r.changes()), h.Rows(t, items, itemColumns...))
}

// testHuge: a transaction may come in pieces; only its end carries a token.
func testHuge(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	const n = 20_000
	stmts := []Statement{begin}
	for i := 0; i < n; i += 500 {
		var rows [][]any
		for j := range 500 {
			rows = append(rows, []any{i + j, "name", "1"})
		}
		stmts = append(stmts, insert(itemTable, rows...))
	}
	h.exec(t, append(stmts, commit)...)
	r.sync(t)
	if got := len(r.changes()); got != n {
		t.Fatalf("%d changes of %d", got, n)
	}
	read := 0
	for _, b := range r.batches {
		for _, c := range b.changes {
			if c.Table.ID() == h.ID(items) {
				read++
			}
		}
		if b.resume != "" && read > 0 && read < n {
			t.Fatalf("a token inside a transaction, after %d changes of %d", read, n)
		}
	}
}

func testIdle(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "a", "1"))
	r.sync(t)
	table := r.table(t, items)
	_, chunk := r.chunk(t, table, nil, 10)
	// Writes that concern no captured table must not hold up progress, and an
	// idle source must pass every read point: watermarks wait for that.
	h.exec(t, create(uncapturedTable), insert(uncapturedTable, []any{1}))
	idle := 0
	r.until(t, "idle progress above a read point", func(s seen) bool {
		if len(s.changes) == 0 && s.resume != "" && !s.complete.Time.IsZero() {
			idle++
		}
		return idle >= 2 && !s.complete.Pos.Less(chunk.ReadPoint)
	})
	var last schemas.Progress
	for _, b := range r.batches {
		if b.complete.Pos.Less(last.Pos) {
			t.Errorf("complete fell from %v to %v", last.Pos, b.complete.Pos)
		}
		if !b.complete.Time.IsZero() && b.complete.Time.Before(last.Time) {
			t.Errorf("complete fell from %v to %v", last.Time, b.complete.Time)
		}
		if last.Pos = b.complete.Pos; !b.complete.Time.IsZero() {
			last.Time = b.complete.Time
		}
	}
}

func testCancel(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		for {
			if _, err := r.src.Next(ctx); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled Next said %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Next does not end when its context does")
	}
}
