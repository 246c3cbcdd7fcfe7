package mongofake_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

// A stream bears what the driver bears: each event comes once, in order.
func TestStreamBearsFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the driver waits before it tries a server again")
	}
	t.Parallel()
	for name, fault := range map[string]mongofake.Fault{
		"cut": mongofake.Cut(), "lost reply": mongofake.LoseReply(), "lost cursor": mongofake.LoseCursor(), "step down": mongofake.NotPrimary(), "slow": mongofake.Slow(20 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			f := start(t, mongofake.Options{})
			c := connect(t, f).Database("shop").Collection("orders")
			s := watch(t, c, options.ChangeStream().SetBatchSize(2))
			for i := range 9 {
				must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: i}}))(t)
			}
			f.On("watch.getMore", 2, fault)
			for i, e := range next(t, s, 9) {
				if got := int(e.Lookup("documentKey", "_id").Int32()); got != i {
					t.Errorf("at %d comes %d", i, got)
				}
			}
			if got := f.Fired(); !slices.Equal(got, []string{"watch.getMore#2"}) {
				t.Errorf("fired: %v", got)
			}
		})
	}
}

func TestFaultsOfCommands(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := start(t, mongofake.Options{})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	must(c.InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
	f.On("find", 2, mongofake.Refuse(2, "BadValue", "no"))
	if got := ids(t, ctx, c, bson.D{}); len(got) != 1 {
		t.Errorf("the first is not refused: %v", got)
	}
	if _, err := c.Find(ctx, bson.D{}); code(err) != 2 {
		t.Errorf("the second is: %v", err)
	}
	f.On("find", 1, mongofake.Refuse(2, "BadValue", "no"))
	f.Off("find")
	ids(t, ctx, c, bson.D{})
	// A write is tried again behind a step down.
	f.On("insert", 1, mongofake.NotPrimary())
	must(c.InsertOne(ctx, parse(t, `{"_id":2}`)))(t)
	// From another process.
	admin := client.Database("admin")
	check(t, admin.RunCommand(ctx, parse(t, `{"mongofake":"on","point":"delete","nth":1,"fault":"refuse","code":2,"message":"no"}`)).Err())
	if _, err := c.DeleteOne(ctx, parse(t, `{"_id":2}`)); code(err) != 2 {
		t.Errorf("%v", err)
	}
	var said struct{ Fired []string }
	check(t, admin.RunCommand(ctx, parse(t, `{"mongofake":"fired"}`)).Decode(&said))
	if want := []string{"find#2", "insert#2", "delete#1"}; !slices.Equal(said.Fired, want) {
		t.Errorf("fired %v, not %v", said.Fired, want)
	}
	for _, wrong := range []string{`{"mongofake":"on","point":"insert","fault":"loseCursor"}`, `{"mongofake":"on","point":"insert","fault":"none"}`, `{"mongofake":"what"}`} {
		if err := admin.RunCommand(ctx, parse(t, wrong)).Err(); code(err) != 2 {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a fault that cannot happen is taken")
		}
	}()
	f.On("login", 1, mongofake.Cut())
}

func TestLogin(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := start(t, mongofake.Options{User: "millrace", Password: "p@ss:word/"})
	c := connect(t, f).Database("shop").Collection("orders")
	must(c.InsertOne(ctx, parse(t, `{"_id":1}`)))(t)
	try := func(credential *options.Credential) error {
		opts := options.Client().ApplyURI("mongodb://" + f.Addr() + "/?replicaSet=rs0").SetServerSelectionTimeout(2 * time.Second)
		if credential != nil {
			opts.SetAuth(*credential)
		}
		other := must(mongo.Connect(opts))(t)
		defer func() { _ = other.Disconnect(context.WithoutCancel(ctx)) }()
		return other.Database("shop").Collection("orders").FindOne(ctx, bson.D{}).Err()
	}
	if err := try(nil); code(err) != 13 {
		t.Errorf("without a login: %v", err)
	}
	for _, wrong := range []options.Credential{
		{Username: "millrace", Password: "other", AuthMechanism: "SCRAM-SHA-256"},
		{Username: "other", Password: "p@ss:word/", AuthMechanism: "SCRAM-SHA-256"},
		{Username: "millrace", Password: "p@ss:word/", AuthMechanism: "SCRAM-SHA-1"},
	} {
		if err := try(&wrong); err == nil {
			t.Errorf("%+v was let in", wrong)
		}
	}
	right := options.Credential{Username: "millrace", Password: "p@ss:word/"}
	check(t, try(&right))
	f.On("login", 1, mongofake.RefuseLogin())
	f.On("login", 2, mongofake.RefuseLogin())
	if err := try(&right); err == nil {
		t.Error("the refused login was let in")
	}
}
