package schemas

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestAppendDecimal(t *testing.T) {
	for _, c := range []struct {
		text string
		p, s int
		want string // the unscaled number
	}{
		{"12.50", 10, 2, "1250"},
		{"-12.5", 10, 2, "-1250"},
		{"0", 1, 0, "0"},
		{"-0.00", 4, 2, "0"},
		{"+7", 3, 1, "70"},
		{".5", 2, 1, "5"},
		{"5.", 2, 1, "50"},
		{"1.5000", 3, 1, "15"},
		{"0000123", 3, 0, "123"},
		{"99999999999999999999999999999999999999", 38, 0, "99999999999999999999999999999999999999"},
		{"-9223372036854775808", 19, 0, "-9223372036854775808"},
		{"9223372036854775808", 19, 0, "9223372036854775808"},
		{"-128", 3, 0, "-128"},
		{"128", 3, 0, "128"},
		{"-129", 3, 0, "-129"},
	} {
		typ := Type{Kind: Decimal, Precision: c.p, Scale: c.s}
		got, err := AppendDecimal(nil, []byte(c.text), typ)
		if err != nil {
			t.Errorf("%s as %s: %v", c.text, typ, err)
			continue
		}
		if TwosToBig(got).String() != c.want || !bytes.Equal(got, MinimalTwos(got)) {
			t.Errorf("%s as %s is %s (%x), want %s", c.text, typ, TwosToBig(got), got, c.want)
		}
	}
}

func TestAppendDecimalNeverRounds(t *testing.T) {
	typ := Type{Kind: Decimal, Precision: 5, Scale: 2}
	for _, text := range []string{"1.234", "1000", "-1000.00", "123456789012345678901234567890"} {
		if _, err := AppendDecimal(nil, []byte(text), typ); !errors.Is(err, ErrDecimalRange) {
			t.Errorf("%s: %v, want ErrDecimalRange", text, err)
		}
	}
	for _, text := range []string{"", "-", ".", "NaN", "Infinity", "1e3", "1.2.3", "0x10", "１"} {
		if got, err := AppendDecimal(nil, []byte(text), typ); err == nil {
			t.Errorf("%q was read as %x", text, got)
		}
	}
}

func TestDecimalTextRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		v := new(big.Int).Rsh(new(big.Int).Lsh(new(big.Int).SetUint64(rng.Uint64()), uint(rng.IntN(60))), uint(rng.IntN(64)))
		if rng.IntN(2) == 0 {
			v.Neg(v)
		}
		scale := rng.IntN(12)
		twos := AppendBigTwos(nil, v)
		if TwosToBig(twos).Cmp(v) != 0 {
			t.Fatalf("%s came back as %s", v, TwosToBig(twos))
		}
		text := AppendDecimalText(nil, twos, scale)
		back, err := AppendDecimal(nil, text, Type{Kind: Decimal, Precision: 80, Scale: scale})
		if err != nil || !bytes.Equal(back, twos) {
			t.Fatalf("%s with scale %d: %x, %v, want %x", text, scale, back, err, twos)
		}
	}
}

func FuzzAppendDecimal(f *testing.F) {
	f.Add("12.50", 10, 2)
	f.Fuzz(func(t *testing.T, text string, p, s int) {
		if p < 1 || p > 80 || s < 0 || s > p || len(text) > 100 {
			return
		}
		typ := Type{Kind: Decimal, Precision: p, Scale: s}
		got, err := AppendDecimal(nil, []byte(text), typ)
		want, ok := new(big.Rat).SetString(text)
		if err != nil {
			return
		}
		if !ok && !strings.HasSuffix(text, ".") {
			t.Fatalf("%q was accepted", text)
		}
		if ok && new(big.Rat).SetFrac(TwosToBig(got), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(s)), nil)).Cmp(want) != 0 {
			t.Fatalf("%q as %s is %s", text, typ, TwosToBig(got))
		}
	})
}
