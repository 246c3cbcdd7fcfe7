package sourcetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"millrace/producers"
	"millrace/schemas"
)

// above are the changes of all tables that lie above p, as text that holds all
// that a replay must repeat (G3).
func (r *reader) above(p schemas.Position) []string {
	var out []string
	for _, b := range r.batches {
		for i := range b.changes {
			c := &b.changes[i]
			if p.Less(c.Position) {
				out = append(out, fmt.Sprintf("%s %s %v %v %v ts %d tx %s/%d", c.Table.ID(), c.Op, c.Position, c.After, c.Before, c.TsUs, c.TxID, c.TxOrder))
			}
		}
	}
	return out
}

// testBegin: the first changes are there before the source is asked for any, and who
// dies after some of them finds the others from the first token on.
func testBegin(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	h.exec(t, begin, item(1, "a", "1"), item(2, "b", "1"), item(3, "c", "1"), commit)
	time.Sleep(200 * time.Millisecond) // they are on their way
	r.until(t, "the first batch", func(seen) bool { return true })
	at := r.checkpoint(0)
	r.sync(t)
	want := r.above(schemas.Position{})
	r.reopen(t, at)
	r.awaitFence(t)
	diff(t, "resumed from the first token", r.above(schemas.Position{}), want)
}

func testResume(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	for i := range 6 {
		n := int64(i)
		h.exec(t, begin, item(n, "a", "1"), update(n, "name", "b"), commit)
		if h.keysChange() {
			h.exec(t, update(n, "id", n+100))
		}
	}
	r.sync(t)
	whole := *r // what was read in one go; its source is closed by the first reopen
	tried := 0
	for n := range whole.batches {
		if whole.batches[n].resume == "" || tried >= 12 {
			continue
		}
		tried++
		at := whole.checkpoint(n)
		want := whole.above(at.Last)
		r.reopen(t, at)
		if len(want) > 0 {
			r.awaitFence(t)
		}
		diff(t, fmt.Sprintf("resumed after batch %d", n), r.above(at.Last), want)
	}
	if tried == 0 {
		t.Fatal("there was no token to resume from")
	}
}

// testAck: the producer acknowledges what is durable, dies, and must find all
// that lies above it; and what lies above an older checkpoint if the newer was lost.
func testAck(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	ack := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := r.src.Ack(ctx, r.checkpoint(len(r.batches)-1).Token); err != nil {
			t.Fatal(err)
		}
	}
	h.exec(t, item(1, "a", "1"))
	r.sync(t)
	durable := r.checkpoint(len(r.batches) - 1)
	ack()
	h.exec(t, item(2, "b", "1"), update(1, "name", "c"))
	r.sync(t) // read, never acknowledged
	// The source goes on for a while, idle; nothing but the acknowledged may go.
	for range 2 {
		r.until(t, "an idle batch", func(s seen) bool { return s.resume != "" })
	}
	lost := r.above(durable.Last)
	r.close(t)
	h.exec(t, item(3, "d", "1"))
	r.start = durable
	r.open(t)
	r.sync(t)
	got := r.above(durable.Last)
	if len(got) < len(lost) {
		t.Fatalf("%d changes above the acknowledged, want at least %d", len(got), len(lost))
	}
	diff(t, "above the acknowledged", got[:len(lost)], lost)
	if s := h.describe(r.changes()[len(r.changes())-1:]); s != "c 3|d|1.00\n" {
		t.Fatalf("what was written while the producer was down: %s", s)
	}
}

// testSnapshotStart: the token of the first batch is all that a producer has
// that dies during its first snapshot.
func testSnapshotStart(t *testing.T, h *Harness) {
	makeItems(t, h)
	h.exec(t, insert(itemTable, []any{1, "a", "1"}, []any{2, "b", "1"}))
	r := newReader(t, h, items)
	r.ready(t)
	start := r.checkpoint(len(r.batches) - 1)
	rows, chunk := r.chunk(t, r.table(t, items), nil, 1)
	if len(rows) != 1 || chunk.End {
		t.Fatalf("%d rows, end %v", len(rows), chunk.End)
	}
	h.exec(t, update(1, "name", "changed"), remove(2))
	r.close(t)
	h.exec(t, item(3, "c", "1"))
	r.start = start
	r.open(t)
	r.sync(t)
	rest, _ := r.chunk(t, start.Tables[h.ID(items)].Table, chunk.Last, 10)
	all := append(append(rows, rest...), r.changes()...)
	diff(t, "a snapshot that a crash interrupted", h.fold(t, start.Tables[h.ID(items)].Table, all), h.Rows(t, items, itemColumns...))
}

func testSecondOpen(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "a", "1"))
	r.sync(t)
	r.reopen(t, r.checkpoint(len(r.batches)-1))
	h.exec(t, item(2, "a", "1"))
	r.sync(t)
	if v := r.versions(items); len(v) > 0 {
		t.Fatalf("a table that Open was given was announced again: since %v", v[0].Since)
	}
	if s := h.describe(r.changes()); s != "c 2|a|1.00\n" {
		t.Fatalf("got %s", s)
	}
}

// testNewEpoch: a source that begins again in another epoch takes no notice of where
// it was. Its tables are snapshotted, as of the new epoch.
func testNewEpoch(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "a", "1"))
	r.sync(t)
	at := r.checkpoint(len(r.batches) - 1)
	r.close(t)
	h.exec(t, item(2, "b", "2"))
	r.start = producers.Start{Epoch: 2, Last: at.Last, Tables: at.Tables}
	r.open(t)
	r.ready(t)
	h.exec(t, item(3, "c", "3"))
	r.sync(t)
	if v := r.versions(items); len(v) != 1 || v[0].Since.Epoch != 2 {
		t.Fatalf("the table was announced as %+v", v)
	}
	if got := h.describe(r.changes()); got != "c 3|c|3.00\n" || r.changes()[0].Position.Epoch != 2 {
		t.Fatalf("got %s", got)
	}
	rows, chunk := r.chunk(t, r.table(t, items), nil, 10)
	if len(rows) != 3 || chunk.ReadPoint.Epoch != 2 {
		t.Fatalf("read %d rows at %v", len(rows), chunk.ReadPoint)
	}
}

func testKill(t *testing.T, h *Harness) {
	if h.Kill == nil {
		t.Skip("the harness cannot kill its server")
	}
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, item(1, "a", "1"))
	r.sync(t)
	at := r.checkpoint(len(r.batches) - 1)
	h.exec(t, item(2, "b", "1"))
	h.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for { // what is in flight may still come; then Next must not hang or hide the loss
		if _, err := r.next(t, ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal("Next hangs after its server was killed")
			}
			break
		}
	}
	r.close(t)
	r.start = at
	r.open(t)
	r.sync(t)
	if s := h.describe(r.changes()); s != "c 2|b|1.00\n" {
		t.Fatalf("after the kill: %s", s)
	}
}
