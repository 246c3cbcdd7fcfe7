package up

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/config"
	"millrace/internal/testkit/mongofake"
)

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// Sources that cannot be reached, and one that refuses the login, are named in the
// log, the probes, the status and the metrics; their passwords are nowhere.
func TestNoPasswordIsShown(t *testing.T) {
	documents, err := mongofake.Start(t.Context(), mongofake.Options{User: "me", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = documents.Close() })
	conf := &config.Config{
		Prefix: "p", Data: t.TempDir(), HTTP: "127.0.0.1:0", Warehouse: config.Warehouse{Kind: config.KindDuckDB, LoadEvery: time.Second},
		Sources: map[string]config.Source{
			"pg":    {Kind: config.KindPostgres, DSN: "postgres://me:" + secret + "@127.0.0.1:1/d?password=" + secret, Tables: map[string]config.Table{"public.a": {Core: "core.a"}}},
			"maria": {Kind: config.KindMariaDB, DSN: "mysql://me:" + secret + "@127.0.0.1:1/d", Tables: map[string]config.Table{"d.b": {Core: "core.b"}}},
			"mongo": {Kind: config.KindMongoDB, DSN: strings.Replace(documents.URI(), "right", secret, 1), Tables: map[string]config.Table{"d.c": {Core: "core.c"}}},
		},
	}
	log := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: conf, Parts: All(), Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Started: func(f RunFile) { addr <- f.HTTP },
		})
	}()
	var base string
	select {
	case at := <-addr:
		base = "http://" + at
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	shown := map[string]string{}
	show := func(path string) string {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		shown[path] = string(body)
		return string(body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		why := show("/readyz")
		if strings.Contains(why, "source pg: ") && strings.Count(why, "refused") == 2 && strings.Contains(why, "auth error") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not ready for %q", why)
		}
	}
	for _, path := range []string{"/api/status", "/metrics", "/", "/healthz"} {
		show(path)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	shown["the log"] = log.String()
	for where, text := range shown {
		if strings.Contains(text, secret) {
			t.Errorf("%s shows a password:\n%s", where, text)
		}
	}
	if !strings.Contains(shown["/api/status"], "auth error") || !strings.Contains(shown["the log"], "refused") {
		t.Errorf("nothing is told of the sources:\n%s\n%s", shown["/api/status"], shown["the log"])
	}
}
