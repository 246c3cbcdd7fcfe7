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

func TestTransactionHasOneTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := start(t, mongofake.Options{})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	must(c.InsertOne(ctx, parse(t, `{"_id":0}`)))(t)
	s := watch(t, client, options.ChangeStream())
	session := must(client.StartSession())(t)
	defer session.EndSession(ctx)
	f.On("commitTransaction", 1, mongofake.LoseReply()) // and it is asked again
	must(session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		must(c.InsertMany(ctx, []any{parse(t, `{"_id":1}`), parse(t, `{"_id":2}`)}))(t)
		must(c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$set":{"a":1}}`)))(t)
		must(c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$set":{"a":2}}`)))(t)
		must(c.DeleteOne(ctx, parse(t, `{"_id":0}`)))(t)
		if got := ids(t, ctx, c, bson.D{}); len(got) != 2 {
			t.Errorf("it does not see its own writes: %v", got)
		}
		if got := ids(t, context.WithoutCancel(t.Context()), c, bson.D{}); len(got) != 1 {
			t.Errorf("others see its writes: %v", got)
		}
		return nil, nil
	}))(t)
	must(c.InsertMany(ctx, []any{parse(t, `{"_id":3}`), parse(t, `{"_id":4}`)}))(t)
	events := next(t, s, 7)
	var times []bson.Timestamp
	for i, e := range events {
		seconds, n := e.Lookup("clusterTime").Timestamp()
		times = append(times, bson.Timestamp{T: seconds, I: n})
		if in := e.Lookup("txnNumber").Type != 0 && e.Lookup("lsid").Type != 0; in != (i < 5) {
			t.Errorf("event %d says of its transaction: %v", i, e)
		}
		if i > 0 && i < 5 && times[i] != times[0] {
			t.Errorf("event %d of the transaction is at %v, the first at %v", i, times[i], times[0])
		}
		if i >= 5 && times[i].Compare(times[i-1]) <= 0 {
			t.Errorf("event %d is at %v, behind %v", i, times[i], times[i-1])
		}
	}
	if got := kinds(events); got[2] != "update" || got[4] != "delete" || len(f.Fired()) != 1 {
		t.Errorf("%v, %v", got, f.Fired())
	}
	if events[2].Lookup("updateDescription", "updatedFields", "a").Int32() != 1 {
		t.Errorf("%v", events[2])
	}
	// A stream is resumed inside the transaction.
	for i := range 6 {
		again := watch(t, client, options.ChangeStream().SetResumeAfter(events[i].Lookup("_id").Document()))
		if got := next(t, again, 1)[0]; got.Lookup("documentKey").String() != events[i+1].Lookup("documentKey").String() || got.Lookup("operationType").String() != events[i+1].Lookup("operationType").String() {
			t.Errorf("behind %d comes %v", i, got)
		}
	}
}

func TestTransactionsConflict(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	c := client.Database("shop").Collection("orders")
	must(c.InsertMany(ctx, []any{parse(t, `{"_id":1,"n":0}`), parse(t, `{"_id":2,"n":0}`)}))(t)
	begin := func() (context.Context, *mongo.Session) {
		s := must(client.StartSession())(t)
		t.Cleanup(func() { s.EndSession(context.WithoutCancel(ctx)) })
		check(t, s.StartTransaction())
		return mongo.NewSessionContext(ctx, s), s
	}
	inc := func(ctx context.Context, id int) error {
		_, err := c.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, parse(t, `{"$inc":{"n":1}}`))
		return err
	}
	one, s1 := begin()
	two, s2 := begin()
	check(t, inc(one, 1))
	check(t, inc(two, 2))
	var labeled mongo.LabeledError
	if err := inc(two, 1); code(err) != 112 || !errors.As(err, &labeled) || !labeled.HasErrorLabel("TransientTransactionError") {
		t.Errorf("both write one document: %v", err)
	}
	if err := s2.CommitTransaction(two); code(err) != 251 {
		t.Errorf("it was aborted: %v", err)
	}
	// A write outside waits for the transaction, and then sees what it did.
	const waiters = 3
	waited := make(chan error, waiters)
	for range waiters {
		go func() { waited <- inc(ctx, 1) }()
	}
	select {
	case err := <-waited:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	check(t, s1.CommitTransaction(one))
	for range waiters {
		check(t, <-waited)
	}
	three, s3 := begin()
	if got := ids(t, three, c, parse(t, `{"_id":1,"n":4}`)); len(got) != 1 {
		t.Errorf("1 was not raised four times: %v", got)
	}
	check(t, inc(ctx, 2))
	if got := ids(t, three, c, parse(t, `{"_id":2,"n":0}`)); len(got) != 1 {
		t.Errorf("the transaction sees what came later, or what was aborted: %v", got)
	}
	if err := inc(three, 2); code(err) != 112 {
		t.Errorf("what it read has changed: %v", err)
	}
	_ = s3.AbortTransaction(three)
}

