package mongodb

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// plainDigits is how long a number may be before its text has an exponent: with
// 24 digits it would read like an ObjectId.
const plainDigits = 23

// maxFraction is how many digits behind the point are written without one.
const maxFraction = 40

// appendNumber appends the text of a number, the same for all numbers that
// MongoDB holds for equal, whatever their types. A double is compared with a
// Decimal128 by 34 digits, so it is written with as many.
func appendNumber(dst []byte, v value) []byte {
	if n, ok := v.integer(); ok {
		return strconv.AppendInt(dst, n, 10)
	}
	if v.kind == bson.TypeDouble {
		f := v.double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return appendDouble(dst, f)
		}
		var room [64]byte
		text, negative := bytes.CutPrefix(strconv.AppendFloat(room[:0], f, 'e', 33, 64), []byte("-"))
		mantissa, exponent, _ := bytes.Cut(text, []byte("e"))
		exp, _ := strconv.Atoi(string(exponent))
		digits := append(mantissa[:1:1], mantissa[2:]...)
		return appendScaled(dst, negative, digits, exp-33)
	}
	d := v.decimal()
	switch inf := d.IsInf(); {
	case d.IsNaN():
		return append(dst, "NaN"...)
	case inf != 0:
		return appendDouble(dst, math.Inf(inf))
	}
	coefficient, exp, err := d.BigInt()
	if err != nil || coefficient.Sign() == 0 {
		return append(dst, '0')
	}
	return appendScaled(dst, coefficient.Sign() < 0, coefficient.Abs(coefficient).Append(nil, 10), exp)
}

// appendScaled appends digits times ten to the exp, in the one way that such a
// number is written.
func appendScaled(dst []byte, negative bool, digits []byte, exp int) []byte {
	for len(digits) > 1 && digits[len(digits)-1] == '0' {
		digits, exp = digits[:len(digits)-1], exp+1
	}
	if negative {
		dst = append(dst, '-')
	}
	switch n := len(digits); {
	case exp >= 0 && n+exp <= plainDigits:
		dst = append(dst, digits...)
		return append(dst, bytes.Repeat([]byte("0"), exp)...)
	case exp < 0 && -exp < n:
		dst = append(dst, digits[:n+exp]...)
		return append(append(dst, '.'), digits[n+exp:]...)
	case exp < 0 && -exp <= maxFraction:
		dst = append(dst, "0."...)
		dst = append(dst, bytes.Repeat([]byte("0"), -exp-n)...)
		return append(dst, digits...)
	default:
		dst = append(dst, digits[0])
		if n > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		dst = append(dst, 'E')
		return strconv.AppendInt(dst, int64(exp+n-1), 10)
	}
}

// numeric reports whether a text looks like a number of appendNumber.
func numeric(text []byte) bool {
	switch string(text) {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	rest := bytes.TrimPrefix(text, []byte("-"))
	digits := func() bool {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		rest = rest[n:]
		return n > 0
	}
	if !digits() {
		return false
	}
	if after, ok := bytes.CutPrefix(rest, []byte(".")); ok {
		if rest = after; !digits() {
			return false
		}
	}
	if after, ok := bytes.CutPrefix(rest, []byte("E")); ok {
		if rest = bytes.TrimPrefix(after, []byte("-")); !digits() {
			return false
		}
	}
	return len(rest) == 0
}

// parseNumber is a number that MongoDB holds for equal to the one of the text.
func parseNumber(text []byte) (value, error) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return int64Value(n), nil
	}
	if f, err := strconv.ParseFloat(string(text), 64); err == nil {
		if v := doubleValue(f); bytes.Equal(appendNumber(nil, v), text) {
			return v, nil
		}
	}
	d, err := bson.ParseDecimal128(string(text))
	if err != nil {
		return value{}, err
	}
	high, low := d.GetBytes()
	data := binary.LittleEndian.AppendUint64(nil, low)
	return value{bson.TypeDecimal128, binary.LittleEndian.AppendUint64(data, high)}, nil
}

func int64Value(n int64) value {
	return value{bson.TypeInt64, binary.LittleEndian.AppendUint64(nil, uint64(n))} //nolint:gosec // its own bits
}

func doubleValue(f float64) value {
	return value{bson.TypeDouble, binary.LittleEndian.AppendUint64(nil, math.Float64bits(f))}
}

// whole is a Decimal128 that is an integer of 64 bits.
func whole(d bson.Decimal128) (int64, bool) {
	coefficient, exp, err := d.BigInt()
	if err != nil || exp > 19 || exp < -34 {
		return 0, err == nil && coefficient.Sign() == 0
	}
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp >= 0 {
		coefficient.Mul(coefficient, ten)
	} else if _, rest := coefficient.QuoRem(coefficient, ten, new(big.Int)); rest.Sign() != 0 {
		return 0, false
	}
	return coefficient.Int64(), coefficient.IsInt64()
}
