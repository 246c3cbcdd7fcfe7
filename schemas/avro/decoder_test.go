package avro

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

// event builds the bytes of an event by hand, so that they can be wrong.
type event struct{ op, pos, ts, unset, since, after, before, tail []byte }

func (e event) bytes() []byte {
	return slices.Concat(e.op, e.pos, e.ts, e.unset, e.since, e.after, e.before, e.tail)
}

// smallTable has one column for each way a value can be wrong.
func smallTable() *schemas.Table {
	return &schemas.Table{
		Source: "s", Schema: "d", Name: "t", Topic: "p.s.d.t", Generation: 1, Key: []int{0},
		Columns: []schemas.Column{
			{Name: "n", Type: schemas.Type{Kind: schemas.Int}},
			{Name: "s", Type: schemas.Type{Kind: schemas.String}, Unsettable: true},
			{Name: "d", Type: schemas.Type{Kind: schemas.Decimal, Precision: 4, Scale: 2}, Unsettable: true},
			{Name: "b", Type: schemas.Type{Kind: schemas.Bool}},
			{Name: "f", Type: schemas.Type{Kind: schemas.Float}},
			{Name: "day", Type: schemas.Type{Kind: schemas.Date}},
			{Name: "w", Type: schemas.Type{Kind: schemas.Decimal, Precision: 20, Scale: 0}},
		},
	}
}

func validEvent() event {
	tail := []byte{}
	for _, s := range []string{"mysql", "s", "", "d", "t", "false"} {
		tail = appendString(tail, s)
	}
	return event{
		op: []byte{2, 'c'}, pos: appendString(nil, onePosition.String()), ts: []byte{2}, unset: []byte{0}, since: []byte{0},
		after: []byte{2, 2, 14, 0, 0, 0, 0, 0, 0}, before: []byte{0}, tail: append(tail, 0, 0, 0),
	}
}

