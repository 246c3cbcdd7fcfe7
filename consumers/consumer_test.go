package consumers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func TestRowsArriveAndAreAnnounced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 3)
	for i := range 200 {
		r.produce(r.put(s, int64(i%40), fmt.Sprint("v", i)))
	}
	r.produce(r.del(s, 7))
	_, stop := r.start()
	r.awaitEqual(s)
	r.produce(r.put(s, 7, "back"))
	r.awaitEqual(s)
	r.await("the head's offsets are committed", func() bool {
		committed, err := kadm.NewClient(r.client).FetchOffsets(r.ctx(), "g")
		if err != nil {
			t.Fatal(err)
		}
		for p, n := range r.mem.head("core.orders").Offsets {
			if o, _ := committed.Lookup(s.Topic, p); o.At != n {
				return false
			}
		}
		return true
	})
	stop()
	next := int64(1)
	var rows schemas.RowCounts
	for _, e := range r.events() {
		if e.Load != next || e.Table != "core.orders" {
			t.Fatalf("load %d of %s is announced where %d was due", e.Load, e.Table, next)
		}
		next++
		rows.Read += e.Rows.Read
		rows.Applied += e.Rows.Applied
		rows.Folded += e.Rows.Folded
	}
	if head := r.mem.head("core.orders"); head.Load != next-1 {
		t.Errorf("%d loads, the last announced is %d", head.Load, next-1)
	}
	if rows.Read != 202 || rows.Applied+rows.Folded != 202 {
		t.Errorf("announced %+v", rows)
	}
}

// The effects of a load fail one after the other, also with a reply that is
// lost after the commit: no row is lost, none is loaded twice, no number is
// skipped (G4, G6).
func TestFaultsOfTheWarehouse(t *testing.T) {
	t.Parallel()
	for _, effect := range []string{"before load", "after load"} {
		t.Run(effect, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s := r.table("orders", 2)
			var mu sync.Mutex
			fail := map[int64]int{1: 2, 3: 1, 4: 3}
			r.mem.fault = func(at, _ string, load int64) error {
				mu.Lock()
				defer mu.Unlock()
				if at == effect && fail[load] > 0 {
					fail[load]--
					return errDown
				}
				return nil
			}
			_, stop := r.start()
			for i := range 6 {
				r.produce(r.put(s, int64(i%2), fmt.Sprint("v", i)))
				r.awaitEqual(s)
			}
			r.await("the last load is announced", func() bool {
				events := r.events()
				return len(events) > 0 && events[len(events)-1].Load == r.mem.head("core.orders").Load
			})
			stop()
			seen := map[int64]bool{}
			var applied int64
			for _, e := range r.events() {
				if !seen[e.Load] {
					seen[e.Load] = true
					applied += e.Rows.Applied + e.Rows.Folded
				}
				if e.Rows.Stale > 0 {
					t.Errorf("load %d loaded %d rows again", e.Load, e.Rows.Stale)
				}
			}
			if applied != 6 || int64(len(seen)) != r.mem.head("core.orders").Load {
				t.Errorf("%d rows in announced loads %v", applied, seen)
			}
		})
	}
}

// The owner before died between its commit and the announcement.
func TestLastLoadIsAnnouncedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.produce(r.put(s, 1, "v"))
	_, stop := r.start()
	r.awaitEqual(s)
	r.await("the load is announced", func() bool { return len(r.events()) == 1 })
	stop()
	c, stop := r.start()
	r.await("the topic is owned", func() bool { return status(c, "core.orders").Owned })
	stop()
	events := r.events()
	if len(events) != 2 || events[0].Load != 1 || events[1].Load != 1 {
		t.Errorf("announced %+v", events)
	}
}

// Members come and go; every table has one writer at a time and ends as its
// source (G5).
func TestRebalances(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var tables []*sourceTable
	for n := range 5 {
		tables = append(tables, r.table(fmt.Sprint("t", n), 2))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	stops := []func(){}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		if len(stops) < 2 || len(stops) < 4 && rng.IntN(2) == 0 {
			_, stop := r.start()
			stops = append(stops, stop)
		} else {
			n := rng.IntN(len(stops))
			stops[n]()
			stops = append(stops[:n], stops[n+1:]...)
		}
		for range 60 {
			s := tables[rng.IntN(len(tables))]
			if id := int64(rng.IntN(10)); rng.IntN(4) == 0 {
				r.produce(r.del(s, id))
			} else {
				r.produce(r.put(s, id, fmt.Sprint("v", s.n)))
			}
		}
	}
	for _, s := range tables {
		r.awaitEqual(s)
	}
	r.awaitAnnounced(tables...)
	for _, stop := range stops {
		stop()
	}
	for _, e := range r.events() {
		if e.Rows.Stale > 0 {
			t.Errorf("load %d of %s loaded %d rows again", e.Load, e.Table, e.Rows.Stale)
		}
	}
}

