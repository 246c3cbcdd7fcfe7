package postgres

import (
	"net"
	"syscall"
	"time"
)

// The server sends each message of the log by itself. A reader that is faster than
// the server is woken for each of them, which costs both more than the message. So
// if it is woken often, it sleeps until a bulk is there, or for bulkWait.
const (
	bulkBytes = 32 << 10
	bulkWait  = 5 * time.Millisecond
	// bulkWakes wakes within bulkWithin are often.
	bulkWakes  = 64
	bulkWithin = 6 * time.Millisecond
)

// bulk is whether reads wait for a bulk.
type bulk struct {
	on    bool
	wakes int
	since time.Time
}

// entered is told of every wait, and reports whether it is for a bulk.
func (b *bulk) entered(conn net.Conn) bool {
	if b.on {
		return true
	}
	if b.wakes++; b.wakes < bulkWakes {
		return false
	}
	now := time.Now()
	often := now.Sub(b.since) < bulkWithin
	b.wakes, b.since = 0, now
	b.on = often && setLowWater(conn, bulkBytes)
	return b.on
}

// left ends the waits for a bulk, and reports whether there were any.
func (b *bulk) left(conn net.Conn) bool {
	if !b.on {
		return false
	}
	setLowWater(conn, 1)
	b.on, b.wakes, b.since = false, 0, time.Now()
	return true
}

// setLowWater sets how many bytes wake a reader, and reports whether the system
// can do that with such a connection.
func setLowWater(conn net.Conn, bytes int) bool {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes) //nolint:gosec // a descriptor
	})
	return err == nil && failed == nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
