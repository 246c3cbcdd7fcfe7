package mongofake_test

import (
	"context"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

func now(f *mongofake.Fake) bson.Timestamp {
	at := f.ClusterTime()
	return bson.Timestamp{T: uint32(at >> 32), I: uint32(at)}
}

// at reads a collection as it was.
func at(ctx context.Context, db *mongo.Database, coll string, at bson.Timestamp) ([]bson.Raw, error) {
	cur, err := db.RunCommandCursor(ctx, bson.D{
		{Key: "find", Value: coll},
		{Key: "batchSize", Value: 2},
		{Key: "readConcern", Value: bson.D{{Key: "level", Value: "snapshot"}, {Key: "atClusterTime", Value: at}}},
	})
	if err != nil {
		return nil, err
	}
	var docs []bson.Raw
	return docs, cur.All(ctx, &docs)
}

func TestSnapshotReads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	f := start(t, mongofake.Options{Dir: dir})
	client := connect(t, f)
	db := client.Database("shop")
	c := db.Collection("orders")
	var times []bson.Timestamp
	var want []string
	note := func() {
		t.Helper()
		cur := must(c.Find(ctx, bson.D{}))(t)
		var docs []bson.Raw
		check(t, cur.All(ctx, &docs))
		times, want = append(times, now(f)), append(want, fmt.Sprint(docs))
	}
	for i := range 5 {
		must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 9 - i}}))(t)
		note()
	}
	must(c.UpdateMany(ctx, bson.D{}, parse(t, `{"$set":{"a":1}}`)))(t)
	note()
	must(c.DeleteMany(ctx, parse(t, `{"_id":{"$gt":6}}`)))(t)
	note()
	must(c.InsertOne(ctx, parse(t, `{"_id":9,"again":true}`)))(t)
	note()
	look := func() {
		t.Helper()
		for i := range times {
			docs, err := at(ctx, db, "orders", times[i])
			if got := fmt.Sprint(docs); err != nil || got != want[i] {
				t.Errorf("at %d: %v\n%s, not\n%s", i, err, got, want[i])
			}
		}
	}
	look()
	check(t, f.Close())
	f = start(t, mongofake.Options{Dir: dir, Port: f.Port()})
	awake(t, client)
	look()
	check(t, c.Drop(ctx))
	look()
	if _, err := at(ctx, db, "orders", bson.Timestamp{T: times[0].T + 1000}); code(err) != 72 {
		t.Errorf("the future: %v", err)
	}
	check(t, f.ForgetSnapshots())
	if _, err := at(ctx, db, "orders", times[len(times)-1]); code(err) != 239 {
		t.Errorf("too old: %v", err)
	}
	if docs, err := at(ctx, db, "orders", now(f)); err != nil || len(docs) != 0 {
		t.Errorf("the present: %v, %v", docs, err)
	}
}

// All reads of a snapshot session are at the time of its first.
func TestSnapshotSession(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	c := client.Database("shop").Collection("orders")
	for i := range 250 {
		must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: i}}))(t)
	}
	session := must(client.StartSession(options.Session().SetSnapshot(true)))(t)
	defer session.EndSession(ctx)
	in := mongo.NewSessionContext(ctx, session)
	cur := must(c.Find(in, bson.D{}, options.Find().SetBatchSize(100)))(t)
	if !cur.Next(in) {
		t.Fatal(cur.Err())
	}
	must(c.DeleteMany(ctx, bson.D{}))(t)
	n := 1
	for cur.Next(in) {
		n++
	}
	if cur.Err() != nil || n != 250 {
		t.Errorf("read %d: %v", n, cur.Err())
	}
	if got := len(ids(t, in, c, parse(t, `{"_id":{"$gte":200}}`))); got != 50 {
		t.Errorf("the second read has %d", got)
	}
	if n := must(c.CountDocuments(in, bson.D{}))(t); n != 250 {
		t.Errorf("counted %d", n)
	}
	if n := must(c.CountDocuments(ctx, bson.D{}))(t); n != 0 {
		t.Errorf("outside of it: %d", n)
	}
}
