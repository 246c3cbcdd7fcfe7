package mongofake

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// bounds are those of a scan in the order of _id; a value of type 0 bounds
// nothing.
type bounds struct {
	from, to bson.RawValue
	// above and upTo say that from itself is left out, and that to itself is in.
	above, upTo bool
}

// boundsOf narrows a scan by what a query says of _id. The query still decides.
func boundsOf(query bson.Raw) bounds {
	v := field(query, "_id")
	if v.Type == 0 || v.Type == bson.TypeRegex || v.Type == bson.TypeArray || v.Type == bson.TypeNull {
		return bounds{}
	}
	if !isOperators(docOf(v)) {
		return bounds{from: v, to: v, upTo: true}
	}
	var b bounds
	for op, operand := range each(docOf(v)) {
		if operand.Type == bson.TypeNull || operand.Type == bson.TypeArray {
			continue
		}
		switch op {
		case "$eq":
			b = bounds{from: operand, to: operand, upTo: true}
		case "$gt", "$gte":
			b.from, b.above = operand, op == "$gt"
		case "$lt", "$lte":
			b.to, b.upTo = operand, op == "$lte"
		}
	}
	return b
}

// scan walks the documents that a view has between bounds, in the order of _id.
func (c *collection) scan(v view, b bounds) iter.Seq2[*row, bson.Raw] {
	return func(yield func(*row, bson.Raw) bool) {
		for _, r := range c.between(b) {
			if doc := r.see(v); doc != nil && !yield(r, doc) {
				return
			}
		}
	}
}

func (c *collection) between(b bounds) []*row {
	rows := c.rows
	if b.from.Type != 0 {
		rows = rows[sort.Search(len(rows), func(i int) bool {
			k := compare(rows[i].id, b.from)
			return k > 0 || k == 0 && !b.above
		}):]
	}
	if b.to.Type != 0 {
		rows = rows[:sort.Search(len(rows), func(i int) bool {
			k := compare(rows[i].id, b.to)
			return k > 0 || k == 0 && !b.upTo
		})]
	}
	return rows
}

// viewOf is what a reading command sees. The time is not 0 if it reads a snapshot.
func (f *Fake) viewOf(r *request) (v view, snapshot uint64, err error) {
	if r.inTransaction() {
		u, err := f.transaction(r)
		if err != nil {
			return v, 0, err
		}
		return u.view(), 0, nil
	}
	concern := docOf(r.field("readConcern"))
	if text(field(concern, "level")) != "snapshot" {
		return view{at: latest}, 0, nil
	}
	at, ok := timestamp(field(concern, "atClusterTime"))
	switch {
	case !ok:
		at = f.clock.last
	case at > f.clock.last:
		return v, 0, &commandError{code: 72, name: "InvalidOptions", message: "readConcern atClusterTime value must not be greater than the current clusterTime"}
	case at < f.snapshotFloor():
		return v, 0, &commandError{code: 239, name: "SnapshotTooOld", message: "Read timestamp is older than the oldest available timestamp.", labels: []string{labelTransient}}
	}
	return view{at: at}, at, nil
}

func (f *Fake) find(r *request, w *builder) error {
	v, snapshot, err := f.viewOf(r)
	if err != nil {
		return err
	}
	docs, err := f.query(r, v)
	if err != nil {
		return err
	}
	fields := docOf(r.field("projection"))
	for i := range docs {
		if docs[i], err = project(docs[i], fields); err != nil {
			return err
		}
	}
	n := 101
	if b := r.field("batchSize"); b.Type != 0 {
		n = int(number(b))
	} else if l := number(r.field("limit")); l != 0 {
		n = int(max(l, -l))
	}
	f.firstBatch(w, &cursor{ns: r.ns().String(), docs: docs, at: snapshot}, n, truth(r.field("singleBatch")) || number(r.field("limit")) < 0)
	return nil
}

// query is the result of a find, before projection.
func (f *Fake) query(r *request, v view) ([]bson.Raw, error) {
	query := docOf(r.field("filter"))
	match, err := compile(query)
	if err != nil {
		return nil, err
	}
	c := f.lookupIn(r.ns(), v)
	if c == nil {
		return nil, nil
	}
	b := boundsOf(query)
	least, greatest := docOf(r.field("min")), docOf(r.field("max"))
	if least != nil || greatest != nil {
		if !hintsID(r.field("hint")) {
			return nil, badValue("the stand-in has min and max with a hint on _id only")
		}
		b = bounds{from: field(least, "_id"), to: field(greatest, "_id")}
	}
	keys := docOf(r.field("sort"))
	descending, byID := sortsByID(keys)
	want := -1
	if l := number(r.field("limit")); l != 0 {
		want = int(max(l, -l) + number(r.field("skip")))
	}
	var docs []bson.Raw
	rows := c.between(b)
	for i := range rows {
		if byID && descending {
			i = len(rows) - 1 - i
		}
		doc := rows[i].see(v)
		if doc == nil || !match(doc) {
			continue
		}
		if docs = append(docs, doc); byID && len(docs) == want {
			break
		}
	}
	if !byID {
		slices.SortStableFunc(docs, sorter(keys))
	}
	docs = docs[min(len(docs), int(number(r.field("skip")))):]
	if l := number(r.field("limit")); l != 0 {
		docs = docs[:min(int64(len(docs)), max(l, -l))]
	}
	return docs, nil
}

func hintsID(hint bson.RawValue) bool {
	return text(hint) == "_id_" || field(docOf(hint), "_id").Type != 0
}

// sortsByID says whether the order of _id, up or down, is what the sort asks for.
func sortsByID(keys bson.Raw) (descending, ok bool) {
	for key, v := range each(keys) {
		return number(v) < 0, key == "_id" || key == "$natural"
	}
	return false, true
}

// project keeps the fields that a projection names, or leaves them out.
func project(doc, fields bson.Raw) (bson.Raw, error) {
	if len(fields) <= 5 {
		return doc, nil
	}
	id, include := true, false
	names := map[string]bool{}
	for key, v := range each(fields) {
		if v.Type != bson.TypeBoolean && !v.IsNumber() || strings.Contains(key, ".") {
			return nil, badValue("the stand-in has projections of whole fields only, not " + key)
		}
		if key == "_id" {
			id = truth(v)
			include = include || only(fields) && id
			continue
		}
		names[key] = true
		include = include || truth(v)
	}
	w := newBuilder(nil)
	for key, v := range each(doc) {
		if key == "_id" && id || key != "_id" && names[key] == include {
			w.value(key, v)
		}
	}
	return w.doc(), nil
}

// only says whether a document has one field.
func only(doc bson.Raw) bool {
	n := 0
	for range each(doc) {
		n++
	}
	return n == 1
}

func (f *Fake) count(r *request, w *builder) error {
	v, _, err := f.viewOf(r)
	if err != nil {
		return err
	}
	match, err := compile(docOf(r.field("query")))
	if err != nil {
		return err
	}
	n := 0
	if c := f.lookupIn(r.ns(), v); c != nil {
		for _, doc := range c.scan(v, boundsOf(docOf(r.field("query")))) {
			if match(doc) {
				n++
			}
		}
	}
	w.int("n", n)
	return nil
}
