package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

// The test's binary is the server, too: it can be killed.
const serving = "MILLRACE_TEST_MONGOFAKE"

func TestMain(m *testing.M) {
	if os.Getenv(serving) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// serve runs the server in another process and returns it and its connection string.
func serve(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), serving+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, line[:len(line)-1]
}

func connect(t *testing.T, uri string) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(20 * time.Second).SetRetryWrites(false))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What was acknowledged before a kill is there behind it, and a stream that is
// resumed has seen each of it once.
func TestAcknowledgedWritesSurviveKills(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts processes and kills them")
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed=%d", seed)
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "data")
	port := "0"
	acked := map[int64]bool{}
	seen := map[int64]int{}
	var token bson.Raw
	var next atomic.Int64
	for range 3 {
		cmd, uri := serve(t, "-port", port, dir)
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		port = u.Port()
		client := connect(t, uri)
		c := client.Database("shop").Collection("orders")
		opts := options.ChangeStream().SetMaxAwaitTime(20 * time.Millisecond)
		if token != nil {
			opts.SetResumeAfter(token)
		}
		s, err := c.Watch(ctx, []bson.D{}, opts)
		if err != nil {
			t.Fatal(err)
		}
		token = s.ResumeToken()
		kill := time.AfterFunc(time.Duration(20+random.IntN(100))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		running, stop := context.WithCancel(ctx) // or the driver would look for the server for long
		var mu sync.Mutex
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for {
					i := next.Add(1)
					if _, err := c.InsertOne(running, bson.D{{Key: "_id", Value: i}}); err != nil {
						return // killed; whether it is there, nobody knows
					}
					mu.Lock()
					acked[i] = true
					mu.Unlock()
				}
			})
		}
		writers.Go(func() {
			for s.TryNext(running) || s.Err() == nil {
				if s.Current != nil {
					seen[s.Current.Lookup("documentKey", "_id").Int64()]++
					s.Current = nil
				}
				token = s.ResumeToken()
			}
		})
		_ = cmd.Wait() // killed
		kill.Stop()
		stop()
		writers.Wait()
		ended, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = s.Close(ended)
		_ = client.Disconnect(ended)
		cancel()
	}
	cmd, uri := serve(t, "-port", port, dir)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	client := connect(t, uri)
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	c := client.Database("shop").Collection("orders")
	cur, err := c.Find(ctx, bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := cur.All(ctx, &docs); err != nil {
		t.Fatal(err)
	}
	there := map[int64]bool{}
	for _, d := range docs {
		there[d.Lookup("_id").Int64()] = true
	}
	s, err := c.Watch(ctx, []bson.D{}, options.ChangeStream().SetResumeAfter(token).SetMaxAwaitTime(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.WithoutCancel(ctx)) }()
	for idle := 0; idle < 3; {
		if s.TryNext(ctx) {
			seen[s.Current.Lookup("documentKey", "_id").Int64()]++
			idle = 0
			continue
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
		idle++
	}
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	for i := range acked {
		if !there[i] {
			t.Errorf("%d was acknowledged and is lost", i)
		}
	}
	for i := range there {
		if seen[i] != 1 {
			t.Errorf("the streams have seen %d %d times", i, seen[i])
		}
	}
	if len(seen) != len(there) {
		t.Errorf("the streams have seen %d, and %d are there", len(seen), len(there))
	}
}

func TestRunSaysWhereItIs(t *testing.T) {
	dir := t.TempDir()
	told := make(chan os.Signal, 1)
	told <- os.Interrupt // it ends at once
	var out, messages bytes.Buffer
	file := filepath.Join(dir, "uri")
	if err := run(t.Context(), []string{"-uri-file", file, "-user", "a", "-password", "b", filepath.Join(dir, "data")}, told, &out, &messages); err != nil {
		t.Fatal(err)
	}
	uri, err := os.ReadFile(file)
	if err != nil || string(uri)+"\n" != out.String() || !bytes.HasPrefix(uri, []byte("mongodb://a:b@127.0.0.1:")) {
		t.Errorf("%v: %s, and it printed %s", err, uri, out.String())
	}
	for _, wrong := range [][]string{{}, {"-port", "x", dir}, {file}, {filepath.Join(dir, "data"), "/no/such/command"}} {
		if err := run(t.Context(), wrong, told, &out, &messages); err == nil {
			t.Errorf("%v: no error", wrong)
		}
	}
}

// A command finds the fake, and its flags are its own.
func TestRunAccompaniesACommand(t *testing.T) {
	var out, messages bytes.Buffer
	err := run(t.Context(), []string{t.TempDir(), "sh", "-c", `echo "it is $MONGODB_URI"; exit 3`}, nil, &out, &messages)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !bytes.HasPrefix(out.Bytes(), []byte("it is mongodb://127.0.0.1:")) {
		t.Errorf("%v: %s", err, out.String())
	}
}
