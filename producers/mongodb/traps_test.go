package mongodb

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

// A range over one type of _id misses the others: chunks go over all of them.
func TestChunksGoOverAllTypesOfIDs(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"})
	d, _ := bson.ParseDecimal128("2.5")
	ids := []any{
		int32(1), int64(2), 2.25, d, 3.0, "", "1", "a", "zz",
		bson.D{{Key: "a", Value: int32(1)}},
		bson.D{{Key: "b", Value: "x"}},
		bson.NewObjectID(), bson.NewObjectID(),
		bson.Binary{Subtype: 4, Data: make([]byte, 16)},
		true, false, nil,
		bson.DateTime(5),
		bson.Timestamp{T: 1, I: 1},
		bson.Symbol("symbol"),
		bson.MinKey{},
		bson.MaxKey{},
		math.Inf(1), math.NaN(), "65a1b2c3d4e5f60718293a4b",
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	want := map[string]bool{}
	for _, id := range ids {
		c.insert("t", doc(id))
		want[idText(t, id)] = true
	}
	c.open()
	c.sync()
	for _, limit := range []int{1, 2, 5, len(ids), 100} {
		got := map[string]bool{}
		var after []schemas.Cell
		for end := false; !end; {
			rows, chunk, err := c.chunk(c.version("t"), after, limit)
			c.must(err)
			for _, row := range rows {
				id := string(row.After[0].Bytes)
				if got[id] || !want[id] {
					t.Fatalf("limit %d: %s came twice, or was never there", limit, id)
				}
				got[id] = true
			}
			after, end = chunk.Last, chunk.End
		}
		if len(got) != len(want) {
			t.Fatalf("limit %d: %d of %d", limit, len(got), len(want))
		}
	}
	// Each of them is found by its text.
	for id := range want {
		found := 0
		_, err := c.src.ReadKeys(t.Context(), c.version("t"), [][]schemas.Cell{{schemas.BytesCell([]byte(id))}}, func(rows []schemas.Change) error {
			for _, row := range rows {
				if string(row.After[0].Bytes) == id {
					found++
				}
			}
			return nil
		})
		if err != nil || found != 1 {
			t.Errorf("%s: %d documents, %v", id, found, err)
		}
	}
}

// A chunk that goes on after a document which is gone misses none.
func TestChunkAfterADeletedDocument(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"})
	c.insert("t", doc("a"), doc("b"), doc("c"), doc("d"))
	c.open()
	c.sync()
	_, chunk, err := c.chunk(c.version("t"), nil, 2)
	c.must(err)
	c.remove("t", "b")
	rows, chunk, err := c.chunk(c.version("t"), chunk.Last, 2)
	c.must(err)
	if len(rows) != 2 || string(rows[0].After[0].Bytes) != "c" || chunk.End && len(rows) < 2 {
		t.Fatalf("%d rows, %+v", len(rows), chunk)
	}
}

// What is left of a chunk that has enough rows is not asked for, and its cursor does
// not stay at the server.
func TestChunkThatHasEnoughIsNotReadToItsEnd(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	const n = 3 * documentsAtOnce
	docs := make([]any, n)
	for i := range docs {
		docs[i] = doc(i)
	}
	c.insert("t", docs...)
	c.open()
	c.sync()
	before := f.Calls()
	rows := 0
	chunk, err := c.src.ReadChunk(t.Context(), c.version("t"), nil, n, func(cs []schemas.Change) error {
		rows += len(cs)
		return producers.ErrEnough
	})
	c.must(err)
	if rows != documentsAtOnce || chunk.End || string(chunk.Last[0].Bytes) != strconv.Itoa(rows-1) {
		t.Errorf("%d documents, %+v", rows, chunk)
	}
	after := f.Calls()
	if more, killed := after["getMore"]-before["getMore"], after["killCursors"]-before["killCursors"]; more != 0 || killed != 1 {
		t.Errorf("%d times the server was asked for more, and %d cursors were killed", more, killed)
	}
	rest, chunk, err := c.chunk(c.version("t"), chunk.Last, n)
	c.must(err)
	if rows+len(rest) != n || !chunk.End {
		t.Errorf("behind %d documents are %d, and its end is %t", rows, len(rest), chunk.End)
	}
}

// A collection that goes empties its table; what comes under its name is new.
func TestDropAndReturn(t *testing.T) {
	for _, scope := range []string{"collection", "database"} {
		t.Run(scope, func(t *testing.T) {
			c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"})
			if scope == "collection" {
				c.cfg.Tables = c.cfg.Tables[:1]
			}
			c.open()
			c.insert("t", doc("a"))
			c.must(c.db.Collection("t").Drop(t.Context()))
			c.insert("t", doc("b"))
			c.until("t", 3)
			c.expect("t", `c _id=a doc={"_id":"a"}`, `t `, `c _id=b doc={"_id":"b"}`)
			c.reopen(c.checkpoint())
			c.insert("t", doc("c"))
			c.until("t", 1)
			c.expect("t", `c _id=c doc={"_id":"c"}`)
		})
	}
}

// until reads until n changes of the table have come, with a token behind them.
func (c *capture) until(table string, n int) {
	c.t.Helper()
	c.await(func() bool { return len(c.of(table)) >= n && c.token != "" })
}

// await reads until it holds.
func (c *capture) await(holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			c.t.Fatalf("it does not come: %d changes, %d versions, halts %v", len(c.changes), len(c.versions), c.halts)
		}
		c.must(c.next())
	}
}

