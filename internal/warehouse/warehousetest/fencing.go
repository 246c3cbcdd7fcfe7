package warehousetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

func fromChangePtr(table warehouse.CoreTable, c schemas.Change) register.Change {
	return fromChange(table, &c)
}

func zombie(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	late := w.make(t, batch{changes: []schemas.Change{change(schemas.Update, 2, payment(1, "zombie", 1))}, truncate: pos(3)})
	w.acquire(t)
	_, err := h.Loader().Load(t.Context(), late)
	wantFenced(t, err)
	w.model.check(t, h, w.table)
	w.put(t, change(schemas.Update, 4, payment(1, "owner", 1)))
	_, err = h.Loader().Load(t.Context(), late)
	wantFenced(t, err)
	w.model.check(t, h, w.table)
	events, err := h.Loader().Loads(t.Context(), w.table.Name, 0, 10)
	must(t, err)
	if len(events) != 2 {
		t.Fatalf("%d loads are logged, want 2", len(events))
	}
}

// zombieInFlight: the old owner writes while the new owner's load stands before
// its commit. Whoever loses, loses whole.
func zombieInFlight(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	late := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 2, payment(2, "zombie", 1))}})
	w.acquire(t)
	b := batch{changes: []schemas.Change{change(schemas.Create, 1, payment(1, "owner", 1))}}
	own := w.make(t, b)
	last := h.Points[len(h.Points)-2]
	zombieErr := errors.New("the zombie did not run")
	h.Faults.On(last, 1, func(ctx context.Context) error {
		_, zombieErr = h.Loader().Load(ctx, late)
		return nil
	})
	done, err := h.Loader().Load(t.Context(), own)
	must(t, err)
	if zombieErr == nil {
		t.Fatal("the zombie's load was taken")
	}
	w.loaded(t, b, own, done)
	_, err = h.Loader().Load(t.Context(), late)
	wantFenced(t, err)
	w.model.check(t, h, w.table)
}

// acquireInFlight: a takeover begins while the old owner's load stands before
// its commit. It gets the head with the load, or the load fails.
func acquireInFlight(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	b := batch{changes: []schemas.Change{change(schemas.Create, 1, payment(1, "old owner", 1))}}
	own := w.make(t, b)
	took := make(chan error, 1)
	var head warehouse.Head
	h.Faults.On(h.Points[len(h.Points)-2], 1, func(context.Context) error {
		go func() {
			var err error
			head, err = h.Loader().Acquire(t.Context(), w.table.Name, "topic", "id")
			took <- err
		}()
		// Time for the takeover to come to the head; the outcome must be right
		// whether it does or not.
		time.Sleep(20 * time.Millisecond)
		return nil
	})
	done, loadErr := h.Loader().Load(t.Context(), own)
	must(t, <-took)
	if loadErr == nil {
		w.loaded(t, b, own, done)
		if head.Load != 1 {
			t.Fatalf("the load was committed, and the new owner sees %+v", head)
		}
	} else if head.Load != 0 {
		t.Fatalf("the load failed with %v, and the new owner sees %+v", loadErr, head)
	}
	w.model.check(t, h, w.table)
	_, err := h.Loader().Load(t.Context(), w.make(t, batch{}))
	wantFenced(t, err)
}

// script is a sequence of loads with everything in it.
func script() []batch {
	end := func(n int) map[int32]warehouse.Mark {
		m := warehouse.Mark{Complete: schemas.Progress{Pos: pos(n)}, SnapshotDone: pos(n)}
		return map[int32]warehouse.Mark{0: m, 1: m}
	}
	return []batch{
		{changes: []schemas.Change{change(schemas.Create, 1, payment(1, "a", 1)), change(schemas.Create, 2, payment(2, "b", 2))}},
		{changes: []schemas.Change{change(schemas.Update, 4, without(payment(1, "a2", 30), colBig)), change(schemas.Delete, 5, payment(2, "", 0)), change(schemas.Read, 3, payment(3, "c", 3))}},
		{truncate: pos(4), changes: []schemas.Change{change(schemas.Create, 6, payment(4, "d", 4))}, marks: end(3)},
		{changes: []schemas.Change{change(schemas.Read, 8, payment(1, "a2", 5)), change(schemas.Update, 9, payment(4, "d2", 50))}, marks: end(8), partition: 1},
	}
}

// deaths lets the process die at every point of every load.
func deaths(t *testing.T, h *Harness) {
	h.dying = true
	everyPoint(t, h, func(t *testing.T, w *writer, i int, b batch) {
		h.dies = i
		w.load(t, b)
	})
}

// failures has an error at every point instead: nothing was committed, or the
// reply was lost. The process and its connections live on.
func failures(t *testing.T, h *Harness) {
	crash := h.Crash
	h.Crash = func(*testing.T) {}
	deaths(t, h)
	h.Crash = crash
}

// cancelled stops the caller's context at every point.
func cancelled(t *testing.T, h *Harness) {
	h.dying = false
	everyPoint(t, h, func(t *testing.T, w *writer, i int, b batch) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		h.Faults.On(h.Points[i], 1, func(context.Context) error { cancel(); return nil })
		wb := w.make(t, b)
		done, err := h.Loader().Load(ctx, wb)
		if err == nil {
			w.loaded(t, b, wb, done)
			return
		}
		before := w.head.Load
		w.acquire(t)
		if w.head.Load != before {
			t.Fatalf("a load that was cancelled at %s with %v is committed", h.Points[i], err)
		}
		w.load(t, b)
	})
}

// everyPoint runs the script once for every point, on a table of its own. In a
// short run every third load of a script meets its point, and another third of
// them at the next point.
func everyPoint(t *testing.T, h *Harness, load func(t *testing.T, w *writer, point int, b batch)) {
	for i := range h.Points {
		table := payments()
		table.Name = "core.payments_" + string(rune('a'+i))
		must(t, h.Loader().SetNeeds(t.Context(), table.Name, "spec", warehouse.Kept{Changes: []string{"name"}}))
		w := newWriter(t, h, table)
		w.needs = []string{"name"}
		dying := h.dying
		for n, b := range script() {
			if testing.Short() && n%3 != i%3 {
				h.dying = false
				w.load(t, b)
				h.dying = dying
				continue
			}
			load(t, w, i, b)
		}
	}
}
