package warehousetest

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func columnAdded(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	w.put(t, change(schemas.Create, 1, payment(1, "a", 1)))
	old := w.table
	w.table.Columns = append(append([]schemas.Column{}, old.Columns...),
		schemas.Column{Name: "note", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
		schemas.Column{Name: "Score", Type: schemas.Type{Kind: schemas.Float}})
	wide := func(row schemas.Row, note string, score float64) schemas.Row {
		return append(row, schemas.BytesCell([]byte(note)), schemas.FloatCell(score))
	}
	b := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 2, wide(payment(2, "b", 2), "n", 1.5))}})
	if _, err := h.Loader().Load(t.Context(), b); err == nil || !strings.Contains(err.Error(), `"note"`) {
		t.Fatalf("a load with a column that the table has not: %v", err)
	}
	must(t, h.Loader().Ensure(t.Context(), w.table))
	must(t, h.Loader().Ensure(t.Context(), w.table)) // again changes nothing
	for k, row := range w.model.rows {               // a row from before holds null, and knows it
		row.V = append(append(schemas.Row{}, row.V...), schemas.NullCell(), schemas.NullCell())
		w.model.rows[k] = row
	}
	w.put(t, change(schemas.Create, 2, wide(payment(2, "b", 2), "n", 1.5)))
	w.put(t, change(schemas.Update, 3, without(wide(payment(2, "b2", 2), "", 2.5), 6)), change(schemas.Update, 4, wide(payment(1, "a", 1), "m", 0)))
	h.Crash(t)
	w.acquire(t)
	w.put(t, change(schemas.Update, 5, without(wide(payment(2, "b3", 2), "", 2.5), 6)))

	// A batch under the old version: what it does not have is null.
	narrow := *w
	narrow.table = old
	wb := narrow.make(t, batch{changes: []schemas.Change{change(schemas.Update, 6, payment(1, "old version", 1))}})
	_, err := h.Loader().Load(t.Context(), wb)
	must(t, err)
	for _, row := range h.View(t, w.table) {
		if row[0].Int == 1 && text(row) != text(append(payment(1, "old version", 1), schemas.NullCell(), schemas.NullCell())) {
			t.Fatalf("row %s", text(row))
		}
	}
}

func decimal(precision, scale int) schemas.Type {
	return schemas.Type{Kind: schemas.Decimal, Precision: precision, Scale: scale}
}

func widen(t *testing.T, h *Harness) {
	table := warehouse.CoreTable{
		Name: "core.widen", Mode: schemas.ModeMerge, Key: []string{"id"},
		Columns: []schemas.Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}},
			{Name: "n", Type: schemas.Type{Kind: schemas.Int}},
			{Name: "d", Type: decimal(6, 2)},
		},
	}
	w := newWriter(t, h, table)
	must(t, h.Loader().SetNeeds(t.Context(), table.Name, "s", warehouse.Kept{Changes: []string{"d"}}))
	row := func(id int64, n, d string) schemas.Row {
		out := schemas.Row{schemas.IntCell(id), {}, {}}
		for i, text := range []string{n, d} {
			if w.table.Columns[i+1].Type.Kind == schemas.Int {
				v, _ := new(big.Int).SetString(text, 10)
				out[i+1] = schemas.IntCell(v.Int64())
				continue
			}
			b, err := schemas.AppendDecimal(nil, []byte(text), w.table.Columns[i+1].Type)
			must(t, err)
			out[i+1] = schemas.BytesCell(b)
		}
		return out
	}
	w.put(t, change(schemas.Create, 1, row(1, "9223372036854775807", "1234.56")), change(schemas.Create, 2, row(2, "-9223372036854775808", "-0.01")))
	narrow := w.table
	w.table.Columns = append([]schemas.Column{}, narrow.Columns...)
	w.table.Columns[1].Type = decimal(25, 4)
	w.table.Columns[2].Type = decimal(20, 3)
	must(t, h.Loader().Ensure(t.Context(), w.table))
	for k, r := range w.model.rows { // the same numbers, as the wider types write them
		r.V = row(1, "9223372036854775807", "1234.56")
		if r.Pos == pos(2) {
			r.V = row(2, "-9223372036854775808", "-0.01")
		}
		w.model.rows[k] = r
	}
	w.model.check(t, h, w.table)
	w.put(t, change(schemas.Update, 3, row(1, "1234567890123456789.1234", "12345678901234567.125")), change(schemas.Update, 4, row(2, "-9223372036854775808", "-0.01")))

	// Ensuring the older version changes nothing, and its batches still load.
	must(t, h.Loader().Ensure(t.Context(), narrow))
	wide := w.table
	w.table = narrow
	wb := w.make(t, batch{changes: []schemas.Change{change(schemas.Create, 5, row(3, "7", "7.07"))}})
	if _, err := h.Loader().Load(t.Context(), wb); err != nil {
		t.Fatal(err)
	}
	w.table = wide
	want := text(row(3, "7", "7.07"))
	for _, r := range h.View(t, w.table) {
		if r[0].Int == 3 && text(r) != want {
			t.Fatalf("row %s, want %s", text(r), want)
		}
	}
}

