package avro

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"millrace/schemas"
)

// everyKind is a table with a column of every kind, and names that Avro does
// not allow.
func everyKind() *schemas.Table {
	dec := func(p, s int) schemas.Type { return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s} }
	kind := func(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }
	return &schemas.Table{
		Source: "orders_db", DB: "shop", Schema: "public", Name: "orders", Topic: "shop.orders_db.public.orders",
		Description: `every "kind" of column`, Generation: 1, Key: []int{1, 0},
		Columns: []schemas.Column{
			{Name: "id", Type: kind(schemas.Int), Description: "the key's <second> column"},
			{Name: "tenant id", Type: kind(schemas.String)},
			{Name: "paid", Type: kind(schemas.Bool)},
			{Name: "score", Type: kind(schemas.Float)},
			{Name: "amount", Type: dec(18, 4)},
			{Name: "units", Type: dec(3, 0), Unsettable: true},
			{Name: "wei", Type: dec(38, 18), Unsettable: true},
			{Name: "huge", Type: dec(120, 7)},
			{Name: "note_x20", Type: kind(schemas.String), Unsettable: true},
			{Name: "überweisung", Type: kind(schemas.Bytes), Unsettable: true},
			{Name: "1st_day", Type: kind(schemas.Date)},
			{Name: "at", Type: kind(schemas.Time)},
			{Name: "created_at", Type: kind(schemas.Timestamp)},
			{Name: "local_at", Type: kind(schemas.DateTime)},
			{Name: "doc", Type: kind(schemas.JSON), Description: "as the application wrote it", Unsettable: true},
		},
	}
}

var allKinds = []schemas.Kind{
	schemas.Bool, schemas.Int, schemas.Float, schemas.Decimal, schemas.String, schemas.Bytes, schemas.Date,
	schemas.Time, schemas.Timestamp, schemas.DateTime, schemas.JSON,
}

func randomTable(r *rand.Rand) *schemas.Table {
	t := &schemas.Table{
		Source: "s" + randomText(r), DB: randomText(r), Schema: randomText(r), Name: "t" + randomText(r),
		Topic: "p." + randomText(r) + ".t" + randomText(r), Generation: 1, Description: randomText(r),
	}
	for i := range 1 + r.IntN(14) {
		c := schemas.Column{
			Name: fmt.Sprintf("%s%c%s", randomText(r), 'A'+i, randomText(r)), Unsettable: r.IntN(3) == 0,
			Type: schemas.Type{Kind: allKinds[r.IntN(len(allKinds))]}, Description: randomText(r),
		}
		if c.Type.Kind == schemas.Decimal {
			c.Type.Precision = 1 + r.IntN(60)
			c.Type.Scale = r.IntN(c.Type.Precision + 1)
		}
		t.Columns = append(t.Columns, c)
	}
	t.Key = r.Perm(len(t.Columns))[:r.IntN(min(3, len(t.Columns))+1)]
	return t
}

