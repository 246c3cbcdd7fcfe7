package mongodb

import (
	"bytes"
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func number(k bson.Type) bool {
	return k == bson.TypeInt32 || k == bson.TypeInt64 || k == bson.TypeDouble || k == bson.TypeDecimal128
}

func text(k bson.Type) bool { return k == bson.TypeString || k == bson.TypeSymbol }

// exact is a number as MongoDB compares it: a double with 34 digits.
func exact(v value) *big.Rat {
	switch v.kind {
	case bson.TypeDouble:
		f := new(big.Float).SetFloat64(v.double())
		r, _ := new(big.Rat).SetString(f.Text('e', 33))
		return r
	case bson.TypeDecimal128:
		r, _ := new(big.Rat).SetString(v.decimal().String())
		return r
	}
	n, _ := v.integer()
	return new(big.Rat).SetInt64(n)
}

// sameKey reports whether MongoDB holds two values for one key.
func sameKey(a, b value) bool {
	if number(a.kind) && number(b.kind) {
		return exact(a).Cmp(exact(b)) == 0
	}
	if text(a.kind) && text(b.kind) {
		return bytes.Equal(a.data, b.data)
	}
	if a.kind != b.kind || a.kind != bson.TypeEmbeddedDocument {
		return a.kind == b.kind && bytes.Equal(a.data, b.data)
	}
	x, y := fields(a.data), fields(b.data)
	for x.next() {
		if !y.next() || !bytes.Equal(x.key, y.key) || !sameKey(x.val, y.val) {
			return false
		}
	}
	return !y.next()
}
