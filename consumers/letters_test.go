package consumers

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
	"millrace/schemas/avro"
)

// ahead is the table in a schema that the registry does not know yet, and gets next.
func (r *rig) ahead(s *sourceTable) *sourceTable {
	r.t.Helper()
	next := *s
	next.Columns = append(s.Columns[:2:2], schemas.Column{Name: "y", Type: schemas.Type{Kind: schemas.Int}})
	last, err := r.registry.Register(r.ctx(), "p.loads-value", avro.LoadCompleteSchema) // as a consumer does
	if err != nil {
		r.t.Fatal(err)
	}
	next.valueID = last + 1
	if next.enc, err = avro.NewEncoder(&next.Table, "test", next.keyID, next.valueID); err != nil {
		r.t.Fatal(err)
	}
	return &next
}

func (r *rig) wide(s *sourceTable, ids ...int64) (records []*kgo.Record) {
	for _, id := range ids {
		s.n++
		s.want[wantKey(id)] = fmt.Sprintf("2:%d |2:0 wide|2:%d |", id, s.n)
		row := schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte("wide")), schemas.IntCell(int64(s.n))}
		records = append(records, r.record(s, schemas.Change{Op: schemas.Update, Position: s.pos(), After: row}))
	}
	return records
}

// passed checks that the table's head has passed nothing that was to be a letter and
// is none, and returns how many keys the letters block.
func (r *rig) passed(s *sourceTable, firstLost int64) int {
	r.t.Helper()
	keys, letters := map[string]bool{}, map[string]bool{}
	for _, l := range r.topic(s.Topic + ".dlq") {
		keys[string(l.Key)], letters[string(l.Value)] = true, true
	}
	next := r.mem.head("core." + s.Name).Offsets[0]
	for _, rec := range r.topic(s.Topic) {
		if rec.Offset >= firstLost && rec.Offset < next && !letters[string(rec.Value)] {
			r.t.Errorf("offset %d was passed, and is no letter", rec.Offset)
		}
	}
	return len(keys)
}

// Letters of ever more keys: what is remembered of them is bounded, and the table
// halts before the key that would be one too many. A restart forgets none that waits,
// and takes up the rest once the cause is ended (G2, G12, G13).
func TestTooManyKeysBehindLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.keys = 3
	good, odd := r.table("good", 1), r.table("odd", 1)
	next := r.ahead(odd)
	r.produce(r.put(odd, 100, "v"))
	next.n = odd.n
	r.produce(r.wide(next, 1, 2, 3)...)
	c, stop := r.start()
	r.await("three letters", func() bool { return status(c, "core.odd").Letters == 3 })
	r.produce(r.wide(next, 1, 4, 5)...)
	for range 2 {
		r.await("it halts", func() bool { return status(c, "core.odd").Halted != "" })
		if why := status(c, "core.odd").Halted; !strings.Contains(why, odd.Topic+".dlq tells the reasons") {
			t.Errorf("halted: %s", why)
		}
		if n := r.passed(odd, 1); n != r.keys {
			t.Errorf("%d keys wait", n)
		}
		good.n++
		r.produce(r.put(good, int64(good.n), "v"))
		r.awaitEqual(good)
		stop()
		c, stop = r.start()
	}
	stop()
	r.keys = 1 // more wait than two owners can have put
	c, stop = r.start()
	r.await("it halts when it is taken over", func() bool { return strings.Contains(status(c, "core.odd").Halted, "another table with as:") })
	stop()
	r.keys = 3

	// The cause is ended. Keys that wait go on waiting, and take no more room.
	id := next.valueID
	if r.register(next); next.valueID != id {
		t.Fatalf("the schema has id %d", next.valueID)
	}
	c, stop = r.start()
	r.produce(r.wide(next, 1, 6, 2)...)
	rest := maps.Clone(next.want)
	for id := range int64(r.keys) {
		delete(rest, wantKey(id+1))
	}
	r.await("all others are loaded", func() bool { return maps.Equal(r.mem.live("core.odd"), rest) })
	r.await("what follows is a letter", func() bool { return status(c, "core.odd").Letters == 6 })
	if why := status(c, "core.odd").Halted; why != "" {
		t.Errorf("halted: %s", why)
	}
	stop()

	// Another table of the topic lacks nothing.
	r.tables[1].Core = "core.again"
	next.want[wantKey(100)] += "0:0 |" // its column is there when it is loaded
	c, stop = r.start()
	defer stop()
	r.await("the other table is whole", func() bool { return maps.Equal(r.mem.live("core.again"), next.want) })
	if n := status(c, "core.again").Letters; n != 0 {
		t.Errorf("it has %d letters", n)
	}
}
