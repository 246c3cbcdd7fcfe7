package mongofake_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

// The events up to a cluster time make the snapshot at that time, whatever was
// written, in transactions or not, and also by who resumes now and then.
func TestEventsMakeTheSnapshots(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 2))
	t.Logf("seed=%d", seed)
	ctx := t.Context()
	f := start(t, mongofake.Options{})
	client := connect(t, f)
	db := client.Database("shop")
	check(t, db.CreateCollection(ctx, "orders", options.CreateCollection().SetChangeStreamPreAndPostImages(parse(t, `{"enabled":true}`))))
	c := db.Collection("orders")
	opts := func() *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetFullDocument(options.Required).SetFullDocumentBeforeChange(options.Required).SetBatchSize(int32(1 + random.IntN(7)))
	}
	s := watch(t, c, opts())
	session := must(client.StartSession())(t)
	defer session.EndSession(ctx)
	for range 150 {
		in := ctx
		transaction := random.IntN(5) == 0
		if transaction {
			check(t, session.StartTransaction())
			in = mongo.NewSessionContext(ctx, session)
		}
		for range 1 + random.IntN(4) {
			id := bson.D{{Key: "_id", Value: random.IntN(12)}}
			switch random.IntN(4) {
			case 0:
				must(c.UpdateOne(in, id, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}, options.UpdateOne().SetUpsert(true)))(t)
			case 1:
				must(c.ReplaceOne(in, id, bson.D{{Key: "r", Value: random.IntN(100)}}))(t)
			case 2:
				must(c.DeleteOne(in, id))(t)
			case 3:
				must(c.UpdateMany(in, bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 1}}}}, bson.D{{Key: "$set", Value: bson.D{{Key: "m.x", Value: random.IntN(100)}}}}))(t)
			}
		}
		if transaction && random.IntN(3) == 0 {
			check(t, session.AbortTransaction(in))
		} else if transaction {
			check(t, session.CommitTransaction(in))
		}
	}
	end := must(c.InsertOne(ctx, parse(t, `{"_id":"end"}`)))(t).InsertedID
	state := map[string]string{}
	var last bson.Timestamp
	compared := 0
	compare := func() {
		t.Helper()
		docs, err := at(ctx, db, "orders", last)
		check(t, err)
		var got []string
		for _, d := range docs {
			got = append(got, d.String())
		}
		want := slices.Collect(maps.Values(state))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed=%d: at %v the snapshot is\n%s, and the events make\n%s", seed, last, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		compared++
	}
	for {
		e := next(t, s, 1)[0]
		seconds, n := e.Lookup("clusterTime").Timestamp()
		if now := (bson.Timestamp{T: seconds, I: n}); now != last {
			if last.T != 0 {
				compare()
			}
			last = now
		}
		key := fmt.Sprint(e.Lookup("documentKey", "_id"))
		if before := e.Lookup("fullDocumentBeforeChange"); before.Type != 0 && before.Document().String() != state[key] {
			t.Fatalf("seed=%d: before %v it was %s", seed, e, state[key])
		}
		if e.Lookup("operationType").StringValue() == "delete" {
			delete(state, key)
		} else {
			state[key] = e.Lookup("fullDocument").Document().String()
		}
		if e.Lookup("documentKey", "_id").Type == bson.TypeString {
			break
		}
		if random.IntN(10) == 0 {
			s = watch(t, c, opts().SetResumeAfter(s.ResumeToken()))
		}
	}
	compare()
	if compared < 50 {
		t.Errorf("seed=%d: compared %d times until %v", seed, compared, end)
	}
}
