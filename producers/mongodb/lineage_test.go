package mongodb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

// idle waits for a token that is no event's: a server takes one of those whose it
// may be.
func (c *capture) idle() {
	c.t.Helper()
	c.await(func() bool {
		tok, err := parseToken(c.token)
		return c.token != "" && err == nil && tok.Seq == through(0).seq
	})
}

// foreign expects that the source does not go on at c.start.
func (c *capture) foreign() {
	c.t.Helper()
	src, err := c.cfg.Open(c.t.Context(), c.start, c.env())
	if err == nil {
		_ = src.Close()
		c.t.Fatal("it is taken for the same deployment")
	}
	var h *producers.HaltError
	if !errors.As(err, &h) || h.Table != "" || !strings.Contains(h.Hint, "raise `epoch`") {
		c.t.Fatalf("got %v", err)
	}
}

// rest stops the source where it has read all, and keeps that place.
func (c *capture) rest() {
	c.t.Helper()
	c.idle()
	c.start = c.checkpoint()
	_ = c.src.Close()
}

// Another server of the same name at the same place is not gone on with, whatever
// it holds, and also by a stream of other tables.
func TestAnotherServer(t *testing.T) {
	for name, seed := range map[string]func(*capture){
		"empty":   func(*capture) {},
		"seeded":  func(c *capture) { c.insert("t", doc("new")) },
		"dropped": func(c *capture) { c.insert("t", doc("new")); c.must(c.db.Collection("t").Drop(c.t.Context())) },
		"renamed": func(c *capture) { c.create("other"); c.insert("t", doc("new")); c.rename("other", "t") },
		"fewer":   func(c *capture) { c.cfg.Tables = c.cfg.Tables[:1]; c.insert("t", doc("new")) },
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, mongofake.Options{})
			c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
			c.insert("t", doc("old"))
			c.sync()
			c.rest()
			_ = f.Close()
			f.opts.Dir = t.TempDir()
			f.start(t)
			c.db.connect(t)
			seed(c)
			c.foreign()
			c.foreign() // nor the next time
			c.start = producers.Start{Epoch: 2, Tables: c.start.Tables}
			c.open()
			c.insert("t", doc("newer"))
			c.await(func() bool { return len(c.of("t")) > 0 })
		})
	}
}

// A deployment that went back to an older copy, and has written since.
func TestRestoredCopy(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
	c.sync()
	path := filepath.Join(f.opts.Dir, "oplog")
	copied, err := os.ReadFile(path)
	c.must(err)
	c.must(c.db.Collection("t").Drop(t.Context()))
	c.insert("t", doc("a"))
	c.sync()
	c.rest()
	_ = f.Close()
	c.must(os.WriteFile(path, copied, 0o600))
	f.start(t)
	c.db.connect(t)
	c.insert("t", doc("b"))
	c.foreign()
}

