package mongofake_test

import (
	"math"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

func decimal(t testing.TB, s string) bson.Decimal128 { return must(bson.ParseDecimal128(s))(t) }

// Values of different types have one order, and numbers of all types are one.
func TestOrderOfValues(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, mongofake.Options{})).Database("shop").Collection("mixed")
	ordered := []any{
		bson.MinKey{},
		nil, math.NaN(), math.Inf(-1), decimal(t, "-1E+6000"), int64(math.MinInt64), int32(-3), decimal(t, "-2.5"), 0.0, decimal(t, "0.1"), 0.1, int32(1), 1.5, int64(1) << 53,
		int64(1)<<53 + 1, float64(1<<53) + 2, int64(math.MaxInt64), float64(1 << 63), decimal(t, "1E+6000"), math.Inf(1),
		"", "a", "ab", "b",
		bson.D{},
		bson.D{{Key: "a", Value: 1}},
		bson.D{{Key: "a", Value: 2}},
		bson.D{{Key: "b", Value: 1}},
		bson.D{{Key: "a", Value: "x"}},
		bson.Binary{Data: []byte{9}},
		bson.Binary{Data: []byte{1, 1}},
		bson.Binary{Subtype: 4, Data: make([]byte, 16)},
		bson.ObjectID{1},
		bson.ObjectID{2},
		false, true, bson.DateTime(-5), bson.DateTime(5),
		bson.Timestamp{T: 1, I: 9},
		bson.Timestamp{T: 2},
		bson.MaxKey{},
	}
	var docs []any
	for i, v := range ordered {
		docs = append(docs, bson.D{{Key: "_id", Value: v}, {Key: "place", Value: i}})
	}
	slices.Reverse(docs)
	must(c.InsertMany(ctx, docs))(t)
	cur := must(c.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}})))(t)
	var got []struct{ Place int }
	check(t, cur.All(ctx, &got))
	for i, g := range got {
		if g.Place != i {
			t.Errorf("at %d: %v", i, ordered[g.Place])
		}
	}
	for _, id := range []any{1.0, int64(1), decimal(t, "1.000"), -3.0, decimal(t, "0"), float64(1 << 53)} {
		if _, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: id}}); !mongo.IsDuplicateKeyError(err) {
			t.Errorf("%v is there under another type: %v", id, err)
		}
	}
	// Within its type only, unless it is the least or the greatest.
	for _, test := range []struct {
		filter bson.D
		n      int
	}{
		{bson.D{{Key: "$gt", Value: 1}}, 8},
		{bson.D{{Key: "$lt", Value: 1}}, 8},
		{bson.D{{Key: "$gte", Value: "a"}}, 3},
		{bson.D{{Key: "$gt", Value: bson.MinKey{}}}, len(ordered) - 1},
		{bson.D{{Key: "$gt", Value: bson.MinKey{}}, {Key: "$lt", Value: "a"}}, 1},
		{bson.D{{Key: "$eq", Value: math.NaN()}}, 1},
	} {
		if got := ids(t, ctx, c, bson.D{{Key: "_id", Value: test.filter}}); len(got) != test.n {
			t.Errorf("%v: %d, not %d: %v", test.filter, len(got), test.n, got)
		}
	}
	// min and max go across the types.
	between := options.Find().SetHint(bson.D{{Key: "_id", Value: 1}}).SetMin(bson.D{{Key: "_id", Value: 1.5}}).SetMax(bson.D{{Key: "_id", Value: "b"}})
	if got := ids(t, ctx, c, bson.D{}, between); len(got) != 11 {
		t.Errorf("from 1.5 to b: %v", got)
	}
	if got := ids(t, ctx, c, bson.D{}, between.SetLimit(3).SetBatchSize(2)); len(got) != 3 {
		t.Errorf("the first 3 of them: %v", got)
	}
}

