package bigquery

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// gate is the way to a server. It can be shut, and is then the same address as
// before.
type gate struct {
	addr, to string

	work sync.WaitGroup
	mu   sync.Mutex
	in   net.Listener // nil: connections are refused
	open map[net.Conn]bool
	// silent takes what comes, and hands nothing on.
	silent bool
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	g := &gate{addr: "127.0.0.1:0", to: to, open: map[net.Conn]bool{}}
	g.listen(t)
	t.Cleanup(func() { g.refuse(); g.work.Wait() })
	return g
}

func (g *gate) listen(t *testing.T) {
	t.Helper()
	var in net.Listener
	for {
		var err error
		if in, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", g.addr); err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Errorf("listen at %s again: %v", g.addr, err)
			return
		}
		time.Sleep(10 * time.Millisecond) // a connection of before may still have the port
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addr, g.in = in.Addr().String(), in
	g.work.Go(func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			g.work.Go(func() { g.serve(c) })
		}
	})
}

// keep notes an open connection; false: there are none any more.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in == nil {
		_ = c.Close()
		return false
	}
	g.open[c] = true
	return true
}

func (g *gate) serve(c net.Conn) {
	defer c.Close()
	if !g.keep(c) {
		return
	}
	out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", g.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !g.keep(out) {
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, out}, {out, c}} {
		both.Go(func() {
			_, _ = io.Copy(&passage{g, way[1]}, way[0])
			_, _ = c.Close(), out.Close()
		})
	}
	both.Wait()
}

type passage struct {
	g  *gate
	to net.Conn
}

func (p *passage) Write(b []byte) (int, error) {
	p.g.mu.Lock()
	silent := p.g.silent
	p.g.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return p.to.Write(b)
}

// cut ends all connections. g.mu is held.
func (g *gate) cut() {
	for c := range g.open {
		_ = c.Close()
		delete(g.open, c)
	}
}

// refuse ends all connections and takes no others.
func (g *gate) refuse() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in != nil {
		_ = g.in.Close()
		g.in = nil
	}
	g.cut()
}

// silence lets connections be, and nothing through.
func (g *gate) silence() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = true
}

// restore opens the way again. What was swallowed is lost, and so are the
// connections on which it was.
func (g *gate) restore(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	refused := g.in == nil
	if g.silent {
		g.silent = false
		g.cut()
	}
	g.mu.Unlock()
	if refused {
		g.listen(t)
	}
}
