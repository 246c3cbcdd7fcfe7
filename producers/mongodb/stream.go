package mongodb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	answerIn      = time.Minute // beyond what it waits for a change: after it, the connection is dead
	eventsAtOnce  = 4096
	allDatabases  = "*"
	cursorMissing = "the server has closed the change stream"
)

// stream asks the server for changes, one answer ahead of who takes them: an
// answer has at most 16 MB (G13). It does not repeat what failed: the next
// session resumes at the checkpoint.
type stream struct {
	db         *mongo.Database
	session    *mongo.Session
	collection string
	await      time.Duration // how long the server waits for the next change
	cursor     int64
	answers    chan answer
	stop       context.CancelFunc
	done       chan struct{}
}

// answer is what the server returned at once.
type answer struct {
	events [][]byte
	token  []byte // stands behind the events; the server's
	began  time.Time
	closed bool // the stream ends behind the events
	err    error
}

// from is where a stream begins: behind a token, or at a cluster time.
type from struct {
	token []byte
	time  uint64
	ends  bool // only what ends collections is shown
}

// scope is the narrowest that holds all tables: a collection, a database, or all.
func (c *Config) scope() string {
	scope := c.Tables[0].Name
	for _, t := range c.Tables[1:] {
		db, _, _ := t.split()
		if at, _, _ := strings.Cut(scope, "."); at == db {
			scope = db
		} else {
			return allDatabases
		}
	}
	return scope
}

// identity tells sets of tables apart.
func (c *Config) identity() string {
	var names []string
	for _, t := range c.Tables {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// pipeline is the aggregation that makes the stream.
func (c *Config) pipeline(v server, begin from) bson.A {
	stage := bson.D{}
	if v.atLeast(6) && begin.ends {
		stage = append(stage, bson.E{Key: "showExpandedEvents", Value: true}) // with the UUIDs
	} else if v.atLeast(6) {
		stage = append(stage, bson.E{Key: "fullDocument", Value: "whenAvailable"}, bson.E{Key: "fullDocumentBeforeChange", Value: "whenAvailable"})
	}
	if begin.token != nil { // unlike resumeAfter, this goes on after an invalidate too
		stage = append(stage, bson.E{Key: "startAfter", Value: bson.Raw(begin.token)})
	} else {
		at := bson.Timestamp{T: uint32(begin.time >> 32), I: uint32(begin.time)} //nolint:gosec // its two halves
		stage = append(stage, bson.E{Key: "startAtOperationTime", Value: at})
	}
	scope := c.scope()
	if scope == allDatabases {
		stage = append(stage, bson.E{Key: "allChangesForCluster", Value: true})
	}
	out := bson.A{bson.D{{Key: "$changeStream", Value: stage}}}
	if !strings.Contains(scope, ".") {
		out = append(out, bson.D{{Key: "$match", Value: c.match()}})
	}
	if begin.ends {
		out = append(out, bson.D{{Key: "$match", Value: bson.D{{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"drop", "rename", "dropDatabase", "invalidate"}}}}}}})
	} else if v.atLeast(7) {
		out = append(out, bson.D{{Key: "$changeStreamSplitLargeEvent", Value: bson.D{}}})
	}
	return out
}

// match lets through what concerns the tables: their own events, what is renamed
// to them, and what ends a whole database.
func (c *Config) match() bson.D {
	var dbs []string
	byDB := map[string]bson.A{}
	for _, t := range c.Tables {
		db, collection, _ := t.split()
		if byDB[db] == nil {
			dbs = append(dbs, db)
		}
		byDB[db] = append(byDB[db], collection)
	}
	either := bson.A{}
	for _, db := range dbs {
		for _, ns := range []string{"ns", "to"} {
			either = append(either, bson.D{{Key: ns + ".db", Value: db}, {Key: ns + ".coll", Value: bson.D{{Key: "$in", Value: byDB[db]}}}})
		}
	}
	either = append(either, bson.D{{Key: "operationType", Value: bson.D{{Key: "$in", Value: bson.A{"dropDatabase", "invalidate"}}}}})
	return bson.D{{Key: "$or", Value: either}}
}