func refuses(t *testing.T, h *Harness) {
	w := newWriter(t, h, payments())
	for _, c := range []struct {
		say    string
		change func(*warehouse.CoreTable)
	}{
		{`"name"`, func(c *warehouse.CoreTable) { c.Columns[colName].Type.Kind = schemas.Int }},
		{`"day"`, func(c *warehouse.CoreTable) { c.Columns[colDay].Type.Kind = schemas.Timestamp }},
		{"key", func(c *warehouse.CoreTable) { c.Key = []string{"id", "name"} }},
		{"mode", func(c *warehouse.CoreTable) { c.Mode = schemas.ModeAppend }},
		{`"ID"`, func(c *warehouse.CoreTable) {
			c.Columns = append(c.Columns, schemas.Column{Name: "ID", Type: c.Columns[0].Type})
		}},
		{`"_Pos"`, func(c *warehouse.CoreTable) {
			c.Columns = append(c.Columns, schemas.Column{Name: "_Pos", Type: c.Columns[0].Type})
		}},
		{`"nope"`, func(c *warehouse.CoreTable) { c.EventTimes = []string{"nope"} }},
		{`"name"`, func(c *warehouse.CoreTable) { c.EventTimes = []string{"name"} }},
		{"without a key", func(c *warehouse.CoreTable) { c.Key = nil }},
		{"core.PAYMENTS", func(c *warehouse.CoreTable) { c.Name = "core.PAYMENTS" }},
		{"dataset.table", func(c *warehouse.CoreTable) { c.Name = "payments" }},
	} {
		if h.Limits.TellsCase && c.say == "core.PAYMENTS" {
			continue
		}
		table := payments()
		table.Columns = append([]schemas.Column{}, table.Columns...)
		c.change(&table)
		if err := h.Loader().Ensure(t.Context(), table); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", c.say, err)
		}
	}
	if _, err := h.Loader().Acquire(t.Context(), "core.missing", "t", "i"); err == nil {
		t.Error("a table that is not there was acquired")
	}
	w.put(t, change(schemas.Create, 1, payment(1, "still works", 1)))
}

func oddNames(t *testing.T, h *Harness) {
	odd := []string{
		`we "quote"`, "sp ace", "select", "UPPER", "naïve é 日本", "a,b", "%2C", "semi;--", "new\nline", "s", "t", "v0", "at1", "op", "pos", "b", "it's", "$1", "{x}", "_at_big", "rowid", "É",
	}
	name := `core.Odd "table" o'né.x`
	if h.Limits.OddTable != "" {
		name, odd = h.Limits.OddTable, h.Limits.OddColumns
	}
	table := warehouse.CoreTable{Name: name, Mode: schemas.ModeMerge, Key: []string{odd[0], odd[2]}, EventTimes: []string{odd[1]}}
	for i, name := range odd {
		col := schemas.Column{Name: name, Type: schemas.Type{Kind: schemas.String}, Unsettable: i != 0 && i != 2}
		if i == 1 {
			col = schemas.Column{Name: name, Type: schemas.Type{Kind: schemas.DateTime}}
		}
		table.Columns = append(table.Columns, col)
	}
	must(t, h.Loader().SetNeeds(t.Context(), table.Name, `o'spec"`, warehouse.Kept{Changes: odd[3:]}))
	w := newWriter(t, h, table)
	w.needs = odd[3:]
	row := func(key, value string, leave ...int) schemas.Row {
		out := schemas.Row{}
		for i := range odd {
			out = append(out, schemas.BytesCell([]byte(value+odd[i])))
		}
		out[0], out[2] = schemas.BytesCell([]byte(key)), schemas.BytesCell([]byte(key+"'"))
		out[1] = schemas.IntCell(5 * hourUs)
		return without(out, leave...)
	}
	w.put(t, change(schemas.Create, 1, row("k", "x")), change(schemas.Update, 2, row("l'", "y", 5, 6, 16)))
	w.put(t, change(schemas.Update, 3, row("k", "z", 5, 16, 21)), change(schemas.Read, 1, row("l'", "w")))
	w.put(t, change(schemas.Delete, 4, row("k", "")))
	h.Crash(t)
	w.acquire(t)
	w.put(t, change(schemas.Create, 5, row("k", "again", 4)))
}

func everyType(t *testing.T, h *Harness) { everyTypeOf(t, h, schemas.ModeMerge) }

