package consumers

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/batch"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// A table without rows has only control records, which have no key: its key
// comes from the registry. The same holds for the first load of a later owner.
func TestLoadsWithoutRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 2)
	r.produce(r.control(s, schemas.SnapshotDone, schemas.Position{Epoch: 1, Major: 1}, 1)...)
	_, stop := r.start()
	r.await("the end of the snapshot is loaded", func() bool { return r.mem.head("core.orders").Load > 0 })
	s.n = 1
	r.produce(r.put(s, 1, "v"), r.put(s, 2, "v"))
	r.awaitEqual(s)
	stop()
	_, stop = r.start()
	defer stop()
	s.n++
	r.produce(r.control(s, schemas.Truncate, s.pos(), 1)...)
	clear(s.want)
	r.awaitEqual(s)
}

// What a halted table had in memory is free for the others (G13).
func TestHaltFreesMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.memory = 1
	bad, good := r.table("bad", 1), r.table("good", 1)
	rec := r.put(bad, 0, "v")
	rec.Key = []byte{1, 2, 3}
	records := []*kgo.Record{rec}
	for i := range 100 {
		records = append(records, r.put(bad, int64(i), "v"))
	}
	r.produce(records...)
	c, stop := r.start()
	defer stop()
	r.await("bad halts", func() bool { return status(c, "core.bad").Halted != "" })
	for i := range 3 {
		r.produce(r.put(good, int64(i), "v"))
		r.awaitEqual(good)
	}
}

// A table that cannot be loaded for a long time holds up no other, however much
// there is to be loaded into it; and it says why it stands still (G12).
func TestStuckTableHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.memory = 64 << 10
	stuck, good := r.table("stuck", 1), r.table("good", 1)
	var down atomic.Bool
	down.Store(true)
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "before load" && table == "core.stuck" && down.Load() {
			return errDown
		}
		return nil
	}
	c, stop := r.start()
	defer stop()
	var records []*kgo.Record
	for i := range 2000 {
		records = append(records, r.put(stuck, int64(i), fmt.Sprintf("%0200d", i)))
	}
	r.produce(records...)
	r.await("the stuck table says why", func() bool { return status(c, "core.stuck").Trouble != "" })
	for i := range 20 {
		r.produce(r.put(good, int64(i), fmt.Sprintf("%0200d", i)))
		r.awaitEqual(good)
	}
	down.Store(false)
	r.awaitEqual(stuck)
	r.await("nothing is wrong any more", func() bool { return status(c, "core.stuck").Trouble == "" })
}

// A table that was changed by hand halts with what to do, and holds up no other
// when its consumer starts.
func TestTableChangedByHandHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad, good := r.table("bad", 1), r.table("good", 1)
	_, stop := r.start()
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	r.awaitEqual(bad)
	r.awaitEqual(good)
	stop()
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "acquire" && table == "core.bad" {
			return fmt.Errorf("acquire %s: %w", table, &warehouse.ChangedError{Problem: "the table is gone", Cure: "bring it back"})
		}
		return nil
	}
	c, stop := r.start()
	defer stop()
	r.produce(r.put(bad, 2, "v"), r.put(good, 2, "v"))
	r.await("bad halts", func() bool {
		return status(c, "core.bad").Halted == "take over core.bad: the table is gone: bring it back; then restart millrace"
	})
	r.awaitEqual(good)
}

// A table that another writer's transaction holds is set aside when its consumer
// starts, says so, holds up no other, and is loaded once it is free.
func TestBusyTableIsSetAside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	busy, good := r.table("busy", 1), r.table("good", 1)
	_, stop := r.start()
	r.produce(r.put(busy, 1, "v"), r.put(good, 1, "v"))
	r.awaitEqual(busy)
	r.awaitEqual(good)
	stop()
	var held atomic.Bool
	held.Store(true)
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "acquire" && table == "core.busy" && held.Load() {
			return fmt.Errorf("acquire %s: %w", table, warehouse.ErrBusy)
		}
		return nil
	}
	r.setAside = 200 * time.Millisecond
	c, stop := r.start()
	defer stop()
	r.produce(r.put(busy, 2, "v"), r.put(good, 2, "v"))
	r.await("the busy table says why", func() bool { return strings.Contains(status(c, "core.busy").Trouble, warehouse.ErrBusy.Error()) })
	r.awaitEqual(good)
	held.Store(false)
	r.awaitEqual(busy)
	r.await("nothing is wrong any more", func() bool { return status(c, "core.busy").Trouble == "" })
}

