package producers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/register"
	"millrace/schemas"
)

// check compares everything that was sent with the database.
func (w *world) check() {
	w.t.Helper()
	for _, name := range w.db.names {
		parts := w.consume(name)
		w.checkChanges(name, parts)
		w.checkWatermarks(name, parts)
		w.checkContent(name, parts)
	}
}

// checkChanges: every change of the log is there, once on Kafka, and again only
// with the same bytes on the embedded broker; first deliveries in order per key (G2, G3).
func (w *world) checkChanges(name string, parts [][]got) {
	w.t.Helper()
	known, want := make(map[string]bool), make(map[string]bool)
	generation := w.db.tables[name].generation
	for _, txn := range w.db.log {
		for _, it := range txn.items {
			if it.table == name && it.op != 0 && it.gen == generation {
				known[fmt.Sprint(it.op, it.pos)] = true
				if it.pos.Major > w.db.began {
					want[fmt.Sprint(it.op, it.pos)] = true
				}
			}
		}
	}
	seen := make(map[string]string)
	for p, part := range parts {
		last := make(map[string]schemas.Position)
		for _, g := range part {
			if op := g.change.Op; op == schemas.Read || op == schemas.Watermark || op == schemas.SnapshotDone {
				continue
			}
			id := fmt.Sprint(g.change.Op, g.change.Position)
			if !known[id] {
				w.t.Fatalf("seed %d: %s: %s was never in the log", w.seed, name, id)
			}
			if g.change.Op == schemas.Truncate {
				id += fmt.Sprint(" to ", p)
			}
			if raw, again := seen[id]; again {
				if !w.embedded {
					w.t.Fatalf("seed %d: %s: %s came twice", w.seed, name, id)
				}
				if raw != g.raw {
					w.t.Fatalf("seed %d: %s: %s came again with other bytes", w.seed, name, id)
				}
				continue
			}
			seen[id] = g.raw
			if g.change.Position.Less(last[g.key]) {
				w.t.Fatalf("seed %d: %s: %s came after %v of the same key", w.seed, name, id, last[g.key])
			}
			last[g.key] = g.change.Position
		}
	}
	for id := range want {
		if strings.HasPrefix(id, "t") {
			for p := range parts {
				if seen[id+fmt.Sprint(" to ", p)] == "" {
					w.t.Fatalf("seed %d: %s: %s is missing in partition %d", w.seed, name, id, p)
				}
			}
		} else if seen[id] == "" {
			w.t.Fatalf("seed %d: %s: %s is missing", w.seed, name, id)
		}
	}
}

// core is a partition of a core table, in memory.
type core struct {
	rows    map[string]register.Row
	horizon schemas.Position
	columns int
}

func (c *core) raise(to schemas.Position) {
	if !c.horizon.Less(to) {
		return
	}
	c.horizon = to
	maps.DeleteFunc(c.rows, func(_ string, r register.Row) bool { return r.Pos.Less(to) })
}

func (c *core) apply(g *got) {
	switch g.change.Op {
	case schemas.Truncate, schemas.SnapshotDone:
		c.raise(g.change.Position)
	case schemas.Watermark:
	default:
		row, found := c.rows[g.key]
		if next, wrote := register.Apply(row, found, c.horizon, register.FromChange(&g.change, c.columns)); wrote {
			c.rows[g.key] = next
		}
	}
}

func memKey(key int64) string {
	return string(schemas.AppendKeyValues(nil, []schemas.Type{{Kind: schemas.Int}}, []schemas.Cell{schemas.IntCell(key)}))
}

// mismatch compares a row with the database as of a position; "" if they agree.
func mismatch(row register.Row, found bool, want memRow, live bool) string {
	have := found && !row.Deleted
	switch {
	case have != live:
		return fmt.Sprintf("the row is there: %v, want %v", have, live)
	case !have:
		return ""
	case row.V[1].Kind == schemas.Unset || row.V[2].Kind == schemas.Unset:
		return "a value is not known"
	case row.V[1].Int != want.v || string(row.V[2].Bytes) != want.big:
		return fmt.Sprintf("the row is (%d, %s), want (%d, %s)", row.V[1].Int, row.V[2].Bytes, want.v, want.big)
	}
	return ""
}

