package avro

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"millrace/schemas"
)

// Whatever the table and the row: our bytes are goavro's bytes, and our reading
// of goavro's bytes is what was written.
func TestAgainstGoavro(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // a seed
	r := rand.New(rand.NewPCG(seed, 1))
	for range 150 {
		table := randomTable(r)
		value, err := goavro.NewCodec(ValueSchema(table))
		if err != nil {
			t.Fatalf("seed=%d: goavro refuses the schema: %v\n%s", seed, err, ValueSchema(table))
		}
		enc, dec := newCodec(t, table)
		for range 30 {
			c := randomChange(r, table)
			want, err := value.BinaryFromNative(nil, nativeEvent(table, c))
			if err != nil {
				t.Fatalf("seed=%d: goavro: %v", seed, err)
			}
			got, err := enc.AppendValue(nil, c)
			if err != nil {
				t.Fatalf("seed=%d: %v", seed, err)
			}
			if got = body(t, got); !bytes.Equal(got, want) {
				t.Fatalf("seed=%d: %s: got\n%x, goavro\n%x", seed, c.Op, got, want)
			}
			back, err := readChange(dec, table, want)
			if err != nil {
				t.Fatalf("seed=%d: read: %v", seed, err)
			}
			if !sameChange(back, asRead(c)) {
				t.Fatalf("seed=%d: read\n%+v, wrote\n%+v", seed, back, asRead(c))
			}
			native, rest, err := value.NativeFromBinary(got)
			if err != nil || len(rest) > 0 {
				t.Fatalf("seed=%d: goavro reads %d bytes too few: %v", seed, len(rest), err)
			}
			if again, err := value.BinaryFromNative(nil, native); err != nil || !bytes.Equal(again, got) {
				t.Fatalf("seed=%d: goavro writes what it read otherwise: %v", seed, err)
			}
		}
		checkKeys(t, seed, r, table, enc)
	}
}

func checkKeys(t *testing.T, seed uint64, r *rand.Rand, table *schemas.Table, enc *Encoder) {
	t.Helper()
	if len(table.Key) == 0 {
		if got, err := enc.AppendKey(nil, nil); err != nil || got != nil {
			t.Fatalf("key of a table without one: %x, %v", got, err)
		}
		return
	}
	codec, err := goavro.NewCodec(KeySchema(table))
	if err != nil {
		t.Fatalf("seed=%d: goavro refuses the key's schema: %v", seed, err)
	}
	dec, err := NewKeyDecoder(KeySchema(table))
	if err != nil {
		t.Fatalf("seed=%d: %v", seed, err)
	}
	for range 10 {
		row := randomRow(r, table)
		cells, native := make(schemas.Row, len(table.Key)), map[string]any{}
		for i, ord := range table.Key {
			cells[i] = row[ord]
			native[fieldName(table.Columns[ord].Name)] = nativeCell(table.Columns[ord].Type, row[ord])
		}
		want, err := codec.BinaryFromNative(AppendHeader(nil, 3), native)
		if err != nil {
			t.Fatalf("seed=%d: goavro: %v", seed, err)
		}
		got, err := enc.AppendKey(nil, row)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed=%d: key is %x, goavro's %x: %v", seed, got, want, err)
		}
		back, err := dec.Cells(nil, body(t, got))
		if err != nil || !sameRow(back, cells) {
			t.Fatalf("seed=%d: read key %v, wrote %v: %v", seed, back, cells, err)
		}
		canonical, err := schemas.AppendKey(nil, table, row)
		if err != nil || !bytes.Equal(schemas.AppendKeyValues(nil, dec.Types(), back), canonical) {
			t.Fatalf("seed=%d: the key read back is another canonical key: %v", seed, err)
		}
	}
}

func nativeEvent(t *schemas.Table, c *schemas.Change) map[string]any {
	ns := namespace(t.Topic)
	unset := []any{}
	for i := range c.After {
		if c.After[i].Kind == schemas.Unset {
			unset = append(unset, t.Columns[i].Name)
		}
	}
	var since, transaction any
	if len(unset) > 0 && !c.Since.IsZero() {
		since = goavro.Union("string", c.Since.String())
	}
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return goavro.Union("string", s)
	}
	if c.TxID != "" {
		var order any
		if c.TxOrder != 0 {
			order = goavro.Union("long", c.TxOrder)
		}
		transaction = goavro.Union(ns+".Transaction", map[string]any{"id": c.TxID, "total_order": order, "data_collection_order": nil})
	}
	snapshot := "false"
	if c.Op == schemas.Read {
		snapshot = "true"
	}
	return map[string]any{
		"op": c.Op.String(), "pos": c.Position.String(), "ts_us": time.UnixMicro(c.TsUs), "unset": unset, "since": since,
		"after": nativeRow(t, c.After), "before": nativeRow(t, c.Before),
		"source": map[string]any{
			"connector": "postgresql", "name": t.Source, "db": t.DB, "schema": t.Schema, "table": t.Name,
			"snapshot": snapshot, "token": text(string(c.Token)), "txid": text(c.TxID),
		},
		"transaction": transaction,
	}
}

func nativeRow(t *schemas.Table, row schemas.Row) any {
	if row == nil {
		return nil
	}
	out := map[string]any{}
	for i, c := range row {
		out[fieldName(t.Columns[i].Name)] = nativeCell(t.Columns[i].Type, c)
	}
	return goavro.Union(namespace(t.Topic)+".Row", out)
}

func nativeCell(t schemas.Type, c schemas.Cell) any {
	if c.Kind != schemas.Present {
		return nil
	}
	switch t.Kind {
	case schemas.Bool:
		return goavro.Union("boolean", c.Int == 1)
	case schemas.Float:
		return goavro.Union("double", c.Float())
	case schemas.Decimal:
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)
		return goavro.Union("bytes.decimal", new(big.Rat).SetFrac(schemas.TwosToBig(c.Bytes), scale))
	case schemas.String, schemas.JSON:
		return goavro.Union("string", string(c.Bytes))
	case schemas.Bytes:
		return goavro.Union("bytes", slices.Clone(c.Bytes))
	case schemas.Date:
		return goavro.Union("int.date", time.Unix(c.Int*86400, 0).UTC())
	case schemas.Time:
		return goavro.Union("long.time-micros", time.Duration(c.Int)*time.Microsecond)
	case schemas.Timestamp:
		return goavro.Union("long.timestamp-micros", time.UnixMicro(c.Int))
	}
	return goavro.Union("long", c.Int) // goavro knows no local-timestamp-micros
}