// Batches that wait for their age count as memory too: before it is used up
// they are loaded (G13).
func TestMemoryCutsBatches(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.memory = 64 << 10
	r.limits = batch.Limits{Rows: 1 << 20, Bytes: 1 << 30, Age: time.Hour}
	var tables []*sourceTable
	for n := range 4 {
		tables = append(tables, r.table(fmt.Sprint("t", n), 1))
	}
	_, stop := r.start()
	defer stop()
	for i := range 200 {
		var records []*kgo.Record
		for _, s := range tables {
			records = append(records, r.put(s, int64(i), fmt.Sprintf("%0500d", i)))
		}
		r.produce(records...)
	}
	r.await("most of it is loaded", func() bool {
		n := 0
		for _, s := range tables {
			n += len(r.mem.live("core." + s.Name))
		}
		return n > 600
	})
}

// A quiet table tells of its progress also if its owner has loaded nothing yet.
func TestProgressOfANewOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 2)
	r.produce(r.put(s, 1, "v"))
	_, stop := r.start()
	r.awaitEqual(s)
	stop()
	c, stop := r.start()
	defer stop()
	at := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	r.produce(r.control(s, schemas.Watermark, schemas.Position{Epoch: 1, Major: 10}, at.UnixMicro())...)
	r.await("progress", func() bool { return status(c, "core.orders").Complete.Time.Equal(at) })
	for _, e := range r.events() {
		if e.Load == 0 && e.Mode != schemas.ModeMerge {
			t.Errorf("progress of a table that is loaded by %s", e.Mode)
		}
	}
}

// The offsets of a table that nobody changes move on, lest its topic's
// retention overtake them.
func TestQuietTableMovesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.Quiet = 20 * time.Millisecond
	s := r.table("orders", 2)
	r.produce(r.put(s, 1, "v"))
	_, stop := r.start()
	defer stop()
	r.awaitEqual(s)
	for n := range 200 {
		r.produce(r.control(s, schemas.Watermark, schemas.Position{Epoch: 1, Major: uint64(10 + n)}, int64(n))...)
		if head := r.mem.head("core.orders"); head.Offsets[0]+head.Offsets[1] > 20 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the head is at %v", r.mem.head("core.orders").Offsets)
}

// A topic that halted here, was cured elsewhere and comes back is read again.
func TestHaltedTopicComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad, good := r.table("a_bad", 1), r.table("b_good", 1) // the first moves to a new member
	r.produce(r.put(bad, 1, "v"), r.put(good, 1, "v"))
	first, stop := r.start()
	defer stop()
	r.awaitEqual(bad)
	r.awaitEqual(good)
	rec := r.put(bad, 2, "v")
	delete(bad.want, wantKey(2))
	rec.Key = []byte{1, 2, 3}
	r.produce(rec)
	r.await("it halts", func() bool { return status(first, "core.a_bad").Halted != "" })
	second, away := r.start()
	r.await("it halts elsewhere", func() bool { return status(second, "core.a_bad").Halted != "" })
	r.mem.mu.Lock()
	r.mem.table("core.a_bad").head.Offsets[0] = 2 // someone has seen to it
	r.mem.mu.Unlock()
	away()
	r.produce(r.put(bad, 3, "v"))
	r.awaitEqual(bad)
	if why := status(first, "core.a_bad").Halted; why != "" {
		t.Errorf("still halted: %s", why)
	}
}

// The owner died between putting a letter and the load: to its successor, the
// letter blocks what follows it, and not what came before (G2, G11).
func TestLetterBlocksWhatFollows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	first := r.put(s, 1, "before")
	poison := r.put(s, 1, "poison")
	poison.Value = poison.Value[:8]
	behind := r.put(s, 1, "behind")
	r.produce(first, poison, behind)
	s.want[wantKey(1)] = "2:1 |2:0 before|"
	var down atomic.Bool
	down.Store(true)
	r.mem.fault = func(at, _ string, _ int64) error {
		if at == "before load" && down.Load() {
			return errDown
		}
		return nil
	}
	_, stop := r.start()
	r.await("two letters", func() bool { return len(r.topic(s.Topic+".dlq")) == 2 })
	stop()
	down.Store(false)
	_, stop = r.start()
	defer stop()
	r.awaitEqual(s)
	if n := len(r.topic(s.Topic + ".dlq")); n != 2 {
		t.Errorf("%d letters", n)
	}
	for _, e := range r.events() {
		if n := e.Rows; n.Read != 3 || n.Applied != 1 || n.Quarantined != 2 {
			t.Errorf("load %d counts %+v", e.Load, n)
		}
	}
}