func TestDecoderIsStrict(t *testing.T) {
	d, err := NewDecoder(ValueSchema(smallTable()))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(validEvent().bytes()); err != nil {
		t.Fatal(err)
	}
	row := func(cells ...byte) []byte { return append([]byte{2}, cells...) }
	wide := func(b ...byte) []byte {
		return append(append(row(0, 0, 0, 0, 0, 0, 2), byte(2*len(b))), b...)
	}
	for name, c := range map[string]struct {
		change func(*event)
		reason string // empty: accepted
	}{
		"op empty":              {func(e *event) { e.op = []byte{0} }, "op"},
		"op unknown":            {func(e *event) { e.op = []byte{2, 'x'} }, `op: "x" is none`},
		"op of two letters":     {func(e *event) { e.op = []byte{4, 'c', 'c'} }, "op"},
		"pos short":             {func(e *event) { e.pos = appendString(nil, "1") }, "pos: parse position"},
		"pos empty":             {func(e *event) { e.pos = []byte{0} }, "pos: is empty"},
		"pos lower case":        {func(e *event) { e.pos = bytes.Replace(e.pos, []byte("1"), []byte("a"), 1) }, "pos: parse position"},
		"ts not shortest":       {func(e *event) { e.ts = []byte{0x82, 0} }, "ts_us: number is too long"},
		"ts of eleven bytes":    {func(e *event) { e.ts = append(bytes.Repeat([]byte{0xff}, 10), 1) }, "ts_us: number is too long"},
		"ts beyond 64 bits":     {func(e *event) { e.ts = append(bytes.Repeat([]byte{0xff}, 9), 2) }, "ts_us: number is too long"},
		"ts least":              {func(e *event) { e.ts = append(bytes.Repeat([]byte{0xff}, 9), 1) }, ""},
		"unset":                 {func(e *event) { e.unset = []byte{2, 2, 's', 0} }, ""},
		"unset sized":           {func(e *event) { e.unset = []byte{1, 4, 2, 's', 0} }, ""},
		"unset in two blocks":   {func(e *event) { e.unset = []byte{2, 2, 's', 2, 2, 'd', 0} }, ""},
		"unset wrongly sized":   {func(e *event) { e.unset = []byte{1, 6, 2, 's', 0} }, "unset: length"},
		"unset twice":           {func(e *event) { e.unset = []byte{4, 2, 's', 2, 's', 0} }, `unset: names "s"`},
		"unset of no column":    {func(e *event) { e.unset = []byte{2, 2, 'x', 0} }, `unset: names "x"`},
		"unset of a sure one":   {func(e *event) { e.unset = []byte{2, 2, 'n', 0} }, `unset: names "n"`},
		"unset of 2^30":         {func(e *event) { e.unset = appendLong(nil, 1<<30) }, "unset: has more names"},
		"unset of -2^63":        {func(e *event) { e.unset = append(appendLong(nil, math.MinInt64), 0) }, "unset: has more names"},
		"unset block of 2^40":   {func(e *event) { e.unset = append([]byte{1}, appendLong(nil, 1<<40)...) }, "unset: length"},
		"unset with a value":    {func(e *event) { e.unset = []byte{2, 2, 's', 0}; e.after = row(2, 14, 2, 0, 0, 0, 0, 0, 0) }, "is in unset and has a value"},
		"unset beside a delete": {func(e *event) { e.op[1] = 'd'; e.unset = []byte{2, 2, 's', 0}; e.after = []byte{0} }, "unset: names columns"},
		"since":                 {func(e *event) { e.since = append([]byte{2}, e.pos...) }, ""},
		"since in no branch":    {func(e *event) { e.since = []byte{4} }, "since: union"},
		"since no position":     {func(e *event) { e.since = []byte{2, 2, 'x'} }, "since: parse position"},
		"create without after":  {func(e *event) { e.after = []byte{0} }, "after: is null beside op c"},
		"delete with after":     {func(e *event) { e.op[1] = 'd' }, "after: is not null beside op d"},
		"delete":                {func(e *event) { e.op[1] = 'd'; e.after, e.before = e.before, e.after }, ""},
		"watermark with after":  {func(e *event) { e.op[1] = 'w' }, "after: is not null beside op w"},
		"watermark with before": {func(e *event) { e.op[1] = 'w'; e.after, e.before = e.before, e.after }, "before: is not null beside op w"},
		"after in no branch":    {func(e *event) { e.after[0] = 4 }, "after: union"},
		"cell in no branch":     {func(e *event) { e.after[1] = 1 }, `after: column "n": union`},
		"text beyond":           {func(e *event) { e.after = row(0, 2, 126) }, `after: column "s": length`},
		"text of 2^40 bytes":    {func(e *event) { e.after = append(row(0, 2), appendLong(nil, 1<<40)...) }, `column "s": length`},
		"text of -1 bytes":      {func(e *event) { e.after = row(0, 2, 1) }, `column "s": length`},
		"text not UTF-8":        {func(e *event) { e.after = row(0, 2, 2, 0xff, 0, 0, 0, 0, 0) }, `column "s": text`},
		"decimal without bytes": {func(e *event) { e.after = row(0, 0, 2, 0, 0, 0, 0, 0) }, `column "d": decimal`},
		"decimal 99.99":         {func(e *event) { e.after = row(0, 0, 2, 4, 0x27, 0x0f, 0, 0, 0, 0) }, ""},
		"decimal 100.00":        {func(e *event) { e.after = row(0, 0, 2, 4, 0x27, 0x10, 0, 0, 0, 0) }, `column "d": value`},
		"decimal -100.00":       {func(e *event) { e.after = row(0, 0, 2, 4, 0xd8, 0xf0, 0, 0, 0, 0) }, `column "d": value`},
		"decimal not minimal":   {func(e *event) { e.after = append(row(0, 0, 2, 18), append(make([]byte, 9), 0, 0, 0, 0)...) }, ""},
		"wide 10^20-1":          {func(e *event) { e.after = wide(5, 0x6b, 0xc7, 0x5e, 0x2d, 0x63, 0x0f, 0xff, 0xff) }, ""},
		"wide 10^20":            {func(e *event) { e.after = wide(5, 0x6b, 0xc7, 0x5e, 0x2d, 0x63, 0x10, 0, 0) }, `column "w": value`},
		"wide -10^20":           {func(e *event) { e.after = wide(0xfa, 0x94, 0x38, 0xa1, 0xd2, 0x9c, 0xf0, 0, 0) }, `column "w": value`},
		"wide of ten bytes":     {func(e *event) { e.after = wide(1, 0, 0, 0, 0, 0, 0, 0, 0, 0) }, `column "w": value`},
		"wide not minimal":      {func(e *event) { e.after = wide(0, 0, 0, 0, 0, 0, 0, 0, 0, 7) }, ""},
		"boolean 2":             {func(e *event) { e.after = row(0, 0, 0, 2, 2, 0, 0, 0) }, `column "b": boolean`},
		"day beyond 32 bits":    {func(e *event) { e.after = append(append(row(0, 0, 0, 0, 0, 2), appendLong(nil, 1<<31)...), 0) }, `column "day": value`},
		"before in no branch":   {func(e *event) { e.before[0] = 3 }, "before: union"},
		"before broken":         {func(e *event) { e.before = row(0, 0, 0, 2, 2, 0, 0, 0) }, `before: column "b"`},
		"source not UTF-8":      {func(e *event) { e.tail[1] = 0xff }, "source: connector: text"},
		"source in no branch":   {func(e *event) { e.tail[len(e.tail)-3] = 1 }, "source: token: union"},
		"transaction no branch": {func(e *event) { e.tail[len(e.tail)-1] = 1 }, "transaction: union"},
		"transaction cut":       {func(e *event) { e.tail[len(e.tail)-1] = 2 }, "transaction: id: bytes end"},
		"a byte behind":         {func(e *event) { e.tail = append(e.tail, 0) }, "bytes follow"},
	} {
		e := validEvent()
		c.change(&e)
		err := d.Validate(e.bytes())
		if c.reason == "" && err != nil || c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// A cut event is never taken for a whole one, wherever it is cut.
func TestTruncation(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 4))
	table := everyKind()
	enc, d := newCodec(t, table)
	key, err := NewKeyDecoder(KeySchema(table))
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c := randomChange(r, table)
		value, err := enc.AppendValue(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		b := body(t, value)
		for n := range b {
			if d.Validate(b[:n:n]) == nil {
				t.Fatalf("seed=%d: %d of %d bytes are valid", seed, n, len(b))
			}
		}
		if value, err = enc.AppendKey(nil, randomRow(r, table)); err != nil {
			t.Fatal(err)
		}
		b = body(t, value)
		for n := range b {
			if _, err := key.Cells(nil, b[:n:n]); err == nil {
				t.Fatalf("seed=%d: %d of %d bytes of a key are valid", seed, n, len(b))
			}
		}
		if _, err := key.Cells(nil, append(b, 0)); err == nil {
			t.Fatalf("seed=%d: a key with a byte behind is valid", seed)
		}
	}
}

