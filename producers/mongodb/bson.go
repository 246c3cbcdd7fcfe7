package mongodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

var errShort = errors.New("a BSON document is cut off or malformed")

// value is one BSON value, borrowed from the document it stands in.
type value struct {
	kind bson.Type
	data []byte
}

// elements walks over the fields of a document, or the entries of an array,
// without copying and without a map.
type elements struct {
	rest []byte
	key  []byte
	val  value
	err  error
}

// fields begins a walk over doc, which is whole: its length and all.
func fields(doc []byte) elements {
	if len(doc) < 5 {
		return elements{err: errShort}
	}
	size := int(binary.LittleEndian.Uint32(doc))
	if size < 5 || size > len(doc) || doc[size-1] != 0 {
		return elements{err: errShort}
	}
	return elements{rest: doc[4 : size-1]}
}

// next moves to the next field. It reports false at the end and at a fault,
// which is then in err.
func (e *elements) next() bool {
	if e.err != nil || len(e.rest) == 0 {
		return false
	}
	end := bytes.IndexByte(e.rest[1:], 0)
	if end < 0 {
		e.err = errShort
		return false
	}
	kind, body := bson.Type(e.rest[0]), e.rest[end+2:]
	size, ok := sizeOf(kind, body)
	if !ok || size > len(body) {
		e.err = errShort
		return false
	}
	e.key, e.val, e.rest = e.rest[1:end+1], value{kind, body[:size]}, body[size:]
	return true
}

func sizeOf(kind bson.Type, body []byte) (int, bool) {
	prefixed := func(more int) (int, bool) {
		if len(body) < 4 {
			return 0, false
		}
		n := int(binary.LittleEndian.Uint32(body))
		return n + more, n >= 0 && n <= math.MaxInt32
	}
	switch kind {
	case bson.TypeUndefined, bson.TypeNull, bson.TypeMinKey, bson.TypeMaxKey:
		return 0, true
	case bson.TypeBoolean:
		return 1, true
	case bson.TypeInt32:
		return 4, true
	case bson.TypeDouble, bson.TypeDateTime, bson.TypeInt64, bson.TypeTimestamp:
		return 8, true
	case bson.TypeObjectID:
		return 12, true
	case bson.TypeDecimal128:
		return 16, true
	case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol:
		n, ok := prefixed(4)
		return n, ok && n >= 5 && n <= len(body) && body[n-1] == 0
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		n, ok := prefixed(0)
		return n, ok && n >= 5
	case bson.TypeBinary:
		return prefixed(5)
	case bson.TypeDBPointer:
		n, ok := prefixed(4 + 12)
		return n, ok && n >= 17 && n <= len(body)
	case bson.TypeCodeWithScope:
		n, ok := prefixed(0)
		return n, ok && n >= 14
	case bson.TypeRegex:
		a := bytes.IndexByte(body, 0)
		if a < 0 {
			return 0, false
		}
		b := bytes.IndexByte(body[a+1:], 0)
		return a + b + 2, b >= 0
	}
	return 0, false
}

// lookup is the first field of that name; its kind is 0 if there is none.
func lookup(doc []byte, name string) value {
	for e := fields(doc); e.next(); {
		if string(e.key) == name {
			return e.val
		}
	}
	return value{}
}

func (v value) present() bool {
	return v.kind != 0 && v.kind != bson.TypeNull && v.kind != bson.TypeUndefined
}

func (v value) yes() bool { return v.kind == bson.TypeBoolean && v.data[0] != 0 }

func (v value) isDoc() bool { return v.kind == bson.TypeEmbeddedDocument }

// text is the content of a string, or nil.
func (v value) text() []byte {
	switch v.kind {
	case bson.TypeString, bson.TypeSymbol, bson.TypeJavaScript:
		return v.data[4 : len(v.data)-1]
	}
	return nil
}

func (v value) uint64() uint64 { return binary.LittleEndian.Uint64(v.data) }

// integer is the value of an int32, an int64 or a whole double.
func (v value) integer() (int64, bool) {
	switch v.kind {
	case bson.TypeInt32:
		return int64(int32(binary.LittleEndian.Uint32(v.data))), true //nolint:gosec // its own bits
	case bson.TypeInt64, bson.TypeDateTime:
		return int64(v.uint64()), true //nolint:gosec // its own bits
	case bson.TypeDouble:
		f := v.double()
		return int64(f), f == math.Trunc(f) && f >= -1<<63 && f < 1<<63
	}
	return 0, false
}

func (v value) double() float64 { return math.Float64frombits(v.uint64()) }

// timestamp is a BSON timestamp as one number, in the order of time.
func (v value) timestamp() (uint64, bool) {
	if v.kind != bson.TypeTimestamp {
		return 0, false
	}
	return v.uint64(), true // the increment is the lower half
}

func (v value) decimal() bson.Decimal128 {
	return bson.NewDecimal128(binary.LittleEndian.Uint64(v.data[8:]), binary.LittleEndian.Uint64(v.data))
}

// binary is the content of a Binary and its subtype.
func (v value) binary() (data []byte, subtype byte) {
	data, subtype = v.data[5:], v.data[4]
	if subtype == bson.TypeBinaryBinaryOld && len(data) >= 4 { // an inner length
		data = data[4:]
	}
	return data, subtype
}

func (v value) uuid() ([]byte, bool) {
	if v.kind != bson.TypeBinary {
		return nil, false
	}
	data, subtype := v.binary()
	return data, subtype == bson.TypeBinaryUUID && len(data) == 16
}

// under is a document with v alone, under a name.
func (v value) under(name string) bson.Raw {
	doc := make([]byte, 4, 4+1+len(name)+1+len(v.data)+1)
	doc = append(doc, byte(v.kind))
	doc = append(doc, name...)
	doc = append(doc, 0)
	doc = append(doc, v.data...)
	doc = append(doc, 0)
	binary.LittleEndian.PutUint32(doc, uint32(len(doc)))
	return doc
}
