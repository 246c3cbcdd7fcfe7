package mongodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/producers"
	"millrace/schemas"
)

// source reads one MongoDB. The fields below tables belong to Next.
type source struct {
	cfg    *Config
	env    producers.Env
	epoch  uint32
	client *mongo.Client
	server server
	wake   chan struct{} // a snapshot has reported something

	shared struct { // between the stream and the snapshots
		sync.Mutex
		plans map[string]*plan // the newest of each table
		found map[string][]finding
	}

	tables map[string]*tracked // by database.collection
	stream *stream
	answer answer // what is being read
	event  int    // the next of its events
	held   []byte // an event that waits for the next batch
	parts  [][]byte

	at       place // after the last event
	token    []byte
	boundary struct { // the last point that no transaction spans
		place
		token []byte
	}
	begun bool  // a token was handed over, or there was one
	skip  place // what lies at or below it was sent
	// What the log had when it was opened: who started us may have cured it since.
	opened uint64
	// The last change that was sent, if it lies in a transaction beyond the
	// checkpoint and the tables were others: they number its changes otherwise.
	ahead place
	group group

	mem      arena
	lent     int    // bytes of the events that the batch's changes borrow from
	name     []byte // scratch
	calls    int    // rows of the batch that are to be read again
	out      producers.Batch
	returned bool // out was handed over and is to be emptied
	failed   error

	probe  probe
	probed time.Time // when the last probe was taken, by our clock
	spoken time.Time // the greatest Complete.Time so far
	whole  place     // the greatest Complete.Pos so far
}

// group is the transaction that the stream stands in.
type group struct {
	open  bool
	time  uint64
	id    string
	order int64
	first int  // where its changes begin in the batch
	sent  bool // changes of it left with a batch before
}

// probe is a moment of the server's clock, and the cluster time up to which a
// majority had all writes when asked was reached on our clock.
type probe struct {
	taken   bool
	time    time.Time
	applied uint64
	asked   time.Time
}

func open(ctx context.Context, cfg *Config, start producers.Start, env producers.Env) (_ producers.Source, err error) {
	client, err := mongo.Connect(cfg.options())
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	s := newSource(cfg, env, client)
	s.epoch = max(start.Epoch, 1)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	var faults []error
	if s.server, faults, err = s.inspect(ctx); err != nil {
		return nil, err
	}
	if len(faults) > 0 {
		return nil, joinHalts(faults)
	}
	begin, err := s.locate(ctx, start)
	if err != nil {
		return nil, err
	}
	if err := s.takeTables(ctx, start); err != nil {
		return nil, err
	}
	if err := s.recognise(ctx, start); err != nil {
		return nil, err
	}
	if s.stream, err = openStream(ctx, client, cfg, s.server, begin); err != nil {
		return nil, err
	}
	return s, s.firstToken(ctx)
}

func newSource(cfg *Config, env producers.Env, client *mongo.Client) *source {
	s := &source{cfg: cfg, env: env, client: client, wake: make(chan struct{}, 1), tables: map[string]*tracked{}, probed: time.Now()}
	s.shared.plans, s.shared.found = map[string]*plan{}, map[string][]finding{}
	return s
}

// locate finds the place to begin at: where the token says, or now. A token of a
// stream of other tables may mean nothing to this one, so that begins at the
// token's time, and what was sent is skipped. A transaction that was sent in part
// is sent whole, above that part (G2).
func (s *source) locate(ctx context.Context, start producers.Start) (from, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return from{}, err
	}
	applied := now.applied
	s.opened = applied
	if start.Token == "" {
		if err := s.settle(ctx, applied); err != nil {
			return from{}, err
		}
		s.at, s.skip = through(applied), through(applied)
		return from{time: applied}, nil
	}
	t, err := parseToken(start.Token)
	if err != nil {
		return from{}, err
	}
	at := place{t.Time, t.Seq}
	if t.Set != s.server.set {
		return from{}, halt(fmt.Errorf("resume at %s: that was replica set %s, and this is %s", at, t.Set, s.server.set),
			"connect to the replica set that was captured before; if another one took its place, "+snapshotAgain)
	}
	switch {
	case applied >= t.Time:
	case !now.primary: // it lags; the primary cannot
		return from{}, fmt.Errorf("resume at %s: this member of the replica set is not the primary and has the log up to %s so far: it is asked again until it has caught up; another member can be named in dsn",
			at, through(applied))
	default:
		return from{}, halt(fmt.Errorf("resume at %s: the log ends at %s, before it: the deployment was restored or made anew", at, through(applied)), snapshotAgain)
	}
	s.at, s.skip, s.begun = at, at, true
	if t.Resume != nil && t.Tables == s.cfg.identity() {
		s.token = t.Resume
		return from{token: t.Resume}, nil
	}
	if last := start.Last; t.Tables != s.cfg.identity() && last.Epoch == s.epoch && last.Major > t.Time {
		s.ahead = place{last.Major, last.Seq}
	}
	s.at = place{time: t.Time}
	return from{time: t.Time}, nil
}