// Retention, or a person, has removed what is to be loaded next: reading on
// would skip it in silence (G12).
func TestTopicCutHalts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, fresh := r.table("orders", 1), r.table("fresh", 1)
	for i := range 5 {
		r.produce(r.put(s, int64(i), "v"))
	}
	_, stop := r.start()
	r.awaitEqual(s)
	stop()
	for i := range 5 {
		r.produce(r.put(s, int64(i), "w"), r.put(fresh, int64(i), "w"))
	}
	cut := kadm.Offsets{}
	cut.AddOffset(s.Topic, 0, 7, -1)
	cut.AddOffset(fresh.Topic, 0, 2, -1)
	if _, err := kadm.NewClient(r.client).DeleteRecords(r.ctx(), cut); err != nil {
		t.Fatal(err)
	}
	c, stop := r.start()
	defer stop()
	for table, want := range map[string]string{
		"core.orders": "partition 0 begins at offset 7 and offset 5 is next",
		"core.fresh":  "partition 0 begins at offset 2 and nothing of it is loaded",
	} {
		r.await(table+" halts", func() bool { return strings.Contains(status(c, table).Halted, want) })
	}
}

// Rows of another key cannot be merged into the table.
func TestChangedKeyHalts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.table("orders", 1)
	r.produce(r.put(s, 1, "v"))
	c, stop := r.start()
	defer stop()
	r.awaitEqual(s)
	other := *s
	other.Key = []int{1}
	id, err := r.registry.Register(r.ctx(), "other-key", avro.KeySchema(&other.Table))
	if err != nil {
		t.Fatal(err)
	}
	if other.enc, err = avro.NewEncoder(&other.Table, "test", id, s.valueID); err != nil {
		t.Fatal(err)
	}
	row := schemas.Row{schemas.IntCell(2), schemas.BytesCell([]byte("w"))}
	r.produce(r.record(&other, schemas.Change{Op: schemas.Create, Position: schemas.Position{Epoch: 1, Major: 9}, After: row}))
	r.await("the table halts", func() bool { return strings.Contains(status(c, "core.orders").Halted, "was [id] and is [x]") })
}

// A record that was just short enough for its topic is longer with what a letter
// says beside it. Where the letters' topic does not take that, no later try helps.
func TestLetterLongerThanItsRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long, made := r.table("long", 1), r.table("made", 1)
	narrow := r.cluster.Data(made.Topic+".dlq", 1, 1)
	narrow.Configs["max.message.bytes"] = kadm.StringPtr("1000012")
	if err := kafka.EnsureTopics(r.ctx(), r.client, narrow); err != nil {
		t.Fatal(err)
	}
	c, stop := r.start()
	defer stop()
	for id := range int64(3) { // together too long, each by itself not
		bad := r.put(made, id, "v")
		delete(made.want, wantKey(id))
		bad.Value = make([]byte, 500_000)
		r.produce(bad)
	}
	r.produce(r.put(made, 9, "v"))
	r.awaitEqual(made)
	for _, s := range []*sourceTable{long, made} {
		bad := r.put(s, 1, "v")
		delete(s.want, wantKey(1))
		bad.Value = make([]byte, kafka.MaxRecordBytes+300) // of no schema
		r.produce(bad, r.put(s, 2, "v"))
	}
	r.awaitEqual(long)
	if letters := r.topic(long.Topic + ".dlq"); len(letters) != 1 || len(letters[0].Value) != kafka.MaxRecordBytes+300 {
		t.Errorf("%d letters", len(letters))
	}
	r.await("it halts", func() bool {
		halted := status(c, "core.made").Halted
		return strings.Contains(halted, "offset 4 of partition 0") && strings.Contains(halted, "max.message.bytes")
	})
}
