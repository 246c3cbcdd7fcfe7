package consumers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
)

// lineage writes a table through its generations, and knows its rows and how
// many changes there were.
type lineage struct {
	*rig
	s       *sourceTable
	rows    map[int64]string
	changes int
	spoil   int64 // the row whose snapshot cannot be read
}

func newLineage(r *rig, name string) *lineage {
	l := &lineage{rig: r, s: r.table(name, 2), rows: map[int64]string{}}
	r.tables[len(r.tables)-1].History = "core." + name + "_history"
	return l
}

func (l *lineage) row(op schemas.Op, id int64, x string) *kgo.Record {
	l.s.n++
	l.changes++
	row := schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte(x))}
	c := schemas.Change{Op: op, Position: l.s.pos(), TsUs: int64(l.s.n), After: row}
	if op == schemas.Delete {
		c.After, c.Before = nil, row
	}
	return l.record(l.s, c)
}

// set writes a row. Where x is in the key, another x is another row.
func (l *lineage) set(id int64, x string) {
	was, there := l.rows[id]
	var records []*kgo.Record
	switch {
	case there && was == x:
		return
	case there && len(l.s.Key) > 1:
		records = append(records, l.row(schemas.Delete, id, was), l.row(schemas.Create, id, x))
	case there:
		records = append(records, l.row(schemas.Update, id, x))
	default:
		records = append(records, l.row(schemas.Create, id, x))
	}
	l.rows[id] = x
	l.produce(records...)
}

func (l *lineage) random(n int) {
	for range n {
		id := rand.Int64N(12)
		if x, there := l.rows[id]; there && rand.IntN(5) == 0 {
			l.produce(l.row(schemas.Delete, id, x))
			delete(l.rows, id)
			continue
		}
		l.set(id, fmt.Sprintf("x%d", rand.IntN(1000)))
	}
}

// next gives the table another key. The snapshot comes with the first changes.
func (l *lineage) next(partitions int32, key ...int) {
	old := l.s
	topic, n := kafka.Generation(old.Topic)
	next := *old
	next.Topic, next.Generation, next.Key, next.partitions = fmt.Sprintf("%s.g%d", topic, n+1), n+1, key, partitions
	if err := kafka.EnsureTopics(l.ctx(), l.client, l.cluster.Data(next.Topic, partitions, 1)); err != nil {
		l.t.Fatal(err)
	}
	l.register(&next)
	last := l.control(old, schemas.Watermark, old.pos(), int64(old.n))
	for _, r := range last {
		r.Headers = []kgo.RecordHeader{{Key: "next", Value: []byte(next.Topic)}}
	}
	l.produce(last...)
	l.s = &next
	l.s.n++
	at := l.s.pos()
	for id, x := range maps.Clone(l.rows) {
		if rand.IntN(4) == 0 {
			l.random(1)
		}
		l.changes++
		row := l.record(l.s, schemas.Change{Op: schemas.Read, Position: at, After: schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte(x))}})
		if id == l.spoil && id > 0 {
			row.Value = row.Value[:7]
		}
		l.produce(row)
	}
	l.produce(l.control(l.s, schemas.SnapshotDone, at, 0)...)
	l.produce(l.control(l.s, schemas.Watermark, l.s.pos(), int64(l.s.n))...)
}

func (l *lineage) want() map[string]string {
	out := map[string]string{}
	for id, x := range l.rows {
		key := wantKey(id)
		if len(l.s.Key) > 1 {
			key += fmt.Sprintf("0 %x|", x)
		}
		out[key] = fmt.Sprintf("2:%d |2:0 %s|", id, x)
	}
	return out
}

func (l *lineage) awaitAll() {
	l.t.Helper()
	l.await("the table equals its source", func() bool { return maps.Equal(l.mem.live("core."+l.s.Name), l.want()) })
	l.await("the history has every change", func() bool {
		l.mem.mu.Lock()
		defer l.mem.mu.Unlock()
		return len(l.mem.table("core."+l.s.Name+"_history").history) == l.changes
	})
}

// checkAnnounced: numbers without gaps, nothing of what nobody reads yet.
func (l *lineage) checkAnnounced(steps int) {
	l.t.Helper()
	seen := map[string]map[int64]bool{}
	all := map[string]int{}
	for _, e := range l.events() {
		if strings.Contains(e.Table, "__g") {
			l.t.Errorf("load %d of %s was announced", e.Load, e.Table)
		}
		if e.Load == 0 {
			continue
		}
		if seen[e.Table] == nil {
			seen[e.Table] = map[int64]bool{}
		}
		if e.All && !seen[e.Table][e.Load] {
			all[e.Table]++
		}
		seen[e.Table][e.Load] = true
	}
	for _, table := range []string{"core.orders", "core.orders_history"} {
		last := l.mem.head(table).Load
		for n := range last {
			if !seen[table][n+1] {
				l.t.Errorf("load %d of %s, which is at %d, was not announced", n+1, table, last)
			}
		}
		if all[table] != steps {
			l.t.Errorf("%d loads of %s touched everything, want %d", all[table], table, steps)
		}
	}
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	l.random(30)
	c, stop := r.start()
	l.awaitAll()
	l.next(3, 0, 1)
	l.random(30)
	l.awaitAll()
	if st := status(c, "core.orders"); st.Topic != l.s.Topic || st.Snapshot.Running || st.Halted != "" {
		t.Fatalf("status %+v", st)
	}
	l.next(1, 0)
	l.random(30)
	l.awaitAll()
	stop()
	l.random(10)
	r.start()
	l.awaitAll()
	l.checkAnnounced(2)
	if head := r.mem.head("core.orders"); head.Topic != "p.src.public.orders.g3" {
		t.Fatalf("head %+v", head)
	}
}

