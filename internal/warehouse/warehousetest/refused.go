package warehousetest

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// badValues are refused by their rows, and the rest loads (G12).
func badValues(t *testing.T, h *Harness) {
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	ten := func(n int64) schemas.Cell {
		return schemas.BytesCell(schemas.AppendBigTwos(nil, new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil)))
	}
	for i, bad := range []struct {
		t     schemas.Type
		value schemas.Cell
	}{
		{kind(schemas.String), schemas.BytesCell([]byte("\xff"))},
		{kind(schemas.JSON), schemas.BytesCell([]byte("{"))},
		{kind(schemas.JSON), schemas.BytesCell([]byte("\xff"))},
		{kind(schemas.JSON), schemas.BytesCell([]byte{})},
		{kind(schemas.Time), schemas.IntCell(-1)},
		{kind(schemas.Time), schemas.IntCell(24 * hourUs)},
		{kind(schemas.Date), schemas.IntCell(math.MaxInt32)},
		{kind(schemas.Timestamp), schemas.IntCell(math.MaxInt64)},
		{kind(schemas.DateTime), schemas.IntCell(math.MinInt64)},
		{decimal(4, 2), schemas.BytesCell(schemas.AppendTwos(nil, 10000))},
		{decimal(30, 2), ten(30)},
		{decimal(38, 0), ten(38)},
	} {
		for _, mode := range []schemas.Mode{schemas.ModeMerge, schemas.ModeAppend} {
			table := warehouse.CoreTable{Name: fmt.Sprintf("core.bad%d_%s", i, mode), Mode: mode, Key: []string{"id"}, Columns: []schemas.Column{
				{Name: "id", Type: kind(schemas.Int)}, {Name: "value", Type: bad.t},
			}}
			w := newWriter(t, h, table)
			w.refused(t, []schemas.Change{
				change(schemas.Create, 1, schemas.Row{schemas.IntCell(1), schemas.NullCell()}),
				change(schemas.Create, 2, schemas.Row{schemas.IntCell(2), bad.value}),
				change(schemas.Create, 3, schemas.Row{schemas.IntCell(3), schemas.NullCell()}),
			}, "1 at 2: value")
			if mode == schemas.ModeMerge { // nothing is left of it
				w.put(t, change(schemas.Create, 4, schemas.Row{schemas.IntCell(4), schemas.NullCell()}))
			}
		}
	}
}

// refusedRows are named by their place in the batch and by the change that
// carried the value, however many there are and whatever they share.
func refusedRows(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	bad := func(id int, cols ...int) schemas.Row {
		row := payment(id, "bad", 1)
		for _, c := range cols {
			row[c] = schemas.BytesCell([]byte("\xff"))
			if c == colDoc {
				row[c] = schemas.BytesCell([]byte("{")) // text, but no JSON
			}
		}
		return row
	}
	var changes []schemas.Change
	var want []string
	const n = 5000 // beyond a buffer
	for i := range n {
		row := payment(i, "good", 1)
		if i%1000 == 999 {
			row[colDoc] = schemas.BytesCell([]byte(`{"n":`))
			want = append(want, fmt.Sprintf("%d at 7: doc", i))
		}
		changes = append(changes, change(schemas.Read, 7, row)) // a snapshot's rows share a position
	}
	changes = append(changes,
		// The fold's doc is that of the older change.
		change(schemas.Create, 8, bad(n, colDoc)), change(schemas.Update, 9, without(payment(n, "newer", 1), colDoc)),
		// Of this one, it is not.
		change(schemas.Create, 10, bad(n+1, colDoc)), change(schemas.Update, 11, payment(n+1, "newer", 1)),
		// Two values of one row, from two changes.
		change(schemas.Create, 12, bad(n+2, colDoc)), change(schemas.Update, 13, without(bad(n+2, colName), colDoc)),
		change(schemas.Delete, 14, payment(n+3, "", 0)),
		change(schemas.Create, 15, bad(n+4, colBig)), change(schemas.Update, 16, without(payment(n+4, "newer", 1), colBig)),
	)
	want = append(want, fmt.Sprintf("%d at 8: doc", n), fmt.Sprintf("%d at 12: doc", n+2), fmt.Sprintf("%d at 13: name", n+2), fmt.Sprintf("%d at 15: big", n+4))
	w.refused(t, changes, want...)
	w.model.check(t, h, w.table)
	kept := slices.DeleteFunc(changes, func(c schemas.Change) bool {
		id := c.After[0].Int
		return c.Position == pos(7) && id%1000 == 999 || id == n || id == n+2 || id == n+4
	})
	w.put(t, kept...)
}

// refused loads changes of which rows are refused, as "row at position: column".
func (w *writer) refused(t *testing.T, changes []schemas.Change, want ...string) {
	t.Helper()
	_, err := w.h.Loader().Load(t.Context(), w.make(t, batch{changes: changes}))
	var rows *warehouse.RowsError
	if !errors.As(err, &rows) {
		t.Fatalf("%s: got %v, want a RowsError", w.table.Name, err)
	}
	var got []string
	for _, r := range rows.Rows {
		if r.Reason == "" {
			t.Errorf("row %d is refused without a reason", r.Row)
		}
		got = append(got, fmt.Sprintf("%d at %d: %s", r.Row, r.Pos.Major, r.Column))
	}
	equalSets(t, w.table.Name+" refused", got, want)
}