// openStream begins the stream. Faults of the start are its error.
func openStream(ctx context.Context, client *mongo.Client, c *Config, v server, begin from) (*stream, error) {
	session, err := client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, fmt.Errorf("start a session: %w", err)
	}
	s := &stream{session: session, await: c.await(), answers: make(chan answer, 1), done: make(chan struct{})}
	cmd := bson.D{{Key: "aggregate", Value: 1}}
	db, collection, one := strings.Cut(c.scope(), ".")
	switch {
	case one:
		cmd[0].Value = collection
	case db == allDatabases:
		db = "admin"
	}
	s.db = client.Database(db)
	cmd = append(cmd, bson.E{Key: "pipeline", Value: c.pipeline(v, begin)}, bson.E{Key: "cursor", Value: bson.D{}},
		bson.E{Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}}})
	first := s.ask(ctx, cmd, "firstBatch")
	if first.err != nil {
		session.EndSession(ctx)
		return nil, streamError(first.err, strings.TrimSuffix(db, "admin"))
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(running, first)
	return s, nil
}

func (s *stream) run(ctx context.Context, a answer) {
	defer close(s.done)
	for {
		last := a.closed || a.err != nil
		wait := s.await
		if n := len(a.events); n > 0 && lookup(a.events[n-1], "txnNumber").kind != 0 {
			wait = time.Millisecond // the end of the transaction is to be seen soon
		}
		select {
		case s.answers <- a:
		case <-ctx.Done():
			return
		}
		if last {
			return
		}
		a = s.ask(ctx, bson.D{
			{Key: "getMore", Value: s.cursor},
			{Key: "collection", Value: s.collection},
			{Key: "batchSize", Value: eventsAtOnce},
			{Key: "maxTimeMS", Value: wait.Milliseconds()},
		}, "nextBatch")
	}
}

// ask runs one command of the stream. A server that says nothing for long is
// given up: its host may be gone without a word.
func (s *stream) ask(ctx context.Context, cmd bson.D, batch string) answer {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(s.await+answerIn, func() { cancel(errors.New("the server does not answer")) })
	defer watchdog.Stop()
	a := answer{began: time.Now()}
	reply, err := run(mongo.NewSessionContext(ctx, s.session), s.db, cmd)
	if err != nil {
		a.err = err
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			a.err = errors.Join(cause, err)
		}
		return a
	}
	a.err = s.take(&a, reply, batch)
	return a
}

// take reads an answer. The events are borrowed from it.
func (s *stream) take(a *answer, reply []byte, batch string) error {
	for e := fields(lookup(reply, "cursor").data); ; {
		if !e.next() {
			return e.err
		}
		switch string(e.key) {
		case "id":
			id, ok := e.val.integer()
			if !ok {
				return errors.New(cursorMissing)
			}
			a.closed = id == 0
			s.cursor = id
		case "ns":
			_, s.collection, _ = strings.Cut(string(e.val.text()), ".")
		case batch:
			events := fields(e.val.data)
			for events.next() {
				a.events = append(a.events, events.val.data)
			}
			if events.err != nil {
				return events.err
			}
		case "postBatchResumeToken":
			a.token = slices.Clone(e.val.data)
		}
	}
}

// close ends the stream and waits for it.
func (s *stream) close() {
	s.stop()
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.cursor != 0 { // else the server keeps it for ten minutes; it may be gone itself
		_, _ = run(mongo.NewSessionContext(ctx, s.session), s.db, bson.D{{Key: "killCursors", Value: s.collection}, {Key: "cursors", Value: bson.A{s.cursor}}})
	}
	s.session.EndSession(ctx)
}