// Row takes bytes that nobody has checked: it may write nonsense, but stays
// inside.
func TestRowStaysInside(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 6))
	table := everyKind()
	_, d := newCodec(t, table)
	cols := identity(len(table.Columns))
	sink := newColumnsSink(len(cols))
	for range 20_000 {
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = byte(r.UintN(4)) * byte(r.UintN(3))
		}
		sink.reset()
		_ = d.Row(slices.Clip(b), cols, sink)
	}
	if err := d.Row(make([]byte, len(cols)), cols, sink); err != nil {
		t.Errorf("a row of nulls: %v", err)
	}
	if err := d.Row(make([]byte, len(cols)+1), cols, sink); err == nil {
		t.Error("a row with a byte behind is written")
	}
	if err := d.Row(make([]byte, len(cols)), cols[1:], sink); err == nil {
		t.Error("a row is written with a column too few")
	}
}

// recordSink writes down what it is told.
type recordSink map[int]schemas.Cell

func (s recordSink) Null(col int)             { s[col] = schemas.NullCell() }
func (s recordSink) Int(col int, v int64)     { s[col] = schemas.IntCell(v) }
func (s recordSink) Float(col int, v float64) { s[col] = schemas.FloatCell(v) }
func (s recordSink) Bytes(col int, b []byte)  { s[col] = schemas.BytesCell(slices.Clone(b)) }

// Row and Cells say the same; Row puts it where the reader has its columns and
// leaves out what the reader has not.
func TestRowMapsColumns(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 7))
	for range 300 {
		table := randomTable(r)
		enc, d := newCodec(t, table)
		c := &schemas.Change{Table: table, Op: schemas.Create, Position: onePosition, After: randomRow(r, table)}
		value, err := enc.AppendValue(nil, c)
		if err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
		var e Envelope
		if err := d.Envelope(body(t, value), &e); err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
		cols, want := r.Perm(len(table.Columns)), recordSink{}
		for ord := range cols {
			if r.IntN(3) == 0 {
				cols[ord] = -1
			} else {
				want[cols[ord]] = c.After[ord]
			}
		}
		got := recordSink{}
		if err := d.Row(e.After, cols, got); err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
		if len(got) != len(want) {
			t.Fatalf("seed=%d: %d columns, want %d", seed, len(got), len(want))
		}
		for col, cell := range want {
			if !sameRow(schemas.Row{got[col]}, schemas.Row{cell}) {
				t.Fatalf("seed=%d: column %d is %v, want %v", seed, col, got[col], cell)
			}
		}
	}
}

// Others may write a decimal in more bytes than it needs; a sink and a key never
// see that.
func TestDecimalsAreMadeMinimal(t *testing.T) {
	d, err := NewDecoder(ValueSchema(smallTable()))
	if err != nil {
		t.Fatal(err)
	}
	row := []byte{0, 0, 2, 6, 0xff, 0xff, 0xfe, 0, 0, 0, 0}
	got := recordSink{}
	if err := d.Row(row, identity(len(d.Columns())), got); err != nil || string(got[2].Bytes) != "\xfe" {
		t.Errorf("%x: %v", got[2].Bytes, err)
	}
	if cells, err := d.Cells(nil, row); err != nil || string(cells[2].Bytes) != "\xfe" {
		t.Errorf("%v: %v", cells, err)
	}
}
