package postgres

import (
	"bufio"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"millrace/internal/testkit"
)

// socket is a wire over TCP whose server is the test.
func socket(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it has taken the one connection
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	buffer := bufio.NewReaderSize(here, readBuffer)
	return &wire{conn: here, buffer: buffer, frontend: pgproto3.NewFrontend(buffer, here)}, there
}

// A reader that waits for a bulk gets what is less than one, loses nothing, and
// says that nothing came only if nothing did.
func TestLessThanABulkIsRead(t *testing.T) {
	w, server := socket(t)
	for n := uint64(1); n <= 300; n++ {
		w.bulk.on = setLowWater(w.conn, bulkBytes)
		if !w.bulk.on {
			testkit.Unable(t, "a system whose sockets have a low water mark")
		}
		if n%100 == 0 { // nothing comes
			if _, err := w.receive(t.Context(), time.Now().Add(time.Millisecond)); !errors.Is(err, errWait) || w.bulk.on {
				t.Fatalf("nothing came, and it says %v", err)
			}
		}
		if n%2 == 0 { // the deadline passes before the wait for a bulk does
			w.bulk.on = setLowWater(w.conn, bulkBytes)
		}
		if _, err := server.Write(keepalive(n, 0)); err != nil {
			t.Fatal(err)
		}
		p, err := w.receive(t.Context(), time.Now().Add(patience))
		if err != nil || p.end != n {
			t.Fatalf("packet %d: %+v, %v", n, p, err)
		}
	}
}

// Messages that come one by one, fast, are waited for in bulk, and all of them
// arrive; after a silence the next one is not waited for in bulk.
func TestManyWakesBecomeBulks(t *testing.T) {
	w, server := socket(t)
	if !setLowWater(w.conn, 1) {
		testkit.Unable(t, "a system whose sockets have a low water mark")
	}
	const messages = 20_000
	sent := make(chan error, 1)
	go func() {
		for n := range uint64(messages) {
			if _, err := server.Write(keepalive(n+1, 0)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for n := range uint64(messages) {
		p, err := w.receive(t.Context(), time.Now().Add(patience))
		if err != nil || p.end != n+1 {
			t.Fatalf("packet %d: %+v, %v", n+1, p, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := w.receive(t.Context(), time.Now().Add(20*time.Millisecond)); !errors.Is(err, errWait) || w.bulk.on {
		t.Errorf("after a silence: %v, in bulk: %v", err, w.bulk.on)
	}
}

// Wakes are often only if they come fast, and a connection without a low water
// mark never waits for a bulk.
func TestOftenIsFast(t *testing.T) {
	w, _ := socket(t)
	b := bulk{since: time.Now().Add(-time.Second)}
	for range bulkWakes {
		if b.entered(w.conn) {
			t.Fatal("it takes a second's wakes for many")
		}
	}
	for n := range bulkWakes {
		b.since = time.Now()
		if got, want := b.entered(w.conn), n == bulkWakes-1; got != want {
			t.Fatalf("wake %d: in bulk is %v", n, got)
		}
	}
	if !b.left(w.conn) || b.left(w.conn) {
		t.Error("it does not know whether it left")
	}
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	for range 2 * bulkWakes {
		b.since = time.Now()
		if b.entered(one) {
			t.Fatal("a pipe has no low water mark")
		}
	}
}
