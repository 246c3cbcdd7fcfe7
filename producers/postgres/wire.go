package postgres

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Reads and writes of a connection in replication mode. Reading belongs to
// Next; writing is also done by Ack and the heartbeat.
type wire struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
	buffer   *bufio.Reader
	timedOut bool
	bulk     bulk

	received atomic.Uint64 // everything below it was read
	write    sync.Mutex
	frame    [39]byte
}

func newWire(conn *pgconn.PgConn, buffer *bufio.Reader) (*wire, error) {
	h, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the replication connection: %w", err)
	}
	return &wire{conn: h.Conn, frontend: h.Frontend, buffer: buffer}, nil
}

// packet is what the stream carries: a message of the log, or a keepalive.
type packet struct {
	keepalive bool
	start     uint64 // of the message in the log
	end       uint64 // keepalive: everything below it was sent
	reply     bool   // keepalive: the server wants a status
	data      []byte // borrowed until the next receive
}

// errWait is the reason when nothing came before the deadline.
var errWait = errors.New("nothing came")

// waits reports whether the next receive has to wait, as far as is known: part
// of a packet may be here, and the deadline of the last receive has passed.
func (w *wire) waits() bool {
	return w.timedOut || w.buffer.Buffered() == 0 && w.frontend.ReadBufferLen() == 0
}

// receive returns the next packet, or errWait at the deadline. The deadline
// counts if waits is true; else setting it would cost more than the packet.
func (w *wire) receive(ctx context.Context, deadline time.Time) (packet, error) {
	if w.waits() {
		w.timedOut = false
		until := deadline
		if w.bulk.entered(w.conn) {
			if most := time.Now().Add(bulkWait); most.Before(until) {
				until = most
			}
		}
		if err := w.conn.SetReadDeadline(until); err != nil {
			return packet{}, fmt.Errorf("set read deadline: %w", err)
		}
		if err := ctx.Err(); err != nil { // after the deadline: the cancellation sets its own
			return packet{}, err
		}
	}
	for {
		msg, err := w.frontend.Receive()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				w.timedOut = true
				if ctx.Err() != nil {
					return packet{}, ctx.Err()
				}
				if !w.bulk.left(w.conn) {
					return packet{}, errWait
				}
				// Less than a bulk may be here, and is to be read before anyone is told
				// that nothing came.
				if err := w.conn.SetReadDeadline(latest(deadline, time.Now().Add(time.Millisecond))); err != nil {
					return packet{}, fmt.Errorf("set read deadline: %w", err)
				}
				continue
			}
			return packet{}, fmt.Errorf("read the log: %w", err)
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			return parsePacket(msg.Data)
		case *pgproto3.ErrorResponse:
			return packet{}, fmt.Errorf("read the log: %w", pgconn.ErrorResponseToPgError(msg))
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return packet{}, errors.New("read the log: the server ended the stream")
		}
	}
}

func parsePacket(b []byte) (packet, error) {
	switch {
	case len(b) >= 25 && b[0] == 'w':
		return packet{start: binary.BigEndian.Uint64(b[1:]), data: b[25:]}, nil
	case len(b) == 18 && b[0] == 'k':
		return packet{keepalive: true, end: binary.BigEndian.Uint64(b[1:]), reply: b[17] != 0}, nil
	}
	return packet{}, fmt.Errorf("read the log: unknown packet of %d bytes", len(b))
}

const writeTimeout = 10 * time.Second

// status answers the server, and with want asks it for a keepalive. It says
// what was read, which the server's shutdown waits for, and not a word about
// what is durable: that is Ack's alone (G1).
func (w *wire) status(want bool) error { return w.send(0, want) }

// ack tells the server that everything below lsn is durable.
func (w *wire) ack(lsn uint64) error { return w.send(lsn, false) }

// send writes a status. A flushed position of 0 says nothing.
func (w *wire) send(flushed uint64, want bool) error {
	w.write.Lock()
	defer w.write.Unlock()
	b := w.frame[:]
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	b[5] = 'r'
	binary.BigEndian.PutUint64(b[6:], max(w.received.Load(), flushed)) // written
	binary.BigEndian.PutUint64(b[14:], flushed)
	binary.BigEndian.PutUint64(b[22:], flushed)                                        // applied
	binary.BigEndian.PutUint64(b[30:], uint64(time.Now().UnixMicro()-postgresEpochUs)) //nolint:gosec // after 2000
	b[38] = 0
	if want {
		b[38] = 1
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	if _, err := w.conn.Write(b); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

// heartbeat keeps the server from hanging up while Next is not called: it
// waits for a status within wal_sender_timeout, a minute by default.
func (w *wire) heartbeat(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.status(false) != nil {
				return // the next receive says why
			}
		}
	}
}

// postgresEpochUs is 2000-01-01, from which PostgreSQL counts.
const postgresEpochUs = 946_684_800_000_000