// checkWatermarks: at every watermark, each row of the partition is what the
// database held at the greater of the watermark and the row's own position.
func (w *world) checkWatermarks(name string, parts [][]got) {
	w.t.Helper()
	table := w.db.tables[name]
	for p, part := range parts {
		c := core{rows: make(map[string]register.Row), columns: table.columns}
		var last got
		marks := 0
		for i := range part {
			g := &part[i]
			c.apply(g)
			if g.change.Op != schemas.Watermark {
				continue
			}
			marks++
			if g.change.TsUs < last.change.TsUs && !w.torn {
				w.t.Fatalf("seed %d: %s/%d: the time of watermarks fell", w.seed, name, p)
			}
			last = *g
			for key := range table.history {
				canonical := memKey(key)
				if schemas.Partition([]byte(canonical), w.partitions) != int32(p) {
					continue
				}
				row, found := c.rows[canonical]
				at := schemas.MaxPosition(g.change.Position, row.Pos)
				want, live := table.at(key, at)
				if !found { // removed by s or t: as of the horizon, if that is above
					want, live = table.at(key, schemas.MaxPosition(g.change.Position, c.horizon))
				}
				if bad := mismatch(row, found, want, live); bad != "" {
					w.t.Fatalf("seed %d: %s/%d: at watermark %v (offset %d): key %d at %v: %s\n%s", w.seed, name, p, g.change.Position, g.offset, key, row.Pos, bad, w.story(part, canonical))
				}
			}
		}
		if marks == 0 {
			w.t.Fatalf("seed %d: %s/%d: there is no watermark", w.seed, name, p)
		}
	}
}

func (w *world) checkContent(name string, parts [][]got) {
	w.t.Helper()
	table := w.db.tables[name]
	for p, part := range parts {
		c := core{rows: make(map[string]register.Row), columns: table.columns}
		for i := range part {
			c.apply(&part[i])
		}
		for key := range table.history {
			canonical := memKey(key)
			if schemas.Partition([]byte(canonical), w.partitions) != int32(p) {
				continue
			}
			want, live := table.rows[key]
			row, found := c.rows[canonical]
			if bad := mismatch(row, found, want, live); bad != "" {
				w.t.Fatalf("seed %d: %s/%d: key %d: %s\n%s", w.seed, name, p, key, bad, w.story(part, canonical))
			}
		}
	}
}

// story is all that a partition says about a key.
func (w *world) story(part []got, key string) string {
	var b strings.Builder
	for _, g := range part {
		if g.key == key || g.change.Op.IsControl() && g.change.Op != schemas.Watermark {
			fmt.Fprintf(&b, "%d: %s %v since %v %v\n", g.offset, g.change.Op, g.change.Position, g.change.Since, g.change.After)
		}
	}
	return b.String()
}

// checkEnds: from the first topic of a table the last records of every partition
// lead to the newest, and only repetitions follow them.
func (w *world) checkEnds(name, newest string) {
	w.t.Helper()
	topic := "p.s.public." + name
	for topic != newest {
		first, generation := kafka.Generation(topic)
		if first != "p.s.public."+name {
			w.t.Fatalf("seed %d: topic %q is not the table's", w.seed, topic)
		}
		next, ended, seen := "", map[int32]bool{}, map[string]bool{}
		for _, rec := range w.read(topic) {
			value := fmt.Sprintf("%d %x", rec.Partition, rec.Value)
			i := slices.IndexFunc(rec.Headers, func(h kgo.RecordHeader) bool { return h.Key == NextHeader })
			op := w.decode(name, generation, rec).change.Op
			// Where the end is undone, the snapshot goes on until it comes again.
			harmless := op == schemas.Watermark || w.torn && (op == schemas.Read || op == schemas.SnapshotDone)
			if ended[rec.Partition] && i < 0 && !seen[value] && !harmless {
				w.t.Fatalf("seed %d: %s/%d@%d follows the end of its topic", w.seed, topic, rec.Partition, rec.Offset)
			}
			seen[value] = true
			if i >= 0 {
				ended[rec.Partition], next = true, string(rec.Headers[i].Value)
			}
		}
		if len(ended) != int(w.partitions) {
			w.t.Fatalf("seed %d: of %s only %v have ended", w.seed, topic, ended)
		}
		topic = next
	}
}

func (w *world) count(name string, op schemas.Op) int {
	n := 0
	for _, part := range w.consume(name) {
		n += len(slices.DeleteFunc(part, func(g got) bool { return g.change.Op != op }))
	}
	return n
}
