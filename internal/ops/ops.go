// Package ops is the one HTTP port of a process: health, readiness, metrics,
// and whatever else the process shows there.
package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server is the port. It listens from New on, so that an address in use is
// known before anything else has started.
type Server struct {
	*http.ServeMux
	listener net.Listener
	probes   atomic.Pointer[probes]
}

type probes struct{ ready, alive func() string }

// New listens on the address, host:port, and serves /healthz, /readyz and
// /metrics. Until SetProbes it is alive and not ready.
func New(addr string, metrics prometheus.Gatherer) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use: stop the process that has it, or set http: to another address", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s := &Server{ServeMux: http.NewServeMux(), listener: listener}
	s.SetProbes(func() string { return "starting" }, func() string { return "" })
	s.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.probes.Load().alive()) })
	s.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.probes.Load().ready()) })
	s.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// SetProbes sets what is asked at each probe. ready says why the process does not
// do its work now, alive why it never will again; an empty text: it does.
func (s *Server) SetProbes(ready, alive func() string) { s.probes.Store(&probes{ready, alive}) }

func answer(w http.ResponseWriter, whyNot string) {
	if whyNot != "" {
		http.Error(w, whyNot, http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// Run serves until ctx ends, and then lets requests end for a few seconds.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = served
	}
	return err
}

// Close stops listening; for a process that ends before Run.
func (s *Server) Close() error { return s.listener.Close() }
