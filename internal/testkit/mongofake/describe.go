package mongofake

import (
	"fmt"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// description collects what an update event says of an update. A path is made of
// names and, inside arrays, of numbers (int32).
type description struct {
	updated   bson.D
	removed   bson.A
	truncated bson.A
	paths     bson.D // of those that look like another path
}

// name is a path as events write it.
func (d *description) name(path []any) string {
	parts := make([]string, len(path))
	ambiguous := false
	for i, p := range path {
		parts[i] = fmt.Sprint(p)
		if s, ok := p.(string); ok {
			_, err := strconv.Atoi(s)
			ambiguous = ambiguous || err == nil || strings.Contains(s, ".")
		}
	}
	dotted := strings.Join(parts, ".")
	if ambiguous && index(d.paths, dotted) < 0 {
		d.paths = append(d.paths, bson.E{Key: dotted, Value: bson.A(path)})
	}
	return dotted
}

func (d *description) set(path []any, v any) {
	d.updated = append(d.updated, bson.E{Key: d.name(path), Value: v})
}

// docs are the description and the ambiguous paths; nil if there are none.
func (d *description) docs() (desc, paths bson.Raw) {
	w := newBuilder(nil)
	w.open("updatedFields")
	for _, e := range d.updated {
		w.any(e.Key, e.Value)
	}
	w.end()
	for _, part := range []struct {
		key    string
		values bson.A
	}{{"removedFields", d.removed}, {"truncatedArrays", d.truncated}} {
		w.openArray(part.key)
		for _, v := range part.values {
			w.any("", v)
		}
		w.end()
	}
	if len(d.paths) > 0 {
		paths = document(d.paths)
	}
	return w.doc(), paths
}

func (d *description) assign(root any, path []string, v any) (any, error) {
	next, where, value, err := put(root, path, v, nil)
	if err == nil {
		d.set(where, value)
	}
	return next, err
}

// put is a copy of the node with a value at the path, where the first new part of
// it lies, and what lies there.
func put(node any, path []string, v any, above []any) (next any, where []any, value any, err error) {
	if len(path) == 0 {
		return v, above, v, nil
	}
	above = above[:len(above):len(above)]
	switch n := node.(type) {
	case bson.D:
		where := append(above, path[0])
		out := append(bson.D{}, n...)
		i := index(n, path[0])
		if i < 0 {
			fresh := nested(path[1:], v)
			return append(out, bson.E{Key: path[0], Value: fresh}), where, fresh, nil
		}
		out[i].Value, where, value, err = put(n[i].Value, path[1:], v, where)
		return out, where, value, err
	case bson.A:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(n)+1_500_000 {
			return nil, nil, nil, &commandError{code: 28, name: "PathNotViable", message: "Cannot create field '" + path[0] + "' in an array"}
		}
		where := append(above, int32(i))
		out := append(bson.A{}, n...)
		if i < len(n) {
			out[i], where, value, err = put(n[i], path[1:], v, where)
			return out, where, value, err
		}
		for len(out) < i {
			out = append(out, nil)
		}
		fresh := nested(path[1:], v)
		return append(out, fresh), where, fresh, nil
	}
	return nil, nil, nil, &commandError{code: 28, name: "PathNotViable", message: "Cannot create field '" + path[0] + "' in an element that is no document"}
}

func nested(path []string, v any) any {
	for i := len(path) - 1; i >= 0; i-- {
		v = bson.D{{Key: path[i], Value: v}}
	}
	return v
}

// unassign removes the value at a path, which exists. In an array it becomes null.
func (d *description) unassign(root any, path []string) (any, error) {
	last := len(path) - 1
	parent, _ := at(root, path[:last])
	if _, ok := parent.(bson.A); ok {
		return d.assign(root, path, nil)
	}
	_, where, _, err := put(root, path, nil, nil)
	if err != nil {
		return nil, err
	}
	d.removed = append(d.removed, d.name(where))
	old := parent.(bson.D)
	i := index(old, path[last])
	without := append(append(bson.D{}, old[:i]...), old[i+1:]...)
	next, _, _, err := put(root, path[:last], without, nil)
	return next, err
}

// piped applies an update that is a pipeline: $set and $unset of whole fields and
// $replaceWith, with constants. What it says is the difference of the documents.
func piped(before bson.Raw, stages []bson.RawValue) (change, error) {
	doc := decode(before)
	for _, stage := range stages {
		for op, v := range each(docOf(stage)) {
			next, err := stageOf(doc, op, v)
			if err != nil {
				return change{}, err
			}
			doc = next
		}
	}
	after := withID(document(doc))
	if !equal(field(after, "_id"), field(before, "_id")) {
		return change{}, immutable()
	}
	var d description
	d.compare(decode(before), doc, nil)
	desc, paths := d.docs()
	return change{kind: kindUpdate, doc: after, desc: desc, paths: paths}, nil
}

func stageOf(doc bson.D, op string, v bson.RawValue) (bson.D, error) {
	switch op {
	case "$set", "$addFields":
		for key, constant := range each(docOf(v)) {
			if strings.HasPrefix(text(constant), "$") || isOperators(docOf(constant)) && field(docOf(constant), "$literal").Type == 0 {
				return nil, badValue("the stand-in has constants in update pipelines only")
			}
			if literal := field(docOf(constant), "$literal"); literal.Type != 0 {
				constant = literal
			}
			next, _, _, err := put(doc, strings.Split(key, "."), valueOf(constant), nil)
			if err != nil {
				return nil, err
			}
			doc = next.(bson.D)
		}
		return doc, nil
	case "$unset":
		if i := index(doc, text(v)); i >= 0 {
			return append(append(bson.D{}, doc[:i]...), doc[i+1:]...), nil
		}
		return doc, nil
	}
	return nil, badValue("the stand-in does not know the stage " + op + " of an update")
}

// compare describes how one document becomes the other.
func (d *description) compare(old, now bson.D, above []any) {
	above = above[:len(above):len(above)]
	for _, e := range old {
		if index(now, e.Key) < 0 {
			d.removed = append(d.removed, d.name(append(above, e.Key)))
		}
	}
	for _, e := range now {
		where := append(above, e.Key)
		if i := index(old, e.Key); i >= 0 {
			d.compareValues(old[i].Value, e.Value, where)
		} else {
			d.set(where, e.Value)
		}
	}
}

func (d *description) compareValues(old, now any, where []any) {
	if same(old, now) {
		return
	}
	switch n := now.(type) {
	case bson.D:
		if o, ok := old.(bson.D); ok {
			d.compare(o, n, where)
			return
		}
	case bson.A:
		if o, ok := old.(bson.A); ok && len(n) > 0 {
			if len(n) < len(o) {
				d.truncated = append(d.truncated, bson.D{{Key: "field", Value: d.name(where)}, {Key: "newSize", Value: int32(len(n))}})
			}
			for i, v := range n {
				here := append(where[:len(where):len(where)], int32(i))
				if i < len(o) {
					d.compareValues(o[i], v, here)
				} else {
					d.set(here, v)
				}
			}
			return
		}
	}
	d.set(where, now)
}
