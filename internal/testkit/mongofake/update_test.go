package mongofake_test

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

func parse(t testing.TB, s string) bson.D {
	t.Helper()
	var d bson.D
	check(t, bson.UnmarshalExtJSON([]byte(s), false, &d))
	return d
}

func relaxed(t testing.TB, v any) string {
	t.Helper()
	return string(must(bson.MarshalExtJSON(v, false, false))(t))
}

func TestUpdatesAndTheirDescriptions(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, mongofake.Options{})).Database("shop").Collection("orders")
	s := watch(t, c, options.ChangeStream().SetShowExpandedEvents(true))
	const old = `{"a":1,"big":{"$numberLong":"5000000000"},"sub":{"x":1,"y":{"z":1}},"arr":[1,2,3],"0":{"1":1}}`
	first := true
	for _, test := range []struct{ update, doc, desc string }{
		{`{"$set": {"a": 2, "sub.y.z": 9}}`, `{"a":2,"big":5000000000,"sub":{"x":1,"y":{"z":9}},"arr":[1,2,3],"0":{"1":1}}`, `{"updatedFields":{"a":2,"sub.y.z":9},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{}}`},
		{`{"$set": {"sub": {"x": 1, "y": 2}}}`, `{"a":1,"big":5000000000,"sub":{"x":1,"y":2},"arr":[1,2,3],"0":{"1":1}}`, `{"updatedFields":{"sub":{"x":1,"y":2}},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{}}`},
		{`{"$set": {"n.m": 1, "arr.1": 7}, "$unset": {"sub.x": "", "none": ""}}`, `{"a":1,"big":5000000000,"sub":{"y":{"z":1}},"arr":[1,7,3],"0":{"1":1},"n":{"m":1}}`, `{"updatedFields":{"n":{"m":1},"arr.1":7},"removedFields":["sub.x"],"truncatedArrays":[],"disambiguatedPaths":{}}`},
		{`{"$inc": {"a": 4, "big": 1, "new": 2.5}}`, `{"a":5,"big":5000000001,"sub":{"x":1,"y":{"z":1}},"arr":[1,2,3],"0":{"1":1},"new":2.5}`, `{"updatedFields":{"a":5,"big":5000000001,"new":2.5},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{}}`},
		{`{"$push": {"arr": 4, "fresh": {"$each": [1, 2]}}}`, `{"a":1,"big":5000000000,"sub":{"x":1,"y":{"z":1}},"arr":[1,2,3,4],"0":{"1":1},"fresh":[1,2]}`, `{"updatedFields":{"arr.3":4,"fresh":[1,2]},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{}}`},
		{`{"$set": {"0.1": 2}}`, `{"a":1,"big":5000000000,"sub":{"x":1,"y":{"z":1}},"arr":[1,2,3],"0":{"1":2}}`, `{"updatedFields":{"0.1":2},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{"0.1":["0","1"]}}`},
		{`{"pipeline": [{"$set": {"arr": [1, 9], "sub": {"y": {"z": 2}}}}, {"$unset": "a"}]}`, `{"big":5000000000,"sub":{"x":1,"y":{"z":2}},"arr":[1,9],"0":{"1":1}}`, ``},
	} {
		var u any = parse(t, test.update)
		if p := u.(bson.D); p[0].Key == "pipeline" {
			u = p[0].Value
			test.doc = `{"big":5000000000,"sub":{"y":{"z":2}},"arr":[1,9],"0":{"1":1}}`
			test.desc = `{"updatedFields":{"sub.y.z":2,"arr.1":9},"removedFields":["a","sub.x"],"truncatedArrays":[{"field":"arr","newSize":2}],"disambiguatedPaths":{}}`
		}
		must(c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: 1}}, append(bson.D{{Key: "_id", Value: 1}}, parse(t, old)...), options.Replace().SetUpsert(true)))(t)
		must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: 1}}, u))(t)
		var doc bson.D
		check(t, c.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 0}})).Decode(&doc))
		if got := relaxed(t, doc); got != test.doc {
			t.Errorf("%s makes\n%s, not\n%s", test.update, got, test.doc)
		}
		for {
			e := next(t, s, 1)[0]
			if k := e.Lookup("operationType").StringValue(); k != "update" {
				if first && k == "replace" {
					t.Error("a first upsert is an insert")
				}
				continue
			}
			if got := relaxed(t, e.Lookup("updateDescription").Document()); got != test.desc {
				t.Errorf("%s is described as\n%s, not\n%s", test.update, got, test.desc)
			}
			break
		}
		first = false
	}
}

