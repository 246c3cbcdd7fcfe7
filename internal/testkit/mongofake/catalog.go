package mongofake

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func idIndex() bson.Raw {
	return document(bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "name", Value: "_id_"}})
}

// define commits entries of the catalog, each at a time of its own.
func (f *Fake) define(entries ...*entry) error {
	return f.commit(&unit{at: latest, entries: entries}, nil, nil)
}

// collectionFor is the collection that is written to; it is made if it is not
// there. A transaction's making of one is committed at once.
func (f *Fake) collectionFor(ns namespace) (*collection, error) {
	if c := f.lookup(ns); c != nil {
		return c, nil
	}
	if ns.db == "" || ns.coll == "" || strings.ContainsAny(ns.coll, "$\x00") {
		return nil, &commandError{code: 73, name: "InvalidNamespace", message: "Invalid namespace specified '" + ns.String() + "'"}
	}
	return f.newCollection(ns, false)
}

func (f *Fake) newCollection(ns namespace, images bool) (*collection, error) {
	detail := document(bson.D{{Key: "idIndex", Value: idIndex()}})
	err := f.define(&entry{kind: kindCreate, ns: ns, coll: newID(), images: images, detail: detail})
	return f.lookup(ns), err
}

func wantsImages(r *request) (want, said bool) {
	v := r.field("changeStreamPreAndPostImages")
	return truth(field(docOf(v), "enabled")), v.Type != 0
}

func (f *Fake) create(r *request, _ *builder) error {
	if f.lookup(r.ns()) != nil {
		return &commandError{code: 48, name: "NamespaceExists", message: "Collection " + r.ns().String() + " already exists."}
	}
	for _, option := range []string{"viewOn", "timeseries", "capped"} {
		if truth(r.field(option)) || r.field(option).Type > bson.TypeDouble && option != "capped" {
			return badValue("the stand-in has no collections with the option " + option)
		}
	}
	images, _ := wantsImages(r)
	_, err := f.newCollection(r.ns(), images)
	return err
}

func (f *Fake) collMod(r *request, _ *builder) error {
	c := f.lookup(r.ns())
	if c == nil {
		return notFound(r.ns().String())
	}
	images, said := wantsImages(r)
	if !said {
		return nil
	}
	detail := document(bson.D{{Key: "changeStreamPreAndPostImages", Value: bson.D{{Key: "enabled", Value: images}}}})
	return f.define(&entry{kind: kindModify, ns: r.ns(), coll: c.id, images: images, detail: detail})
}

func (f *Fake) drop(r *request, w *builder) error {
	c := f.lookup(r.ns())
	if c == nil {
		return notFound(r.ns().String())
	}
	w.int("nIndexesWas", len(c.indexes))
	w.str("ns", r.ns().String())
	return f.define(&entry{kind: kindDrop, ns: r.ns(), coll: c.id})
}

func (f *Fake) dropDatabase(r *request, w *builder) error {
	var entries []*entry
	for _, ns := range f.namespaces(r.db) {
		entries = append(entries, &entry{kind: kindDrop, ns: ns, coll: f.lookup(ns).id})
	}
	if len(entries) == 0 {
		return nil
	}
	w.str("dropped", r.db)
	return f.define(append(entries, &entry{kind: kindDropDatabase, ns: namespace{db: r.db}})...)
}

func (f *Fake) renameCollection(r *request, _ *builder) error {
	from, to := split(text(r.arg)), split(text(r.field("to")))
	c, target := f.lookup(from), f.lookup(to)
	switch {
	case c == nil:
		return &commandError{code: 26, name: "NamespaceNotFound", message: "Source collection " + from.String() + " does not exist"}
	case from == to:
		return &commandError{code: 20, name: "IllegalOperation", message: "Can't rename a collection to itself"}
	case from.db != to.db:
		return badValue("the stand-in renames within a database only")
	case target != nil && !truth(r.field("dropTarget")):
		return &commandError{code: 48, name: "NamespaceExists", message: "target namespace exists"}
	}
	w := newBuilder(nil)
	w.open("to")
	w.str("db", to.db)
	w.str("coll", to.coll)
	w.end()
	if target != nil {
		w.uuid("dropTarget", target.id)
	}
	return f.define(&entry{kind: kindRename, ns: from, to: to, coll: c.id, detail: w.doc()})
}

