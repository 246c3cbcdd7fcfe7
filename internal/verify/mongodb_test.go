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