func TestFilters(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, mongofake.Options{})).Database("shop").Collection("orders")
	must(c.InsertMany(ctx, []any{
		bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 1}, {Key: "tags", Value: bson.A{"x", "y"}}},
		bson.D{{Key: "_id", Value: 2}, {Key: "a", Value: nil}, {Key: "sub", Value: bson.D{{Key: "b", Value: 5}}}},
		bson.D{{Key: "_id", Value: 3}, {Key: "lines", Value: bson.A{bson.D{{Key: "n", Value: 1}}, bson.D{{Key: "n", Value: 7}}}}},
		bson.D{{Key: "_id", Value: 4}, {Key: "a", Value: "hello"}},
	}))(t)
	for filter, want := range map[string][]string{
		`{"a": 1}`:                                     {"1"},
		`{"a": null}`:                                  {"2", "3"},
		`{"a": {"$exists": true}}`:                     {"1", "2", "4"},
		`{"a": {"$exists": false}}`:                    {"3"},
		`{"a": {"$ne": 1}}`:                            {"2", "3", "4"},
		`{"a": {"$in": [1, "hello"]}}`:                 {"1", "4"},
		`{"a": {"$nin": [1, "hello"]}}`:                {"2", "3"},
		`{"a": {"$not": {"$gte": 1}}}`:                 {"2", "3", "4"},
		`{"tags": "y"}`:                                {"1"},
		`{"tags": ["x", "y"]}`:                         {"1"},
		`{"tags.0": "x"}`:                              {"1"},
		`{"sub.b": {"$gt": 4, "$lt": 6}}`:              {"2"},
		`{"lines.n": 7}`:                               {"3"},
		`{"lines.1.n": 7}`:                             {"3"},
		`{"lines.0.n": 7}`:                             {},
		`{"$or": [{"a": 1}, {"sub.b": 5}]}`:            {"1", "2"},
		`{"$and": [{"_id": {"$gt": 1}}, {"a": null}]}`: {"2", "3"},
		`{"$nor": [{"a": 1}, {"_id": 4}]}`:             {"2", "3"},
		`{"a": {"$regex": "^HE", "$options": "i"}}`:    {"4"},
		`{"_id": {"$in": [4, 1, 9]}}`:                  {"1", "4"},
	} {
		var f bson.D
		check(t, bson.UnmarshalExtJSON([]byte(filter), false, &f))
		got := []string{}
		for _, id := range ids(t, ctx, c, f) {
			got = append(got, id[len(`{"$numberInt":"`):len(id)-2])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", filter, got, want)
		}
		if n := must(c.CountDocuments(ctx, f))(t); int(n) != len(want) {
			t.Errorf("%s: counted %d", filter, n)
		}
	}
	if _, err := c.Find(ctx, bson.D{{Key: "a", Value: bson.D{{Key: "$bitsAllSet", Value: 1}}}}); code(err) != 2 {
		t.Errorf("what it does not know: %v", err)
	}
	var doc bson.D
	check(t, c.FindOne(ctx, bson.D{{Key: "_id", Value: 1}}, options.FindOne().SetProjection(bson.D{{Key: "a", Value: 1}, {Key: "_id", Value: 0}})).Decode(&doc))
	if len(doc) != 1 || doc[0].Key != "a" {
		t.Errorf("projected: %v", doc)
	}
	sorted := ids(t, ctx, c, bson.D{}, options.Find().SetSort(bson.D{{Key: "a", Value: -1}, {Key: "_id", Value: -1}}).SetSkip(1).SetLimit(2))
	if len(sorted) != 2 || sorted[0] != `{"$numberInt":"1"}` || sorted[1] != `{"$numberInt":"3"}` {
		t.Errorf("sorted: %v", sorted)
	}
	if n := must(c.EstimatedDocumentCount(ctx))(t); n != 4 {
		t.Errorf("estimated: %d", n)
	}
}

func TestCatalog(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	db := client.Database("shop")
	check(t, db.CreateCollection(ctx, "kept", options.CreateCollection().SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})))
	must(db.Collection("plain").InsertOne(ctx, bson.D{{Key: "a", Value: 1}}))(t)
	if err := db.CreateCollection(ctx, "kept"); code(err) != 48 {
		t.Errorf("made twice: %v", err)
	}
	specs := must(db.ListCollectionSpecifications(ctx, bson.D{}))(t)
	if len(specs) != 2 || specs[0].Name != "kept" || specs[0].UUID == nil || specs[1].Options.Lookup("changeStreamPreAndPostImages").Type != 0 ||
		!specs[0].Options.Lookup("changeStreamPreAndPostImages", "enabled").Boolean() {
		t.Errorf("%+v", specs)
	}
	check(t, db.RunCommand(ctx, bson.D{{Key: "collMod", Value: "kept"}, {Key: "changeStreamPreAndPostImages", Value: bson.D{{Key: "enabled", Value: false}}}}).Err())
	specs = must(db.ListCollectionSpecifications(ctx, bson.D{{Key: "name", Value: "kept"}}))(t)
	if len(specs) != 1 || specs[0].Options.Lookup("changeStreamPreAndPostImages").Type != 0 {
		t.Errorf("%+v", specs)
	}
	must(db.Collection("plain").Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}}}))(t)
	if got := must(db.Collection("plain").Indexes().ListSpecifications(ctx))(t); len(got) != 2 || got[1].Name != "a_1" {
		t.Errorf("indexes: %v", got)
	}
	rename := func(drop bool) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "renameCollection", Value: "shop.plain"}, {Key: "to", Value: "shop.kept"}, {Key: "dropTarget", Value: drop}}).Err()
	}
	if err := rename(false); code(err) != 48 {
		t.Errorf("renamed onto another: %v", err)
	}
	check(t, rename(true))
	if err := rename(true); code(err) != 26 {
		t.Errorf("renamed what is not there: %v", err)
	}
	if names := must(db.ListCollectionNames(ctx, bson.D{}))(t); !slices.Equal(names, []string{"kept"}) {
		t.Errorf("%v", names)
	}
	if got := ids(t, ctx, db.Collection("kept"), bson.D{}); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if names := must(client.ListDatabaseNames(ctx, bson.D{}))(t); !slices.Equal(names, []string{"shop"}) {
		t.Errorf("%v", names)
	}
	check(t, db.Drop(ctx))
	if names := must(client.ListDatabaseNames(ctx, bson.D{}))(t); len(names) != 0 {
		t.Errorf("%v", names)
	}
	if err := db.RunCommand(ctx, bson.D{{Key: "drop", Value: "kept"}}).Err(); code(err) != 26 {
		t.Errorf("dropped what is not there: %v", err)
	}
}