func randomText(r *rand.Rand) string {
	alphabet := []rune("abcxyz019_x  .\"\\<&é中\x00🙂")
	out := make([]rune, r.IntN(6))
	for i := range out {
		out[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(out)
}

func randomCell(r *rand.Rand, t schemas.Type) schemas.Cell {
	if r.IntN(5) == 0 {
		return schemas.NullCell()
	}
	long := func() int64 {
		v := int64(r.Uint64() >> r.IntN(64)) //nolint:gosec // any bits
		if r.IntN(2) == 0 {
			return -v - 1
		}
		return v
	}
	switch t.Kind {
	case schemas.Bool:
		return schemas.IntCell(int64(r.IntN(2)))
	case schemas.Float:
		return schemas.FloatCell([]float64{0, math.Copysign(0, -1), 1.5, math.Inf(1), math.MaxFloat64, r.NormFloat64()}[r.IntN(6)])
	case schemas.Decimal:
		return schemas.BytesCell(schemas.AppendBigTwos(nil, randomDecimal(r, t.Precision)))
	case schemas.String, schemas.JSON:
		return schemas.BytesCell([]byte(randomText(r) + randomText(r)))
	case schemas.Bytes:
		b := make([]byte, r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return schemas.BytesCell(b)
	case schemas.Date:
		return schemas.IntCell(int64(int32(r.Uint32()) >> r.IntN(32))) //nolint:gosec // any bits
	case schemas.Time:
		return schemas.IntCell(r.Int64N(dayMicros))
	}
	return schemas.IntCell(long())
}

func randomDecimal(r *rand.Rand, precision int) *big.Int {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
	most.Sub(most, big.NewInt(1))
	v := new(big.Int)
	switch r.IntN(4) {
	case 0:
		v.Set(most)
	case 1: // around the powers of 256, where a byte more is needed
		v.Lsh(big.NewInt(1), uint(8*r.IntN(precision)+7))
		v.Sub(v, big.NewInt(int64(r.IntN(3))))
	default:
		for range precision {
			v.Mul(v, big.NewInt(10)).Add(v, big.NewInt(int64(r.IntN(10))))
			if r.IntN(precision) == 0 {
				break
			}
		}
	}
	if v.Cmp(most) > 0 {
		v.Rem(v, most)
	}
	if r.IntN(2) == 0 {
		v.Neg(v)
	}
	return v
}

func randomPosition(r *rand.Rand) schemas.Position {
	return schemas.Position{Epoch: 1 + r.Uint32N(3), Major: r.Uint64(), Minor: r.Uint64() >> r.IntN(64), Seq: r.Uint32()}
}

func randomRow(r *rand.Rand, t *schemas.Table) schemas.Row {
	row := make(schemas.Row, len(t.Columns))
	for i, c := range t.Columns {
		row[i] = randomCell(r, c.Type)
	}
	return row
}

func randomChange(r *rand.Rand, t *schemas.Table) *schemas.Change {
	ops := []schemas.Op{schemas.Create, schemas.Update, schemas.Update, schemas.Delete, schemas.Read, schemas.Truncate, schemas.Watermark, schemas.SnapshotDone}
	c := &schemas.Change{Table: t, Op: ops[r.IntN(len(ops))], Position: randomPosition(r), TsUs: r.Int64() >> r.IntN(63)}
	if c.Op.IsData() && c.Op != schemas.Delete {
		c.After = randomRow(r, t)
	}
	if c.Op == schemas.Delete || c.Op == schemas.Update && r.IntN(2) == 0 {
		c.Before = randomRow(r, t)
		for i := range c.Before {
			if r.IntN(4) == 0 && !slices.Contains(t.Key, i) {
				c.Before[i] = schemas.Cell{}
			}
		}
	}
	if c.Op == schemas.Update && r.IntN(2) == 0 {
		for i := range c.After {
			if t.Columns[i].Unsettable && !slices.Contains(t.Key, i) && r.IntN(2) == 0 {
				c.After[i] = schemas.Cell{}
				c.Since = randomPosition(r)
			}
		}
	}
	if r.IntN(2) == 0 {
		c.Token, c.TxID, c.TxOrder = schemas.Token("0/"+randomText(r)), "tx"+randomText(r), int64(r.IntN(300))
	}
	return c
}

// asRead is the change as a reader gets it: what was not carried in before is
// null, and a change of its own knows nothing of the table's version.
func asRead(c *schemas.Change) *schemas.Change {
	out := *c
	out.Before = slices.Clone(c.Before)
	for i := range out.Before {
		if out.Before[i].Kind == schemas.Unset {
			out.Before[i] = schemas.NullCell()
		}
	}
	if out.TxID == "" {
		out.TxOrder = 0
	}
	return &out
}

// readChange decodes all of an event.
func readChange(d *Decoder, t *schemas.Table, body []byte) (*schemas.Change, error) {
	var e Envelope
	if err := d.Envelope(body, &e); err != nil {
		return nil, err
	}
	c := &schemas.Change{Table: t, Op: e.Op, Position: e.Pos, TsUs: e.TsUs, Since: e.Since}
	if e.After != nil {
		cells, err := d.Cells(nil, e.After)
		if err != nil {
			return nil, fmt.Errorf("cells of an accepted after: %w", err)
		}
		c.After = cells
	}
	for _, ord := range e.Unset {
		c.After[ord] = schemas.Cell{}
	}
	before, err := d.Before(&e)
	if err != nil {
		return nil, err
	}
	if before != nil {
		if c.Before, err = d.Cells(nil, before); err != nil {
			return nil, fmt.Errorf("cells of an accepted before: %w", err)
		}
	}
	var o Origin
	if err := d.Origin(&e, &o); err != nil {
		return nil, err
	}
	c.Token, c.TxID, c.TxOrder = schemas.Token(o.Token), string(o.TxID), o.TxOrder
	return c, nil
}

func sameChange(a, b *schemas.Change) bool {
	return a.Op == b.Op && a.Position == b.Position && a.TsUs == b.TsUs && a.Since == b.Since && a.Token == b.Token &&
		a.TxID == b.TxID && a.TxOrder == b.TxOrder && sameRow(a.After, b.After) && sameRow(a.Before, b.Before)
}

func sameRow(a, b schemas.Row) bool {
	return (a == nil) == (b == nil) && slices.EqualFunc(a, b, func(x, y schemas.Cell) bool {
		return x.Kind == y.Kind && x.Int == y.Int && string(x.Bytes) == string(y.Bytes)
	})
}

func newCodec(t testing.TB, table *schemas.Table) (*Encoder, *Decoder) {
	t.Helper()
	e, err := NewEncoder(table, "postgresql", 3, 7)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder(ValueSchema(table))
	if err != nil {
		t.Fatal(err)
	}
	return e, d
}

func body(t testing.TB, value []byte) []byte {
	t.Helper()
	_, b, err := SplitHeader(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
