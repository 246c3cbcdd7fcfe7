package mongofake_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

// next are the next n events of a stream.
func next(t testing.TB, s *mongo.ChangeStream, n int) []bson.Raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out []bson.Raw
	for len(out) < n {
		if !s.Next(ctx) {
			t.Fatalf("%d of %d events: %v\n%v", len(out), n, s.Err(), out)
		}
		out = append(out, append(bson.Raw(nil), s.Current...))
	}
	return out
}

func kinds(events []bson.Raw) []string {
	out := []string{}
	for _, e := range events {
		out = append(out, e.Lookup("operationType").StringValue())
	}
	return out
}

type watcher interface {
	Watch(context.Context, any, ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

func watch(t testing.TB, w watcher, opts *options.ChangeStreamOptionsBuilder, pipeline ...bson.D) *mongo.ChangeStream {
	t.Helper()
	if pipeline == nil {
		pipeline = []bson.D{}
	}
	s, err := w.Watch(t.Context(), pipeline, opts.SetMaxAwaitTime(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	return s
}

func TestBasicEvents(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	db := client.Database("shop")
	c := db.Collection("orders")
	streams := map[string]*mongo.ChangeStream{
		"collection": watch(t, c, options.ChangeStream()), "database": watch(t, db, options.ChangeStream()), "deployment": watch(t, client, options.ChangeStream()),
	}
	must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: 1}}))(t)
	must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "b.c", Value: 2}}}, {Key: "$unset", Value: bson.D{{Key: "a", Value: ""}}}}))(t)
	must(c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "z", Value: 9}}))(t)
	must(c.DeleteOne(ctx, bson.D{{Key: "_id", Value: 1}}))(t)
	for name, s := range streams {
		got := next(t, s, 4)
		want := []string{"insert", "update", "replace", "delete"}
		for i, k := range kinds(got) {
			if k != want[i] {
				t.Errorf("%s: %v", name, kinds(got))
			}
		}
		if d := got[1].Lookup("updateDescription").String(); d != `{"updatedFields": {"b": {"c": {"$numberInt":"2"}}},"removedFields": ["a"],"truncatedArrays": []}` {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// What the definition of a collection makes of the streams on it.
func TestDefinitions(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	db := client.Database("shop")
	deployment := watch(t, client, options.ChangeStream().SetShowExpandedEvents(true))
	plain := watch(t, client, options.ChangeStream())
	check(t, db.CreateCollection(ctx, "a"))
	a, b := watch(t, db.Collection("a"), options.ChangeStream()), watch(t, db.Collection("b"), options.ChangeStream())
	whole := watch(t, db, options.ChangeStream())
	must(db.Collection("b").InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
	must(db.Collection("b").Indexes().CreateOne(ctx, mongo.IndexModel{Keys: parse(t, `{"x":1}`)}))(t)
	check(t, db.Collection("b").Indexes().DropOne(ctx, "x_1"))
	check(t, db.RunCommand(ctx, parse(t, `{"collMod":"b","changeStreamPreAndPostImages":{"enabled":true}}`)).Err())
	check(t, client.Database("admin").RunCommand(ctx, parse(t, `{"renameCollection":"shop.a","to":"shop.b","dropTarget":true}`)).Err())
	must(db.Collection("c").InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
	check(t, db.Collection("c").Drop(ctx))
	check(t, db.Drop(ctx))
	must(client.Database("other").Collection("d").InsertOne(ctx, parse(t, `{"_id":1}`)))(t)

	for name, test := range map[string]struct {
		stream *mongo.ChangeStream
		want   []string
	}{
		"expanded":   {deployment, []string{"create", "create", "insert", "createIndexes", "dropIndexes", "modify", "rename", "create", "insert", "drop", "drop", "dropDatabase", "create", "insert"}},
		"deployment": {plain, []string{"insert", "rename", "insert", "drop", "drop", "dropDatabase", "insert"}},
		"database":   {whole, []string{"insert", "rename", "insert", "drop", "drop", "dropDatabase", "invalidate"}},
		"a":          {a, []string{"rename", "invalidate"}},
		"b":          {b, []string{"insert", "rename", "invalidate"}},
	} {
		events := next(t, test.stream, len(test.want))
		if got := kinds(events); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, not %v", name, got, test.want)
		}
		for _, e := range events {
			switch e.Lookup("operationType").StringValue() {
			case "rename":
				if e.Lookup("to", "coll").StringValue() != "b" || e.Lookup("ns", "coll").StringValue() != "a" {
					t.Errorf("%s: %v", name, e)
				}
			case "create", "modify", "createIndexes":
				if e.Lookup("operationDescription").Type == 0 || e.Lookup("collectionUUID").Type == 0 {
					t.Errorf("%s: %v", name, e)
				}
			case "dropDatabase":
				if e.Lookup("ns", "coll").Type != 0 {
					t.Errorf("%s: %v", name, e)
				}
			case "invalidate":
				token := e.Lookup("_id").Document()
				if test.stream.Next(ctx) || test.stream.ID() != 0 {
					t.Errorf("%s goes on: %v", name, test.stream.Current)
				}
				if _, err := db.Watch(ctx, []bson.D{}, options.ChangeStream().SetResumeAfter(token)); code(err) != 260 {
					t.Errorf("%s: resumed after invalidate: %v", name, err)
				}
				on := watch(t, client.Database("other"), options.ChangeStream().SetStartAfter(token))
				if got := next(t, on, 1)[0]; got.Lookup("ns", "coll").StringValue() != "d" {
					t.Errorf("%s: behind invalidate: %v", name, got)
				}
			}
		}
	}
}

// Images are those of the time of the change.
func TestImages(t *testing.T) {
	ctx := t.Context()
	f := start(t, mongofake.Options{})
	client := connect(t, f)
	db := client.Database("shop")
	check(t, db.CreateCollection(ctx, "kept", options.CreateCollection().SetChangeStreamPreAndPostImages(parse(t, `{"enabled":true}`))))
	kept, plain := db.Collection("kept"), db.Collection("plain")
	from := now(f)
	for _, c := range []*mongo.Collection{kept, plain} {
		must(c.InsertOne(ctx, parse(t, `{"_id":1,"v":1}`)))(t)
		must(c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$set":{"v":2}}`)))(t)
		must(c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$set":{"v":3}}`)))(t)
		must(c.ReplaceOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"v":4}`)))(t)
		must(c.DeleteOne(ctx, parse(t, `{"_id":1}`)))(t)
	}
	open := func(c *mongo.Collection, after, before options.FullDocument) *mongo.ChangeStream {
		return watch(t, c, options.ChangeStream().SetStartAtOperationTime(&from).SetFullDocument(after).SetFullDocumentBeforeChange(before))
	}
	show := func(events []bson.Raw) string {
		var out []string
		for _, e := range events {
			part := func(key string) string {
				switch v := e.Lookup(key); v.Type {
				case 0:
					return "-"
				case bson.TypeNull:
					return "null"
				default:
					return v.Document().Lookup("v").String()[len(`{"$numberInt":"`):][:1]
				}
			}
			out = append(out, part("fullDocumentBeforeChange")+">"+part("fullDocument"))
		}
		return strings.Join(out, " ")
	}
	for _, test := range []struct {
		c             *mongo.Collection
		after, before options.FullDocument
		want          string
	}{
		{kept, options.Default, options.Off, "->1 ->- ->- ->4 ->-"},
		{kept, options.UpdateLookup, options.WhenAvailable, "->1 1>null 2>null 3>4 4>-"},
		{kept, options.Required, options.Required, "->1 1>2 2>3 3>4 4>-"},
		{plain, options.WhenAvailable, options.WhenAvailable, "->1 null>null null>null null>4 null>-"},
	} {
		if got := show(next(t, open(test.c, test.after, test.before), 5)); got != test.want {
			t.Errorf("%s with %s and %s: %s, not %s", test.c.Name(), test.after, test.before, got, test.want)
		}
	}
	missing := func(c *mongo.Collection) {
		t.Helper()
		s := open(c, options.Required, options.Off)
		next(t, s, 1) // the insert has its document
		if s.Next(ctx) || code(s.Err()) != 47 {
			t.Errorf("no post-image of %s: %v", c.Name(), s.Err())
		}
	}
	missing(plain)
	f.ForgetImages()
	missing(kept)
}

// A filter lets through by operation and namespace.
func TestMatch(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	streams := map[string]string{
		`{"ns.coll":{"$in":["a","b"]}}`:                                                    "a a b b",
		`{"ns.coll":{"$nin":["a","b"]}}`:                                                   "c c",
		`{"ns.coll":{"$regex":"^[bc]$"},"operationType":"delete"}`:                         "b c",
		`{"$or":[{"ns.coll":"a"},{"$and":[{"ns.db":"shop"},{"operationType":"insert"}]}]}`: "a a b c",
	}
	open := map[string]*mongo.ChangeStream{}
	for filter := range streams {
		open[filter] = watch(t, client, options.ChangeStream(), bson.D{{Key: "$match", Value: parse(t, filter)}})
	}
	for _, name := range []string{"a", "b", "c"} {
		c := client.Database("shop").Collection(name)
		must(c.InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
		must(c.DeleteOne(ctx, parse(t, `{"_id":1}`)))(t)
	}
	for filter, want := range streams {
		var got []string
		for _, e := range next(t, open[filter], len(strings.Fields(want))) {
			got = append(got, e.Lookup("ns", "coll").StringValue())
		}
		if strings.Join(got, " ") != want || open[filter].TryNext(ctx) {
			t.Errorf("%s: %v, not %s", filter, got, want)
		}
	}
}

// A large event comes in fragments, if the stream wants it so.
func TestLargeEvents(t *testing.T) {
	ctx := t.Context()
	f := start(t, mongofake.Options{MaxEvent: 2000})
	db := connect(t, f).Database("shop")
	check(t, db.CreateCollection(ctx, "orders", options.CreateCollection().SetChangeStreamPreAndPostImages(parse(t, `{"enabled":true}`))))
	c := db.Collection("orders")
	must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: strings.Repeat("a", 1500)}}))(t)
	from := now(f)
	from.I++
	must(c.ReplaceOne(ctx, parse(t, `{"_id":1}`), bson.D{{Key: "b", Value: strings.Repeat("b", 1500)}}))(t)
	must(c.DeleteOne(ctx, parse(t, `{"_id":1}`)))(t)
	opts := func() *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetStartAtOperationTime(&from).SetFullDocumentBeforeChange(options.Required)
	}
	_, err := c.Watch(ctx, []bson.D{}, opts())
	if code(err) != 10334 {
		t.Errorf("too large: %v", err)
	}
	splits := bson.D{{Key: "$changeStreamSplitLargeEvent", Value: bson.D{}}}
	events := next(t, watch(t, c, opts(), splits), 3)
	var fields []string
	for i, e := range events[:2] {
		if e.Lookup("splitEvent", "fragment").Int32() != int32(i+1) || e.Lookup("splitEvent", "of").Int32() != 2 {
			t.Errorf("%v", e)
		}
		for _, el := range must(e.Elements())(t)[2:] {
			fields = append(fields, el.Key())
		}
	}
	if got := strings.Join(fields, " "); got != "operationType clusterTime wallTime fullDocument fullDocumentBeforeChange ns documentKey" {
		t.Errorf("the parts are %s", got)
	}
	if events[2].Lookup("operationType").StringValue() != "delete" || events[2].Lookup("splitEvent").Type != 0 {
		t.Errorf("%v", events[2])
	}
	// It is resumed between the fragments.
	for i := range 2 {
		s := watch(t, c, options.ChangeStream().SetFullDocumentBeforeChange(options.Required).SetResumeAfter(events[i].Lookup("_id").Document()).SetBatchSize(1), splits)
		if got := next(t, s, 1)[0]; got.String() != events[i+1].String() {
			t.Errorf("behind %d comes %v", i, got)
		}
	}
}
