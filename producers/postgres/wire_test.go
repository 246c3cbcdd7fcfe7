package postgres

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// pipe is a wire whose server is the test.
func pipe(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	buffer := bufio.NewReaderSize(here, readBuffer)
	return &wire{conn: here, buffer: buffer, frontend: pgproto3.NewFrontend(buffer, here)}, there
}

func keepalive(end uint64, reply byte) []byte {
	b := []byte{'d', 0, 0, 0, 22, 'k'}
	b = binary.BigEndian.AppendUint64(b, end)
	b = binary.BigEndian.AppendUint64(b, 0)
	return append(b, reply)
}

// A packet may come in parts, with the deadline between them: what is here
// already must neither be lost nor make every later receive time out.
func TestReceiveAPacketInParts(t *testing.T) {
	w, server := pipe(t)
	send := make(chan []byte)
	go func() {
		for b := range send {
			if _, err := server.Write(b); err != nil {
				return
			}
		}
	}()
	defer close(send)
	whole := keepalive(77, 1)
	for cut := 1; cut < len(whole); cut++ {
		send <- whole[:cut]
		for range 3 {
			if _, err := w.receive(t.Context(), time.Now().Add(2*time.Millisecond)); !errors.Is(err, errWait) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		send <- whole[cut:]
		p, err := w.receive(t.Context(), time.Now().Add(patience))
		if err != nil || !p.keepalive || p.end != 77 || !p.reply {
			t.Fatalf("cut at %d: %+v, %v", cut, p, err)
		}
	}
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	w, _ := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	time.AfterFunc(5*time.Millisecond, cancel)
	if _, err := w.receive(ctx, time.Now().Add(patience)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// What is durable is said by Ack alone; what was read is said always.
func TestStatusSaysWhatIsDurableOnlyInAck(t *testing.T) {
	w, server := pipe(t)
	w.received.Store(500)
	read := func(send func() error) (written, flushed, applied uint64, reply byte) {
		done := make(chan error, 1)
		go func() { done <- send() }()
		b := make([]byte, 39)
		if _, err := io.ReadFull(server, b); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return binary.BigEndian.Uint64(b[6:]), binary.BigEndian.Uint64(b[14:]), binary.BigEndian.Uint64(b[22:]), b[38]
	}
	if a, b, c, r := read(func() error { return w.ack(300) }); a != 500 || b != 300 || c != 300 || r != 0 {
		t.Errorf("ack: %d %d %d %d", a, b, c, r)
	}
	if a, b, c, r := read(func() error { return w.status(true) }); a != 500 || b != 0 || c != 0 || r != 1 {
		t.Errorf("status: %d %d %d %d", a, b, c, r)
	}
}

func TestParsePacketRefusesForeignBytes(t *testing.T) {
	for _, b := range [][]byte{nil, {'w'}, {'k'}, {'x', 1, 2}, make([]byte, 25)} {
		if _, err := parsePacket(b); err == nil {
			t.Errorf("%v was taken", b)
		}
	}
}
