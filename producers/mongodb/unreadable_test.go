package mongodb

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

// A table halts for a document that cannot be read, a person corrects it, and the
// stream then carries it once more, as the document before the correction: that
// does not halt the table again.
func TestCorrectionOfAnUnreadableDocument(t *testing.T) {
	bad := bson.E{Key: "s", Value: "\xff"}
	for name, c := range map[string]struct {
		id      any
		correct func(*capture, any)
		want    []string
	}{
		"updated":  {"x", func(c *capture, id any) { c.update("t", id, set("s", "ok")) }, []string{`u _id=x doc={"_id":"x","s":"ok"}`}},
		"replaced": {"x", func(c *capture, id any) { c.replace("t", id, doc(id)) }, []string{`u _id=x doc={"_id":"x"}`}},
		"deleted":  {"x", func(c *capture, id any) { c.remove("t", id) }, []string{`d _id=x doc?`}},
		// Its key has no text, so none of its rows was ever sent.
		"a key": {"\xfe", func(c *capture, id any) { c.remove("t", id) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			src := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
			src.insert("t", doc(c.id, bad))
			src.sync()
			if len(src.halts) != 1 {
				t.Fatalf("it does not halt: %v", src.halts)
			}
			at := src.checkpoint()
			_ = src.src.Close()
			c.correct(src, c.id)
			src.insert("t", doc("next"))
			src.halts, src.start = nil, at
			src.open()
			src.sync()
			if len(src.halts) != 0 {
				t.Fatalf("it halts again: %v", src.halts)
			}
			src.expect("t", append(c.want, `c _id=next doc={"_id":"next"}`)...)
			for _, ch := range src.of("t") {
				if ch.Op != schemas.Delete && ch.Before != nil {
					t.Errorf("%s has a document before it", shown(ch))
				}
			}
		})
	}
}

// What cannot be read now halts, whatever was before.
func TestUnreadableAfterReadable(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
	c.insert("t", doc("x"))
	c.update("t", "x", set("s", "\xff"))
	c.sync()
	if c.expect("t", `c _id=x doc={"_id":"x"}`); len(c.halts) != 1 {
		t.Fatalf("%v", c.halts)
	}
}

// Of fields with one name the first counts, as for the server's own queries, in
// the stream as in a snapshot; the document has them all.
func TestFieldsOfOneName(t *testing.T) {
	table := Table{Name: "t", Promote: true, Columns: []Column{
		{Name: "n", Type: typeOf(schemas.Int)},
		{Name: "amount", Path: "total.amount", Type: typeOf(schemas.Int)},
		{Name: "tax", Path: "total.tax", Type: typeOf(schemas.Int)},
	}}
	for name, c := range map[string]struct {
		doc  bson.D
		want string
	}{
		"twice": {
			doc("a", bson.E{Key: "n", Value: 1}, bson.E{Key: "n", Value: 2}),
			`_id=a doc={"_id":"a","n":1,"n":2} n=1`,
		},
		"the first does not fit": {
			doc("a", bson.E{Key: "n", Value: "free"}, bson.E{Key: "n", Value: 2}, bson.E{Key: "n", Value: "gone"}),
			`_id=a doc={"_id":"a","n":"free","n":2,"n":"gone"} _conflicts={"n":"free"}`,
		},
		"the second does not fit": {
			doc("a", bson.E{Key: "n", Value: 1}, bson.E{Key: "n", Value: "free"}),
			`_id=a doc={"_id":"a","n":1,"n":"free"} n=1`,
		},
		"null": {
			doc("a", bson.E{Key: "n", Value: nil}, bson.E{Key: "n", Value: 2}),
			`_id=a doc={"_id":"a","n":null,"n":2}`,
		},
		"above": {
			doc("a", bson.E{Key: "total", Value: bson.D{{Key: "amount", Value: 1}}}, bson.E{Key: "total", Value: bson.D{{Key: "amount", Value: 2}, {Key: "tax", Value: 3}}}),
			`_id=a doc={"_id":"a","total":{"amount":1},"total":{"amount":2,"tax":3}} amount=1`,
		},
		"within": {
			doc("a", bson.E{Key: "total", Value: bson.D{{Key: "amount", Value: 1}, {Key: "amount", Value: 2}}}),
			`_id=a doc={"_id":"a","total":{"amount":1,"amount":2}} amount=1`,
		},
		"promoted": {
			doc("a", bson.E{Key: "p", Value: "x"}, bson.E{Key: "p", Value: 1}),
			`_id=a doc={"_id":"a","p":"x","p":1} p=x`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, table).open()
			src.insert("t", c.doc, doc("b", bson.E{Key: "n", Value: 7}))
			src.sync()
			got := src.of("t")
			if len(got) != 2 || shown(got[0]) != "c "+c.want {
				t.Fatalf("%d changes, want c %s: %v", len(got), c.want, got)
			}
			if want := `c _id=b doc={"_id":"b","n":7} n=7`; shown(got[1]) != want {
				t.Errorf("the document after it is %s, want %s", shown(got[1]), want)
			}
			rows, _, err := src.chunk(src.version("t"), nil, 10)
			src.must(err)
			if len(rows) != 2 || shown(rows[0]) != "r "+c.want {
				t.Errorf("read %s, want r %s", shown(rows[0]), c.want)
			}
		})
	}
}

