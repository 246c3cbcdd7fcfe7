package mongodb

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/internal/testkit/mongofake"
	"millrace/schemas"
)

func orders() Table {
	return Table{Name: "t", Columns: []Column{
		{Name: "amount", Path: "total.amount", Type: money},
		{Name: "total", Type: typeOf(schemas.JSON)},
		{Name: "first", Path: "items.0.sku", Type: typeOf(schemas.String)},
		{Name: "note", Type: typeOf(schemas.String)},
	}}
}

func order(id any, amount string) bson.D {
	d, _ := bson.ParseDecimal128(amount)
	return bson.D{
		{Key: "_id", Value: id},
		{Key: "total", Value: bson.D{{Key: "amount", Value: d}, {Key: "tax", Value: int32(1)}}},
		{Key: "items", Value: bson.A{bson.D{{Key: "sku", Value: "a"}}}},
		{Key: "note", Value: "n"},
	}
}

// Without images a delta is all that there is: what it names is known, what it
// touches in part is not, and the row is to be read again (G10).
func TestDeltaCarriesWhatItNames(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, orders()).open()
	c.insert("t", order(int64(1), "1.50"))
	d, _ := bson.ParseDecimal128("2.25")
	c.update("t", int64(1), set("total.amount", d))
	c.update("t", int64(1), set("total", bson.D{{Key: "amount", Value: d}}))
	c.update("t", int64(1), set("total.tax", int32(2)))
	c.update("t", int64(1), bson.D{{Key: "$unset", Value: bson.D{{Key: "note", Value: ""}}}})
	c.update("t", int64(1), bson.D{{Key: "$unset", Value: bson.D{{Key: "total", Value: ""}}}})
	c.update("t", int64(1), set("other", "x"))
	c.update("t", int64(1), set("items.0.sku", "b"))
	c.update("t", int64(1), bson.D{{Key: "$push", Value: bson.D{{Key: "items", Value: bson.D{{Key: "sku", Value: "z"}}}}}})
	c.update("t", int64(1), set("note", int32(7)))
	c.remove("t", int64(1))
	c.sync()
	got := c.of("t")
	want := []string{
		`c _id=1 doc={"_id":1,"total":{"amount":{"$numberDecimal":"1.50"},"tax":1},"items":[{"sku":"a"}],"note":"n"} amount=1.50 total={"amount":{"$numberDecimal":"1.50"},"tax":1} first=a note=n`,
		`u _id=1 doc? _conflicts? amount? total? first? note? again`,
		`u _id=1 doc? _conflicts? amount=2.25 total={"amount":{"$numberDecimal":"2.25"}} first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? again`,
		`u _id=1 doc? _conflicts? first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? note? again`,
		`u _id=1 doc? _conflicts? amount? total? first? again`,
		`d _id=1 doc? _conflicts? amount? total? first? note?`,
	}
	for i := range want {
		if i >= len(got) || shown(got[i]) != want[i] {
			t.Errorf("change %d of %d: got %s\nwant %s", i, len(got), shown(got[min(i, len(got)-1)]), want[i])
		}
	}
}

// With images every change carries its own document: the one at its position,
// not the latest.
func TestImagesAreOfTheirPosition(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true, Table{Name: "t"}).open()
	c.insert("t", bson.D{{Key: "_id", Value: "a"}, {Key: "v", Value: int32(1)}})
	for _, v := range []int32{2, 3} {
		c.update("t", "a", set("v", v))
	}
	_, err := c.db.Collection("t").ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "w", Value: int32(4)}})
	c.must(err)
	c.remove("t", "a")
	c.sync()
	c.expect("t", `c _id=a doc={"_id":"a","v":1}`, `u _id=a doc={"_id":"a","v":2}`, `u _id=a doc={"_id":"a","v":3}`,
		`u _id=a doc={"_id":"a","w":4}`, `d _id=a doc={"_id":"a","w":4}`)
	for i, want := range []string{"", `{"_id":"a","v":1}`, `{"_id":"a","v":2}`, `{"_id":"a","v":3}`} {
		before := c.of("t")[i].Before
		if want == "" && before != nil || want != "" && string(before[docOrd].Bytes) != want {
			t.Errorf("before change %d: %v, want %s", i, before, want)
		}
	}
}

