package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"millrace/schemas"
)

var errShortRow = errors.New("the row ends in the middle of a value")

// valueError is a value that has no place in its column's type.
type valueError struct {
	column string
	err    error
}

func (e *valueError) Error() string { return fmt.Sprintf("column %q: %v", e.column, e.err) }
func (e *valueError) Unwrap() error { return e.err }

// converter turns values into cells. What it makes lives until reset.
type converter struct {
	cells    []schemas.Cell
	bytes    []byte
	zeroNull bool // zero dates become null, as the configuration says
	digits   []byte
}

func (v *converter) reset() { v.cells, v.bytes = v.cells[:0], v.bytes[:0] }

// row returns n cells that are not carried yet. Rows handed out earlier keep
// their memory when the slab grows.
func (v *converter) row(n int) schemas.Row {
	if cap(v.cells)-len(v.cells) < n {
		v.cells = make([]schemas.Cell, 0, max(2*cap(v.cells), 64*n))
	}
	start := len(v.cells)
	v.cells = v.cells[:start+n]
	out := v.cells[start : start+n : start+n]
	clear(out)
	return schemas.Row(out)
}

// image reads one row image of the binlog and returns what follows it. present
// has a bit per column; a column without its bit stays Unset. In an old image a
// value that has no place in its type stays Unset too, unless it is of the key:
// what replaces it counts.
func (v *converter) image(l *layout, data, present []byte, key []int, old bool) (schemas.Row, []byte, error) {
	row := v.row(len(l.columns))
	carried := 0
	for i := range l.columns {
		if bitSet(present, i) {
			carried++
		}
	}
	width := (carried + 7) / 8
	if len(data) < width {
		return nil, nil, errShortRow
	}
	nulls, data := data[:width], data[width:]
	n, out := 0, 0
	for i := range l.columns {
		col := &l.columns[i]
		cell := &row[out]
		if !col.hidden {
			out++
		}
		if !bitSet(present, i) {
			continue
		}
		null := bitSet(nulls, n)
		if n++; null {
			if !col.hidden {
				*cell = schemas.NullCell()
			}
			continue
		}
		raw, used, err := rawValue(col, data)
		if err != nil {
			return row, nil, &valueError{col.name, err}
		}
		data = data[used:]
		if col.hidden {
			continue
		}
		if *cell, err = v.binary(col, raw); err != nil {
			if old && !slices.Contains(key, out-1) {
				*cell = schemas.Cell{}
				continue
			}
			return row, nil, &valueError{col.name, err}
		}
	}
	return row[:out], data, nil
}

func bitSet(bits []byte, i int) bool { return i>>3 < len(bits) && bits[i>>3]>>(i&7)&1 == 1 }

// rawValue cuts the bytes of one value off data, and says how many it took.
func rawValue(col *column, data []byte) (raw []byte, used int, err error) {
	size, prefix := 0, 0
	switch col.wire {
	case gomysql.MYSQL_TYPE_TINY, gomysql.MYSQL_TYPE_YEAR:
		size = 1
	case gomysql.MYSQL_TYPE_SHORT:
		size = 2
	case gomysql.MYSQL_TYPE_INT24, gomysql.MYSQL_TYPE_DATE:
		size = 3
	case gomysql.MYSQL_TYPE_LONG, gomysql.MYSQL_TYPE_FLOAT:
		size = 4
	case gomysql.MYSQL_TYPE_LONGLONG, gomysql.MYSQL_TYPE_DOUBLE:
		size = 8
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		size = decimalSize(int(col.meta>>8), int(col.meta&0xff))
	case gomysql.MYSQL_TYPE_BIT:
		size = (bitWidth(col.meta) + 7) / 8
	case gomysql.MYSQL_TYPE_TIMESTAMP2:
		size = 4 + fractionSize(col.meta)
	case gomysql.MYSQL_TYPE_DATETIME2:
		size = 5 + fractionSize(col.meta)
	case gomysql.MYSQL_TYPE_TIME2:
		size = 3 + fractionSize(col.meta)
	case gomysql.MYSQL_TYPE_ENUM, gomysql.MYSQL_TYPE_SET:
		size = int(col.meta & 0xff)
	case gomysql.MYSQL_TYPE_STRING:
		prefix = lengthSize(stringWidth(col.meta))
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		prefix = lengthSize(int(col.meta))
	default: // BLOB, GEOMETRY, JSON, VECTOR: the length of the length is the meta
		prefix = int(col.meta)
	}
	if len(data) < prefix {
		return nil, 0, errShortRow
	}
	if prefix > 0 {
		size = int(littleEndian(data[:prefix]))
	}
	if len(data)-prefix < size {
		return nil, 0, errShortRow
	}
	return data[prefix : prefix+size], prefix + size, nil
}

func lengthSize(width int) int {
	if width > math.MaxUint8 {
		return 2
	}
	return 1
}

func fractionSize(decimals uint16) int { return int(decimals+1) / 2 }

