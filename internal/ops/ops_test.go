package ops

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_things_total", Help: "Things."}))
	s, err := New("127.0.0.1:0", reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	base := "http://" + s.Addr()
	if code, _ := get(t, base+"/healthz"); code != http.StatusOK {
		t.Errorf("healthz answers %d", code)
	}
	if code, body := get(t, base+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
		t.Errorf("readyz answers %d %q before it is ready", code, body)
	}
	ready, alive := "", ""
	s.SetProbes(func() string { return ready }, func() string { return alive })
	for _, c := range []struct{ ready, alive string }{{}, {ready: "source a is not connected"}, {}, {alive: "a later revision has the table"}} {
		ready, alive = c.ready, c.alive
		for path, why := range map[string]string{"/readyz": ready, "/healthz": alive} {
			code, body := get(t, base+path)
			if (code == http.StatusOK) != (why == "") || !strings.Contains(body, why) {
				t.Errorf("%s answers %d %q, and the process is %+v", path, code, body, c)
			}
		}
	}
	if _, body := get(t, base+"/metrics"); !strings.Contains(body, "millrace_things_total 0") {
		t.Errorf("metrics are %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestPortInUseSaysSo(t *testing.T) {
	s, err := New("127.0.0.1:0", prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := New(s.Addr(), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("a second listener: %v", err)
	}
}
