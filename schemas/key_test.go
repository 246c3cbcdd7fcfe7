package schemas

import (
	"bytes"
	"math"
	"testing"
)

// The vectors of Kafka's own tests of its hash.
func TestMurmur2(t *testing.T) {
	for text, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(Murmur2([]byte(text))); got != want {
			t.Errorf("Murmur2(%q) = %d, want %d", text, got, want)
		}
	}
}

func keyOf(t *testing.T, typ Type, c Cell) []byte {
	t.Helper()
	table := &Table{Schema: "s", Name: "t", Columns: []Column{{Name: "k", Type: typ}}, Key: []int{0}}
	key, err := AppendKey(nil, table, Row{c})
	if err != nil {
		t.Fatal(err)
	}
	if also := AppendKeyValues(nil, []Type{typ}, []Cell{c}); !bytes.Equal(key, also) {
		t.Fatalf("AppendKeyValues gives %x, AppendKey %x", also, key)
	}
	return key
}

func decimalCell(t *testing.T, text string, typ Type) Cell {
	t.Helper()
	b, err := AppendDecimal(nil, []byte(text), typ)
	if err != nil {
		t.Fatal(err)
	}
	return BytesCell(b)
}

func TestTwoSpellingsOfOneKeyAreOneKey(t *testing.T) {
	d2, d4 := Type{Kind: Decimal, Precision: 30, Scale: 2}, Type{Kind: Decimal, Precision: 34, Scale: 4}
	for _, text := range []string{"1", "1.5", "0", "-0", "-7.25", "1000", "9999999999999999999999.10", "-9999999999999999999999"} {
		x, y := keyOf(t, d2, decimalCell(t, text, d2)), keyOf(t, d4, decimalCell(t, text, d4))
		if !bytes.Equal(x, y) {
			t.Errorf("%s: %x with scale 2, %x with scale 4", text, x, y)
		}
	}
	float := Type{Kind: Float}
	if !bytes.Equal(keyOf(t, float, FloatCell(0)), keyOf(t, float, FloatCell(math.Copysign(0, -1)))) {
		t.Error("0 and -0 are two keys")
	}
	other := math.Float64frombits(0x7ff8000000000123)
	if !bytes.Equal(keyOf(t, float, FloatCell(math.NaN())), keyOf(t, float, FloatCell(other))) {
		t.Error("two NaNs are two keys")
	}
}

func TestKeysOfTwoColumnsDoNotRunTogether(t *testing.T) {
	table := &Table{Columns: []Column{{Name: "a", Type: Type{Kind: String}}, {Name: "b", Type: Type{Kind: String}}}, Key: []int{0, 1}}
	seen := map[string]string{}
	for _, pair := range [][2]string{{"1b=2", "3"}, {"1", "2b=3"}, {"", "1b=23"}, {"1b=23", ""}, {"\x06", "\x00"}, {"", "\x06\x00\x06"}} {
		key, err := AppendKey(nil, table, Row{BytesCell([]byte(pair[0])), BytesCell([]byte(pair[1]))})
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[string(key)]; ok {
			t.Errorf("%q and %q are one key", was, pair)
		}
		seen[string(key)] = pair[0] + "|" + pair[1]
	}
}

func TestKeyNeedsItsColumns(t *testing.T) {
	table := &Table{Schema: "s", Name: "t", Columns: []Column{{Name: "k", Type: Type{Kind: Int}}}, Key: []int{0}}
	if _, err := AppendKey(nil, table, Row{{Kind: Unset}}); err == nil {
		t.Error("a key that is not carried was accepted")
	}
	if key, err := AppendKey(nil, table, Row{NullCell()}); err != nil || !bytes.Equal(key, []byte{tagNull, 0}) {
		t.Errorf("a null key is %x, %v", key, err)
	}
}

func TestPartitionIsKafkas(t *testing.T) {
	if got, want := Partition([]byte("foobar"), 7), int32((-790332482&0x7fffffff)%7); got != want {
		t.Errorf("partition %d, want %d", got, want)
	}
}
