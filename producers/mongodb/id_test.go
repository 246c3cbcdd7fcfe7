package mongodb

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/internal/testkit/mongofake"
)

// valueOf is a Go value as BSON.
func valueOf(t testing.TB, v any) value {
	t.Helper()
	raw, err := bson.Marshal(bson.D{{Key: "v", Value: v}})
	if err != nil {
		t.Fatal(err)
	}
	return lookup(raw, "v")
}

func dec(t testing.TB, text string) bson.Decimal128 {
	t.Helper()
	d, err := bson.ParseDecimal128(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func idText(t testing.TB, v any) string {
	t.Helper()
	text, err := appendID(nil, valueOf(t, v))
	if err != nil {
		t.Fatalf("%v: %v", v, err)
	}
	return string(text)
}

func TestIDText(t *testing.T) {
	oid, _ := bson.ObjectIDFromHex("65a1b2c3d4e5f60718293a4b")
	uuid := bson.Binary{Subtype: 4, Data: []byte("\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11")}
	for _, c := range []struct {
		id   any
		want string
	}{
		{oid, "65a1b2c3d4e5f60718293a4b"},
		{"65a1b2c3d4e5f60718293a4b", `"65a1b2c3d4e5f60718293a4b"`},
		{"65A1B2C3D4E5F60718293A4B", `"65A1B2C3D4E5F60718293A4B"`},
		{int32(7), "7"},
		{int64(7), "7"},
		{7.0, "7"},
		{dec(t, "7.00"), "7"},
		{dec(t, "7E0"), "7"},
		{"7", `"7"`},
		{"007", `"007"`},
		{math.Copysign(0, -1), "0"},
		{dec(t, "-0E-5"), "0"},
		{int64(math.MinInt64), "-9223372036854775808"},
		{int64(1 << 60), "1152921504606846976"},
		{float64(1 << 60), "1152921504606846976"},
		{1.5, "1.5"},
		{dec(t, "1.50"), "1.5"},
		{0.1, "0.1000000000000000055511151231257827"},
		{dec(t, "0.1"), "0.1"},
		{dec(t, "1E+22"), "10000000000000000000000"},
		{1e30, "1.000000000000000019884624838656E30"},
		{dec(t, "123456789012345678901234"), "1.23456789012345678901234E23"},
		{dec(t, "1.5E+6000"), "1.5E6000"},
		{dec(t, "-1E-6000"), "-1E-6000"},
		{math.NaN(), "NaN"},
		{dec(t, "NaN"), "NaN"},
		{math.Inf(-1), "-Infinity"},
		{dec(t, "-Infinity"), "-Infinity"},
		{"NaN", `"NaN"`},
		{"order-17", "order-17"},
		{"2026-01-02", "2026-01-02"},
		{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{uuid, `{"$uuid":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}`},
		{"", `""`},
		{"true", `"true"`},
		{true, "true"},
		{nil, "null"},
		{"null", `"null"`},
		{`{"$oid":1}`, `"{\"$oid\":1}"`},
		{`"x"`, `"\"x\""`},
		{"grüße\x00", "grüße\x00"},
		{time.UnixMilli(5), `{"$date":{"$numberLong":"5"}}`},
		{bson.D{{Key: "a", Value: int32(1)}, {Key: "b", Value: "x"}}, `{"a":{"$numberLong":"1"},"b":"x"}`},
		{bson.D{{Key: "a", Value: 1.0}, {Key: "b", Value: "x"}}, `{"a":{"$numberLong":"1"},"b":"x"}`},
		{bson.D{{Key: "a", Value: bson.D{{Key: "b", Value: dec(t, "1.0")}}}}, `{"a":{"b":{"$numberLong":"1"}}}`},
		{bson.D{{Key: "a", Value: math.Copysign(0, -1)}}, `{"a":{"$numberLong":"0"}}`},
		{bson.D{{Key: "a", Value: bson.A{1e30}}}, `{"a":[{"$numberDecimal":"1.000000000000000019884624838656E30"}]}`},
		{bson.D{{Key: "a", Value: bson.A{dec(t, "1.50E-9")}}}, `{"a":[{"$numberDecimal":"0.0000000015"}]}`},
		{bson.D{{Key: "a", Value: 1.5}}, `{"a":{"$numberDecimal":"1.5"}}`},
		{bson.D{{Key: "a", Value: dec(t, "1.50")}}, `{"a":{"$numberDecimal":"1.5"}}`},
		{bson.D{{Key: "a", Value: math.NaN()}}, `{"a":{"$numberDecimal":"NaN"}}`},
		{bson.Timestamp{T: 1, I: 2}, `{"$timestamp":{"t":1,"i":2}}`},
		{bson.Binary{Subtype: 0, Data: []byte{1}}, `{"$binary":{"base64":"AQ==","subType":"00"}}`},
		{bson.MinKey{}, `{"$minKey":1}`},
		{bson.Symbol("a"), "a"}, // to MongoDB the string's own key
		{bson.Symbol("7"), `"7"`},
		{bson.D{{Key: "a", Value: bson.Symbol("7")}}, `{"a":"7"}`},
		{`{"$symbol":"a"}`, `"{\"$symbol\":\"a\"}"`},
		{bson.D{{Key: "$symbol", Value: "a"}}, `{"$symbol":"a"}`},
	} {
		if got := idText(t, c.id); got != c.want {
			t.Errorf("%T %v: got %s, want %s", c.id, c.id, got, c.want)
		}
	}
	if _, err := appendID(nil, valueOf(t, "\xff")); err == nil {
		t.Error("bytes that are no text became a key")
	}
}

// anyID is a random _id, often one of two that are easily taken for each other.
func anyID(rng *rand.Rand) any {
	n := rng.IntN(50)
	texts := []string{"7", "-7", "1.5", "65a1b2c3d4e5f60718293a4b", "{", `"`, "true", "null", "NaN", "1E5", "a", "", "é", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(rng.IntN(3))
	}
	switch rng.IntN(15) {
	case 0:
		return int32(n)
	case 1:
		return int64(n)
	case 2:
		return float64(n)
	case 3:
		return float64(n) / 8
	case 4:
		d, _ := bson.ParseDecimal128(strings.TrimSuffix(idNumber(rng), "."))
		return d
	case 5:
		return rng.Float64() * math.Pow(10, float64(rng.IntN(600)-300))
	case 6, 7:
		return texts[rng.IntN(len(texts))]
	case 8:
		return bson.ObjectID(raw[:12])
	case 9:
		return bson.Binary{Subtype: byte(rng.IntN(6)), Data: raw[:]}
	case 10:
		return bson.DateTime(int64(n))
	case 11:
		return bson.D{{Key: "a", Value: anyID(rng)}}
	case 12:
		return rng.IntN(2) == 0
	case 13:
		return bson.Symbol(texts[rng.IntN(len(texts))])
	}
	return int64(rng.Uint64()) //nolint:gosec // any
}

func idNumber(rng *rand.Rand) string {
	var b strings.Builder
	if rng.IntN(2) == 0 {
		b.WriteByte('-')
	}
	for range 1 + rng.IntN(20) {
		b.WriteByte(byte('0' + rng.IntN(10)))
	}
	b.WriteByte('.')
	for range rng.IntN(14) {
		b.WriteByte(byte('0' + rng.IntN(10)))
	}
	return b.String()
}

// TestIDRoundTrip: the text of an _id leads back to a value with that text, of
// the same kind, and a string never to anything but itself.
func TestIDRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	owner := map[string]value{}
	for range 20_000 {
		v := valueOf(t, anyID(rng))
		text, err := appendID(nil, v)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		back, err := parseID(text)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, text, err)
		}
		again, err := appendID(nil, back)
		if err != nil || !bytes.Equal(text, again) {
			t.Fatalf("seed %d: %s came back as %s, %v", seed, text, again, err)
		}
		if !number(v.kind) && !sameKey(v, back) || number(v.kind) != number(back.kind) {
			t.Fatalf("seed %d: %s of type %v came back as type %v", seed, text, v.kind, back.kind)
		}
		if number(v.kind) && exact(v).Cmp(exact(back)) != 0 {
			t.Fatalf("seed %d: %s is another number than %v %x", seed, text, v.kind, v.data)
		}
		first, there := owner[string(text)]
		if !there {
			owner[string(text)] = v
			continue
		}
		if !sameKey(first, v) {
			t.Fatalf("seed %d: two keys have the text %s", seed, text)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"7", `"x"`, "{", "{}", "65a1b2c3d4e5f60718293a4b", "1E-6176", "[1]", `{"$date":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parseID(text)
		if err != nil {
			return
		}
		if _, err := appendID(nil, v); err != nil && v.kind != bson.TypeString {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// A string and the symbol that MongoDB holds for equal to it are one key, and one
// row, which is found by its text.
func TestSymbolAndStringAreOneKey(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
	c.insert("t", doc("a"))
	c.remove("t", "a")
	c.insert("t", doc(bson.Symbol("a")))
	c.sync()
	c.expect("t", `c _id=a doc={"_id":"a"}`, `d _id=a doc={"_id":"a"}`, `c _id=a doc={"_id":{"$symbol":"a"}}`)
	rows, _, err := c.chunk(c.version("t"), nil, 10)
	c.must(err)
	if len(rows) != 1 || string(rows[0].After[idOrd].Bytes) != "a" {
		t.Errorf("%d rows", len(rows))
	}
	if _, err := c.db.Collection("t").InsertOne(t.Context(), doc("a")); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("the string beside the symbol: %v", err)
	}
}