// What became of a collection while nobody read stands in the log: whatever it was,
// and however often the source dies on the way, it goes on.
func TestCollectionsChangeWhileDown(t *testing.T) {
	drop := func(c *capture) { c.must(c.db.Collection("t").Drop(c.t.Context())) }
	for name, change := range map[string]func(*capture){
		"unchanged": func(c *capture) { c.insert("t", doc("lost")) },
		"dropped and made": func(c *capture) {
			c.insert("t", doc("lost")) // of the one before
			drop(c)
			c.create("t")
		},
		"twice":    func(c *capture) { drop(c); c.create("t"); c.insert("t", doc("lost")); drop(c) },
		"database": func(c *capture) { c.must(c.db.Drop(c.t.Context())) },
		"renamed away, another in": func(c *capture) {
			c.create("other")
			c.rename("t", "away")
			c.rename("other", "t")
		},
		"replaced by a rename": func(c *capture) { c.create("other"); c.rename("other", "t") },
	} {
		for _, scope := range []string{"collection", "database"} {
			t.Run(name+", "+scope, func(t *testing.T) {
				f := startFake(t, mongofake.Options{})
				c := newCapture(t, f.URI(), false, Table{Name: "t"})
				if scope == "collection" {
					c.cfg.Tables = c.cfg.Tables[:1]
				}
				c.open()
				c.insert("t", doc("a"))
				c.until("t", 1)
				c.rest()
				change(c)
				f.restart(t)
				c.db.connect(t)
				c.insert("t", doc("b"))
				came := func() bool {
					got := c.of("t")
					return len(got) > 0 && shown(got[len(got)-1]) == `c _id=b doc={"_id":"b"}` && c.token != ""
				}
				before := c.start
				c.open()
				_ = c.src.Close() // dead before it has sent anything
				c.reopen(before)
				c.await(came)
				first := c.changes
				c.reopen(before) // dead before a checkpoint
				c.await(came)
				if len(first) != len(c.changes) || first[0].Position != c.changes[0].Position {
					t.Errorf("%d changes, and %d when they came again", len(first), len(c.changes))
				}
				if emptied := c.changes[len(c.changes)-2].Op == schemas.Truncate; emptied == (name == "unchanged") {
					t.Errorf("emptied: %v", emptied)
				}
				// The one that is there now is known: it too may go.
				c.rest()
				drop(c)
				c.insert("t", doc("c"))
				c.open()
				c.until("t", 2)
				c.expect("t", `t `, `c _id=c doc={"_id":"c"}`)
			})
		}
	}
}

// A table that is halted, or was left out for a while, does not expect the end of a
// collection that went meanwhile.
func TestCollectionGoesWhileItsTableHalts(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}).open()
	c.insert("t", doc("bad", bson.E{Key: "s", Value: "\xff"}))
	c.sync()
	if len(c.halts) != 1 {
		t.Fatalf("%v", c.halts)
	}
	c.must(c.db.Collection("t").Drop(t.Context()))
	c.insert("t", doc("a"))
	c.sync()
	c.rest()
	c.open()
	c.sync()
	all := c.cfg.Tables
	c.cfg.Tables = all[1:]
	c.rest()
	c.open()
	c.must(c.db.Collection("t").Drop(t.Context()))
	c.insert("t", doc("b"))
	c.sync()
	c.cfg.Tables = all
	c.rest()
	c.open()
	c.insert("t", doc("c"))
	c.sync()
	c.expect("t", `c _id=c doc={"_id":"c"}`)
}

// The collection that takes the place of one that went is known with its first
// document: it is missed at another server.
func TestReturnedCollectionIsKnown(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	c.cfg.Tables = c.cfg.Tables[:1]
	c.open()
	c.must(c.db.Collection("t").Drop(t.Context()))
	c.insert("t", doc("a"), doc("b"))
	c.until("t", 3)
	asked := f.Calls()["listCollections"]
	c.insert("t", doc("c"), doc("d"))
	c.until("t", 5)
	if again := f.Calls()["listCollections"]; again != asked {
		t.Errorf("it asks for each document: %d, then %d", asked, again)
	}
	c.rest()
	_ = f.Close()
	f.opts.Dir = t.TempDir()
	f.start(t)
	c.db.connect(t)
	c.insert("t", doc("new"))
	c.foreign()
}

// A checkpoint without UUIDs, or a user who may not list them, is no fault.
func TestUnknownUUIDs(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
	c.sync()
	c.rest()
	tok, err := parseToken(c.start.Token)
	c.must(err)
	tok.UUIDs = nil
	c.start.Token = tok.encode()
	c.open()
	c.sync()
	c.rest()
	if tok, err = parseToken(c.start.Token); err != nil || len(tok.UUIDs) != 2 {
		t.Fatalf("%v: they are not learned: %v", err, tok.UUIDs)
	}
	f.On("listCollections", 1, mongofake.Refuse(codeUnauthorized, "Unauthorized", "not authorized"))
	c.open()
	c.insert("t", doc("a"))
	c.sync()
	c.expect("t", `c _id=a doc={"_id":"a"}`)
	c.rest()
	if tok, err = parseToken(c.start.Token); err != nil || len(tok.UUIDs) != 2 {
		t.Fatalf("%v: they are forgotten: %v", err, tok.UUIDs)
	}
}
