package warehousetest

import (
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func fills(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	// The update loads first and does not carry big; the snapshot read it before.
	w.put(t, change(schemas.Update, 20, without(payment(1, "new", 1), colBig, colDoc)))
	w.put(t, change(schemas.Read, 10, payment(1, "old", 1)))
	w.put(t, change(schemas.Read, 9, payment(1, "older", 1)))
	// Below since, a value may have changed without an event: it fills nothing.
	since := change(schemas.Update, 30, without(payment(2, "new", 1), colBig))
	since.Since = pos(25)
	w.put(t, since)
	if done := w.put(t, change(schemas.Read, 24, payment(2, "old", 1))); done.Rows.Stale != 1 {
		t.Fatalf("a value from below since filled: %+v", done.Rows)
	}
	w.put(t, change(schemas.Read, 25, payment(2, "kept", 1)))
	// A live row's known value stays when an update does not carry it, unless the
	// update's since is above the row.
	w.put(t, change(schemas.Update, 40, without(payment(1, "newer", 1), colBig, colDoc)))
	since = change(schemas.Update, 50, without(payment(1, "newest", 1), colBig))
	since.Since = pos(45)
	w.put(t, since)
}

// manyRows crosses the borders of whatever a loader buffers rows in.
func manyRows(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	const n = 5000
	var creates, updates []schemas.Change
	for i := range n {
		creates = append(creates, change(schemas.Create, i+1, payment(i, "a", i%7)))
		row := payment(i, "b", i%11)
		switch i % 5 {
		case 0:
			updates = append(updates, change(schemas.Delete, n+i+1, row))
			continue
		case 1:
			row = without(row, colBig)
		case 2:
			row = without(row, colDoc)
			row[colName], row[colDay] = schemas.NullCell(), schemas.NullCell()
		}
		updates = append(updates, change(schemas.Update, n+i+1, row))
	}
	w.put(t, creates...)
	w.put(t, updates...)
}

func revived(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(2, "dead", 1)))
	w.put(t, change(schemas.Delete, 2, payment(2, "", 0)))
	// An update 1 -> 2 with an untouched TOAST value: a create without it.
	moved := change(schemas.Create, 3, without(payment(2, "moved", 1), colBig))
	moved.Since = pos(1)
	w.put(t, moved)
	w.put(t, change(schemas.Read, 1, payment(2, "stale snapshot", 1)))
	w.put(t, change(schemas.Read, 5, payment(2, "re-read", 1)))
	// In one batch, and as an update whose row is a marker.
	w.put(t, change(schemas.Delete, 6, payment(2, "", 0)), change(schemas.Create, 7, without(payment(2, "again", 1), colDoc)))
	w.put(t, change(schemas.Delete, 8, payment(2, "", 0)))
	w.put(t, change(schemas.Update, 9, without(payment(2, "odd", 1), colBig, colDoc)))
}

func touched(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", -1)), change(schemas.Create, 2, payment(2, "b", 0)), change(schemas.Create, 3, payment(3, "c", 100)))
	noTime := payment(4, "no time", 0)
	noTime[colAt] = schemas.NullCell()
	done := w.put(t, change(schemas.Update, 4, payment(1, "moved", 500)), change(schemas.Delete, 5, payment(2, "", 0)), change(schemas.Create, 6, noTime))
	at := done.Touched[0]
	if at.Column != "at" || !at.Null || len(at.Ranges) != 2 || // -1 and 0 are one range
		at.Ranges[0] != [2]string{"1969-12-31T23:00:00Z", "1970-01-01T01:00:00Z"} ||
		at.Ranges[1] != [2]string{"1970-01-21T20:00:00Z", "1970-01-21T21:00:00Z"} {
		t.Fatalf("touched %+v", done.Touched)
	}
	w.put(t, change(schemas.Update, 7, payment(4, "has time", 7)))
	w.put(t, change(schemas.Delete, 8, payment(4, "", 0)), change(schemas.Delete, 9, payment(99, "never there", 0)))
	// More hours than a Touched lists become days.
	var many []schemas.Change
	for i := range warehouse.MaxTouched + 1 {
		many = append(many, change(schemas.Create, 10+i, payment(1000+i, "m", 1000+2*i)))
	}
	if done := w.put(t, many...); len(done.Touched[0].Ranges) != 1 || done.All {
		t.Fatalf("touched %+v", done.Touched[0])
	}
}