// What a transaction inserted and gave up leaves nothing behind.
func TestAbort(t *testing.T) {
	ctx := t.Context()
	client := connect(t, start(t, mongofake.Options{}))
	c := client.Database("shop").Collection("orders")
	must(c.InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
	s := watch(t, c, options.ChangeStream())
	session := must(client.StartSession())(t)
	defer session.EndSession(ctx)
	check(t, session.StartTransaction())
	in := mongo.NewSessionContext(ctx, session)
	must(c.InsertOne(in, parse(t, `{"_id":2}`)))(t)
	must(c.DeleteOne(in, parse(t, `{"_id":1}`)))(t)
	check(t, session.AbortTransaction(in))
	must(c.InsertOne(ctx, parse(t, `{"_id":2,"later":true}`)))(t)
	if got := ids(t, ctx, c, bson.D{}); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if e := next(t, s, 1)[0]; !e.Lookup("fullDocument", "later").Boolean() {
		t.Errorf("%v", e)
	}
}

// A retryable write whose reply is lost has one effect, also if the server
// starts again in between.
func TestRetryableWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the driver waits a second before it tries a server again")
	}
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	f := start(t, mongofake.Options{Dir: dir})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	f.On("insert", 1, mongofake.LoseReply())
	must(c.InsertOne(ctx, parse(t, `{"_id":1,"n":0}`)))(t)
	f.On("update", 1, mongofake.LoseReply())
	r := must(c.UpdateOne(ctx, parse(t, `{"_id":1}`), parse(t, `{"$inc":{"n":1}}`)))(t)
	f.On("findAndModify", 1, mongofake.Cut())
	var doc struct{ N int }
	check(t, c.FindOneAndUpdate(ctx, parse(t, `{"_id":1}`), parse(t, `{"$inc":{"n":1}}`), options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc))
	if r.ModifiedCount != 1 || doc.N != 2 || len(f.Fired()) != 3 {
		t.Errorf("%+v, n %d, %v", r, doc.N, f.Fired())
	}
	session := must(client.StartSession())(t)
	defer session.EndSession(ctx)
	write := parse(t, `{"update":"orders","updates":[{"q":{"_id":1},"u":{"$inc":{"n":1}}}],"txnNumber":{"$numberLong":"77"}}`)
	in := mongo.NewSessionContext(ctx, session)
	for range 2 {
		var reply struct{ N, NModified int }
		check(t, client.Database("shop").RunCommand(in, write).Decode(&reply))
		if reply.N != 1 || reply.NModified != 1 {
			t.Errorf("%+v", reply)
		}
		check(t, f.Close())
		f = start(t, mongofake.Options{Dir: dir, Port: f.Port()})
		awake(t, client)
	}
	check(t, c.FindOne(ctx, bson.D{}).Decode(&doc))
	if doc.N != 3 {
		t.Errorf("n is %d, so it was written again", doc.N)
	}
}
