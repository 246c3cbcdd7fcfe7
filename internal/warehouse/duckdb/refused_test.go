package duckdb

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// one is a batch of one row: a key and a value.
type one struct {
	kind  schemas.Kind
	value schemas.Cell
	read  bool
}

func (o *one) Reset() { o.read = false }

func (o *one) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if o.read {
		return nil, io.EOF
	}
	o.read = true
	sink.Int(0, 1)
	if o.kind.InBytes() {
		sink.Bytes(1, o.value.Bytes)
	} else {
		sink.Int(1, o.value.Int)
	}
	return &warehouse.Folded{Op: schemas.Create, Pos: schemas.Position{Epoch: 1, Major: 1}, Born: schemas.Position{Epoch: 1, Major: 1}}, nil
}

// At each border of what DuckDB holds, a value is held exactly or refused as a
// row; none becomes another (G12).
func TestBordersOfWhatIsHeld(t *testing.T) {
	w := open(t, Options{})
	ints := func(n int64) schemas.Cell { return schemas.IntCell(n) }
	text := func(s string) schemas.Cell { return schemas.BytesCell([]byte(s)) }
	for i, c := range []struct {
		kind  schemas.Kind
		value schemas.Cell
		read  string // of column v, as text
		want  string // empty: it is refused
	}{
		{schemas.Date, ints(minDay), "v - DATE '1970-01-01'", "-2147483646"},
		{schemas.Date, ints(maxDay), "v - DATE '1970-01-01'", "2147483646"},
		{schemas.Date, ints(minDay - 1), "", ""},
		{schemas.Date, ints(maxDay + 1), "", ""}, // DuckDB's infinity
		{schemas.Timestamp, ints(minTime), "epoch_us(v)", "-9223371158400000000"},
		{schemas.Timestamp, ints(maxTime), "epoch_us(v)", "9223371244799999999"},
		{schemas.Timestamp, ints(minTime - 1), "", ""},
		{schemas.Timestamp, ints(maxTime + 1), "", ""},
		{schemas.DateTime, ints(minTime), "epoch_us(v)", "-9223371158400000000"},
		{schemas.DateTime, ints(maxTime), "epoch_us(v)", "9223371244799999999"},
		{schemas.DateTime, ints(minTime - 1), "", ""},
		{schemas.DateTime, ints(maxTime + 1), "", ""},
		{schemas.DateTime, ints(math.MaxInt64), "", ""},
		{schemas.Time, ints(dayUs - 1), "v", "23:59:59.999999"},
		{schemas.Time, ints(dayUs), "", ""}, // 24:00:00 would become 00:00:00
		{schemas.JSON, text(`1e400`), "v", `1e400`},
		{schemas.JSON, text(` {"b": 1.10, "a": "\u0000"} `), "v", ` {"b": 1.10, "a": "\u0000"} `},
		{schemas.JSON, text(`"\ud83d\ude00"`), "v", `"\ud83d\ude00"`},
		{schemas.JSON, text(`"\ud800"`), "", ""},
		{schemas.JSON, text(`{"a": "\udc00"}`), "", ""},
		{schemas.JSON, text("\xff"), "", ""},
		{schemas.String, text("a\x00b"), "replace(v, chr(0), '0')", "a0b"},
		{schemas.String, text("\xed\xa0\x80"), "", ""}, // a surrogate in UTF-8
	} {
		typ := schemas.Type{Kind: c.kind}
		table := warehouse.CoreTable{Name: fmt.Sprint("core.border", i), Mode: schemas.ModeMerge, Key: []string{"id"}, Columns: []schemas.Column{
			{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "v", Type: typ},
		}}
		if c.kind.IsEventTime() {
			table.EventTimes = []string{"v"} // what it touches is told too
		}
		if err := w.Ensure(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		head, err := w.Acquire(t.Context(), table.Name, "topic", "id")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Load(t.Context(), &warehouse.Batch{
			Table: table, Epoch: head.Epoch, Load: 1, Partitions: 1, Rows: &one{kind: c.kind, value: c.value}, Counts: schemas.RowCounts{Read: 1},
		})
		if c.want == "" {
			var rows *warehouse.RowsError
			if !errors.As(err, &rows) || len(rows.Rows) != 1 || rows.Rows[0].Row != 0 || rows.Rows[0].Column != "v" {
				t.Errorf("%s %d %q: got %v, want it refused", typ, c.value.Int, c.value.Bytes, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %d %q: %v", typ, c.value.Int, c.value.Bytes, err)
			continue
		}
		if n := count(t, w, "SELECT count(*) FROM "+table.Name+" WHERE CAST("+c.read+" AS VARCHAR) = "+w.dialect.Text(c.want)); n != 1 {
			t.Errorf("%s %d %q is not held as %q", typ, c.value.Int, c.value.Bytes, c.want)
		}
	}
}

// What fails for another reason than a value is no refusal: nobody's record may
// be buried for it.
func TestOtherErrorsRefuseNothing(t *testing.T) {
	w := open(t, Options{})
	l, err := newLoader(t.Context(), w, "core.a")
	if err != nil {
		t.Fatal(err)
	}
	wrong := l.table
	wrong.Columns = append([]schemas.Column(nil), wrong.Columns...)
	broken := &one{kind: schemas.Int, value: schemas.IntCell(1)} // column 1 is no integer
	if wrong.Columns[1].Type.Kind == schemas.Int {
		broken.kind = schemas.String
	}
	_, err = w.Load(t.Context(), &warehouse.Batch{
		Table: wrong, Epoch: l.head.Epoch, Load: 1, Partitions: 1, Rows: broken, Counts: schemas.RowCounts{Read: 1},
	})
	var rows *warehouse.RowsError
	if err == nil || errors.As(err, &rows) {
		t.Errorf("a value of the wrong kind: %v", err)
	}
	if err := l.load(t.Context(), 0, 10); err != nil {
		t.Error(err)
	}
}