func split(ns string) namespace {
	db, coll, _ := strings.Cut(ns, ".")
	return namespace{db, coll}
}

// createIndexes notes the indexes. They speed nothing up, and a unique one is
// refused: it would not be kept.
func (f *Fake) createIndexes(r *request, w *builder) error {
	c, err := f.collectionFor(r.ns())
	if err != nil {
		return err
	}
	var fresh bson.A
	for _, v := range elements(r.field("indexes")) {
		ix := docOf(v)
		if truth(field(ix, "unique")) {
			return badValue("the stand-in has no unique indexes but that on _id")
		}
		if !slices.ContainsFunc(c.indexes, func(have bson.Raw) bool { return text(field(have, "name")) == text(field(ix, "name")) }) {
			fresh = append(fresh, ix)
		}
	}
	w.int("numIndexesBefore", len(c.indexes))
	w.int("numIndexesAfter", len(c.indexes)+len(fresh))
	if len(fresh) == 0 {
		return nil
	}
	return f.define(&entry{kind: kindIndexes, ns: r.ns(), coll: c.id, detail: document(bson.D{{Key: "indexes", Value: fresh}})})
}

func (f *Fake) dropIndexes(r *request, _ *builder) error {
	c := f.lookup(r.ns())
	if c == nil {
		return notFound(r.ns().String())
	}
	var gone bson.A
	for _, ix := range c.indexes {
		if name := text(field(ix, "name")); name != "_id_" && (text(r.field("index")) == "*" || text(r.field("index")) == name) {
			gone = append(gone, ix)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return f.define(&entry{kind: kindDropIndexes, ns: r.ns(), coll: c.id, detail: document(bson.D{{Key: "indexes", Value: gone}})})
}

func withoutIndexes(have []bson.Raw, detail bson.Raw) []bson.Raw {
	return slices.DeleteFunc(slices.Clone(have), func(ix bson.Raw) bool {
		return slices.ContainsFunc(elements(field(detail, "indexes")), func(gone bson.RawValue) bool {
			return text(field(docOf(gone), "name")) == text(field(ix, "name"))
		})
	})
}

func (f *Fake) listIndexes(r *request, w *builder) error {
	c := f.lookup(r.ns())
	if c == nil {
		return notFound(r.ns().String())
	}
	f.firstBatch(w, &cursor{ns: r.ns().String(), docs: c.indexes}, len(c.indexes), true)
	return nil
}

func (f *Fake) listCollections(r *request, w *builder) error {
	match, err := compile(docOf(r.field("filter")))
	if err != nil {
		return err
	}
	var docs []bson.Raw
	for _, ns := range f.namespaces(r.db) {
		c := f.lookup(ns)
		d := newBuilder(nil)
		d.str("name", ns.coll)
		d.str("type", "collection")
		d.open("options")
		if c.images {
			d.open("changeStreamPreAndPostImages")
			d.bool("enabled", true)
			d.end()
		}
		d.end()
		d.open("info")
		d.bool("readOnly", false)
		d.uuid("uuid", c.id)
		d.end()
		d.raw("idIndex", idIndex())
		if doc := d.doc(); match(doc) {
			docs = append(docs, doc)
		}
	}
	f.firstBatch(w, &cursor{ns: r.db + ".$cmd.listCollections", docs: docs}, len(docs), true)
	return nil
}

func (f *Fake) listDatabases(r *request, w *builder) error {
	match, err := compile(docOf(r.field("filter")))
	if err != nil {
		return err
	}
	var names []string
	for ns := range f.names {
		if f.lookup(ns) != nil && !slices.Contains(names, ns.db) {
			names = append(names, ns.db)
		}
	}
	slices.Sort(names)
	w.openArray("databases")
	for _, name := range names {
		d := newBuilder(nil)
		d.str("name", name)
		d.long("sizeOnDisk", 0)
		d.bool("empty", false)
		if doc := d.doc(); match(doc) {
			w.raw("", doc)
		}
	}
	w.end()
	w.long("totalSize", 0)
	return nil
}
