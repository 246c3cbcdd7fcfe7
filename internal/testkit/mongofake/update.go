package mongofake

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// change is what an update makes of a document.
type change struct {
	kind        kind
	doc         bson.Raw
	desc, paths bson.Raw
}

// updated applies an update to a document: operators, a pipeline, or another
// document in its place.
func updated(before bson.Raw, update bson.RawValue, insert bool) (change, error) {
	if update.Type == bson.TypeArray {
		return piped(before, elements(update))
	}
	u := docOf(update)
	if !isOperators(u) {
		doc, err := replaced(before, u)
		return change{kind: kindReplace, doc: doc}, err
	}
	var d description
	var root any = decode(before)
	for op, fields := range each(u) {
		for path, v := range each(docOf(fields)) {
			if strings.Contains(path, "$") {
				return change{}, badValue("the stand-in does not know the positional path " + path)
			}
			if op == "$setOnInsert" && !insert {
				continue
			}
			next, err := operate(&d, root, op, strings.Split(path, "."), valueOf(v))
			if err != nil {
				return change{}, err
			}
			root = next
		}
	}
	doc := document(root.(bson.D))
	if !equal(field(doc, "_id"), field(before, "_id")) && !insert {
		return change{}, immutable()
	}
	desc, paths := d.docs()
	return change{kind: kindUpdate, doc: doc, desc: desc, paths: paths}, nil
}

func immutable() error {
	return &commandError{code: 66, name: "ImmutableField", message: "Performing an update on the path '_id' would modify the immutable field '_id'"}
}

func replaced(before, doc bson.Raw) (bson.Raw, error) {
	id := field(before, "_id")
	if own := field(doc, "_id"); own.Type != 0 && id.Type != 0 && !equal(own, id) {
		return nil, immutable()
	}
	w := newBuilder(nil)
	if id.Type != 0 {
		w.value("_id", id)
	}
	for key, v := range each(doc) {
		if key != "_id" || id.Type == 0 {
			w.value(key, v)
		}
	}
	return w.doc(), nil
}

// decode makes values of a document that was validated when it came.
func decode(doc bson.Raw) bson.D {
	out := bson.D{}
	for key, v := range each(doc) {
		out = append(out, bson.E{Key: key, Value: valueOf(v)})
	}
	return out
}

func valueOf(v bson.RawValue) any {
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		return decode(v.Value)
	case bson.TypeArray:
		out := bson.A{}
		for _, e := range each(v.Value) {
			out = append(out, valueOf(e))
		}
		return out
	case bson.TypeNull:
		return nil
	}
	return v // the others keep their bytes
}

// same says whether two decoded values are the same bytes.
func same(a, b any) bool {
	w, x := newBuilder(nil), newBuilder(nil)
	w.any("", a)
	x.any("", b)
	return string(w.doc()) == string(x.doc())
}

func operate(d *description, root any, op string, path []string, operand any) (any, error) {
	old, exists := at(root, path)
	switch op {
	case "$set", "$setOnInsert":
		if exists && same(old, operand) {
			return root, nil
		}
		return d.assign(root, path, operand)
	case "$unset":
		if !exists {
			return root, nil
		}
		return d.unassign(root, path)
	case "$inc":
		sum, err := add(old, exists, operand)
		if err != nil || exists && same(old, sum) {
			return root, err
		}
		return d.assign(root, path, sum)
	case "$push":
		return d.push(root, path, old, exists, operand)
	}
	return nil, &commandError{code: 9, name: "FailedToParse", message: "Unknown modifier, or one that the stand-in does not have: " + op}
}

// at is the value at a path.
func at(node any, path []string) (any, bool) {
	for _, p := range path {
		switch n := node.(type) {
		case bson.D:
			i := index(n, p)
			if i < 0 {
				return nil, false
			}
			node = n[i].Value
		case bson.A:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(n) {
				return nil, false
			}
			node = n[i]
		default:
			return nil, false
		}
	}
	return node, true
}

func index(d bson.D, key string) int {
	for i := range d {
		if d[i].Key == key {
			return i
		}
	}
	return -1
}

// add is $inc: the type is that of the wider operand.
func add(old any, exists bool, operand any) (any, error) {
	y, ok := operand.(bson.RawValue)
	if !ok || !y.IsNumber() {
		return nil, &commandError{code: 14, name: "TypeMismatch", message: "Cannot increment with non-numeric argument"}
	}
	if !exists {
		return y, nil
	}
	x, ok := old.(bson.RawValue)
	if !ok || !x.IsNumber() {
		return nil, &commandError{code: 14, name: "TypeMismatch", message: "Cannot apply $inc to a value of non-numeric type"}
	}
	if x.Type == bson.TypeDecimal128 || y.Type == bson.TypeDecimal128 {
		return nil, badValue("the stand-in has no $inc of Decimal128")
	}
	m, mWhole := whole(x)
	n, nWhole := whole(y)
	if !mWhole || !nWhole {
		return float(x) + float(y), nil
	}
	sum := m + n
	if (sum > m) != (n > 0) && n != 0 {
		return nil, badValue("Failed to apply $inc operations: overflow")
	}
	if x.Type == bson.TypeInt32 && y.Type == bson.TypeInt32 && sum >= math.MinInt32 && sum <= math.MaxInt32 {
		return int32(sum), nil
	}
	return sum, nil
}

func float(v bson.RawValue) float64 {
	if n, ok := whole(v); ok {
		return float64(n)
	}
	return v.Double()
}

func (d *description) push(root any, path []string, old any, exists bool, operand any) (any, error) {
	added := bson.A{operand}
	if o, ok := operand.(bson.D); ok && len(o) > 0 && strings.HasPrefix(o[0].Key, "$") {
		each, ok := o[0].Value.(bson.A)
		if !ok || o[0].Key != "$each" || len(o) > 1 {
			return nil, badValue("the stand-in has $push with $each alone")
		}
		added = each
	}
	if !exists {
		return d.assign(root, path, added)
	}
	array, ok := old.(bson.A)
	if !ok {
		return nil, badValue("The field '" + strings.Join(path, ".") + "' must be an array")
	}
	for i, v := range added {
		next, err := d.assign(root, append(path[:len(path):len(path)], fmt.Sprint(len(array)+i)), v)
		if err != nil {
			return nil, err
		}
		root = next
	}
	return root, nil
}

// upserted is the document that an upsert inserts: what the query demands, and
// the update.
func upserted(s statement) (bson.Raw, error) {
	base := bson.D{}
	for key, v := range each(s.query) {
		if o := docOf(v); isOperators(o) {
			v = field(o, "$eq")
		}
		if v.Type != 0 && !strings.HasPrefix(key, "$") {
			next, _, _, err := put(base, strings.Split(key, "."), valueOf(v), nil)
			if err != nil {
				return nil, err
			}
			base = next.(bson.D)
		}
	}
	if docOf(s.update) != nil && !isOperators(docOf(s.update)) {
		base = bson.D{}
		if id := field(s.query, "_id"); id.Type != 0 && !isOperators(docOf(id)) {
			base = bson.D{{Key: "_id", Value: valueOf(id)}}
		}
	}
	c, err := updated(document(base), s.update, true)
	return withID(c.doc), err
}