// binary is the cell of one value of the binlog.
func (v *converter) binary(col *column, raw []byte) (schemas.Cell, error) {
	switch col.form {
	case formInt:
		n := littleEndian(raw)
		if shift := 64 - 8*len(raw); col.signed {
			return schemas.IntCell(int64(n<<shift) >> shift), nil
		}
		return schemas.IntCell(int64(n)), nil
	case formUnsigned64:
		return v.unsigned(littleEndian(raw)), nil
	case formYear:
		if raw[0] == 0 {
			return schemas.IntCell(0), nil
		}
		return schemas.IntCell(1900 + int64(raw[0])), nil
	case formBit:
		return v.bit(col, bigEndian(raw)), nil
	case formFloat:
		if len(raw) == 4 {
			return schemas.FloatCell(float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))), nil
		}
		return schemas.FloatCell(math.Float64frombits(binary.LittleEndian.Uint64(raw))), nil
	case formDecimal:
		v.digits = appendPackedDecimal(v.digits[:0], raw, int(col.meta>>8), int(col.meta&0xff))
		return v.decimal(v.digits, col.typ)
	case formDate:
		n := int(littleEndian(raw))
		return v.date(n>>9, n>>5&15, n&31)
	case formDateTime:
		return v.packedDateTime(raw, col.meta)
	case formTimestamp:
		seconds, micros := int64(binary.BigEndian.Uint32(raw)), fraction(raw[4:], col.meta)
		if seconds == 0 && micros == 0 {
			return v.zeroDate("0000-00-00 00:00:00")
		}
		return schemas.IntCell(seconds*1e6 + micros), nil
	case formTime:
		return schemas.IntCell(packedTime(raw, col.meta)), nil
	case formEnum:
		return enumLabel(col, littleEndian(raw))
	case formSet:
		return v.setLabels(col, littleEndian(raw))
	case formUUID:
		return v.uuid(v.padded(raw, col.size)), nil
	case formInet:
		return v.inet(v.padded(raw, col.size))
	case formBytes:
		return schemas.BytesCell(v.padded(raw, col.size)), nil
	case formJSON:
		if col.wire == gomysql.MYSQL_TYPE_JSON {
			start := len(v.bytes)
			var err error
			v.bytes, err = appendJSON(v.bytes, raw)
			return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)]), err
		}
		return textCell(col, raw)
	default:
		return textCell(col, raw)
	}
}

// packedDateTime reads DATETIME2: 17 bits of year*13+month, 5 of the day, 17 of
// the time, an offset that makes it sort, and the fraction.
func (v *converter) packedDateTime(raw []byte, decimals uint16) (schemas.Cell, error) {
	n := int64(bigEndian(raw[:5])) - 0x8000000000
	ym, day := n>>22, int(n>>17&31)
	clock := (n>>12&31*3600+n>>6&63*60+n&63)*1e6 + fraction(raw[5:], decimals)
	return v.civil(int(ym/13), int(ym%13), day, clock)
}

// packedTime reads TIME2 as microseconds. Negative values count down from the
// offset, the fraction included.
func packedTime(raw []byte, decimals uint16) int64 {
	width := 8 * len(raw)
	n := int64(bigEndian(raw)) - int64(1)<<(width-1)
	sign := int64(1)
	if n < 0 {
		n, sign = -n, -1
	}
	bits := width - 24
	micros := (n & (1<<bits - 1)) * fractionUnit(decimals)
	n >>= bits
	return sign * ((n>>12&1023*3600+n>>6&63*60+n&63)*1e6 + micros)
}

// fractionUnit is the microseconds that one step of a stored fraction counts.
func fractionUnit(decimals uint16) int64 {
	switch fractionSize(decimals) {
	case 1:
		return 10000
	case 2:
		return 100
	}
	return 1
}

func fraction(raw []byte, decimals uint16) int64 {
	return int64(bigEndian(raw)) * fractionUnit(decimals)
}

func littleEndian(b []byte) (n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}

func bigEndian(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// packedDigits is the number of bytes that hold so many decimal digits.
var packedDigits = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

func decimalSize(precision, scale int) int {
	whole := precision - scale
	return whole/9*4 + packedDigits[whole%9] + scale/9*4 + packedDigits[scale%9]
}

// appendPackedDecimal writes a packed DECIMAL as text. Nine digits share four
// bytes; the group that is not full stands at the outer end of its side; the
// first bit is the sign, and negative numbers are inverted.
func appendPackedDecimal(dst, raw []byte, precision, scale int) []byte {
	invert := byte(0)
	if len(raw) > 0 && raw[0]&0x80 == 0 {
		invert, dst = 0xff, append(dst, '-')
	}
	first := true
	group := func(digits int) {
		width := packedDigits[digits]
		n := uint64(0)
		for _, c := range raw[:width] {
			if first {
				c, first = c^0x80, false
			}
			n = n<<8 | uint64(c^invert)
		}
		raw = raw[width:]
		for div := pow10[digits]; div > 1; {
			div /= 10
			dst = append(dst, '0'+byte(n/div%10))
		}
	}
	whole := precision - scale
	group(whole % 9)
	for range whole / 9 {
		group(9)
	}
	if whole == 0 {
		dst = append(dst, '0')
	}
	if scale > 0 {
		dst = append(dst, '.')
		for range scale / 9 {
			group(9)
		}
		group(scale % 9)
	}
	return dst
}

var pow10 = [10]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}