// takeTables compares the configured tables with those of the checkpoint. What
// is new, or was configured anew, is snapshotted.
func (s *source) takeTables(ctx context.Context, start producers.Start) error {
	s.boundary.place, s.boundary.token = s.skip, s.token
	for _, cfg := range s.cfg.Tables {
		t := &tracked{cfg: cfg}
		t.db, t.collection, _ = cfg.split()
		v, known := start.Tables[t.id()]
		if known {
			t.table = v.Table
			if err := json.Unmarshal(v.State, &t.state); len(v.State) > 0 && err != nil {
				return fmt.Errorf("read the state of %s: %w", t.id(), err)
			}
		}
		switch {
		case known && start.Token != "" && t.state.declaredAs(cfg):
			s.compile(t)
			s.tables[t.id()] = t
		case known:
			s.take(t, t.state.Promoted)
			s.tables[t.id()] = t
			next := t.version()
			next.Since = s.skip.position(s.epoch)
			s.announce(next)
		default:
			if err := s.takeNew(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeNew takes up a collection that was not captured before. One that cannot be
// is reported and left out. One that is not there is as good as an empty one: its
// snapshot finds no rows, and what comes under its name comes as changes.
func (s *source) takeNew(ctx context.Context, t *tracked) error {
	seen, err := s.present(ctx, t)
	var h *producers.HaltError
	if errors.As(err, &h) {
		h.Table = t.id()
		t.halted = true
		s.tables[t.id()] = t // its changes have numbers all the same
		s.env.Halt(h)
		return nil
	}
	if err != nil {
		return err
	}
	if !seen.there {
		s.env.Log.Warn("collection is not there, and its table empty until it is made", "source", s.env.Source, "table", t.id(), "hint", t.creation())
	}
	promoted, err := s.sample(ctx, t)
	if err != nil {
		return err
	}
	s.take(t, promoted)
	s.tables[t.id()] = t
	s.announce(t.version())
	return nil
}

// creation is what to do about a collection that is not there.
func (t *tracked) creation() string {
	return fmt.Sprintf("create it: db.getSiblingDB(%q).createCollection(%q); or correct its name, in which capitals count", t.db, t.collection)
}

// firstToken waits for the token of the stream's start, so that a producer that
// dies during its first snapshot has one.
func (s *source) firstToken(ctx context.Context) error {
	select {
	case s.answer = <-s.stream.answers:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.token == nil && len(s.answer.events) == 0 { // else the next start begins at the time once more
		s.token = s.answer.token
	}
	s.boundary.token = s.token
	return nil
}

// Ack does nothing: the server keeps its log by its own rules, and nobody can
// tell it what was read.
func (s *source) Ack(context.Context, schemas.Token) error { return nil }

// Close ends the stream and every connection, and waits for them.
func (s *source) Close() error {
	if s.stream != nil {
		s.stream.close()
		s.stream = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.client.Disconnect(ctx) // what does not end in time is cut
	return nil
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }

func lower(name string) string { return strings.ToLower(name) }

// resume is the token of a place. While nothing has come there is no raw one,
// and the next start begins at the time.
func (s *source) resume(at place, raw []byte) schemas.Token {
	return token{Set: s.server.set, Tables: s.cfg.identity(), UUIDs: s.uuids(), Resume: raw, Time: at.time, Seq: at.seq}.encode()
}