// A writer that was fenced while it loaded writes nothing and joins again (G5).
func TestFencedWriterJoinsAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	var once sync.Once
	r.mem.fault = func(at, table string, load int64) error {
		if at == "before load" && load == 2 {
			fenced := false
			once.Do(func() {
				r.mem.table(table).head.Epoch++ // another owner
				fenced = true
			})
			if fenced {
				return warehouse.ErrFenced
			}
		}
		return nil
	}
	_, stop := r.start()
	defer stop()
	for i := range 4 {
		r.produce(r.put(s, int64(i), "v"))
		r.awaitEqual(s)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	poison := r.put(s, 1, "poison")
	poison.Value = poison.Value[:70] // inside the row
	delete(s.want, wantKey(1))
	r.produce(poison, r.put(s, 2, "good"))
	behind := r.put(s, 1, "behind")
	delete(s.want, wantKey(1))
	r.produce(behind)
	r.produce(r.control(s, schemas.Watermark, s.pos(), 1000)...)
	r.produce(r.put(s, 3, "good"))
	c, stop := r.start()
	r.awaitEqual(s)
	r.await("two letters", func() bool { return status(c, "core.orders").Letters == 2 })
	stop()

	// The block outlives its owner.
	again := r.put(s, 1, "later")
	delete(s.want, wantKey(1))
	r.produce(again, r.put(s, 4, "good"))
	_, stop = r.start()
	r.awaitEqual(s)
	stop()
	letters := r.topic(s.Topic + ".dlq")
	if len(letters) != 3 || string(letters[0].Value) != string(poison.Value) || string(letters[2].Value) != string(again.Value) {
		t.Fatalf("%d letters", len(letters))
	}
	var rows schemas.RowCounts
	for _, e := range r.events() {
		rows.Quarantined = max(rows.Quarantined, e.Rows.Quarantined)
		if !e.CompleteThrough.Pos.IsZero() {
			t.Errorf("load %d is complete through %s behind a dead letter", e.Load, e.CompleteThrough.Pos)
		}
	}
	if rows.Quarantined == 0 {
		t.Error("no load counts what was quarantined")
	}
}

// A key that cannot be read halts its table, and no other.
func TestUnreadableKeyHaltsTheTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad, good := r.table("bad", 1), r.table("good", 1)
	rec := r.put(bad, 1, "v")
	rec.Key = []byte{1, 2, 3}
	r.produce(rec)
	c, stop := r.start()
	defer stop()
	r.await("bad halts", func() bool { return status(c, "core.bad").Halted != "" })
	if why := status(c, "core.bad").Halted; !strings.Contains(why, "read the key of record 0") || !strings.Contains(why, "restart millrace") {
		t.Errorf("halted: %s", why)
	}
	for i := range 3 {
		r.produce(r.put(good, int64(i), "v"))
		r.awaitEqual(good)
	}
	if len(r.mem.live("core.bad")) > 0 {
		t.Error("rows of a halted table were loaded")
	}
}

// A topic that was made again would skip records in silence (trap 15).
func TestTopicMadeAgainHalts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	for i := range 5 {
		r.produce(r.put(s, int64(i), "v"))
	}
	_, stop := r.start()
	r.awaitEqual(s)
	stop()
	admin := kadm.NewClient(r.client)
	if _, err := admin.DeleteTopic(r.ctx(), s.Topic); err != nil {
		t.Fatal(err)
	}
	r.client.PurgeTopicsFromClient(s.Topic)
	if _, err := admin.CreateTopic(r.ctx(), 1, 1, nil, s.Topic); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		r.produce(r.put(s, int64(i), "new"))
	}
	c, stop := r.start()
	defer stop()
	r.await("the table halts", func() bool { return strings.Contains(status(c, "core.orders").Halted, "was loaded from") })
}