// A rename away empties; a rename onto a captured name brings rows without
// events, so the table is read again.
func TestRename(t *testing.T) {
	for _, scope := range []string{"collection", "database"} {
		t.Run(scope, func(t *testing.T) {
			c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"})
			if scope == "collection" {
				c.cfg.Tables = c.cfg.Tables[:1]
			}
			c.create("other")
			c.insert("other", doc("x"), doc("y"))
			c.open()
			c.insert("t", doc("a"))
			c.rename("other", "t")
			c.insert("t", doc("z"))
			c.until("t", 3)
			c.expect("t", `c _id=a doc={"_id":"a"}`, `t `, `c _id=z doc={"_id":"z"}`)
			v := c.versions[len(c.versions)-1]
			if v.Since != c.of("t")[1].Position {
				t.Fatalf("since %v, renamed at %v", v.Since, c.of("t")[1].Position)
			}
			rows, chunk, err := c.chunk(v.Table, nil, 10)
			c.must(err)
			if len(rows) != 3 || !v.Since.Less(chunk.ReadPoint) {
				t.Fatalf("%d rows at %v", len(rows), chunk.ReadPoint)
			}
			c.rename("t", "gone")
			c.until("t", 4)
			if last := c.of("t")[3]; last.Op != schemas.Truncate {
				t.Fatalf("a rename away came as %s", shown(last))
			}
		})
	}
}

func TestDropDatabase(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}).open()
	c.insert("t", doc("a"))
	c.must(c.db.Drop(t.Context()))
	c.create("t")
	c.insert("t", doc("b"))
	c.sync()
	got := c.of("t")
	if len(got) < 3 || got[0].Op != schemas.Create || got[1].Op != schemas.Truncate || shown(got[len(got)-1]) != `c _id=b doc={"_id":"b"}` {
		t.Fatalf("%d changes, the last %s", len(got), shown(got[len(got)-1]))
	}
	c.reopen(c.checkpoint())
	c.insert("t", doc("c"))
	c.sync()
	c.expect("t", `c _id=c doc={"_id":"c"}`)
}

// An event above the server's limit comes in parts, and is one change.
func TestSplitEvents(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{MaxEvent: 40_000}).URI(), true, Table{Name: "t"}).open()
	big := strings.Repeat("x", 30_000)
	c.insert("t", doc("a", bson.E{Key: "big", Value: big}))
	c.update("t", "a", set("n", int32(1)))
	c.remove("t", "a")
	c.sync()
	got := c.of("t")
	if len(got) != 3 || !bytes.Contains(got[1].After[docOrd].Bytes, []byte(`,"n":1`)) || len(got[1].Before[docOrd].Bytes) < 30_000 || got[1].Reread {
		t.Fatalf("%d changes", len(got))
	}
	at := c.checkpoint()
	c.reopen(at)
	c.insert("t", doc("b"))
	c.sync()
	c.expect("t", `c _id=b doc={"_id":"b"}`)
}

