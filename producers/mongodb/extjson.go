package mongodb

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxDepth is beyond what a server stores: it takes 100 levels from clients.
const maxDepth = 256

var errNotText = errors.New("a string is not UTF-8")

// jsonWriter appends BSON as Extended JSON, straight from its bytes. Relaxed, a
// number is a JSON number wherever that is exact, and a date of the years 1970 to
// 9999 a text; canonical, every value says its type.
type jsonWriter struct {
	canonical bool
	key       bool // equal values have one text: numbers of all types, symbols and strings
	depth     int
}

func (w *jsonWriter) document(dst, doc []byte) ([]byte, error) {
	if w.depth++; w.depth > maxDepth {
		return dst, fmt.Errorf("a document is nested more than %d deep", maxDepth)
	}
	defer func() { w.depth-- }()
	dst = append(dst, '{')
	e := fields(doc)
	for first := true; e.next(); first = false {
		if !first {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendQuoted(dst, e.key); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = w.value(dst, e.val); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), e.err
}

func (w *jsonWriter) array(dst, doc []byte) ([]byte, error) {
	if w.depth++; w.depth > maxDepth {
		return dst, fmt.Errorf("a document is nested more than %d deep", maxDepth)
	}
	defer func() { w.depth-- }()
	dst = append(dst, '[')
	e := fields(doc)
	for first := true; e.next(); first = false {
		if !first {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = w.value(dst, e.val); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), e.err
}

func (w *jsonWriter) value(dst []byte, v value) ([]byte, error) {
	switch v.kind {
	case bson.TypeEmbeddedDocument:
		return w.document(dst, v.data)
	case bson.TypeArray:
		return w.array(dst, v.data)
	case bson.TypeString:
		return appendQuoted(dst, v.text())
	case bson.TypeNull:
		return append(dst, "null"...), nil
	case bson.TypeBoolean:
		return strconv.AppendBool(dst, v.data[0] != 0), nil
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return w.number(dst, v), nil
	case bson.TypeDateTime:
		return w.date(dst, v), nil
	}
	return w.special(dst, v)
}

func (w *jsonWriter) number(dst []byte, v value) []byte {
	if w.key {
		return appendKeyNumber(dst, v)
	}
	tag := ""
	switch {
	case v.kind == bson.TypeDecimal128:
		tag = "$numberDecimal"
	case v.kind == bson.TypeDouble && (w.canonical || math.IsNaN(v.double()) || math.IsInf(v.double(), 0)):
		tag = "$numberDouble"
	case w.canonical && v.kind == bson.TypeInt32:
		tag = "$numberInt"
	case w.canonical:
		tag = "$numberLong"
	}
	if tag != "" {
		dst = append(append(append(dst, `{"`...), tag...), `":"`...)
	}
	switch v.kind {
	case bson.TypeDecimal128:
		dst = append(dst, v.decimal().String()...)
	case bson.TypeDouble:
		dst = appendDouble(dst, v.double())
	default:
		n, _ := v.integer()
		dst = strconv.AppendInt(dst, n, 10)
	}
	if tag != "" {
		dst = append(dst, `"}`...)
	}
	return dst
}

// appendKeyNumber appends a number within a key. A double is written as a
// Decimal128, which MongoDB holds for equal to it.
func appendKeyNumber(dst []byte, v value) []byte {
	start := len(dst)
	dst = append(appendNumber(append(dst, `{"$numberDecimal":"`...), v), `"}`...)
	text := dst[start+len(`{"$numberDecimal":"`) : len(dst)-len(`"}`)]
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return append(strconv.AppendInt(append(dst[:start], `{"$numberLong":"`...), n, 10), `"}`...)
	}
	return dst
}

// appendDouble appends the shortest text that is this double and no integer.
func appendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	start, form := len(dst), byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		form = 'e'
	}
	dst = strconv.AppendFloat(dst, f, form, -1, 64)
	if !bytes.ContainsAny(dst[start:], ".e") {
		dst = append(dst, ".0"...)
	}
	return dst
}

