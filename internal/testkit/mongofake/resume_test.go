package mongofake_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

func TestResume(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the driver waits a second before it tries a server again")
	}
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	f := start(t, mongofake.Options{Dir: dir})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	before := now(f)
	s := watch(t, c, options.ChangeStream())
	first := s.ResumeToken()
	for i := range 5 {
		must(c.InsertOne(ctx, bson.D{{Key: "_id", Value: i}}))(t)
	}
	events := next(t, s, 5)
	id := func(e bson.Raw) int { return int(e.Lookup("documentKey", "_id").Int32()) }
	resume := func(how string, opts *options.ChangeStreamOptionsBuilder, want int) {
		t.Helper()
		if got := id(next(t, watch(t, c, opts), 1)[0]); got != want {
			t.Errorf("%s begins with %d, not %d", how, got, want)
		}
	}
	all := func() {
		t.Helper()
		resume("startAtOperationTime", options.ChangeStream().SetStartAtOperationTime(&before), 0)
		resume("the first token", options.ChangeStream().SetResumeAfter(first), 0)
		for i := range 4 {
			seconds, n := events[i].Lookup("clusterTime").Timestamp()
			resume("resumeAfter", options.ChangeStream().SetResumeAfter(events[i].Lookup("_id").Document()), i+1)
			resume("startAfter", options.ChangeStream().SetStartAfter(events[i].Lookup("_id").Document()), i+1)
			resume("startAtOperationTime of an event", options.ChangeStream().SetStartAtOperationTime(&bson.Timestamp{T: seconds, I: n}), i)
		}
	}
	all()
	// The stream itself goes on behind a restart, and so do its tokens.
	check(t, f.Close())
	f = start(t, mongofake.Options{Dir: dir, Port: f.Port()})
	awake(t, client)
	all()
	must(c.InsertOne(ctx, parse(t, `{"_id":5}`)))(t)
	if got := id(next(t, s, 1)[0]); got != 5 {
		t.Errorf("behind the restart comes %d", got)
	}
	// What cannot be resumed.
	for want, token := range map[int]bson.D{
		9:   {{Key: "_data", Value: "no token"}},
		260: {{Key: "_data", Value: strings.Repeat("82", 22)}},
	} {
		if _, err := c.Watch(ctx, []bson.D{}, options.ChangeStream().SetResumeAfter(token)); code(err) != want {
			t.Errorf("%v: %v, not %d", token, err, want)
		}
	}
	last := s.ResumeToken()
	check(t, f.ForgetOplog())
	for name, opts := range map[string]*options.ChangeStreamOptionsBuilder{
		"an event's token": options.ChangeStream().SetResumeAfter(events[4].Lookup("_id").Document()),
		"the last token":   options.ChangeStream().SetStartAfter(last),
		"a time":           options.ChangeStream().SetStartAtOperationTime(&before),
	} {
		if _, err := c.Watch(ctx, []bson.D{}, opts); code(err) != 286 {
			t.Errorf("%s: %v, not 286", name, err)
		}
	}
	// It stays forgotten.
	check(t, f.Close())
	start(t, mongofake.Options{Dir: dir, Port: f.Port()})
	awake(t, client)
	if _, err := c.Watch(ctx, []bson.D{}, options.ChangeStream().SetStartAfter(last)); code(err) != 286 {
		t.Errorf("behind the restart: %v, not 286", err)
	}
	if got := len(ids(t, ctx, c, bson.D{})); got != 6 {
		t.Errorf("%d documents are left", got)
	}
}

// A token of another server, or of a log that was lost, is not found here.
func TestForeignToken(t *testing.T) {
	ctx := t.Context()
	one, two := connect(t, start(t, mongofake.Options{})), connect(t, start(t, mongofake.Options{}))
	s := watch(t, one, options.ChangeStream())
	for range 20 {
		must(one.Database("shop").Collection("orders").InsertOne(ctx, bson.D{}))(t)
	}
	token := next(t, s, 20)[19].Lookup("_id").Document()
	if _, err := two.Watch(ctx, []bson.D{}, options.ChangeStream().SetResumeAfter(token)); code(err) != 280 {
		t.Errorf("%v, not 280", err)
	}
}

