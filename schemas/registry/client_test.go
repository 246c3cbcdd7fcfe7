package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/schemas"
	"millrace/schemas/avro"
)

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(url)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = 2 * time.Millisecond
	return c
}

func orders(kind schemas.Kind) *schemas.Table {
	return &schemas.Table{Source: "s", Schema: "public", Name: "orders", Topic: "p.s.public.orders", Generation: 1, Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.Type{Kind: schemas.Int}}, {Name: "amount", Type: schemas.Type{Kind: kind}},
	}}
}

func TestClientAgainstRegistry(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	c := newClient(t, b.url)
	const subject = "p.s.public.orders-value"
	id, err := c.Register(ctx, subject, avro.ValueSchema(orders(schemas.Int)))
	if err != nil || id != 1 {
		t.Fatalf("id %d: %v", id, err)
	}
	if key, err := c.Register(ctx, "p.s.public.orders-key", avro.KeySchema(orders(schemas.Int))); err != nil || key != 2 {
		t.Errorf("id %d: %v", key, err)
	}
	text, err := newClient(t, b.url).Schema(ctx, id)
	if err != nil || text != avro.ValueSchema(orders(schemas.Int)) {
		t.Errorf("%s: %v", text, err)
	}
	var incompatible *IncompatibleError
	if _, err := c.Register(ctx, subject, avro.ValueSchema(orders(schemas.Bool))); !errors.As(err, &incompatible) || incompatible.Subject != subject {
		t.Fatal(err)
	}
	for _, want := range []string{subject, "version 1", "amount", "undo the change", "PUT /config/"} {
		if !strings.Contains(incompatible.Error(), want) {
			t.Errorf("%q is not in: %v", want, incompatible)
		}
	}
	b.call("PUT", "/config/"+subject, `{"compatibility":"NONE"}`)
	if id, err := c.Register(ctx, subject, avro.ValueSchema(orders(schemas.Bool))); err != nil || id != 3 {
		t.Errorf("id %d: %v", id, err)
	}
	if _, err := c.Schema(ctx, 99); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := c.Register(ctx, subject, `{"type":"nonsense"}`); err == nil || !strings.Contains(err.Error(), "check schema") {
		t.Error(err)
	}
}

// flaky answers the first requests with what it is told, and then for real.
func flaky(t *testing.T, fail func(w http.ResponseWriter, n int64) bool) (string, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := requests.Add(1); !fail(w, n) {
			_ = json.NewEncoder(w).Encode(map[string]any{"id": 7, "schema": `"long"`})
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, &requests
}

func TestClientRetries(t *testing.T) {
	drop := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	url, requests := flaky(t, func(w http.ResponseWriter, n int64) bool {
		switch n {
		case 1, 4:
			drop(w)
		case 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			return false
		}
		return true
	})
	c := newClient(t, url)
	if id, err := c.Register(t.Context(), "s", `"long"`); err != nil || id != 7 || requests.Load() != 5 {
		t.Errorf("id %d after %d requests: %v", id, requests.Load(), err)
	}
	// What is known is not asked again.
	for range 3 {
		if id, err := c.Register(t.Context(), "s", `"long"`); err != nil || id != 7 {
			t.Errorf("id %d: %v", id, err)
		}
		if s, err := c.Schema(t.Context(), 7); err != nil || s != `"long"` {
			t.Errorf("%s: %v", s, err)
		}
	}
	if requests.Load() != 6 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestClientGivesUp(t *testing.T) {
	url, requests := flaky(t, func(w http.ResponseWriter, _ int64) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	c := newClient(t, url)
	if _, err := c.Schema(t.Context(), 1); err == nil || errors.Is(err, ErrUnknown) || requests.Load() != int64(c.tries) {
		t.Errorf("%d requests: %v", requests.Load(), err)
	}
	// What is refused is final, and an error is not remembered as a schema.
	url, requests = flaky(t, func(w http.ResponseWriter, _ int64) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	c = newClient(t, url)
	for range 2 {
		if _, err := c.Schema(t.Context(), 1); err == nil {
			t.Error("a refusal is a schema")
		}
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests", requests.Load())
	}
}

func TestClientHonoursContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // nobody listens here
	c := newClient(t, "http://"+l.Addr().String())
	c.pause, c.tries = time.Hour, 100
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Schema(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// A second registry of the list answers when the first cannot be reached.
func TestClientTakesTheNextURL(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	url, requests := flaky(t, func(http.ResponseWriter, int64) bool { return false })
	c := newClient(t, "http://"+l.Addr().String()+", "+url)
	if s, err := c.Schema(t.Context(), 7); err != nil || s != `"long"` || requests.Load() != 1 {
		t.Errorf("%s after %d requests: %v", s, requests.Load(), err)
	}
}

func TestClientRefusesOtherTypesAndIDs(t *testing.T) {
	url, _ := flaky(t, func(w http.ResponseWriter, _ int64) bool {
		_ = json.NewEncoder(w).Encode(map[string]any{"id": -1, "schema": "x", "schemaType": "JSON"})
		return true
	})
	c := newClient(t, url)
	c.tries = 1
	if s, err := c.Schema(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "JSON") {
		t.Errorf("%s: %v", s, err)
	}
	if id, err := c.Register(t.Context(), "s", `"long"`); err == nil {
		t.Errorf("id %d", id)
	}
}
