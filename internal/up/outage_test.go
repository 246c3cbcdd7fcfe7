package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/config"
	"millrace/internal/ops"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
)

// out is a warehouse with an outage: it fails so many questions of a kind.
type out struct {
	warehouse.Warehouse
	err         error
	loaded      int
	needs       int
	loadedAsked int
	needsAsked  int
}

func (o *out) Loaded(context.Context) (table, topic string, err error) {
	if o.loadedAsked++; o.loadedAsked <= o.loaded {
		return "", "", fmt.Errorf("list tables: 503: %w", o.err)
	}
	return "", "", nil
}

func (o *out) SetNeeds(context.Context, string, string, warehouse.Kept) error {
	if o.needsAsked++; o.needsAsked <= o.needs {
		return fmt.Errorf("set needs: 503: %w", o.err)
	}
	return nil
}

// starter is a process that has come as far as its warehouse.
func starter(t *testing.T, w warehouse.Warehouse, log io.Writer) *process {
	t.Helper()
	dir := t.TempDir()
	spec := "name: a.n\ninputs: {core.orders: {on_change: rebuild}}\nquery: SELECT id FROM core.orders\n"
	if err := os.WriteFile(filepath.Join(dir, "n.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{
		Options: Options{Parts: All(), Log: slog.New(slog.NewTextHandler(log, nil)), Config: &config.Config{
			Prefix: "p", Derived: dir, Sources: map[string]config.Source{"db": {Tables: map[string]config.Table{"public.orders": {Core: "core.orders"}}}},
		}}, warehouse: w, metrics: prometheus.NewRegistry(),
	}
	p.names.Prefix = "p"
	var err error
	if p.ops, err = ops.New("127.0.0.1:0", p.metrics); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range append(p.closers, p.ops.Close) {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

func (p *process) outlastPrefix(ctx context.Context) error {
	return p.outlast(ctx, "the prefix", func() error { return p.checkPrefix(ctx) })
}

// probe asks for /readyz without the network.
func (p *process) probe() string {
	answer := &recorded{}
	request, _ := http.NewRequest(http.MethodGet, "/readyz", nil) //nolint:noctx // it is not sent
	p.ops.ServeHTTP(answer, request)
	return answer.String()
}

type recorded struct{ strings.Builder }

func (*recorded) Header() http.Header { return http.Header{} }
func (*recorded) WriteHeader(int)     {}

// Who starts while the warehouse is away waits for it, says so, and then begins.
func TestStartOutlastsAnOutage(t *testing.T) {
	var log strings.Builder
	w := &out{err: warehouse.ErrUnavailable, loaded: 2, needs: 2}
	p := starter(t, w, &log)
	if err := p.outlastPrefix(t.Context()); err != nil {
		t.Error(err)
	}
	if d, err := p.openDerivers(t.Context()); err != nil || d == nil || len(d.chosen) != 1 {
		t.Errorf("%+v %v", d, err)
	}
	if w.loadedAsked != 3 || w.needsAsked != 3 {
		t.Errorf("asked %d and %d times", w.loadedAsked, w.needsAsked)
	}
	if n := strings.Count(log.String(), "start waits for the warehouse"); n != 4 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if got := p.probe(); got != "starting\n" {
		t.Errorf("after the outage it is not ready for %q", got)
	}
}

// What a person must cure ends the start at once.
func TestStartEndsAtAFault(t *testing.T) {
	for _, fault := range []error{errors.New("accessDenied"), &warehouse.ChangedError{Problem: "x is gone", Cure: "bring it back"}} {
		w := &out{err: fault, loaded: 1, needs: 1}
		p := starter(t, w, io.Discard)
		if err := p.outlastPrefix(t.Context()); !errors.Is(err, fault) || w.loadedAsked != 1 {
			t.Errorf("prefix, asked %d times: %v", w.loadedAsked, err)
		}
		if _, err := p.openDerivers(t.Context()); !errors.Is(err, fault) || w.needsAsked != 1 {
			t.Errorf("derivers, asked %d times: %v", w.needsAsked, err)
		}
	}
}

// An outage of a day is asked about ever more seldom, and who is asked to end
// meanwhile does so.
func TestPausesOfAnOutage(t *testing.T) {
	w := &out{err: warehouse.ErrUnavailable, loaded: 1 << 30}
	p := starter(t, w, io.Discard)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 24*time.Hour)
		defer stop()
		if err := p.outlastPrefix(ctx); !errors.Is(err, errAskedToEnd) {
			t.Errorf("got %v", err)
		}
	})
	if most := int(24*time.Hour/mostPause) + 10; w.loadedAsked < most-10 || w.loadedAsked > most {
		t.Errorf("asked %d times, want about %d", w.loadedAsked, most)
	}
	if got := p.probe(); !strings.HasPrefix(got, "waits for the warehouse: look for the prefix of the warehouse: list tables: 503") {
		t.Errorf("it is not ready for %q", got)
	}
}

// A process that is asked to end while it waits ends as one that ran.
func TestStartIsEndedInAnOutage(t *testing.T) {
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{Location: "EU"})
	if err != nil {
		t.Fatal(err)
	}
	jobs := strings.TrimSuffix(fake.URL(), "/")
	if err := fake.Close(); err != nil { // nothing listens any more
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: &config.Config{Prefix: "p", Data: t.TempDir(), HTTP: "127.0.0.1:0", Warehouse: config.Warehouse{
				Kind: config.KindBigQuery, LoadEvery: time.Second, BigQuery: config.BigQuery{Project: "p", Location: "EU", JobsURL: jobs, WritesAddr: "127.0.0.1:1"},
			}},
			Parts: All(), Log: slog.New(slog.NewTextHandler(stopAt{"tables listed again", stop}, nil)),
		})
	}()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// stopAt is a log that ends the process at a line.
type stopAt struct {
	line string
	stop func()
}

func (s stopAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.line) {
		s.stop()
	}
	return len(b), nil
}
