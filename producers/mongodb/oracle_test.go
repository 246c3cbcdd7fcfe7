package mongodb

import (
	"math/big"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func number(k bson.Type) bool {
	return k == bson.TypeInt32 || k == bson.TypeInt64 || k == bson.TypeDouble || k == bson.TypeDecimal128
}

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