// A token that the log no longer holds halts the source, and says what to do.
func TestDeadTokenHalts(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
	c.sync()
	at := c.checkpoint()
	_ = c.src.Close()
	c.insert("t", doc("lost"))
	c.must(f.ForgetOplog())
	_, err := c.cfg.Open(t.Context(), at, c.env())
	var h *producers.HaltError
	if !errors.As(err, &h) || h.Table != "" || !strings.Contains(h.Hint, "snapshotted again") {
		t.Fatalf("got %v", err)
	}
}

// A table that is added makes the stream wider; a token of the narrow one is not
// shown to it, and nothing between is lost.
func TestWiderStreamResumesByTime(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}, Table{Name: "u"})
	all := c.cfg.Tables
	c.cfg.Tables = all[:1]
	c.open()
	c.insert("t", doc("a"))
	c.until("t", 1)
	at := c.checkpoint()
	_ = c.src.Close()
	c.insert("u", doc("u"))
	c.insert("t", doc("b"))
	c.cfg.Tables = all
	c.start = at
	c.open()
	c.sync()
	c.expect("t", `c _id=b doc={"_id":"b"}`)
	c.expect("u", `c _id=u doc={"_id":"u"}`)
}

// All databases are one stream too.
func TestDeployment(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	other := newDB(t, f.URI(), false)
	c.must(other.CreateCollection(t.Context(), "t"))
	c.cfg.Tables = append(c.cfg.Tables, Table{Name: other.name + ".t"})
	c.open()
	_, err := other.Collection("t").InsertOne(t.Context(), doc("there"))
	c.must(err)
	_, err = other.Collection("uncaptured").InsertOne(t.Context(), doc("nowhere"))
	c.must(err)
	c.insert("t", doc("here"))
	c.sync()
	c.expect("t", `c _id=there doc={"_id":"there"}`, `c _id=here doc={"_id":"here"}`)
}

// Whatever ends a stream, Next says so, and the checkpoint leads on.
func TestFaultsOfTheStream(t *testing.T) {
	long(t)
	for name, fault := range map[string]mongofake.Fault{
		"cut": mongofake.Cut(), "reply lost": mongofake.LoseReply(), "cursor lost": mongofake.LoseCursor(), "stepped down": mongofake.NotPrimary(),
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, mongofake.Options{})
			c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
			c.insert("t", doc("a"))
			c.sync()
			at := c.checkpoint()
			f.On("watch.getMore", 1, fault)
			c.insert("t", doc("b"))
			for end := time.Now().Add(20 * time.Second); ; {
				if err := c.next(); err != nil {
					var h *producers.HaltError
					if errors.As(err, &h) {
						t.Fatalf("it halts: %v", err)
					}
					break
				}
				if time.Now().After(end) {
					t.Fatal("Next hides the fault")
				}
			}
			c.reopen(at)
			c.sync()
			c.expect("t", `c _id=b doc={"_id":"b"}`)
		})
	}
}

// A chunk whose connection breaks, or whose time is over, is an error and no end.
func TestFaultsOfAChunk(t *testing.T) {
	long(t)
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	var docs []any
	for i := range documentsAtOnce + 500 {
		docs = append(docs, doc(int32(i)))
	}
	c.insert("t", docs...)
	c.open()
	c.sync()
	for _, command := range []string{"find", "getMore"} {
		f.On(command, 1, mongofake.Cut())
		if _, chunk, err := c.chunk(c.version("t"), nil, 5000); err == nil || chunk.End {
			t.Errorf("%s was cut: %+v, %v", command, chunk, err)
		}
		if rows, _, err := c.chunk(c.version("t"), nil, 5000); err != nil || len(rows) != documentsAtOnce+500 {
			t.Errorf("after %s was cut: %d rows, %v", command, len(rows), err)
		}
	}
}

// A document that has no place in JSON halts its table alone.
func TestNotTextHaltsItsTable(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}, Table{Name: "u"}).open()
	c.insert("t", doc("bad", bson.E{Key: "s", Value: "\xff"}))
	c.insert("u", doc("good"))
	c.sync()
	c.expect("u", `c _id=good doc={"_id":"good"}`)
	if len(c.halts) != 1 || c.halts[0].Table != c.db.name+".t" || !strings.Contains(c.halts[0].Error(), "document bad") {
		t.Fatalf("%v", c.halts)
	}
	if _, _, err := c.chunk(c.version("t"), nil, 10); !errors.As(err, new(*producers.HaltError)) {
		t.Errorf("its chunk: %v", err)
	}
}
