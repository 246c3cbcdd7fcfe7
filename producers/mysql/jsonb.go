package mysql

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// The kinds of values in MySQL's binary JSON.
const (
	jsonSmallObject = 0x00
	jsonLargeObject = 0x01
	jsonSmallArray  = 0x02
	jsonLargeArray  = 0x03
	jsonLiteral     = 0x04
	jsonInt16       = 0x05
	jsonUint16      = 0x06
	jsonInt32       = 0x07
	jsonUint32      = 0x08
	jsonInt64       = 0x09
	jsonUint64      = 0x0a
	jsonDouble      = 0x0b
	jsonString      = 0x0c
	jsonOpaque      = 0x0f

	jsonDepth = 100 // the server takes no deeper document
)

var errJSON = errors.New("a binary JSON document that ends early or points outside itself")

// appendJSON writes MySQL's binary JSON as the text in which the server prints
// the same document, byte for byte: that is what a snapshot reads (G3).
func appendJSON(dst, doc []byte) ([]byte, error) {
	if len(doc) == 0 { // what the server keeps where a column without a default was added
		return append(dst, "null"...), nil
	}
	r := jsonReader{values: len(doc)}
	return r.value(dst, doc[0], doc[1:], 0)
}

// jsonReader ends a document whose values are one another: each of a true one
// has bytes of its own.
type jsonReader struct{ values int }

func (r *jsonReader) value(dst []byte, kind byte, data []byte, depth int) ([]byte, error) {
	r.values--
	size := map[byte]int{jsonLiteral: 1, jsonInt16: 2, jsonUint16: 2, jsonInt32: 4, jsonUint32: 4, jsonInt64: 8, jsonUint64: 8, jsonDouble: 8}[kind]
	if len(data) < size || depth > jsonDepth || r.values < 0 {
		return dst, errJSON
	}
	n := littleEndian(data[:size])
	switch kind {
	case jsonSmallObject, jsonLargeObject, jsonSmallArray, jsonLargeArray:
		return r.container(dst, kind, data, depth)
	case jsonLiteral:
		if n > 2 {
			return dst, fmt.Errorf("JSON literal %d is not known", n)
		}
		return append(dst, [...]string{"null", "true", "false"}[n]...), nil
	case jsonInt16, jsonInt32, jsonInt64:
		shift := 64 - 8*size
		return strconv.AppendInt(dst, int64(n<<shift)>>shift, 10), nil
	case jsonUint16, jsonUint32, jsonUint64:
		return strconv.AppendUint(dst, n, 10), nil
	case jsonDouble:
		return appendJSONDouble(dst, math.Float64frombits(n)), nil
	case jsonString:
		text, err := jsonBytes(data)
		if err == nil && !utf8.Valid(text) {
			err = fmt.Errorf("JSON string %s is not UTF-8", shown(text))
		}
		return appendJSONString(dst, text), err
	case jsonOpaque:
		if len(data) == 0 {
			return dst, errJSON
		}
		value, err := jsonBytes(data[1:])
		if err != nil {
			return dst, err
		}
		return appendJSONOpaque(dst, data[0], value)
	}
	return dst, fmt.Errorf("JSON value of kind %d is not known", kind)
}

// container writes an object or array: its count and its size, the
// entries of its keys, those of its values, and then what they point to. Small
// values stand in their entries.
func (r *jsonReader) container(dst []byte, kind byte, data []byte, depth int) ([]byte, error) {
	width, keyEntry := 2, 0
	if kind == jsonLargeObject || kind == jsonLargeArray {
		width = 4
	}
	opening, closing := byte('['), byte(']')
	if kind == jsonSmallObject || kind == jsonLargeObject {
		opening, closing, keyEntry = '{', '}', width+2
	}
	if len(data) < 2*width {
		return dst, errJSON
	}
	count, size := int(littleEndian(data[:width])), int(littleEndian(data[width:2*width]))
	valueEntry := 1 + width
	values := 2*width + count*keyEntry
	if size > len(data) || values+count*valueEntry > size {
		return dst, errJSON
	}
	data = data[:size]
	dst = append(dst, opening)
	for i := range count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if keyEntry > 0 {
			entry := data[2*width+i*keyEntry:]
			from, length := int(littleEndian(entry[:width])), int(littleEndian(entry[width:width+2]))
			if from+length > size {
				return dst, errJSON
			}
			dst = append(appendJSONString(dst, data[from:from+length]), ": "...)
		}
		entry := data[values+i*valueEntry:][:valueEntry]
		value := entry[1:]
		switch entry[0] {
		case jsonLiteral, jsonInt16, jsonUint16:
		case jsonInt32, jsonUint32:
			if width == 4 {
				break
			}
			fallthrough
		default:
			from := int(littleEndian(value))
			if from > size {
				return dst, errJSON
			}
			value = data[from:]
		}
		var err error
		if dst, err = r.value(dst, entry[0], value, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, closing), nil
}