func (c *capture) replace(table string, id, doc any) {
	c.t.Helper()
	_, err := c.db.Collection(table).ReplaceOne(c.t.Context(), bson.D{{Key: "_id", Value: id}}, doc)
	c.must(err)
}

// A document was corrected, and the process starts where the log still holds the
// wrong one: one start is enough, and the snapshot finds what is left to correct.
func TestLogHoldsTheUnreadableDocument(t *testing.T) {
	for name, corrected := range map[string]bool{"corrected": true, "not corrected": false} {
		t.Run(name, func(t *testing.T) {
			c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
			c.sync()
			at := c.checkpoint()
			c.insert("t", doc("a"), doc("x", bson.E{Key: "s", Value: "\xff"}), doc("b"))
			c.update("t", "x", set("s", "\xfe"))
			c.sync()
			if len(c.halts) != 1 {
				t.Fatalf("it does not halt: %v", c.halts)
			}
			if corrected {
				c.replace("t", "x", doc("x"))
			}
			c.halts = nil
			c.reopen(at)
			if corrected {
				c.insert("t", doc("y"))
			}
			c.sync()
			if len(c.halts) != 0 {
				t.Fatalf("it halts again: %v", c.halts)
			}
			var since schemas.Position
			for _, v := range c.versions {
				if since.Less(v.Since) {
					since = v.Since
				}
			}
			got := c.of("t")
			if since.IsZero() || len(got) < 2 || !got[1].Position.Less(since) {
				t.Fatalf("%d changes, read again from %v", len(got), since)
			}
			rows, chunk, err := c.chunk(c.version("t"), nil, 10)
			if !corrected {
				if !errors.As(err, new(*producers.HaltError)) {
					t.Fatalf("what is left to correct: %v", err)
				}
				return
			}
			c.must(err)
			c.expect("t", `c _id=a doc={"_id":"a"}`, `c _id=b doc={"_id":"b"}`, `u _id=x doc={"_id":"x"}`, `c _id=y doc={"_id":"y"}`)
			if len(rows) != 4 || !since.Less(chunk.ReadPoint) {
				t.Fatalf("%d rows at %v, since %v", len(rows), chunk.ReadPoint, since)
			}
			c.insert("t", doc("z", bson.E{Key: "s", Value: "\xff"})) // a fault of now
			c.sync()
			if len(c.halts) != 1 {
				t.Fatalf("%v", c.halts)
			}
		})
	}
}
