package verify

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

// TestCoreOfDocuments: a core table that is the collection passes, and every
// kind of fault is found.
func TestCoreOfDocuments(t *testing.T) {
	f, err := mongofake.Start(t.Context(), mongofake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	client, err := mongo.Connect(options.Client().ApplyURI(f.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	price, _ := bson.ParseDecimal128("19.90")
	docs := []any{
		bson.D{{Key: "_id", Value: int64(1)}, {Key: "total", Value: bson.D{{Key: "amount", Value: price}}}, {Key: "at", Value: time.UnixMilli(1767323045678)}, {Key: "nan", Value: math.NaN()}},
		bson.D{{Key: "_id", Value: "two"}, {Key: "total", Value: bson.D{{Key: "amount", Value: "much"}}}, {Key: "kind", Value: "x"}},
		bson.D{{Key: "_id", Value: bson.D{{Key: "a", Value: int32(1)}}}},
	}
	if _, err := client.Database("shop").Collection("t").InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	source, err := OpenDatabase("mongodb", f.URI())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	table := Table{Name: "shop.t", Promote: true, Fields: []Field{
		{"amount", "total.amount", "DECIMAL(12,2)"}, {"at", "at", "TIMESTAMP WITH TIME ZONE"},
	}}
	promoted := table
	promoted.Fields = append(promoted.Fields[:2:2], Field{"kind", "kind", "VARCHAR"})
	for _, c := range []struct{ spoil, want string }{
		{"SELECT 1", ""},
		{`UPDATE core__base.t SET doc = replace(doc, '"x"', '"y"')`, "doc should be"},
		{`UPDATE core__base.t SET doc = replace(doc, 'NaN', 'Infinity')`, "doc should be"},
		{"UPDATE core__base.t SET amount = 19.91 WHERE _id = '1'", "amount should be 19.90, is 19.91"},
		{"UPDATE core__base.t SET _conflicts = NULL", "_conflicts should be"},
		{"UPDATE core__base.t SET kind = NULL", "kind should be x, is NULL"},
		{"DELETE FROM core__base.t WHERE _id = 'two'", "missing: _id=two"},
		{"INSERT INTO core__base.t BY NAME SELECT '7' AS _id, '" + early + "' AS _pos", "extra: _id=7"},
	} {
		core := loaded(t, source, promoted, c.spoil)
		report, err := Core(t.Context(), core, newReplica(t), source, table, "core.t", func(string) {})
		if err != nil {
			t.Fatalf("%s: %v", c.spoil, err)
		}
		var got []string
		for _, d := range report.Differences {
			got = append(got, d.String())
		}
		if text := strings.Join(got, "\n"); (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
			t.Errorf("%s: got %q, want %q", c.spoil, text, c.want)
		}
	}
}

// Numbers within an _id have one text for each value, as those that are one; so
// have strings and symbols.
func TestIDsOfDocuments(t *testing.T) {
	small, _ := bson.ParseDecimal128("1.50E-9")
	for _, c := range []struct {
		id   any
		want string
	}{
		{1.0, `{"a":[{"$numberLong":"1"}]}`},
		{int32(1), `{"a":[{"$numberLong":"1"}]}`},
		{1.5, `{"a":[{"$numberDecimal":"1.5"}]}`},
		{small, `{"a":[{"$numberDecimal":"0.0000000015"}]}`},
		{1e30, `{"a":[{"$numberDecimal":"1.000000000000000019884624838656E30"}]}`},
		{"1", `{"a":["1"]}`},
		{bson.Symbol("1"), `{"a":["1"]}`},
	} {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: bson.D{{Key: "a", Value: bson.A{c.id}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := idText(bson.Raw(raw).Lookup("_id")); err != nil || got != c.want {
			t.Errorf("%v: got %s, %v, want %s", c.id, got, err, c.want)
		}
	}
	for id, want := range map[any]string{"a": "a", bson.Symbol("a"): "a", "1": `"1"`, bson.Symbol("1"): `"1"`} {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: id}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := idText(bson.Raw(raw).Lookup("_id")); err != nil || got != want {
			t.Errorf("%T %v: got %s, %v, want %s", id, id, got, err, want)
		}
	}
}