// An open stream that the oplog has overtaken tries again, and learns it.
func TestOvertakenStream(t *testing.T) {
	ctx := t.Context()
	f := start(t, mongofake.Options{})
	c := connect(t, f).Database("shop").Collection("orders")
	must(c.InsertOne(ctx, bson.D{}))(t)
	s := must(c.Watch(ctx, []bson.D{}, options.ChangeStream().SetMaxAwaitTime(10*time.Second)))(t)
	release := make(chan struct{})
	f.On("watch.getMore", 1, mongofake.Hang(release))
	ended := make(chan error, 1)
	go func() {
		s.Next(ctx)
		ended <- s.Err()
	}()
	must(c.InsertOne(ctx, bson.D{}))(t)
	check(t, f.ForgetOplog())
	close(release)
	if err := <-ended; code(err) != 286 {
		t.Errorf("%v, not 286", err)
	}
	if f.Calls()["watch"] != 2 {
		t.Errorf("it did not try again: %v", f.Calls())
	}
	_ = s.Close(ctx)
}

// Tokens go on where nothing happens, or nothing that the stream lets through.
func TestIdleTokens(t *testing.T) {
	ctx := t.Context()
	f := start(t, mongofake.Options{Noop: time.Nanosecond})
	client := connect(t, f)
	c := client.Database("shop").Collection("orders")
	filtered := watch(t, client, options.ChangeStream(), parse(t, `{"$match":{"ns.db":"elsewhere"}}`))
	token := filtered.ResumeToken()
	for range 3 {
		must(c.InsertOne(ctx, bson.D{}))(t)
	}
	past := goesOn(t, filtered, token)
	// Who resumes behind them does not get them, also without the filter.
	must(c.InsertOne(ctx, parse(t, `{"_id":"next"}`)))(t)
	if e := next(t, watch(t, client, options.ChangeStream().SetResumeAfter(past)), 1)[0]; e.Lookup("documentKey", "_id").StringValue() != "next" {
		t.Errorf("%v", e)
	}
	idle := watch(t, c, options.ChangeStream())
	token = idle.ResumeToken()
	goesOn(t, idle, token)
}

// goesOn waits until a stream without events has another token.
func goesOn(t *testing.T, s *mongo.ChangeStream, token bson.Raw) bson.Raw {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); s.ResumeToken().String() == token.String(); {
		if s.TryNext(t.Context()) || s.Err() != nil || time.Now().After(deadline) {
			t.Fatalf("the token stands still: %v, %v", s.Current, s.Err())
		}
	}
	return s.ResumeToken()
}

// A torn record at the log's end was never acknowledged: it is dropped.
func TestTornTail(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	f := start(t, mongofake.Options{Dir: dir})
	c := connect(t, f).Database("shop").Collection("orders")
	must(c.InsertMany(ctx, []any{parse(t, `{"_id":1}`), parse(t, `{"_id":2}`)}))(t)
	check(t, f.Close())
	path := filepath.Join(dir, "oplog")
	whole := must(os.ReadFile(path))(t)
	f = start(t, mongofake.Options{Dir: dir})
	must(connect(t, f).Database("shop").Collection("orders").InsertOne(ctx, parse(t, `{"_id":3,"long":"0123456789"}`)))(t)
	check(t, f.Close())
	longer := must(os.ReadFile(path))(t)
	flipped := append([]byte(nil), longer...)
	flipped[len(flipped)-20] ^= 1
	for _, data := range [][]byte{longer[:len(longer)-1], longer[:len(longer)-30], flipped, append(whole[:len(whole):len(whole)], 7), append(whole[:len(whole):len(whole)], make([]byte, 100)...)} {
		check(t, os.WriteFile(path, data, 0o600))
		f := start(t, mongofake.Options{Dir: dir})
		c := connect(t, f).Database("shop").Collection("orders")
		if got := len(ids(t, ctx, c, bson.D{})); got != 2 {
			t.Errorf("%d documents", got)
		}
		must(c.InsertOne(ctx, parse(t, `{"_id":4}`)))(t)
		check(t, f.Close())
		f = start(t, mongofake.Options{Dir: dir})
		if got := len(ids(t, ctx, connect(t, f).Database("shop").Collection("orders"), bson.D{})); got != 3 {
			t.Errorf("%d documents after another write", got)
		}
		check(t, f.Close())
	}
}

// A stream's getMore ends when the fake does, and not before its patience.
func TestCloseEndsWhoWaits(t *testing.T) {
	f := start(t, mongofake.Options{})
	s := must(connect(t, f).Database("shop").Watch(t.Context(), []bson.D{}, options.ChangeStream().SetMaxAwaitTime(time.Hour)))(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Next(ctx)
	}()
	for f.Calls()["watch.getMore"] == 0 {
		time.Sleep(time.Millisecond)
	}
	check(t, f.Close())
	cancel()
	<-ended
}
