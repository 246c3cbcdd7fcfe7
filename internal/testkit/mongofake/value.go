package mongofake

import (
	"encoding/binary"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// each walks the elements of a document that was validated when it came in.
func each(doc bson.Raw) iter.Seq2[string, bson.RawValue] {
	return func(yield func(string, bson.RawValue) bool) {
		rest := []byte(doc)
		if len(rest) < 5 {
			return
		}
		rest = rest[4 : len(rest)-1]
		for len(rest) > 0 {
			t := bson.Type(rest[0])
			end := 1
			for rest[end] != 0 {
				end++
			}
			key := string(rest[1:end])
			rest = rest[end+1:]
			n := size(t, rest)
			if !yield(key, bson.RawValue{Type: t, Value: rest[:n:n]}) {
				return
			}
			rest = rest[n:]
		}
	}
}

// size is the length of a value of the type at the front of b.
func size(t bson.Type, b []byte) int {
	switch t {
	case bson.TypeDouble, bson.TypeDateTime, bson.TypeTimestamp, bson.TypeInt64:
		return 8
	case bson.TypeInt32:
		return 4
	case bson.TypeBoolean:
		return 1
	case bson.TypeObjectID:
		return 12
	case bson.TypeDecimal128:
		return 16
	case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol:
		return 4 + int(binary.LittleEndian.Uint32(b))
	case bson.TypeEmbeddedDocument, bson.TypeArray, bson.TypeCodeWithScope:
		return int(binary.LittleEndian.Uint32(b))
	case bson.TypeBinary:
		return 5 + int(binary.LittleEndian.Uint32(b))
	case bson.TypeDBPointer:
		return 16 + int(binary.LittleEndian.Uint32(b))
	case bson.TypeRegex:
		n := cstring(b)
		return n + cstring(b[n:])
	}
	return 0 // null, undefined, the least and the greatest
}

func cstring(b []byte) int {
	n := 0
	for b[n] != 0 {
		n++
	}
	return n + 1
}

// field is a value of a document; its type is 0 if there is none. It allocates
// nothing: it is asked for every document that is read.
func field(doc bson.Raw, key string) bson.RawValue {
	if len(doc) < 5 {
		return bson.RawValue{}
	}
	rest := []byte(doc[4 : len(doc)-1])
	for len(rest) > 0 {
		t := bson.Type(rest[0])
		end := cstring(rest[1:])
		name := rest[1:end]
		rest = rest[end+1:]
		n := size(t, rest)
		if string(name) == key {
			return bson.RawValue{Type: t, Value: rest[:n:n]}
		}
		rest = rest[n:]
	}
	return bson.RawValue{}
}

func isDoc(v bson.RawValue) bool { return v.Type == bson.TypeEmbeddedDocument }

// docOf is the document that a value is; nil if it is none.
func docOf(v bson.RawValue) bson.Raw {
	if !isDoc(v) {
		return nil
	}
	return bson.Raw(v.Value)
}

// elements are the values of an array.
func elements(v bson.RawValue) []bson.RawValue {
	if v.Type != bson.TypeArray {
		return nil
	}
	var out []bson.RawValue
	for _, e := range each(bson.Raw(v.Value)) {
		out = append(out, e)
	}
	return out
}

func text(v bson.RawValue) string {
	s, _ := v.StringValueOK()
	return s
}

// truth is what a flag means: absent is false, a number is true unless it is 0.
func truth(v bson.RawValue) bool {
	if b, ok := v.BooleanOK(); ok {
		return b
	}
	return v.IsNumber() && number(v) != 0
}

// number is a whole number of any numeric type; 0 if it is none.
func number(v bson.RawValue) int64 {
	n, _ := v.AsInt64OK()
	return n
}

func timestamp(v bson.RawValue) (uint64, bool) {
	t, i, ok := v.TimestampOK()
	return uint64(t)<<32 | uint64(i), ok
}