// A value that does not fit its column is null there, and stands beside (G12).
func TestConflictsStandBeside(t *testing.T) {
	table := Table{Name: "t", Columns: []Column{
		{Name: "n", Type: typeOf(schemas.Int)}, {Name: "price", Type: money}, {Name: "at", Type: typeOf(schemas.Timestamp)},
	}}
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, table).open()
	c.insert("t",
		bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: "seven"}, {Key: "price", Value: 19.99}, {Key: "at", Value: "2026-01-02T03:04:05Z"}},
		bson.D{{Key: "_id", Value: int32(2)}, {Key: "n", Value: 7.0}, {Key: "price", Value: 0.125}, {Key: "at", Value: bson.DateTime(-1 << 60)}},
		bson.D{{Key: "_id", Value: int32(3)}, {Key: "n", Value: nil}, {Key: "price", Value: int64(12345678901)}})
	c.sync()
	want := []string{
		`{"n":"seven"} price=19.99 at=1767323045000000`,
		`{"price":0.125,"at":{"$date":{"$numberLong":"-1152921504606846976"}}} n=7`,
		`{"price":12345678901}`,
	}
	rows, _, err := c.chunk(c.version("t"), nil, 10)
	c.must(err)
	for i, ch := range c.of("t") {
		for _, row := range []schemas.Row{ch.After, rows[i].After} {
			text := shown(schemas.Change{Table: ch.Table, Op: schemas.Read, After: row})
			if i := len("r _id=1 doc="); len(text) < i {
				t.Fatal(text)
			}
			if at := "_conflicts=" + want[i]; len(text) < len(at) || text[len(text)-len(at):] != at {
				t.Errorf("document %d: %s\nwant …%s", i+1, text, at)
			}
		}
	}
}

// Without its paths a delta does not tell a field whose name has a dot from a
// field of a document: the column of the one never gets the other's value (G10).
func TestDeltaOfANameWithADot(t *testing.T) {
	table := Table{Columns: []Column{{Name: "amount", Path: "total.amount", Type: typeOf(schemas.Int)}}}
	s := newSource(&Config{}, (&capture{t: t}).env(), nil)
	tr := &tracked{cfg: table, db: "d", collection: "t"}
	s.take(tr, nil)
	for _, delta := range []bson.D{
		{{Key: "updatedFields", Value: bson.D{{Key: "total.amount", Value: int32(7)}}}},
		{{Key: "removedFields", Value: bson.A{"total.amount"}}},
	} {
		var mem arena
		m := rowMaker{plan: tr.plan, mem: &mem}
		row, err := m.delta(valueOf(t, int32(1)), valueOf(t, delta).data)
		if err != nil || row[conflictOrd+1].Kind != schemas.Unset {
			t.Errorf("%v: %+v, %v", delta, row[conflictOrd+1], err)
		}
	}
}

// A large transaction without images is handed over in pieces, so that the rows
// that it calls for are read again between them: they would else be too many, and
// the whole table be read instead.
func TestManyDeltasOfOneTransaction(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}).open()
	const n = 3*batchCalls + 10
	var docs []any
	for i := range n {
		docs = append(docs, doc(int32(i)))
	}
	c.insert("t", docs...)
	c.sync()
	at := c.checkpoint()
	c.must(c.db.Client().UseSession(t.Context(), func(ctx context.Context) error {
		session := mongo.SessionFromContext(ctx)
		if err := session.StartTransaction(); err != nil {
			return err
		}
		if _, err := c.db.Collection("t").UpdateMany(ctx, bson.D{}, set("v", 1)); err != nil {
			return err
		}
		return session.CommitTransaction(ctx)
	}))
	c.reopen(at)
	for total := 0; total < n; {
		before := len(c.changes)
		c.must(c.next())
		calls := 0
		for _, ch := range c.changes[before:] {
			if ch.Reread {
				calls++
			}
		}
		if total += calls; calls > batchCalls {
			t.Fatalf("%d rows are called for at once", calls)
		}
		if total > 0 && total < n && c.token != "" && c.token != at.Token {
			tok, err := parseToken(c.token)
			c.must(err)
			if first := c.of("t")[0].Position; tok.Time >= first.Major {
				t.Fatal("a token within the transaction")
			}
		}
	}
	c.sync()
	orders := map[int64]bool{}
	for _, ch := range c.of("t") {
		orders[ch.TxOrder] = true
	}
	if got := c.of("t"); len(got) != n || len(orders) != n || got[0].TxID != got[n-1].TxID {
		t.Fatalf("%d changes with %d numbers", len(got), len(orders))
	}
}
