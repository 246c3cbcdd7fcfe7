package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// MinimalTwos returns b without redundant leading bytes: the shortest
// big-endian two's complement of the same number. Zero is one zero byte.
func MinimalTwos(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0}
	}
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

// AppendTwos appends v in the form of MinimalTwos.
func AppendTwos(dst []byte, v int64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v))
	return append(dst, MinimalTwos(b[:])...)
}

// TwosToBig is the number that b holds.
func TwosToBig(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// AppendBigTwos appends v in the form of MinimalTwos.
func AppendBigTwos(dst []byte, v *big.Int) []byte {
	if v.IsInt64() {
		return AppendTwos(dst, v.Int64())
	}
	if v.Sign() > 0 {
		b := v.Bytes()
		if b[0] >= 0x80 {
			dst = append(dst, 0)
		}
		return append(dst, b...)
	}
	n := v.BitLen()/8 + 1
	b := new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n))).FillBytes(make([]byte, n))
	return append(dst, MinimalTwos(b)...)
}

// ErrDecimalRange is the reason when a number does not fit its Decimal type.
var ErrDecimalRange = errors.New("number does not fit the decimal's precision and scale")

// AppendDecimal appends the unscaled value of a plain decimal text such as
// -12.50 in the form of MinimalTwos. A text that is no plain decimal number,
// or that does not fit the type without rounding, is an error: nothing is
// rounded in silence (G12).
func AppendDecimal(dst, text []byte, t Type) ([]byte, error) {
	i, neg := 0, false
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		neg = text[i] == '-'
		i++
	}
	start, seen, frac, digits := i, false, -1, 0
	var small uint64
	var wide *big.Int
	push := func(d byte) {
		seen = true
		if small != 0 || d != 0 || wide != nil {
			digits++
		}
		switch {
		case wide != nil:
			wide.Mul(wide, big.NewInt(10)).Add(wide, big.NewInt(int64(d)))
		case small > (1<<62)/10:
			wide = new(big.Int).SetUint64(small)
			wide.Mul(wide, big.NewInt(10)).Add(wide, big.NewInt(int64(d)))
		default:
			small = small*10 + uint64(d)
		}
	}
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			if frac >= 0 {
				frac++
				if frac > t.Scale {
					if c != '0' {
						return dst, decimalError(text, t)
					}
					continue // zeros behind the scale carry nothing
				}
			}
			push(c - '0')
		case c == '.' && frac < 0:
			frac = 0
		default:
			return dst, fmt.Errorf("parse decimal %q: not a plain number", clip(text))
		}
	}
	if !seen || i == start {
		return dst, fmt.Errorf("parse decimal %q: not a plain number", clip(text))
	}
	for frac = max(frac, 0); frac < t.Scale; frac++ {
		push(0)
	}
	if digits > t.Precision {
		return dst, decimalError(text, t)
	}
	if wide != nil {
		if neg {
			wide.Neg(wide)
		}
		return AppendBigTwos(dst, wide), nil
	}
	v := int64(small) // below 1<<62 * 10 is promoted to wide before it overflows
	if neg {
		v = -v
	}
	return AppendTwos(dst, v), nil
}

func decimalError(text []byte, t Type) error {
	return fmt.Errorf("parse decimal %q as %s: %w", clip(text), t, ErrDecimalRange)
}

func clip(text []byte) []byte {
	if len(text) > 80 {
		return text[:80]
	}
	return text
}

// AppendDecimalText appends the number with exactly scale digits behind the
// point, as SQL writes it.
func AppendDecimalText(dst, twos []byte, scale int) []byte {
	text := TwosToBig(twos).String()
	if text[0] == '-' {
		dst, text = append(dst, '-'), text[1:]
	}
	for len(text) <= scale {
		text = "0" + text
	}
	dst = append(dst, text[:len(text)-scale]...)
	if scale > 0 {
		dst = append(dst, '.')
		dst = append(dst, text[len(text)-scale:]...)
	}
	return dst
}

// appendKeyDecimal makes 1.0 and 1.00 one key: trailing zeros go, then the
// scale that is left follows the number as a varint.
func appendKeyDecimal(dst, twos []byte, scale int) []byte {
	dst = append(dst, tagDecimal)
	var buf [40]byte
	var out []byte
	if len(twos) <= 8 {
		v := int64(0)
		if len(twos) > 0 && twos[0] >= 0x80 {
			v = -1
		}
		for _, c := range twos {
			v = v<<8 | int64(c)
		}
		if v == 0 {
			scale = 0
		}
		for scale > 0 && v%10 == 0 {
			v, scale = v/10, scale-1
		}
		out = AppendTwos(buf[:0], v)
	} else {
		v, ten := TwosToBig(twos), big.NewInt(10)
		q, r := new(big.Int), new(big.Int)
		for scale > 0 {
			if q.QuoRem(v, ten, r); r.Sign() != 0 {
				break
			}
			v, q, scale = q, v, scale-1
		}
		out = AppendBigTwos(buf[:0], v)
	}
	out = binary.AppendVarint(out, int64(scale))
	dst = binary.AppendUvarint(dst, uint64(len(out)))
	return append(dst, out...)
}
