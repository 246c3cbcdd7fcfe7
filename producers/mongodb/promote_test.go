package mongodb

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

func doc(id any, fields ...bson.E) bson.D { return append(bson.D{{Key: "_id", Value: id}}, fields...) }

// Scalar fields that are seen become columns, before the first row that has them;
// names that differ by capitals alone, that no warehouse takes or that are taken
// stay in the document.
func TestFieldsBecomeColumns(t *testing.T) {
	for _, images := range []bool{true, false} {
		c := newCapture(t, startFake(t, mongofake.Options{}).URI(), images, Table{Name: "t", Promote: true})
		c.insert("t", doc("old", bson.E{Key: "name", Value: "x"}))
		c.open()
		c.insert("t", doc("a", bson.E{Key: "name", Value: "a"}, bson.E{Key: "Name", Value: "b"}, bson.E{Key: "doc", Value: "c"}, bson.E{Key: "odd name", Value: "d"},
			bson.E{Key: "sub", Value: bson.D{}}, bson.E{Key: "none", Value: nil}))
		c.insert("t", doc("b", bson.E{Key: "qty", Value: int32(3)}, bson.E{Key: "ok", Value: true}))
		c.update("t", "a", set("none", int64(5)))
		c.insert("t", doc("c", bson.E{Key: "name", Value: int32(1)}))
		c.sync()
		got := c.of("t")
		want := []string{
			`c _id=a doc={"_id":"a","name":"a","Name":"b","doc":"c","odd name":"d","sub":{},"none":null} name=a`,
			`c _id=b doc={"_id":"b","qty":3,"ok":true} qty=3 ok=1`,
			`u _id=a doc={"_id":"a","name":"a","Name":"b","doc":"c","odd name":"d","sub":{},"none":5} name=a none=5`,
			`c _id=c doc={"_id":"c","name":1} _conflicts={"name":1}`,
		}
		if !images {
			want[2] = `u _id=a doc? _conflicts? name? qty? ok? none=5 again`
		}
		for i := range want {
			if shown(got[i]) != want[i] {
				t.Errorf("images %v: got %s\nwant %s", images, shown(got[i]), want[i])
			}
		}
		for _, v := range c.versions {
			if !v.Since.IsZero() || v.Table.Generation != 1 {
				t.Errorf("a new column made version %d of %s since %v", v.Table.Generation, v.Table.ID(), v.Since)
			}
		}
		// What was promoted is known at the next start.
		c.reopen(c.checkpoint())
		c.insert("t", doc("d", bson.E{Key: "qty", Value: int32(4)}))
		c.sync()
		if len(c.versions) != 0 {
			t.Errorf("announced again: %+v", c.versions)
		}
		c.expect("t", `c _id=d doc={"_id":"d","qty":4} qty=4`)
	}
}

// A snapshot that meets a new field emits nothing of it before the version is
// there that has it; then it goes on where it was.
func TestSnapshotFindsFields(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t", Promote: true})
	for i := range int32(sampleRows + 3) {
		c.insert("t", doc(i, bson.E{Key: "n", Value: i}))
	}
	c.insert("t", doc(int32(sampleRows+3), bson.E{Key: "late", Value: "x"}))
	c.open()
	c.sync()
	first := c.version("t")
	if first.Column("late") >= 0 {
		t.Fatal("the field that was to be found later is there at once")
	}
	if rows, _, err := c.chunk(first, nil, 2*sampleRows); !errors.Is(err, producers.ErrRewritten) || len(rows) != 0 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for c.version("t") == first {
		c.must(c.next())
	}
	if _, _, err := c.chunk(first, nil, 10); !errors.Is(err, producers.ErrRewritten) {
		t.Fatalf("a chunk of the version before: %v", err)
	}
	rows, chunk, err := c.chunk(c.version("t"), []schemas.Cell{schemas.BytesCell([]byte("500"))}, 10)
	c.must(err)
	if len(rows) != 3 || !chunk.End || shown(rows[2]) != `r _id=503 doc={"_id":503,"late":"x"} late=x` {
		t.Fatalf("%d rows, the last %s", len(rows), shown(rows[len(rows)-1]))
	}
}

// Integers that turn out to be fractions begin a generation of wider numbers,
// which is snapshotted; an integer that a double cannot hold stands beside.
func TestIntegersWiden(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t", Promote: true}).open()
	c.insert("t", doc("a", bson.E{Key: "n", Value: int32(1)}))
	c.insert("t", doc("b", bson.E{Key: "n", Value: 2.0}))
	c.insert("t", doc("c", bson.E{Key: "n", Value: 2.5}))
	c.insert("t", doc("d", bson.E{Key: "n", Value: int64(1<<53 + 1)}))
	c.sync()
	c.expect("t", `c _id=a doc={"_id":"a","n":1} n=1`, `c _id=b doc={"_id":"b","n":2.0} n=2`, `c _id=c doc={"_id":"c","n":2.5} n=2.5`,
		`c _id=d doc={"_id":"d","n":9007199254740993} _conflicts={"n":9007199254740993}`)
	v := c.versions[len(c.versions)-1]
	if v.Table.Generation != 2 || v.Since != c.of("t")[2].Position || v.Table.Topic == c.of("t")[0].Table.Topic {
		t.Fatalf("generation %d in %s since %v", v.Table.Generation, v.Table.Topic, v.Since)
	}
}

// What is configured anew is read again, at read points above.
func TestColumnsConfiguredAnew(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
	c.insert("t", doc("a", bson.E{Key: "n", Value: int32(1)}))
	c.sync()
	at := c.checkpoint()
	c.cfg.Tables[0].Columns = []Column{{Name: "n", Type: typeOf(schemas.Int)}}
	c.reopen(at)
	c.insert("t", doc("b", bson.E{Key: "n", Value: int32(2)}))
	c.sync()
	c.expect("t", `c _id=b doc={"_id":"b","n":2} n=2`)
	if len(c.versions) != 1 || c.versions[0].Since.IsZero() || !c.versions[0].Since.Less(c.of("t")[0].Position) {
		t.Fatalf("%+v", c.versions)
	}
	_, chunk, err := c.chunk(c.version("t"), nil, 10)
	c.must(err)
	if !c.versions[0].Since.Less(chunk.ReadPoint) {
		t.Errorf("read at %v, since %v", chunk.ReadPoint, c.versions[0].Since)
	}
}
