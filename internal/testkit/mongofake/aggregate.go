package mongofake

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func unknownStage(op string) error {
	return &commandError{code: 40324, name: "Location40324", message: "Unrecognized pipeline stage name, or one that the stand-in does not have: '" + op + "'"}
}

func (f *Fake) aggregate(r *request, w *builder) error {
	stages := elements(r.field("pipeline"))
	if len(stages) > 0 && field(docOf(stages[0]), "$changeStream").Type != 0 {
		return f.watch(r, stages, w)
	}
	v, snapshot, err := f.viewOf(r)
	if err != nil {
		return err
	}
	var docs []bson.Raw
	if c := f.lookupIn(r.ns(), v); c != nil {
		var b bounds
		if len(stages) > 0 {
			b = boundsOf(docOf(field(docOf(stages[0]), "$match")))
		}
		for _, doc := range c.scan(v, b) {
			docs = append(docs, doc)
		}
	}
	for _, stage := range stages {
		for op, o := range each(docOf(stage)) {
			if docs, err = transform(docs, op, o); err != nil {
				return err
			}
		}
	}
	n := 101
	if b := field(docOf(r.field("cursor")), "batchSize"); b.Type != 0 {
		n = int(number(b))
	}
	f.firstBatch(w, &cursor{ns: r.ns().String(), docs: docs, at: snapshot}, n, false)
	return nil
}

// transform is one stage of a pipeline.
func transform(docs []bson.Raw, op string, o bson.RawValue) ([]bson.Raw, error) {
	switch op {
	case "$match":
		match, err := compile(docOf(o))
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(docs, func(doc bson.Raw) bool { return !match(doc) }), nil
	case "$project":
		for i := range docs {
			var err error
			if docs[i], err = project(docs[i], docOf(o)); err != nil {
				return nil, err
			}
		}
		return docs, nil
	case "$sort":
		slices.SortStableFunc(docs, sorter(docOf(o)))
		return docs, nil
	case "$skip":
		return docs[min(len(docs), int(number(o))):], nil
	case "$limit":
		return docs[:min(len(docs), int(number(o)))], nil
	case "$count":
		if len(docs) == 0 {
			return nil, nil
		}
		return []bson.Raw{document(bson.D{{Key: text(o), Value: int32(len(docs))}})}, nil
	case "$group":
		return group(docs, docOf(o))
	}
	return nil, unknownStage(op)
}

// group is $group by a constant or a field, with $sum of constants and fields,
// $min and $max of fields.
func group(docs []bson.Raw, o bson.Raw) ([]bson.Raw, error) {
	type bucket struct {
		id     bson.RawValue
		values map[string]any
	}
	var buckets []*bucket
	for _, doc := range docs {
		id, err := evaluate(doc, field(o, "_id"))
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(buckets, func(b *bucket) bool { return equal(b.id, id) })
		if i < 0 {
			i = len(buckets)
			buckets = append(buckets, &bucket{id: id, values: map[string]any{}})
		}
		for name, spec := range each(o) {
			if name == "_id" {
				continue
			}
			if err := accumulate(buckets[i].values, name, docOf(spec), doc); err != nil {
				return nil, err
			}
		}
	}
	var out []bson.Raw
	for _, b := range buckets {
		w := newBuilder(nil)
		if b.id.Type == 0 {
			w.null("_id")
		} else {
			w.value("_id", b.id)
		}
		for name := range each(o) {
			if name != "_id" {
				w.any(name, b.values[name])
			}
		}
		out = append(out, w.doc())
	}
	return out, nil
}

func accumulate(values map[string]any, name string, spec, doc bson.Raw) error {
	for op, operand := range each(spec) {
		v, err := evaluate(doc, operand)
		if err != nil {
			return err
		}
		old, exists := values[name]
		if old, ok := old.(bson.RawValue); ok && (op == "$min" || op == "$max") {
			if c := compare(v, old); v.Type != 0 && (c < 0) == (op == "$min") && c != 0 {
				values[name] = v
			}
			continue
		}
		switch op {
		case "$min", "$max":
			if v.Type != 0 {
				values[name] = v
			}
		case "$sum":
			if !v.IsNumber() {
				v = bson.RawValue{Type: bson.TypeInt32, Value: make([]byte, 4)}
			}
			sum, err := add(old, exists, v)
			if err != nil {
				return err
			}
			values[name] = wrap(sum)
		default:
			return badValue("the stand-in does not know the accumulator " + op)
		}
	}
	return nil
}

// wrap makes a number of Go's a value.
func wrap(v any) bson.RawValue {
	if r, ok := v.(bson.RawValue); ok {
		return r
	}
	return field(document(bson.D{{Key: "v", Value: v}}), "v")
}

// evaluate is a constant or "$field".
func evaluate(doc bson.Raw, expression bson.RawValue) (bson.RawValue, error) {
	s, ok := expression.StringValueOK()
	if isDoc(expression) || strings.HasPrefix(s, "$$") {
		return bson.RawValue{}, badValue("the stand-in has constants and fields for expressions only")
	}
	if ok && strings.HasPrefix(s, "$") {
		return lookup(doc, strings.Split(s[1:], ".")), nil
	}
	return expression, nil
}