func untouched(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	done := w.put(t, change(schemas.Read, 2, payment(1, "a", 1)))
	if len(done.Touched) != 0 || done.Rows.Updated != 1 {
		t.Fatalf("a row that reads as before touched %+v, counts %+v", done.Touched, done.Rows)
	}
	if done := w.put(t, change(schemas.Read, 3, payment(1, "b", 1))); len(done.Touched) != 2 {
		t.Fatalf("touched %+v", done.Touched)
	}
}

func changes(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	done := w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	if len(done.Covers.Changes) != 0 {
		t.Fatalf("covers %+v before anyone needs changes", done.Covers)
	}
	set := func(spec string, k warehouse.Kept) {
		t.Helper()
		must(t, h.Loader().SetNeeds(t.Context(), w.table.Name, spec, k))
	}
	set("a", warehouse.Kept{Changes: []string{"name"}})
	w.needs = []string{"name"}
	covers := func(done schemas.LoadComplete, want ...string) {
		t.Helper()
		for _, c := range want {
			found := false
			for _, have := range done.Covers.Changes {
				found = found || have == c
			}
			if !found {
				t.Fatalf("covers %q, want %q", done.Covers.Changes, want)
			}
		}
		if len(done.Covers.Changes) != len(want) {
			t.Fatalf("covers %q, want %q", done.Covers.Changes, want)
		}
	}
	covers(w.put(t, change(schemas.Update, 2, payment(1, "b", 1)), change(schemas.Create, 3, payment(2, "c", 2))), "id", "name")
	// The row changed, whichever column it was; a delete has only an old image.
	covers(w.put(t, change(schemas.Update, 4, payment(1, "b", 9)), change(schemas.Delete, 5, payment(2, "", 0))), "id", "name")
	// A second spec needs more; a column that comes later is taken up then.
	set("b", warehouse.Kept{Changes: []string{"big", "later", "name"}})
	w.needs = []string{"name", "big"}
	covers(w.put(t, change(schemas.Update, 6, without(payment(1, "d", 9), colBig))), "id", "name", "big")
	w.load(t, batch{truncate: pos(7)}) // removed rows have old images
	set("b", warehouse.Kept{})
	w.needs = []string{"name"}
	h.Crash(t)
	w.acquire(t)
	covers(w.put(t, change(schemas.Create, 8, payment(3, "e", 9))), "id", "name")
	set("a", warehouse.Kept{})
	w.needs = nil
	covers(w.put(t, change(schemas.Update, 9, payment(3, "f", 9))))
	if got := h.Images(t, w.table, []string{"id"}); len(got) == 0 || got[len(got)-1].Load == w.head.Load {
		t.Fatalf("images of load %d are kept, which nobody needs", w.head.Load)
	}

	// Needs may be told before the table is made.
	other := payments()
	other.Name, other.EventTimes = "core.other", []string{"at"}
	must(t, h.Loader().SetNeeds(t.Context(), other.Name, "a", warehouse.Kept{Changes: []string{"name"}, EventTimes: []string{"day"}}))
	w = newWriter(t, h, other)
	w.needs = []string{"name"}
	done = w.put(t, change(schemas.Create, 1, payment(1, "a", 30)))
	covers(done, "id", "name")
	if len(done.Touched) != 2 || done.Touched[1].Column != "day" || len(done.Covers.EventTimes) != 2 {
		t.Fatalf("touched %+v, covers %+v", done.Touched, done.Covers)
	}
}