func TestWhatAnUpdateAnswers(t *testing.T) {
	ctx := t.Context()
	c := connect(t, start(t, mongofake.Options{})).Database("shop").Collection("orders")
	must(c.InsertMany(ctx, []any{parse(t, `{"_id":1,"g":1}`), parse(t, `{"_id":2,"g":1}`), parse(t, `{"_id":3,"g":2}`)}))(t)
	r := must(c.UpdateMany(ctx, parse(t, `{"g":1}`), parse(t, `{"$set":{"g":1,"h":1}}`)))(t)
	if r.MatchedCount != 2 || r.ModifiedCount != 2 {
		t.Errorf("%+v", r)
	}
	s := watch(t, c, options.ChangeStream())
	r = must(c.UpdateMany(ctx, parse(t, `{"g":1}`), parse(t, `{"$set":{"h":1}}`)))(t)
	if r.MatchedCount != 2 || r.ModifiedCount != 0 {
		t.Errorf("without effect: %+v", r)
	}
	r = must(c.UpdateOne(ctx, parse(t, `{"_id":9,"k":{"$gt":3}}`), parse(t, `{"$set":{"u":1},"$setOnInsert":{"v":2}}`), options.UpdateOne().SetUpsert(true)))(t)
	if r.UpsertedCount != 1 || r.UpsertedID != int32(9) || r.MatchedCount != 0 {
		t.Errorf("upsert: %+v", r)
	}
	if got := relaxed(t, next(t, s, 1)[0].Lookup("fullDocument").Document()); got != `{"_id":9,"u":1,"v":2}` {
		t.Errorf("the update without effect has an event, or the upsert's is wrong: %s", got)
	}
	if _, err := c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$set":{"_id":5}}`)); code(err) != 66 {
		t.Errorf("another _id: %v", err)
	}
	var doc bson.D
	check(t, c.FindOneAndUpdate(ctx, parse(t, `{"g":1}`), parse(t, `{"$inc":{"n":1}}`), options.FindOneAndUpdate().SetSort(parse(t, `{"_id":-1}`)).SetReturnDocument(options.After)).Decode(&doc))
	if got := relaxed(t, doc); got != `{"_id":2,"g":1,"h":1,"n":1}` {
		t.Errorf("%s", got)
	}
	check(t, c.FindOneAndDelete(ctx, parse(t, `{"_id":2}`)).Decode(&doc))
	if err := c.FindOneAndDelete(ctx, parse(t, `{"_id":2}`)).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("%v", err)
	}
	d := must(c.DeleteMany(ctx, parse(t, `{"g":{"$gt":0}}`)))(t)
	if d.DeletedCount != 2 {
		t.Errorf("%+v", d)
	}
	// Unordered goes on behind a refusal, ordered stops.
	docs := []any{parse(t, `{"_id":20}`), parse(t, `{"_id":9}`), parse(t, `{"_id":21}`)}
	if _, err := c.InsertMany(ctx, docs); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("%v", err)
	}
	if got := ids(t, ctx, c, bson.D{}); len(got) != 2 {
		t.Errorf("ordered: %v", got)
	}
	if _, err := c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false)); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("%v", err)
	}
	if got := ids(t, ctx, c, bson.D{}); len(got) != 3 {
		t.Errorf("unordered: %v", got)
	}
}