// jsonBytes cuts off what a length of seven bits a byte counts.
func jsonBytes(data []byte) ([]byte, error) {
	n, used := binary.Uvarint(data)
	if used <= 0 || n > uint64(len(data)-used) {
		return nil, errJSON
	}
	return data[used:][:n], nil
}

// appendJSONDouble writes the shortest digits that give the number back, as the
// server sets them: with an exponent if the point would stand more than fifteen
// places away, and never as if it were an integer.
func appendJSONDouble(dst []byte, f float64) []byte {
	text := strconv.FormatFloat(f, 'e', -1, 64) // d.ddde±xx
	if text[0] == '-' {
		dst, text = append(dst, '-'), text[1:]
	}
	e := len(text) - 1
	for text[e] != 'e' {
		e--
	}
	exponent, _ := strconv.Atoi(text[e+1:])
	point := exponent + 1 // where the point stands in 0.ddd
	if point < -14 || point > 15 {
		dst = append(dst, text[:e]...)
		return strconv.AppendInt(append(dst, 'e'), int64(exponent), 10)
	}
	dst = strconv.AppendFloat(dst, math.Abs(f), 'f', -1, 64)
	if max(1, e-1) <= point { // e counts the digits, and the point behind the first of several
		dst = append(dst, ".0"...)
	}
	return dst
}

func appendJSONString(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendJSONOpaque writes a value that JSON itself does not have: a decimal as a
// number, dates and times as text, anything else as its type and base64.
func appendJSONOpaque(dst []byte, kind byte, value []byte) ([]byte, error) {
	switch kind {
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		if len(value) < 2 || value[1] > value[0] || len(value)-2 < decimalSize(int(value[0]), int(value[1])) {
			return dst, errJSON
		}
		digits := appendPackedDecimal(nil, value[2:], int(value[0]), int(value[1]))
		if digits[0] == '-' {
			dst, digits = append(dst, '-'), digits[1:]
		}
		for len(digits) > 1 && digits[0] == '0' && digits[1] != '.' {
			digits = digits[1:]
		}
		return append(dst, digits...), nil
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIME:
		if len(value) != 8 {
			return dst, errJSON
		}
		return appendJSONTime(dst, kind, int64(littleEndian(value))), nil
	}
	const line = 76 // the server breaks its base64 there
	text := []byte("base64:type" + strconv.Itoa(int(kind)) + ":")
	encoded := base64.StdEncoding.AppendEncode(nil, value)
	for len(encoded) > line {
		text = append(append(text, encoded[:line]...), '\n')
		encoded = encoded[line:]
	}
	return appendJSONString(dst, append(text, encoded...)), nil
}

// appendJSONTime writes a packed time: from the top 13 months a year, 5 bits of
// the day, 17 of the clock, 24 of microseconds.
func appendJSONTime(dst []byte, kind byte, packed int64) []byte {
	sign := ""
	if packed < 0 {
		sign, packed = "-", -packed
	}
	micros, whole := packed&(1<<24-1), packed>>24
	clock := fmt.Sprintf("%02d:%02d.%06d", whole>>6&63, whole&63, micros)
	if kind == gomysql.MYSQL_TYPE_TIME {
		return fmt.Appendf(dst, `"%s%02d:%s"`, sign, whole>>12&1023, clock)
	}
	days := whole >> 17
	dst = fmt.Appendf(dst, `"%04d-%02d-%02d`, days>>5/13, days>>5%13, days&31)
	if kind != gomysql.MYSQL_TYPE_DATE {
		dst = fmt.Appendf(dst, " %02d:%s", whole>>12&31, clock)
	}
	return append(dst, '"')
}
