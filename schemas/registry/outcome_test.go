package registry

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka does not answer and does not have the record: the answer is an error,
// and its id goes to no other schema.
func TestWriteThatDidNotHappen(t *testing.T) {
	b := newBench(t)
	b.mustRegister("s", numbered(0))
	var down atomic.Bool
	down.Store(true)
	b.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.kafka.KeepControl()
		return nil, errors.New("the broker is down"), down.Load() // the connection ends
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if id, err := b.reg.register(ctx, "s", numbered(1)); err == nil {
		t.Fatalf("registered as %d while the broker is down", id)
	}
	if status, _ := b.call("GET", "/schemas/ids/2", ""); status != 404 {
		t.Errorf("what was not written is there: %d", status)
	}
	down.Store(false)
	if id := b.mustRegister("t", numbered(2)); id != 3 {
		t.Errorf("id %d: the one before it is pending", id)
	}
	for range 2 {
		if id := b.mustRegister("s", numbered(1)); id != 2 {
			t.Errorf("id %d", id)
		}
		b.restart()
	}
}

// Kafka has the record and its answer is lost: it is found, and counts once.
func TestWriteWhoseReplyIsLost(t *testing.T) {
	var network produceDeaf
	b := newBench(t, kgo.Dialer(network.dial))
	b.mustRegister("s", numbered(0))
	network.setDeaf(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	id, err := b.reg.register(ctx, "s", numbered(1))
	if err != nil || id != 2 {
		t.Fatalf("id %d: %v", id, err)
	}
	network.setDeaf(false)
	if id := b.mustRegister("s", numbered(2)); id != 3 {
		t.Errorf("id %d", id)
	}
	b.restart()
	if _, answer := b.call("GET", "/subjects/s/versions", ""); answer != "[1,2,3]" {
		t.Error(answer)
	}
}

// The same, and the registry dies before it has looked: the next one finds it.
func TestDeathBeforeTheAnswer(t *testing.T) {
	b := newBench(t)
	if _, err := b.reg.log.append(t.Context(), schemaRecord(schemaValue{Subject: "s", Version: 1, ID: 1, Schema: numbered(1)})); err != nil {
		t.Fatal(err)
	}
	b.restart()
	if id := b.mustRegister("s", numbered(1)); id != 1 {
		t.Errorf("id %d", id)
	}
	if id := b.mustRegister("s", numbered(2)); id != 2 {
		t.Errorf("id %d", id)
	}
}

// An earlier attempt arrives after the record was written once more: twice is
// as once, and the next record's place is known again.
func TestLateDuplicate(t *testing.T) {
	b := newBench(t)
	b.mustRegister("s", numbered(1))
	rec := schemaRecord(schemaValue{Subject: "s", Version: 1, ID: 1, Schema: numbered(1)})
	if _, err := b.reg.log.append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	for n := 2; n < 4; n++ {
		if id := b.mustRegister("s", numbered(n)); id != n {
			t.Errorf("id %d, want %d", id, n)
		}
	}
}

// produceDeaf is a network on which, while it is deaf, no answer comes back on
// a connection that has carried a produce request. Such connections then end.
type produceDeaf struct {
	mu   sync.Mutex
	deaf chan struct{} // nil if it hears
}

func (p *produceDeaf) setDeaf(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if deaf {
		p.deaf = make(chan struct{})
	} else {
		close(p.deaf)
		p.deaf = nil
	}
}

func (p *produceDeaf) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, host)
	return &deafConn{Conn: c, network: p}, err
}

type deafConn struct {
	net.Conn
	network  *produceDeaf
	produced atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if len(b) > 6 && b[4] == 0 && b[5] == byte(kmsg.Produce) { // behind the size: the request's key
		c.produced.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.network.mu.Lock()
	deaf := c.network.deaf
	c.network.mu.Unlock()
	if deaf != nil && c.produced.Load() {
		<-deaf
		return 0, net.ErrClosed
	}
	return n, err
}
