package mongodb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/producers"
)

// sighting is what the server says of a name.
type sighting struct {
	there bool
	kind  string
	uuid  string // empty: the server does not tell
	told  bool   // a collection that is not there is not merely hidden
}

// sight looks a collection up. Who may not list collections is told names alone.
func (s *source) sight(ctx context.Context, t *tracked) (sighting, error) {
	list := func(nameOnly bool) ([]byte, error) {
		return run(ctx, s.client.Database(t.db), bson.D{
			{Key: "listCollections", Value: 1},
			{Key: "filter", Value: bson.D{{Key: "name", Value: t.collection}}},
			{Key: "nameOnly", Value: nameOnly},
			{Key: "authorizedCollections", Value: true},
		})
	}
	seen := sighting{told: true}
	reply, err := list(false)
	if codeOf(err) == codeUnauthorized {
		seen.told = false
		reply, err = list(true)
	}
	if err != nil {
		return seen, rightsError(err, t.db)
	}
	e := fields(lookup(lookup(reply, "cursor").data, "firstBatch").data)
	if !e.next() {
		return seen, e.err
	}
	seen.there, seen.kind = true, string(lookup(e.val.data, "type").text())
	if info := lookup(e.val.data, "info"); info.isDoc() {
		seen.uuid = shortUUID(lookup(info.data, "uuid"))
	}
	return seen, nil
}

// shortUUID is enough of a UUID to tell one collection of a name from the next:
// every checkpoint holds it.
func shortUUID(v value) string {
	id, ok := v.uuid()
	if !ok {
		return ""
	}
	return hex.EncodeToString(id[:6])
}

// present reports what is there under the name of a collection. The error is of
// one that is no collection, has no log, or may not be read.
func (s *source) present(ctx context.Context, t *tracked) (sighting, error) {
	seen, err := s.sight(ctx, t)
	switch {
	case err != nil:
		return seen, err
	case !seen.there:
		return seen, s.mayRead(ctx, t)
	case seen.kind != "" && seen.kind != "collection":
		return seen, t.haltError(fmt.Errorf("it is a %s, which has no change stream", seen.kind), "capture the collections below it")
	}
	return seen, nil
}

// mayRead is the error of a collection that is not named to us because we may not
// read it.
func (s *source) mayRead(ctx context.Context, t *tracked) error {
	_, err := run(ctx, s.client.Database(t.db), bson.D{{Key: "find", Value: t.collection}, {Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}})
	return rightsError(err, t.db)
}

// recognise compares the collections with those that the token was made on. One
// that is another now, or gone, has its end in the log between the token and now;
// where that is not so, the token is of another server, or of another copy of this
// one. It would be taken all the same: a server does not look at whose it is.
// Nothing is sent before that is known (G12).
func (s *source) recognise(ctx context.Context, start producers.Start) error {
	var was token
	if start.Token != "" {
		var err error
		if was, err = parseToken(start.Token); err != nil {
			return err
		}
	}
	ended := map[string]string{} // by name, the UUIDs whose end is to be found
	for _, cfg := range s.cfg.Tables {
		t := s.tables[cfg.Name]
		if t == nil {
			continue
		}
		seen, err := s.sight(ctx, t)
		if err != nil {
			return err
		}
		if t.uuid = was.UUIDs[t.id()]; t.uuid == "" {
			t.uuid = seen.uuid
			continue
		}
		switch {
		case seen.uuid == t.uuid, seen.there && seen.uuid == "" && seen.kind == "collection", !seen.told:
			continue
		case !seen.there:
			if err := s.mayRead(ctx, t); err != nil {
				return err
			}
		}
		ended[t.id()] = t.uuid
	}
	if len(ended) == 0 {
		return nil
	}
	missing, err := s.findEnds(ctx, was.Time, ended)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return halt(fmt.Errorf("resume at %s: %s is not the collection that was captured, and the log does not say what became of that: this is another server, or it was restored",
			place{was.Time, was.Seq}, strings.Join(missing, ", ")),
			"connect to the deployment that was captured before; if this one took its place, "+snapshotAgain)
	}
	return nil
}

// findEnds reads what ended collections between a time that was sent and now, and
// returns the names of those whose end is not there. No two such events have one
// time, so those of after itself were sent.
func (s *source) findEnds(ctx context.Context, after uint64, ended map[string]string) ([]string, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx, now.applied); err != nil {
		return nil, err
	}
	asked := time.Now()
	begin := from{time: after + 1, ends: true}
	for {
		st, err := openStream(ctx, s.client, s.cfg, s.server, begin)
		if err != nil {
			return nil, err
		}
		token, err := readEnds(ctx, st, now.applied, asked, ended)
		st.close()
		if err != nil || token == nil {
			var left []string
			for name := range ended {
				left = append(left, name)
			}
			slices.Sort(left)
			return left, err
		}
		begin = from{token: token, ends: true} // the database or the collection went, and with it the stream
	}
}

// readEnds takes off ended what a stream shows to have ended. A token says that the
// stream was closed at it.
func readEnds(ctx context.Context, st *stream, until uint64, asked time.Time, ended map[string]string) ([]byte, error) {
	for {
		var a answer
		select {
		case a = <-st.answers:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if a.err != nil {
			return nil, streamError(a.err, "")
		}
		for _, raw := range a.events {
			ev, err := parse(raw)
			if err != nil {
				return nil, halt(err, snapshotAgain)
			}
			if ev.time > until {
				return nil, nil
			}
			takeEnd(&ev, ended)
		}
		switch {
		case len(ended) == 0, len(a.events) == 0 && a.began.After(asked) && !a.closed:
			return nil, nil
		case a.closed && a.token == nil:
			return nil, errors.New(cursorMissing)
		case a.closed:
			return a.token, nil
		}
	}
}

// takeEnd takes off ended the collection that an event ended. Servers before 6.0
// do not say which one of its name that was.
func takeEnd(ev *event, ended map[string]string) {
	take := func(db, coll []byte, uuid string, told bool) {
		name := string(db) + "." + string(coll)
		if want, ok := ended[name]; ok && (want == uuid || !told) {
			delete(ended, name)
		}
	}
	switch ev.op {
	case "drop":
		take(ev.db, ev.coll, ev.uuid, ev.uuid != "")
	case "rename":
		take(ev.db, ev.coll, ev.uuid, ev.uuid != "")
		take(ev.toDB, ev.to, ev.replaced, ev.uuid != "")
	}
}

// learn asks which collection it is whose first document has come since its name
// was last given up.
func (s *source) learn(ctx context.Context, t *tracked) error {
	if t.uuid != "" || t.asked {
		return nil
	}
	seen, err := s.sight(ctx, t)
	if err != nil {
		return err
	}
	// If it is gone already, or another one now, the end of that lies ahead.
	t.uuid, t.asked = seen.uuid, true
	return nil
}

// giveUp notes that the collection no longer has the name.
func (t *tracked) giveUp() { t.uuid, t.asked = "", false }

// uuids are those of the captured collections at the stream's place, or later.
func (s *source) uuids() map[string]string {
	out := map[string]string{}
	for name, t := range s.tables {
		if t.uuid != "" {
			out[name] = t.uuid
		}
	}
	return out
}