// The embedded broker lost its newest transaction in a crash: what the producer
// repeats must not be skipped.
func TestClip(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.produce(r.put(s, 1, "v"))
	_, stop := r.start()
	r.awaitEqual(s)
	stop()
	r.mem.table("core.orders").head.Offsets[0] = 10
	c, stop := r.start()
	r.await("the table halts", func() bool {
		return strings.Contains(status(c, "core.orders").Halted, "ends at offset 1 and offset 10 is next")
	})
	stop()
	if err := c.Clip(r.ctx()); err != nil {
		t.Fatal(err)
	}
	r.produce(r.put(s, 1, "w"))
	_, stop = r.start()
	defer stop()
	r.awaitEqual(s)
}

// Watermarks alone make no load, and progress is told all the same.
func TestProgressWithoutLoads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 2)
	r.produce(r.put(s, 1, "v"))
	c, stop := r.start()
	defer stop()
	r.awaitEqual(s)
	for n := range 3 {
		us := time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC)
		r.produce(r.control(s, schemas.Watermark, schemas.Position{Epoch: 1, Major: uint64(10 + n)}, us.UnixMicro())...)
		r.await("progress", func() bool { return status(c, "core.orders").Complete.Time.Equal(us) })
	}
	r.await("progress is announced", func() bool {
		return slices.ContainsFunc(r.events(), func(e schemas.LoadComplete) bool { return e.Load == 0 })
	})
	if loads := slices.DeleteFunc(r.events(), func(e schemas.LoadComplete) bool { return e.Load == 0 }); len(loads) != 1 {
		t.Errorf("%d loads", len(loads))
	}
	// The next load takes the marks along.
	r.produce(r.put(s, 2, "v"))
	r.awaitEqual(s)
	r.await("the head is complete", func() bool { return r.mem.head("core.orders").Complete.Pos.Major == 12 })
}

func TestHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.tables[0].History = "core.orders_history"
	fail := true
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "before load" && table == "core.orders_history" && fail {
			return errDown
		}
		return nil
	}
	r.produce(r.put(s, 1, "a"), r.put(s, 1, "b"), r.del(s, 1))
	_, stop := r.start()
	r.await("the merged table is loaded", func() bool { return r.mem.head("core.orders").Load == 1 })
	stop() // the history lags behind
	r.mem.mu.Lock()
	fail = false
	r.mem.mu.Unlock()
	_, stop = r.start()
	r.produce(r.put(s, 2, "c"))
	r.awaitEqual(s)
	r.await("the history is loaded", func() bool { return r.mem.head("core.orders_history").Offsets[0] == 4 })
	stop()
	if n := len(r.mem.table("core.orders_history").history); n != 4 {
		t.Errorf("the history has %d changes, want 4", n)
	}
	for _, e := range r.events() {
		if e.Rows.Stale > 0 {
			t.Errorf("load %d of %s loaded %d rows again", e.Load, e.Table, e.Rows.Stale)
		}
	}
}

func TestNewColumn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.produce(r.put(s, 1, "v"))
	_, stop := r.start()
	defer stop()
	r.awaitEqual(s)
	s.Columns = append(s.Columns[:2:2], schemas.Column{Name: "y", Type: schemas.Type{Kind: schemas.Int}})
	r.register(s)
	s.n++
	r.produce(r.record(s, schemas.Change{Op: schemas.Create, Position: s.pos(), After: schemas.Row{schemas.IntCell(2), schemas.NullCell(), schemas.IntCell(9)}}))
	s.want[wantKey(2)] = "2:2 |1:0 |2:9 |"
	r.awaitEqual(s)
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 2)
	var records []*kgo.Record
	for i := range 10 {
		records = append(records, r.put(s, int64(i), "v"))
	}
	s.n++
	records = append(records, r.control(s, schemas.Truncate, s.pos(), 1)...)
	clear(s.want)
	records = append(records, r.put(s, 3, "after"))
	r.produce(records...)
	_, stop := r.start()
	defer stop()
	r.awaitEqual(s)
}

// Rows without a key can only be kept, each once.
func TestTableWithoutKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.keyed("notes", 1)
	for i := range 3 {
		r.produce(r.put(s, int64(i), "v"))
	}
	r.produce(r.del(s, 1))
	c, stop := r.start()
	defer stop()
	r.await("three rows and a letter", func() bool {
		r.mem.mu.Lock()
		defer r.mem.mu.Unlock()
		return len(r.mem.table("core.notes").history) == 3 && status(c, "core.notes").Letters == 1
	})
	if mode := r.mem.table("core.notes").core.Mode; mode != schemas.ModeAppend {
		t.Errorf("the table is loaded by %s", mode)
	}
}
