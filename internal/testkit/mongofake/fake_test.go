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

// start runs a fake for the test, on a folder of its own if none is given.
func start(t testing.TB, opts mongofake.Options) *mongofake.Fake {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	f, err := mongofake.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func connect(t testing.TB, f *mongofake.Fake) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(f.URI()).SetServerSelectionTimeout(20 * time.Second).SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Disconnect(ctx) // the fake may be gone
	})
	return c
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awake waits until the client has found a fake that was started again. A first
// command on an old connection may fail, as it may with mongod.
func awake(t testing.TB, c *mongo.Client) {
	t.Helper()
	var err error
	for range 100 {
		if err = c.Ping(t.Context(), nil); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

// code is the server's error code.
func code(err error) int {
	var e mongo.ServerError
	if errors.As(err, &e) {
		for _, c := range []int{2, 9, 13, 18, 26, 43, 47, 48, 66, 72, 112, 136, 225, 239, 251, 260, 280, 286, 10107, 10334, 11000} {
			if e.HasErrorCode(c) {
				return c
			}
		}
	}
	return 0
}

// ids are the _id of all documents, as extended JSON, in order.
func ids(t testing.TB, ctx context.Context, c *mongo.Collection, filter any, opts ...options.Lister[options.FindOptions]) []string {
	t.Helper()
	cur := must(c.Find(ctx, filter, opts...))(t)
	var docs []bson.Raw
	check(t, cur.All(ctx, &docs))
	out := []string{}
	for _, d := range docs {
		out = append(out, d.Lookup("_id").String())
	}
	return out
}

func TestWritesSurviveACloseAtTheSamePort(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	f := start(t, mongofake.Options{Dir: dir})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	must(c.InsertMany(ctx, []any{bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 1}}, bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "_id", Value: 3}}}))(t)
	must(c.UpdateOne(ctx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 4}}}}))(t)
	must(c.DeleteOne(ctx, bson.D{{Key: "_id", Value: 2}}))(t)
	check(t, f.Close())
	start(t, mongofake.Options{Dir: dir, Port: f.Port()})
	if got := ids(t, ctx, c, bson.D{}); len(got) != 2 || got[1] != `{"$numberInt":"3"}` {
		t.Errorf("after the restart: %v", got)
	}
	var doc struct{ N int }
	check(t, c.FindOne(ctx, bson.D{{Key: "_id", Value: 1}}).Decode(&doc))
	if doc.N != 5 {
		t.Errorf("n is %d", doc.N)
	}
}

// A fake that lags says so in its greeting, and has the cluster time that it was given.
func TestLag(t *testing.T) {
	f := start(t, mongofake.Options{})
	c, err := mongo.Connect(options.Client().ApplyURI(f.URI() + "&directConnection=true"))
	check(t, err)
	defer func() { check(t, c.Disconnect(context.Background())) }()
	hello := func() (primary bool, applied uint64) {
		t.Helper()
		raw, err := c.Database("admin").RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		ts, inc := raw.Lookup("operationTime").Timestamp()
		return raw.Lookup("isWritablePrimary").Boolean(), uint64(ts)<<32 | uint64(inc)
	}
	at := f.ClusterTime() - 1
	f.Lag(at)
	if primary, applied := hello(); primary || applied != at {
		t.Errorf("primary %v at %x, want a secondary at %x", primary, applied, at)
	}
	f.Lag(0)
	if primary, applied := hello(); !primary || applied <= at {
		t.Errorf("primary %v at %x, want the primary behind %x", primary, applied, at)
	}
}
