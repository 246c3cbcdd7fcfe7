package mongofake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Options are how the fake is to be. The zero value serves, and keeps its data
// only as long as Dir is given.
type Options struct {
	// Dir holds the data. A fake that is started on it again goes on where the
	// last one stood.
	Dir string
	// Port to listen at on 127.0.0.1; default: a free one.
	Port int
	// User and Password are asked for if they are given (SCRAM-SHA-256).
	User, Password string
	// ReplicaSet is the set's name; default "rs0".
	ReplicaSet string
	// History is how far back snapshots can be read; default 5 minutes.
	History time.Duration
	// Noop is how often the cluster time goes on without writes, as long as
	// someone waits for events; default 1 s, where mongod has 10 s.
	Noop time.Duration
	// MaxEvent is the size in bytes above which an event must be split; default 16 MiB.
	MaxEvent int
}

func (o *Options) defaults() {
	if o.ReplicaSet == "" {
		o.ReplicaSet = "rs0"
	}
	if o.History == 0 {
		o.History = 5 * time.Minute
	}
	if o.Noop == 0 {
		o.Noop = time.Second
	}
	if o.MaxEvent == 0 {
		o.MaxEvent = maxDocument
	}
}

// Fake is a running fake. It is safe for concurrent use.
type Fake struct {
	opts     Options
	listener net.Listener
	addr     string
	faults   faults
	work     sync.WaitGroup
	closing  chan struct{}
	once     sync.Once

	mu         sync.Mutex
	conns      map[net.Conn]struct{}
	log        *journal
	changed    chan struct{} // closed when something was committed
	clock      clock
	names      map[namespace][]naming
	oplog      []*entry
	dropped    int    // entries that the oplog has lost at its front
	oldest     uint64 // the time at which the oplog begins
	forgotten  uint64 // the time at which snapshots begin
	lagsAt     uint64 // the time that it says to have applied; 0: it is the primary
	sessions   map[string]*session
	cursors    map[int64]*cursor
	nextCursor int64
}

// Start starts a fake. Close ends it.
func Start(ctx context.Context, opts Options) (*Fake, error) {
	opts.defaults()
	f := &Fake{
		opts: opts, closing: make(chan struct{}), changed: make(chan struct{}),
		conns: map[net.Conn]struct{}{}, names: map[namespace][]naming{},
		sessions: map[string]*session{}, cursors: map[int64]*cursor{}, nextCursor: time.Now().UnixNano(),
	}
	var err error
	if opts.Dir == "" {
		f.log = &journal{}
	} else if f.log, err = openJournal(opts.Dir, f.replay); err != nil {
		return nil, fmt.Errorf("start the MongoDB fake: %w", err)
	}
	f.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(opts.Port)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the MongoDB fake: %w", err), f.log.close())
	}
	f.addr = f.listener.Addr().String()
	if err := f.noop(); err != nil { // a server that is up has a cluster time
		return nil, errors.Join(fmt.Errorf("start the MongoDB fake: %w", err), f.listener.Close(), f.log.close())
	}
	f.work.Go(f.accept)
	return f, nil
}

// replay does what a record of the log says.
func (f *Fake) replay(r *record) error {
	switch r.kind {
	case recordCommit:
		for _, e := range r.entries {
			if f.lookup(e.ns) == nil && e.kind != kindCreate && e.kind != kindDropDatabase {
				return fmt.Errorf("read the log: an entry %s of %s, which is not there", e.kind, e.ns)
			}
			f.apply(e)
		}
		if r.session != nil {
			f.remember(r.session, r.txn, r.reply)
		}
	case recordForget:
		f.forgetOplog(r.at)
	}
	f.clock.last = max(f.clock.last, r.at)
	return nil
}

func (f *Fake) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		select {
		case <-f.closing:
			c.Close()
		default:
			f.conns[c] = struct{}{}
			f.work.Go(func() { f.serve(c) })
		}
		f.mu.Unlock()
	}
}

// Close ends the fake at once, as a killed server ends: what was acknowledged is
// in its folder, open transactions and cursors are gone.
func (f *Fake) Close() error {
	var err error
	f.once.Do(func() {
		f.mu.Lock()
		close(f.closing)
		err = f.listener.Close()
		for c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.work.Wait()
		err = errors.Join(err, f.log.close())
	})
	return err
}

// Disconnect closes the connections of all clients.
func (f *Fake) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

// Addr is host and port.
func (f *Fake) Addr() string { return f.addr }

// Port is where it listens: with it and the same folder, another one goes on.
func (f *Fake) Port() int { return f.listener.Addr().(*net.TCPAddr).Port }

// URI is the connection string of the replica set.
func (f *Fake) URI() string {
	u := url.URL{Scheme: "mongodb", Host: f.addr, Path: "/", RawQuery: "replicaSet=" + url.QueryEscape(f.opts.ReplicaSet)}
	if f.opts.User != "" {
		u.User = url.UserPassword(f.opts.User, f.opts.Password)
		u.RawQuery += "&authSource=admin&authMechanism=SCRAM-SHA-256"
	}
	return u.String()
}

// ClusterTime is the newest cluster time, seconds and increment as in a
// Timestamp's 64 bits.
func (f *Fake) ClusterTime() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock.last
}

func (f *Fake) now() time.Time { return time.Now() }

// signal wakes those who wait for a commit. f.mu is held.
func (f *Fake) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait lets go of f.mu until something is committed, the time is over (then it
// is false) or the fake ends (then too).
func (f *Fake) wait(until time.Time) bool {
	changed := f.changed
	f.mu.Unlock()
	defer f.mu.Lock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
	case <-f.closing:
	}
	return false
}
