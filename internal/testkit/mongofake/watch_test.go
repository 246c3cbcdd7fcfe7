package mongofake_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

func asServerError(err error, target *mongo.ServerError) bool { return errors.As(err, target) }

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
