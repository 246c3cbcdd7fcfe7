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
	ready    atomic.Pointer[string]
}

// New listens on the address, host:port, and serves /healthz, /readyz and
// /metrics. It is not ready until SetReady.
func New(addr string, metrics prometheus.Gatherer) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use: stop the process that has it, or set http: to another address", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s := &Server{ServeMux: http.NewServeMux(), listener: listener}
	s.SetReady("starting")
	s.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	s.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := *s.ready.Load(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	s.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// SetReady says why the process is not ready, or, with an empty reason, that it is.
func (s *Server) SetReady(whyNot string) { s.ready.Store(&whyNot) }

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
