package bigquery

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

func kindOf(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }

func decimal(p, s int) schemas.Type {
	return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s}
}

// fixture is a table with a column of each type, of which note can be unset.
func fixture(mode schemas.Mode) (*sqlgen.Core, warehouse.CoreTable) {
	d := sqlgen.BigQuery()
	c := &sqlgen.Core{Dialect: d, Name: sqlgen.Name{Dataset: "core", Table: "all"}, Mode: mode}
	table := warehouse.CoreTable{Name: "core.all", Mode: mode, Key: []string{"id"}}
	add := func(name string, t schemas.Type, unsettable bool) {
		table.Columns = append(table.Columns, schemas.Column{Name: name, Type: t, Unsettable: unsettable})
		c.Columns = append(c.Columns, sqlgen.Column{Name: name, Type: d.Held(t), Key: name == "id", Unsettable: unsettable, Staged: true})
	}
	add("id", kindOf(schemas.Int), false)
	add("note", kindOf(schemas.String), true)
	add("yes", kindOf(schemas.Bool), false)
	add("ratio", kindOf(schemas.Float), false)
	add("price", decimal(10, 2), false)
	add("wide", decimal(60, 30), false)
	add("wider", decimal(77, 2), false)
	add("raw", kindOf(schemas.Bytes), false)
	add("day", kindOf(schemas.Date), false)
	add("clock", kindOf(schemas.Time), false)
	add("at", kindOf(schemas.Timestamp), false)
	add("civil", kindOf(schemas.DateTime), false)
	add("doc", kindOf(schemas.JSON), false)
	return c, table
}

// listed hands out rows that functions write.
type listed struct {
	folds []warehouse.Folded
	write []func(warehouse.Sink)
	next  int
}

func (l *listed) Reset() { l.next = 0 }

func (l *listed) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if l.next == len(l.folds) {
		return nil, io.EOF
	}
	l.write[l.next](sink)
	l.next++
	return &l.folds[l.next-1], nil
}

func at(n uint64) schemas.Position { return schemas.Position{Epoch: 1, Major: n} }

// decoded is a row as protobuf itself reads it, by field name.
func decoded(t *testing.T, desc *descriptorpb.DescriptorProto, row []byte) map[string]string {
	t.Helper()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("row.proto"), Syntax: proto.String("proto2"), MessageType: []*descriptorpb.DescriptorProto{desc},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(file.Messages().Get(0))
	if err := proto.Unmarshal(row, m); err != nil {
		t.Fatal(err)
	}
	if len(m.GetUnknown()) > 0 {
		t.Fatalf("the row has %d bytes of no field", len(m.GetUnknown()))
	}
	out := map[string]string{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[string(f.Name())] = fmt.Sprint(v.Interface())
		return true
	})
	return out
}

func encodeRows(t *testing.T, c *sqlgen.Core, table warehouse.CoreTable, rows *listed) (*encoder, []map[string]string) {
	t.Helper()
	e, desc, err := newEncoder(c, table, "b1", 1_700_000_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for {
		row, err := e.next(rows)
		if errors.Is(err, io.EOF) {
			return e, out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, decoded(t, desc, row))
	}
}

func everyValue(s warehouse.Sink) {
	s.Int(0, -7)
	s.Bytes(1, []byte("né"))
	s.Int(2, 1)
	s.Float(3, math.Inf(-1))
	s.Bytes(4, schemas.AppendTwos(nil, -1234567890))
	s.Bytes(5, schemas.AppendTwos(nil, 5))
	s.Bytes(6, schemas.AppendTwos(nil, 1200))
	s.Bytes(7, []byte{0, 255})
	s.Int(8, minDay)
	s.Int(9, dayUs-1)
	s.Int(10, maxTime)
	s.Int(11, -1)
	s.Bytes(12, []byte(`{"a":1}`))
}

func TestRowsAreWhatProtobufReads(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	pos := at(9)
	older := make([]schemas.Position, len(table.Columns))
	for i := range older {
		older[i] = pos
	}
	older[1] = at(3)
	_, got := encodeRows(t, c, table, &listed{
		folds: []warehouse.Folded{{Op: schemas.Create, Pos: pos, Born: pos}, {Op: schemas.Delete, Pos: pos, Born: pos}, {Op: schemas.Update, Pos: pos, At: older}},
		write: []func(warehouse.Sink){everyValue, func(s warehouse.Sink) {
			s.Bytes(1, []byte("gone")) // before the key: what is left moves up
			s.Int(0, 8)
			s.Int(2, 1)
		}, func(s warehouse.Sink) { s.Int(0, 9); s.Null(2) }},
	})
	meta := map[string]string{"pos": pos.String(), "_batch": "b1", "_staged_at": "1700000000000000"}
	want := []map[string]string{{
		"v0": "-7", "v1": "né", "v2": "true", "v3": "-Inf", "v4": "-12345678.90", "v5": "0.000000000000000000000000000005", "v6": "12",
		"v7": "[0 255]", "v8": fmt.Sprint(minDay), "v9": "23:59:59.999999", "v10": fmt.Sprint(int64(maxTime)),
		"v11": "1969-12-31 23:59:59.999999", "v12": `{"a":1}`, "op": "c", "born": pos.String(),
	}, {"v0": "8", "op": "d", "born": pos.String(), "at1": ""}, {"v0": "9", "op": "u", "born": "", "at1": at(3).String()}}
	for i := range want {
		for k, v := range meta {
			want[i][k] = v
		}
		if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			t.Errorf("row %d:\ngot  %v\nwant %v", i, got[i], want[i])
		}
	}
}