// TestGenerationsOfManyTables: the keys of several tables change while others
// are on their way.
func TestGenerationsOfManyTables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all []*lineage
	for i := range 4 {
		l := newLineage(r, fmt.Sprint("t", i))
		l.random(10)
		all = append(all, l)
	}
	r.start()
	for generation := range 5 {
		if generation == 2 {
			r.start()
		}
		for i, l := range all {
			if i > 0 {
				l.next(2, [][]int{{0, 1}, {0}}[generation%2]...)
			}
			l.random(10)
		}
		for _, l := range all {
			l.awaitAll()
		}
	}
}

// TestGenerationsMeanwhile: the key changes twice while nobody loads, so that
// a generation is given up before it was whole, or after.
func TestGenerationsMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	l.random(30)
	_, stop := r.start()
	l.awaitAll()
	stop()
	l.next(2, 0, 1)
	l.random(10)
	l.next(2, 0)
	l.random(10)
	r.start()
	l.awaitAll()
}

// TestGenerationsUnderFaults: members come and go, and every kind of effect
// fails before or after it counts.
func TestGenerationsUnderFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	var mu sync.Mutex
	r.mem.fault = func(effect, _ string, _ int64) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(effect, "step") && rand.IntN(2) == 0 || rand.IntN(10) == 0 {
			return fmt.Errorf("%s: %w", effect, errDown)
		}
		return nil
	}
	var stops []func()
	for generation := range 4 {
		_, stop := r.start()
		stops = append(stops, stop)
		l.random(20)
		if generation%2 == 1 {
			stops[rand.IntN(len(stops))]()
		}
		l.next(int32(1+generation), [][]int{{0, 1}, {0}}[generation%2]...)
	}
	l.random(20)
	r.start()
	l.awaitAll()
}

// TestGenerationAfterALostBeginning: a new warehouse begins with the first
// generation that can be read whole.
func TestGenerationAfterALostBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	l.random(30)
	first := l.s.Topic
	l.next(2, 0, 1)
	l.changes = 0
	l.random(5)
	if _, err := kadm.NewClient(r.client).DeleteTopics(r.ctx(), first); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.await("the table equals its source", func() bool { return maps.Equal(r.mem.live("core.orders"), l.want()) })
}

// TestGenerationsOfATableWithSuchAName: a table may be called what generations
// are.
func TestGenerationsOfATableWithSuchAName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "g2")
	l.random(10)
	r.start()
	l.awaitAll()
	l.next(2, 0, 1)
	l.random(10)
	l.awaitAll()
}

// TestLetterInTheNextGeneration: a change of the next generation that cannot be
// loaded keeps no other from readers, who would see what was for ever.
func TestLetterInTheNextGeneration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	l.random(10)
	c, _ := r.start()
	l.awaitAll()
	lost := int64(500)
	l.rows[lost] = "cannot be loaded"
	l.spoil = lost
	l.next(2, 0, 1)
	delete(l.rows, lost)
	l.changes--
	l.random(30)
	l.awaitAll()
	if st := status(c, "core.orders"); st.Letters != 1 {
		t.Fatalf("status %+v", st)
	}
}

// TestHistoryRemembersLetters: the next generation's snapshot brings a copy what
// a dead letter kept from it, and a history nothing.
func TestHistoryRemembersLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := newLineage(r, "orders")
	l.random(10)
	c, _ := r.start()
	l.awaitAll()
	lost := l.row(schemas.Create, 500, "cannot be loaded")
	lost.Value = lost.Value[:7]
	l.changes--
	l.produce(lost)
	r.await("a letter", func() bool { return status(c, "core.orders").Letters == 1 })
	before := status(c, "core.orders_history").Complete
	l.next(2, 0, 1)
	l.random(10)
	l.produce(l.control(l.s, schemas.Watermark, l.s.pos(), int64(l.s.n))...)
	l.awaitAll()
	r.await("the copy is complete", func() bool { return before.Pos.Less(status(c, "core.orders").Complete.Pos) })
	if st := status(c, "core.orders"); st.Letters != 0 {
		t.Errorf("the copy has status %+v", st)
	}
	if st := status(c, "core.orders_history"); st.Letters != 1 || st.Complete != before {
		t.Errorf("the history has status %+v, was complete through %+v", st, before)
	}
}
