package mongodb

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// anyValue is a random BSON value of any type.
func anyValue(rng *rand.Rand, depth int) any {
	text := []string{"", "x", "a\"b\\c\n\t\x01", "grüße 😀", "$oid", "</script>"}[rng.IntN(6)]
	var raw [12]byte
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	switch n := rng.IntN(22); {
	case n == 0 && depth > 0:
		var d bson.D
		for range rng.IntN(4) {
			d = append(d, bson.E{Key: text + string(rune('a'+len(d))), Value: anyValue(rng, depth-1)})
		}
		return d
	case n == 1 && depth > 0:
		a := bson.A{}
		for range rng.IntN(4) {
			a = append(a, anyValue(rng, depth-1))
		}
		return a
	case n == 2:
		return []float64{0, math.Copysign(0, -1), 1, -2.5, 1e21, 1e-7, 5e-324, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1), 123456789}[rng.IntN(12)]
	case n == 3:
		return math.Float64frombits(rng.Uint64() &^ (1 << 52))
	case n == 4:
		return int32(rng.Uint32())
	case n == 5:
		return int64(rng.Uint64())
	case n == 6:
		return bson.NewDecimal128(0x3040000000000000|rng.Uint64()>>20, rng.Uint64())
	case n == 7:
		return bson.DateTime(int64(rng.Uint64()) >> rng.IntN(40))
	case n == 8:
		return bson.ObjectID(raw)
	case n == 9:
		return bson.Binary{Subtype: []byte{0, 1, 3, 4, 5}[rng.IntN(5)], Data: raw[:rng.IntN(12)]} // the driver writes subtype 2 with its inner length
	case n == 10:
		return bson.Timestamp{T: rng.Uint32(), I: rng.Uint32()}
	case n == 11:
		return bson.Regex{Pattern: text[:min(1, len(text))], Options: "im"}
	case n == 12:
		return bson.JavaScript(text)
	case n == 13:
		return bson.CodeWithScope{Code: bson.JavaScript(text), Scope: bson.D{{Key: "a", Value: int32(1)}}}
	case n == 14:
		return bson.Symbol(text)
	case n == 15:
		return bson.Undefined{}
	case n == 16:
		return bson.DBPointer{DB: "d.c", Pointer: bson.ObjectID(raw)}
	case n == 17:
		return bson.MinKey{}
	case n == 18:
		return bson.MaxKey{}
	case n == 19:
		return nil
	case n == 20:
		return rng.IntN(2) == 0
	}
	return text
}

// TestExtendedJSON: what is written means the same as what the driver writes,
// and is JSON.
func TestExtendedJSON(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		doc := bson.D{{Key: "v", Value: anyValue(rng, 4)}, {Key: "w", Value: anyValue(rng, 4)}}
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, canonical := range []bool{false, true} {
			got, err := (&jsonWriter{canonical: canonical}).document(nil, raw)
			if err != nil {
				t.Fatalf("seed %d: %v: %v", seed, doc, err)
			}
			want, err := bson.MarshalExtJSON(bson.Raw(raw), canonical, false)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !reflect.DeepEqual(parsed(t, got), parsed(t, want)) {
				t.Fatalf("seed %d: canonical %v:\ngot  %s\nwant %s", seed, canonical, got, want)
			}
		}
	}
}

// parsed keeps a number's text, but for the spellings of one double.
func parsed(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return spelled(out)
}

func spelled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && k == "$numberDouble" {
				x = json.Number(s)
			}
			v[k] = spelled(x)
		}
	case []any:
		for i := range v {
			v[i] = spelled(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return math.Float64bits(f)
		}
		return v.String()
	}
	return v
}

func TestRelaxedIsExact(t *testing.T) {
	raw, err := bson.Marshal(bson.D{
		{Key: "big", Value: int64(math.MaxInt64)},
		{Key: "dec", Value: dec(t, "123456789012345678901234567890.1230")},
		{Key: "one", Value: 1.0},
		{Key: "at", Value: time.UnixMilli(1767323045678)},
		{Key: "sec", Value: time.UnixMilli(1767323045000)},
		{Key: "old", Value: time.UnixMilli(-1)},
		{Key: "zero", Value: math.Copysign(0, -1)},
		{Key: "nan", Value: math.NaN()},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := new(jsonWriter).document(nil, raw)
	want := `{"big":9223372036854775807,"dec":{"$numberDecimal":"123456789012345678901234567890.1230"},"one":1.0,` +
		`"at":{"$date":"2026-01-02T03:04:05.678Z"},"sec":{"$date":"2026-01-02T03:04:05Z"},"old":{"$date":{"$numberLong":"-1"}},"zero":-0.0,"nan":{"$numberDouble":"NaN"}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

// FuzzBSON: foreign bytes are refused or read, and never more than there are.
func FuzzBSON(f *testing.F) {
	raw, _ := bson.Marshal(bson.D{{Key: "a", Value: bson.A{int32(1), "x", bson.Regex{Pattern: "p"}}}, {Key: "c", Value: bson.CodeWithScope{Code: "f", Scope: bson.D{}}}})
	f.Add(raw)
	f.Fuzz(func(t *testing.T, doc []byte) {
		out, err := new(jsonWriter).document(nil, doc)
		if err == nil && !json.Valid(out) {
			t.Fatalf("%x became %s", doc, out)
		}
		if bson.Raw(doc).Validate() == nil && err != nil && !strings.Contains(err.Error(), "UTF-8") && !strings.Contains(err.Error(), "known") && !strings.Contains(err.Error(), "nested") {
			t.Fatalf("%x: %v", doc, err)
		}
	})
}
