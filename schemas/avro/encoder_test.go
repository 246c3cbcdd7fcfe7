package avro

import (
	"bytes"
	"math/big"
	"slices"
	"strings"
	"testing"

	"millrace/schemas"
)

var onePosition = schemas.Position{Epoch: 1, Major: 2, Minor: 3, Seq: 4}

func nullRow(t *schemas.Table) schemas.Row {
	row := make(schemas.Row, len(t.Columns))
	for i := range row {
		row[i] = schemas.NullCell()
	}
	return row
}

func ten(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

func TestEncoderRefusesCells(t *testing.T) {
	table := everyKind()
	enc, dec := newCodec(t, table)
	twos := func(v *big.Int) schemas.Cell { return schemas.BytesCell(schemas.AppendBigTwos(nil, v)) }
	minus := func(v *big.Int) *big.Int { return new(big.Int).Neg(v) }
	below := func(v *big.Int) *big.Int { return new(big.Int).Sub(v, big.NewInt(1)) }
	cases := []struct {
		column string
		cell   schemas.Cell
		reason string // empty: accepted
	}{
		{"paid", schemas.IntCell(1), ""},
		{"paid", schemas.IntCell(2), "boolean"},
		{"paid", schemas.IntCell(-1), "boolean"},
		{"paid", schemas.BytesCell([]byte("t")), "wants a number"},
		{"id", schemas.BytesCell([]byte{}), "wants a number"},
		{"score", schemas.BytesCell([]byte("1.5")), "wants a number"},
		{"tenant id", schemas.IntCell(1), "wants bytes"},
		{"tenant id", schemas.BytesCell([]byte("\xff")), "UTF-8"},
		{"doc", schemas.BytesCell([]byte("\"\xc0\"")), "UTF-8"},
		{"überweisung", schemas.BytesCell([]byte("\xff")), ""},
		{"überweisung", schemas.BytesCell(nil), ""},
		{"1st_day", schemas.IntCell(1 << 31), "outside its type"},
		{"1st_day", schemas.IntCell(-1 << 31), ""},
		{"at", schemas.IntCell(-1), "outside its type"},
		{"at", schemas.IntCell(dayMicros), "outside its type"},
		{"at", schemas.IntCell(dayMicros - 1), ""},
		{"amount", twos(ten(18)), "does not fit"},
		{"amount", twos(below(ten(18))), ""},
		{"amount", twos(minus(ten(18))), "does not fit"},
		{"amount", schemas.BytesCell(nil), ""}, // zero
		{"units", twos(ten(3)), "does not fit"},
		{"units", twos(minus(below(ten(3)))), ""},
		{"wei", twos(ten(38)), "does not fit"},
		{"wei", twos(minus(ten(38))), "does not fit"},
		{"wei", twos(below(ten(38))), ""},
		{"wei", twos(minus(below(ten(38)))), ""},
		{"huge", twos(ten(120)), "does not fit"},
		{"huge", twos(below(ten(120))), ""},
		{"doc", schemas.Cell{}, ""},
		{"id", schemas.Cell{}, "not carried"},
	}
	for _, c := range cases {
		row := nullRow(table)
		row[table.Column(c.column)] = c.cell
		change := &schemas.Change{Table: table, Op: schemas.Update, Position: onePosition, After: row}
		prefix := []byte("prefix")
		out, err := enc.AppendValue(prefix, change)
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s %v: %v", c.column, c.cell, err)
			} else if err := dec.Validate(body(t, out[len(prefix):])); err != nil {
				t.Errorf("%s %v: written, not read: %v", c.column, c.cell, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.reason) ||
			!strings.Contains(err.Error(), "encode public.orders: after: column \""+c.column) {
			t.Errorf("%s %v: %v, want %q", c.column, c.cell, err, c.reason)
		}
		if string(out) != "prefix" {
			t.Errorf("%s %v: an error leaves %q", c.column, c.cell, out)
		}
	}
}

func TestEncoderRefusesChanges(t *testing.T) {
	table := everyKind()
	enc, _ := newCodec(t, table)
	row := nullRow(table)
	other := everyKind()
	other.Columns[2].Name = "renamed"
	for name, c := range map[string]schemas.Change{
		"another version":        {Table: other, Op: schemas.Create, Position: onePosition, After: row},
		"no table":               {Op: schemas.Create, Position: onePosition, After: row},
		"no position":            {Table: table, Op: schemas.Create, After: row},
		"create without a row":   {Table: table, Op: schemas.Create, Position: onePosition, Before: row},
		"delete with an after":   {Table: table, Op: schemas.Delete, Position: onePosition, After: row},
		"watermark with a row":   {Table: table, Op: schemas.Watermark, Position: onePosition, Before: row},
		"truncate with a row":    {Table: table, Op: schemas.Truncate, Position: onePosition, After: row},
		"no op":                  {Table: table, Position: onePosition, After: row},
		"short row":              {Table: table, Op: schemas.Create, Position: onePosition, After: row[1:]},
		"short before":           {Table: table, Op: schemas.Delete, Position: onePosition, Before: row[1:]},
		"transaction not UTF-8":  {Table: table, Op: schemas.Create, Position: onePosition, After: row, TxID: "\xff"},
		"place in log not UTF-8": {Table: table, Op: schemas.Create, Position: onePosition, After: row, Token: "\xff"},
	} {
		if out, err := enc.AppendValue(nil, &c); err == nil || len(out) > 0 {
			t.Errorf("%s: %x, %v", name, out, err)
		}
	}
	// The same version under another pointer is the same version.
	if _, err := enc.AppendValue(nil, &schemas.Change{Table: everyKind(), Op: schemas.Create, Position: onePosition, After: row}); err != nil {
		t.Error(err)
	}
}

func TestKeyMustBeCarried(t *testing.T) {
	table := everyKind()
	enc, _ := newCodec(t, table)
	row := nullRow(table)
	row[0] = schemas.Cell{}
	if out, err := enc.AppendKey([]byte("x"), row); err == nil || string(out) != "x" || !strings.Contains(err.Error(), `column "id"`) {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := enc.AppendKey(nil, row[1:]); err == nil {
		t.Error("a short row has a key")
	}
}

// G10: a value that was not carried is named; since stands beside it and only
// there; null and not carried are told apart.
func TestUnset(t *testing.T) {
	table := everyKind()
	enc, dec := newCodec(t, table)
	c := &schemas.Change{Table: table, Op: schemas.Update, Position: onePosition, Since: schemas.Position{Epoch: 1}, After: nullRow(table)}
	read := func() (e Envelope) {
		t.Helper()
		value, err := enc.AppendValue(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := dec.Envelope(body(t, value), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := read(); len(e.Unset) != 0 || !e.Since.IsZero() {
		t.Errorf("nothing unset: unset %v since %s", e.Unset, e.Since)
	}
	doc, units := table.Column("doc"), table.Column("units")
	c.After[doc], c.After[units] = schemas.Cell{}, schemas.Cell{}
	if e := read(); !slices.Equal(e.Unset, []int{units, doc}) || e.Since != c.Since {
		t.Errorf("two unset: unset %v since %s", e.Unset, e.Since)
	}
	c.Since = schemas.Position{}
	if e := read(); len(e.Unset) != 2 || !e.Since.IsZero() {
		t.Errorf("two unset, no since: unset %v since %s", e.Unset, e.Since)
	}
}

func TestEncoderRefusesTables(t *testing.T) {
	for name, change := range map[string]func(*schemas.Table){
		"no kind":             func(t *schemas.Table) { t.Columns[3].Type.Kind = 0 },
		"no name":             func(t *schemas.Table) { t.Columns[3].Name = "" },
		"name twice":          func(t *schemas.Table) { t.Columns[3].Name = "id" },
		"name not UTF-8":      func(t *schemas.Table) { t.Columns[3].Name = "\xff" },
		"precision 0":         func(t *schemas.Table) { t.Columns[4].Type.Precision = 0 },
		"scale above":         func(t *schemas.Table) { t.Columns[4].Type.Scale = 19 },
		"negative scale":      func(t *schemas.Table) { t.Columns[4].Type.Scale = -1 },
		"key beyond the row":  func(t *schemas.Table) { t.Key = []int{99} },
		"database no UTF-8":   func(t *schemas.Table) { t.DB = "\xff" },
		"key before the row":  func(t *schemas.Table) { t.Key = []int{-1} },
		"precision too great": func(t *schemas.Table) { t.Columns[4].Type.Precision = 1001 },
	} {
		table := everyKind()
		change(table)
		if _, err := NewEncoder(table, "mysql", 1, 2); err == nil || !strings.Contains(err.Error(), "public.orders") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// G3: the same change is the same bytes, and encoding allocates nothing once
// there is room.
func TestEncodeIsStableAndAllocatesNothing(t *testing.T) {
	table, changes := benchChanges(50)
	enc, dec := newCodec(t, table)
	dst := make([]byte, 0, 4096)
	var e Envelope
	sink, cols := newColumnsSink(len(table.Columns)), identity(len(table.Columns))
	for _, c := range changes {
		first, err := enc.AppendValue(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		first, err = enc.AppendKey(first, rowOf(c))
		if err != nil {
			t.Fatal(err)
		}
		allocs := testing.AllocsPerRun(20, func() {
			out, _ := enc.AppendValue(dst, c)
			out, _ = enc.AppendKey(out, rowOf(c))
			if !bytes.Equal(out, first) {
				t.Error("other bytes at the second time")
			}
			sink.reset()
			if err := dec.Envelope(out[HeaderLen:], &e); err != nil {
				t.Error(err)
			}
			if e.After != nil {
				_ = dec.Row(e.After, cols, sink)
			}
			_, _ = dec.Before(&e)
		})
		if allocs != 0 {
			t.Fatalf("%v allocations", allocs)
		}
	}
}

func rowOf(c *schemas.Change) schemas.Row {
	if c.After != nil {
		return c.After
	}
	return c.Before
}
