package mongofake

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// bracket orders values of different types. Numbers are one bracket, and so are
// strings and symbols.
func bracket(t bson.Type) int {
	switch t {
	case bson.TypeMinKey:
		return 0
	case 0, bson.TypeUndefined, bson.TypeNull:
		return 1
	case bson.TypeDouble, bson.TypeInt32, bson.TypeInt64, bson.TypeDecimal128:
		return 2
	case bson.TypeString, bson.TypeSymbol:
		return 3
	case bson.TypeEmbeddedDocument:
		return 4
	case bson.TypeArray:
		return 5
	case bson.TypeBinary:
		return 6
	case bson.TypeObjectID:
		return 7
	case bson.TypeBoolean:
		return 8
	case bson.TypeDateTime:
		return 9
	case bson.TypeTimestamp:
		return 10
	case bson.TypeRegex:
		return 11
	case bson.TypeDBPointer:
		return 12
	case bson.TypeJavaScript:
		return 13
	case bson.TypeCodeWithScope:
		return 14
	}
	return 15 // MaxKey
}

// compare is the order of values: of types first, then within the type. A value
// of type 0, which is missing, equals null.
func compare(a, b bson.RawValue) int {
	x := bracket(a.Type)
	if c := cmp.Compare(x, bracket(b.Type)); c != 0 {
		return c
	}
	switch x {
	case 2:
		return compareNumbers(a, b)
	case 3:
		return bytes.Compare(a.Value[4:], b.Value[4:])
	case 4, 5:
		return compareDocs(a.Value, b.Value)
	case 6: // length, subtype, bytes
		if c := cmp.Compare(len(a.Value), len(b.Value)); c != 0 {
			return c
		}
		return bytes.Compare(a.Value[4:], b.Value[4:])
	case 9:
		return cmp.Compare(int64(binary.LittleEndian.Uint64(a.Value)), int64(binary.LittleEndian.Uint64(b.Value)))
	case 10:
		return cmp.Compare(binary.LittleEndian.Uint64(a.Value), binary.LittleEndian.Uint64(b.Value))
	}
	return bytes.Compare(a.Value, b.Value)
}

// compareDocs compares element by element: the types, the names, the values.
func compareDocs(a, b []byte) int {
	a, b = a[4:len(a)-1], b[4:len(b)-1]
	for len(a) > 0 && len(b) > 0 {
		x, y := bson.Type(a[0]), bson.Type(b[0])
		if c := cmp.Compare(bracket(x), bracket(y)); c != 0 {
			return c
		}
		i, j := cstring(a[1:]), cstring(b[1:])
		if c := bytes.Compare(a[1:i], b[1:j]); c != 0 {
			return c
		}
		a, b = a[i+1:], b[j+1:]
		m, n := size(x, a), size(y, b)
		if c := compare(bson.RawValue{Type: x, Value: a[:m]}, bson.RawValue{Type: y, Value: b[:n]}); c != 0 {
			return c
		}
		a, b = a[m:], b[n:]
	}
	return cmp.Compare(len(a), len(b))
}

// compareNumbers compares exactly, whatever the types are; NaN is the least.
func compareNumbers(a, b bson.RawValue) int {
	x, xInt := whole(a)
	y, yInt := whole(b)
	if xInt && yInt {
		return cmp.Compare(x, y)
	}
	if a.Type == bson.TypeDouble && b.Type == bson.TypeDouble {
		return cmp.Compare(a.Double(), b.Double()) // which takes NaN for the least and the zeros for equal
	}
	r, rank := exact(a)
	s, other := exact(b)
	if rank != 0 || other != 0 {
		return cmp.Compare(rank, other)
	}
	return r.Cmp(s)
}

func whole(v bson.RawValue) (int64, bool) {
	switch v.Type {
	case bson.TypeInt32:
		return int64(int32(binary.LittleEndian.Uint32(v.Value))), true
	case bson.TypeInt64:
		return int64(binary.LittleEndian.Uint64(v.Value)), true
	}
	return 0, false
}

// exact is a number as a fraction, or else its rank: NaN -2, the infinities -1 and 1.
func exact(v bson.RawValue) (*big.Rat, int) {
	if n, ok := whole(v); ok {
		return new(big.Rat).SetInt64(n), 0
	}
	if v.Type == bson.TypeDouble {
		d := v.Double()
		switch {
		case math.IsNaN(d):
			return nil, -2
		case math.IsInf(d, 0):
			return nil, int(math.Copysign(1, d))
		}
		return new(big.Rat).SetFloat64(d), 0
	}
	d := v.Decimal128()
	switch {
	case d.IsNaN():
		return nil, -2
	case d.IsInf() != 0:
		return nil, d.IsInf()
	}
	digits, exponent, err := d.BigInt()
	if err != nil {
		return nil, -2
	}
	r := new(big.Rat).SetInt(digits)
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent < 0 {
		return r.Quo(r, new(big.Rat).SetInt(ten)), 0
	}
	return r.Mul(r, new(big.Rat).SetInt(ten)), 0
}

func equal(a, b bson.RawValue) bool { return compare(a, b) == 0 }

// sorter compares documents by the keys of a sort.
func sorter(keys bson.Raw) func(a, b bson.Raw) int {
	type part struct {
		path []string
		desc bool
	}
	var parts []part
	for k, v := range each(keys) {
		parts = append(parts, part{strings.Split(k, "."), number(v) < 0})
	}
	return func(a, b bson.Raw) int {
		for _, p := range parts {
			c := compare(lookup(a, p.path), lookup(b, p.path))
			if c != 0 {
				if p.desc {
					return -c
				}
				return c
			}
		}
		return 0
	}
}