func TestHistoryRowsNameWhatIsUnset(t *testing.T) {
	c, table := fixture(schemas.ModeAppend)
	some := make([]schemas.Position, len(table.Columns))
	some[0], some[2] = at(4), at(4)
	_, got := encodeRows(t, c, table, &listed{
		folds: []warehouse.Folded{{Op: schemas.Create, Pos: at(3), TsUs: 5}, {Op: schemas.Update, Pos: at(4), At: some}},
		write: []func(warehouse.Sink){everyValue, func(s warehouse.Sink) { s.Int(0, 1); s.Int(2, 0) }},
	})
	if got[0]["unset"] != "" || got[0]["ts"] != "5" || got[1]["v2"] != "false" ||
		got[1]["unset"] != ",note,ratio,price,wide,wider,raw,day,clock,at,civil,doc," {
		t.Errorf("%v", got)
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	for name, write := range map[string]func(warehouse.Sink){
		`"note": text is not UTF-8`:  func(s warehouse.Sink) { s.Bytes(1, []byte{0xff}) },
		`"price": number does not`:   func(s warehouse.Sink) { s.Bytes(4, schemas.AppendTwos(nil, 10_000_000_000)) },
		`"wide": number does not`:    func(s warehouse.Sink) { s.Bytes(5, []byte(strings.Repeat("\x7f", 26))) },
		`"day": day 2932897`:         func(s warehouse.Sink) { s.Int(8, maxDay+1) },
		`"clock": 86400000000`:       func(s warehouse.Sink) { s.Int(9, dayUs) },
		`"at": -62135596800000001`:   func(s warehouse.Sink) { s.Int(10, minTime-1) },
		`"civil": 253402300800`:      func(s warehouse.Sink) { s.Int(11, maxTime+1) },
		`"ratio": an integer`:        func(s warehouse.Sink) { s.Int(3, 1) },
		`"id": bytes cannot be`:      func(s warehouse.Sink) { s.Bytes(0, nil) },
		`"yes": a float cannot be`:   func(s warehouse.Sink) { s.Float(2, 1) },
		`"doc": text is not UTF-8`:   func(s warehouse.Sink) { s.Bytes(12, []byte{0x80}) },
		`"raw": an integer cannot`:   func(s warehouse.Sink) { s.Int(7, 0) },
		`"wider": an integer cannot`: func(s warehouse.Sink) { s.Int(6, 0) },
	} {
		e, _, err := newEncoder(c, table, "b1", 1_700_000_000_000_000)
		if err != nil {
			t.Fatal(err)
		}
		rows := &listed{folds: make([]warehouse.Folded, 1), write: []func(warehouse.Sink){write}}
		_, err = e.next(rows)
		if errors.Is(err, errRefused) {
			r := e.sink.refused[0]
			err = fmt.Errorf("%q: %s", table.Columns[r.col].Name, r.reason)
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

func TestUncarriedColumnIsRefused(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	e, _, err := newEncoder(c, table, "b1", 1_700_000_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	rows := &listed{folds: []warehouse.Folded{{Op: schemas.Update, Pos: at(1), At: make([]schemas.Position, len(table.Columns))}}, write: []func(warehouse.Sink){everyValue}}
	if _, err := e.next(rows); err == nil || !strings.Contains(err.Error(), `"yes" was not carried`) {
		t.Errorf("got %v", err)
	}
}

func TestBounds(t *testing.T) {
	c, table := fixture(schemas.ModeMerge)
	rows := func(ids ...int64) *listed {
		l := &listed{}
		for _, id := range ids {
			l.folds = append(l.folds, warehouse.Folded{Op: schemas.Create, Pos: at(1)})
			l.write = append(l.write, func(s warehouse.Sink) {
				if id != 0 {
					s.Int(0, id)
				}
			})
		}
		return l
	}
	e, _ := encodeRows(t, c, table, rows(5, -3, 4))
	if got := e.bounds(c); len(got) != 1 || got[0] != [2]string{"-3", "5"} {
		t.Errorf("bounds %v", got)
	}
	// A null is outside of any bounds.
	e, _ = encodeRows(t, c, table, rows(5, 0))
	if got := e.bounds(c); len(got) != 0 || !e.nullKeys {
		t.Errorf("bounds %v with a null key", got)
	}
}

func TestDates(t *testing.T) {
	for day, want := range map[int64]string{
		minDay: "0001-01-01", maxDay: "9999-12-31", 0: "1970-01-01", -1: "1969-12-31", 11016: "2000-02-29", 11017: "2000-03-01", 47540: "2100-02-28", 47541: "2100-03-01",
	} {
		if got := string(appendDate(nil, day)); got != want {
			t.Errorf("day %d is %s, want %s", day, got, want)
		}
	}
}