// date appends a date: in the years 1970 to 9999 as text, as Extended JSON has it.
func (w *jsonWriter) date(dst []byte, v value) []byte {
	ms, _ := v.integer()
	const year10000 = 253402300800000
	if w.canonical || ms < 0 || ms >= year10000 {
		dst = append(dst, `{"$date":{"$numberLong":"`...)
		return append(strconv.AppendInt(dst, ms, 10), `"}}`...)
	}
	dst = append(dst, `{"$date":"`...)
	return append(time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999Z"), `"}`...)
}

// special appends the types that JSON has no word for.
func (w *jsonWriter) special(dst []byte, v value) (_ []byte, err error) {
	switch v.kind {
	case bson.TypeObjectID:
		dst = append(dst, `{"$oid":"`...)
		return append(hex.AppendEncode(dst, v.data), `"}`...), nil
	case bson.TypeBinary:
		data, subtype := v.binary()
		dst = append(dst, `{"$binary":{"base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, data)
		dst = append(dst, `","subType":"`...)
		return append(hex.AppendEncode(dst, []byte{subtype}), `"}}`...), nil
	case bson.TypeTimestamp:
		at := v.uint64()
		dst = strconv.AppendUint(append(dst, `{"$timestamp":{"t":`...), at>>32, 10)
		dst = strconv.AppendUint(append(dst, `,"i":`...), at&math.MaxUint32, 10)
		return append(dst, `}}`...), nil
	case bson.TypeRegex:
		pattern, rest, _ := bytes.Cut(v.data, []byte{0})
		if dst, err = appendQuoted(append(dst, `{"$regularExpression":{"pattern":`...), pattern); err != nil {
			return dst, err
		}
		if dst, err = appendQuoted(append(dst, `,"options":`...), bytes.TrimSuffix(rest, []byte{0})); err != nil {
			return dst, err
		}
		return append(dst, `}}`...), nil
	case bson.TypeJavaScript:
		if dst, err = appendQuoted(append(dst, `{"$code":`...), v.text()); err != nil {
			return dst, err
		}
		return append(dst, '}'), nil
	case bson.TypeSymbol:
		if w.key {
			return appendQuoted(dst, v.text())
		}
		if dst, err = appendQuoted(append(dst, `{"$symbol":`...), v.text()); err != nil {
			return dst, err
		}
		return append(dst, '}'), nil
	case bson.TypeCodeWithScope:
		return w.scoped(dst, v)
	case bson.TypeDBPointer:
		n := len(v.data) - 12
		if dst, err = appendQuoted(append(dst, `{"$dbPointer":{"$ref":`...), v.data[4:n-1]); err != nil {
			return dst, err
		}
		dst = append(dst, `,"$id":{"$oid":"`...)
		return append(hex.AppendEncode(dst, v.data[n:]), `"}}}`...), nil
	case bson.TypeUndefined:
		return append(dst, `{"$undefined":true}`...), nil
	case bson.TypeMinKey:
		return append(dst, `{"$minKey":1}`...), nil
	case bson.TypeMaxKey:
		return append(dst, `{"$maxKey":1}`...), nil
	}
	return dst, fmt.Errorf("a value of BSON type %d is not known", v.kind)
}

func (w *jsonWriter) scoped(dst []byte, v value) (_ []byte, err error) {
	code := value{bson.TypeJavaScript, v.data[4:]}
	n, ok := sizeOf(code.kind, code.data)
	if !ok {
		return dst, errShort
	}
	code.data = code.data[:n]
	if dst, err = appendQuoted(append(dst, `{"$code":`...), code.text()); err != nil {
		return dst, err
	}
	if dst, err = w.document(append(dst, `,"$scope":`...), v.data[4+n:]); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// appendQuoted appends a JSON string. Bytes that are no text have no place in
// one, and are not replaced in silence (G12).
func appendQuoted(dst, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return dst, fmt.Errorf("%w: %q", errNotText, text[:min(len(text), 40)])
	}
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = hex.AppendEncode(dst, []byte{c})
		}
	}
	return append(append(dst, text[from:]...), '"'), nil
}