func everyTypeOf(t *testing.T, h *Harness, mode schemas.Mode) {
	type column struct {
		t      schemas.Type
		values []schemas.Cell
	}
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	ints := func(vs ...int64) (out []schemas.Cell) {
		for _, v := range vs {
			out = append(out, schemas.IntCell(v))
		}
		return out
	}
	floats := func(vs ...float64) (out []schemas.Cell) {
		for _, v := range vs {
			out = append(out, schemas.FloatCell(v))
		}
		return out
	}
	byteses := func(vs ...string) (out []schemas.Cell) {
		for _, v := range vs {
			out = append(out, schemas.BytesCell([]byte(v)))
		}
		return out
	}
	nines := func(n int) (out []schemas.Cell) {
		v := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
		v.Sub(v, big.NewInt(1))
		return []schemas.Cell{
			schemas.BytesCell(schemas.AppendBigTwos(nil, v)),
			schemas.BytesCell(schemas.AppendBigTwos(nil, new(big.Int).Neg(v))),
			schemas.BytesCell([]byte{0}), schemas.BytesCell([]byte{0xff}),
		}
	}
	columns := []column{
		{kind(schemas.Bool), ints(0, 1)},
		{kind(schemas.Int), ints(math.MinInt64, math.MaxInt64, 0, -1)},
		{kind(schemas.Float), floats(math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), math.Copysign(0, -1), 0.1)},
		{kind(schemas.String), byteses("", "a", strings.Repeat("long ", 1000), "\x00", "日本 🐟 \U0010ffff", "'; DROP TABLE x; --")},
		{kind(schemas.Bytes), byteses("", "\x00\xff\xfe", strings.Repeat("\x80", 5000))},
		{kind(schemas.Date), ints(0, -1, -719162, 2932896, 1000000, -1000000)},
		{kind(schemas.Time), ints(0, 1, 86_399_999_999)},
		{kind(schemas.Timestamp), ints(0, -1, 253402300799999999, -62135596800000000, -210866803200000000, 9224318015999999)},
		{kind(schemas.DateTime), ints(0, -1, 253402300799999999, -62135596800000000, -210866803200000000, 9224318015999999)},
		{kind(schemas.JSON), byteses(`{"b": 1, "a":  [true, null, "<é>"], "a": 2}`, `"text"`, `12345678901234567890.123`, `[]`, `null`)},
	}
	for _, ps := range [][2]int{{1, 0}, {4, 2}, {9, 9}, {18, 0}, {19, 5}, {38, 0}, {38, 38}} {
		columns = append(columns, column{decimal(ps[0], ps[1]), nines(ps[0])})
	}
	for i, c := range columns {
		switch {
		case h.Limits.FourDigitYears && c.t.Kind.IsEventTime():
			columns[i].values = c.values[:4]
		case h.Limits.JSONByMeaning && c.t.Kind == schemas.JSON:
			columns[i].values = byteses(`{"a":[true,null,"<é>"],"b":1}`, `"text"`, `0.5`, `[]`, `null`)
		}
	}
	wide := decimal(60, 20) // no scale is lost where the type is too wide for the warehouse
	columns = append(columns, column{wide, nines(60)})

	table := warehouse.CoreTable{Name: "core.types", Mode: mode, Key: []string{"id"}, Columns: []schemas.Column{{Name: "id", Type: kind(schemas.Int)}}}
	most := 0
	for i, c := range columns {
		table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprintf("c%d", i), Type: c.t})
		most = max(most, len(c.values))
		if c.t.Kind.IsEventTime() {
			table.EventTimes = append(table.EventTimes, fmt.Sprintf("c%d", i))
		}
	}
	w := newWriter(t, h, table)
	var all []schemas.Change
	for n := range most + 1 {
		row := schemas.Row{schemas.IntCell(int64(n))}
		for _, c := range columns {
			cell := schemas.NullCell()
			if n < len(c.values) {
				cell = c.values[n]
			}
			row = append(row, cell)
		}
		all = append(all, change(schemas.Create, n+1, row))
	}
	w.put(t, all...)
	h.Crash(t)
	w.model.check(t, h, w.table)
	// Every type as the key: stored, found again, and told apart.
	for i, c := range columns {
		values := append(c.values, schemas.NullCell())
		switch c.t.Kind {
		case schemas.JSON:
			continue
		case schemas.Float, schemas.Bytes, schemas.Time:
			if mode == schemas.ModeUpsert {
				continue
			}
		}
		if mode == schemas.ModeUpsert { // whose keys are never null
			values = c.values
		}
		key := warehouse.CoreTable{Name: fmt.Sprintf("core.key%d", i), Mode: mode, Key: []string{"k"}, Columns: []schemas.Column{
			{Name: "k", Type: c.t}, {Name: "v", Type: kind(schemas.Int)},
		}}
		kw := newWriter(t, h, key)
		for round := range 2 {
			var batch []schemas.Change
			for n, cell := range values {
				batch = append(batch, change(schemas.Create, 10*round+n+1, schemas.Row{cell, schemas.IntCell(int64(round))}))
			}
			kw.put(t, batch...)
		}
	}
}
