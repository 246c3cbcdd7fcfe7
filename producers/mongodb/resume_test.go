package mongodb

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/internal/testkit/mongofake"
	"millrace/schemas"
)

// transact inserts documents, each into its collection, in one transaction.
func (c *capture) transact(pairs ...any) {
	c.t.Helper()
	c.must(c.db.Client().UseSession(c.t.Context(), func(ctx context.Context) error {
		session := mongo.SessionFromContext(ctx)
		if err := session.StartTransaction(); err != nil {
			return err
		}
		for i := 0; i < len(pairs); i += 2 {
			if _, err := c.db.Collection(pairs[i].(string)).InsertOne(ctx, pairs[i+1]); err != nil {
				return err
			}
		}
		return session.CommitTransaction(ctx)
	}))
}

// A transaction was sent in part when the process died, and is read again with
// fewer tables: what was not sent is not taken for what was.
func TestFewerTablesWithinATransaction(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}, Table{Name: "u"})
	c.open()
	c.sync()
	at := c.checkpoint()
	c.transact("u", doc("u1"), "u", doc("u2"), "t", doc("a"), "t", doc("b"))
	c.sync()
	at.Last = c.of("t")[0].Position // b was not sent
	c.cfg.Tables = append(c.cfg.Tables[:1:1], c.cfg.Tables[2])
	c.reopen(at)
	c.sync()
	got := c.of("t")
	if len(got) != 2 || !at.Last.Less(got[1].Position) || !got[0].Position.Less(got[1].Position) {
		t.Fatalf("sent up to %v, and then %v", at.Last, got)
	}
	next := c.checkpoint()
	c.transact("t", doc("c"))
	c.reopen(next)
	c.sync()
	c.expect("t", `c _id=c doc={"_id":"c"}`)
}

// A halted table's changes are numbered like all others: whether it halts does
// not move those beside it (G3).
func TestHaltMovesNoPosition(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}, Table{Name: "u"}).open()
	c.transact("t", doc("bad", bson.E{Key: "s", Value: "\xff"}), "t", doc("good"), "u", doc("u"))
	c.sync()
	if got := c.of("u"); len(c.halts) != 1 || len(got) != 1 || got[0].Position.Seq != 3 {
		t.Fatalf("%v, %v", c.halts, got)
	}
}

// What drops a database has the same positions whatever is captured (G3).
func TestPositionsOfADroppedDatabase(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "b"}, Table{Name: "a"}, Table{Name: "c"})
	other := newDB(t, f.URI(), false)
	c.must(other.CreateCollection(t.Context(), "fence"))
	all := c.cfg.Tables
	c.cfg.Tables = append(all[:3:3], Table{Name: other.name + ".fence"})
	tables := c.cfg.Tables
	c.open()
	next := func() {
		c.fence++
		_, err := other.Collection("fence").InsertOne(t.Context(), doc(c.fence))
		c.must(err)
		c.until("fence", 1)
	}
	next()
	at := c.checkpoint()
	c.insert("b", doc("x"))
	c.must(c.db.Drop(t.Context()))
	positions := func() map[string]schemas.Position {
		out := map[string]schemas.Position{}
		for _, ch := range c.changes {
			if ch.Op == schemas.Truncate {
				if _, twice := out[ch.Table.Name]; twice {
					t.Errorf("%s is emptied twice", ch.Table.Name)
				}
				out[ch.Table.Name] = ch.Position
			}
		}
		return out
	}
	c.reopen(at)
	next()
	want := positions()
	if len(want) != 3 {
		t.Fatalf("%d tables are emptied", len(want))
	}
	for _, subset := range [][]Table{{tables[2], tables[1], tables[0], tables[3]}, {tables[0], tables[3]}, {tables[2], tables[1], tables[3]}} {
		c.cfg.Tables = subset
		c.reopen(at)
		next()
		got := positions()
		if len(got) != len(subset)-1 {
			t.Errorf("%d of %d are emptied", len(got), len(subset)-1)
		}
		for table, pos := range got {
			if pos != want[table] {
				t.Errorf("with %d tables %s is emptied at %v, and before at %v", len(subset), table, pos, want[table])
			}
		}
	}
}

// The token of a stream of other tables is no token of this one, neither at once
// nor in the checkpoint after it.
func TestTokenOfOtherTables(t *testing.T) {
	for name, pending := range map[string]bool{"idle": false, "changes wait": true} {
		t.Run(name, func(t *testing.T) {
			c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}, Table{Name: "u"}).open()
			c.insert("u", doc("last"))
			c.sync()
			at := c.checkpoint()
			old, err := parseToken(at.Token)
			c.must(err)
			c.cfg.Tables = c.cfg.Tables[:1]
			if pending {
				c.insert("t", doc("a"))
			}
			c.reopen(at)
			if now := c.src.(*source).boundary.token; bytes.Equal(now, old.Resume) {
				t.Error("it goes on with the token of the stream before")
			}
			c.insert("t", doc("b"))
			for c.token == "" || len(c.of("t")) == 0 || shown(c.of("t")[len(c.of("t"))-1]) != `c _id=b doc={"_id":"b"}` {
				c.must(c.next())
			}
		})
	}
}

// Deltas without their documents borrow from the answers of the server: a batch
// of them is bounded too (G13).
func TestDeltasAreBounded(t *testing.T) {
	table := Table{Name: "t", Columns: []Column{{Name: "note", Type: typeOf(schemas.String)}}}
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, table).open()
	c.insert("t", doc("a"))
	const n = 12
	c.sync()
	at := c.checkpoint()
	_ = c.src.Close()
	for i := range n {
		c.update("t", "a", set("note", strings.Repeat(string(rune('a'+i)), 1<<20)))
	}
	c.start = at
	c.open()
	for before := 0; len(c.of("t")) < n; before = len(c.of("t")) {
		c.must(c.next())
		if more := len(c.of("t")) - before; more > 1+batchBytes>>20 {
			t.Fatalf("%d deltas of 1 MB came at once", more)
		}
	}
}
