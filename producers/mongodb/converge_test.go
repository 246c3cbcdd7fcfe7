package mongodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/internal/register"
	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

// A random workload, a source that lags, dies and resumes at old tokens, a
// server that is killed, chunks and rows read again beside it: what was
// delivered gives what the collection holds, and so does any repetition of it,
// in any order (G2, G3).
func TestRandomWorkloadConverges(t *testing.T) {
	long(t)
	for round := range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &workload{rng: rand.New(rand.NewPCG(seed, 0)), reread: map[string]schemas.Position{}, payloads: map[string]string{}}
			w.fake = startFake(t, mongofake.Options{})
			table := orders()
			table.Promote = round >= 2
			w.capture = newCapture(t, w.fake.URI(), round%2 == 0, table).open()
			w.sync()
			w.take()
			for range 40 {
				w.write()
				w.step()
			}
			w.finish(seed)
		})
	}
}

type workload struct {
	*capture
	fake     *fake
	rng      *rand.Rand
	sent     []schemas.Change
	reread   map[string]schemas.Position
	payloads map[string]string // by position: a replay repeats them (G3)
	points   []producers.Start
	after    []schemas.Cell
	whole    bool // the last chunk was the end
	taken    int  // of c.changes
	snapshot schemas.Position
	n        int
}

func (w *workload) write() {
	ctx := context.Background()
	c := w.db.Collection("t")
	var err error
	one := func(ctx context.Context) error {
		w.n++
		id := fmt.Sprint("k", w.rng.IntN(6))
		at := bson.D{{Key: "_id", Value: id}}
		switch w.rng.IntN(8) {
		case 0:
			_, err = c.DeleteOne(ctx, at)
		case 1:
			_, err = c.ReplaceOne(ctx, at, order(id, fmt.Sprint(w.n)))
		case 2:
			_, err = c.UpdateOne(ctx, at, set("total.tax", w.n))
		case 3:
			_, err = c.UpdateOne(ctx, at, set("note", w.n)) // does not fit
		case 4:
			_, err = c.UpdateOne(ctx, at, set(fmt.Sprint("extra", w.rng.IntN(3)), fmt.Sprint(w.n)))
		case 5:
			d, _ := bson.ParseDecimal128(fmt.Sprint(w.n))
			_, err = c.UpdateOne(ctx, at, set("total.amount", d))
		default:
			if _, err = c.DeleteOne(ctx, at); err == nil {
				_, err = c.InsertOne(ctx, order(id, fmt.Sprint(w.n)))
			}
		}
		return err
	}
	w.n++
	w.insert("fence", doc(w.n)) // there is always something to read
	for range 1 + w.rng.IntN(3) {
		if w.rng.IntN(3) > 0 {
			w.must(one(ctx))
			continue
		}
		session, err := w.db.client.StartSession()
		w.must(err)
		w.must(session.StartTransaction())
		for range 3 {
			w.must(one(mongo.NewSessionContext(ctx, session)))
		}
		w.must(session.CommitTransaction(ctx))
		session.EndSession(ctx)
	}
}

// step reads, or something happens.
func (w *workload) step() {
	switch w.rng.IntN(6) {
	case 0:
		w.chunkOnce()
	case 1:
		w.keys()
	case 2:
		if len(w.points) > 0 && w.rng.IntN(2) == 0 {
			w.resume(w.points[w.rng.IntN(len(w.points))])
		}
	case 3:
		if w.rng.IntN(4) == 0 {
			at := w.checkpoint()
			w.fake.restart(w.t)
			w.db.connect(w.t)
			w.resume(at)
		}
	default:
		w.must(w.next())
		w.take()
	}
}

func (w *workload) resume(at producers.Start) {
	if at.Token == "" {
		return
	}
	w.reopen(at)
	w.taken = 0
}

// take keeps what was read last, as a producer does.
func (w *workload) take() {
	for _, v := range w.versions {
		if v.Table.Name == "t" && !v.Since.IsZero() && w.snapshot.Less(v.Since) {
			w.snapshot, w.after, w.whole = v.Since, nil, false
		}
	}
	for _, ch := range w.changes[w.taken:] {
		if ch.Table.Name != "t" {
			continue
		}
		w.sent = append(w.sent, ch)
		if ch.Reread {
			id := string(ch.After[0].Bytes)
			w.reread[id] = schemas.MaxPosition(w.reread[id], ch.Position)
		}
		said := fmt.Sprint(ch.Op, ch.TsUs, ch.TxID, ch.TxOrder, ch.After[:min(2, len(ch.After))])
		if before, ok := w.payloads[ch.Position.String()]; ok && before != said {
			w.t.Fatalf("%v came as %s, and as %s", ch.Position, before, said)
		}
		w.payloads[ch.Position.String()] = said
	}
	w.taken = len(w.changes)
	if w.token != "" {
		w.points = append(w.points, w.checkpoint())
	}
}

func (w *workload) chunkOnce() {
	rows, chunk, err := w.chunk(w.version("t"), w.after, 3)
	if errors.Is(err, producers.ErrRewritten) {
		return
	}
	w.must(err)
	w.sent = append(w.sent, rows...)
	if w.after = chunk.Last; chunk.End {
		w.after, w.whole = nil, true
	}
}

func (w *workload) keys() {
	var keys [][]schemas.Cell
	for id := range w.reread {
		keys = append(keys, []schemas.Cell{schemas.BytesCell([]byte(id))})
	}
	if len(keys) == 0 {
		return
	}
	var rows []schemas.Change
	chunk, err := w.src.ReadKeys(w.t.Context(), w.version("t"), keys, func(cs []schemas.Change) error {
		for i := range cs {
			rows = append(rows, clone(cs[i]))
		}
		return nil
	})
	if errors.Is(err, producers.ErrRewritten) {
		return
	}
	w.must(err)
	w.sent = append(w.sent, rows...)
	maps.DeleteFunc(w.reread, func(_ string, above schemas.Position) bool { return above.Less(chunk.ReadPoint) })
}

func (w *workload) finish(seed uint64) {
	w.sync()
	w.take()
	for end := time.Now().Add(20 * time.Second); len(w.reread) > 0 || w.after != nil || !w.whole; {
		if time.Now().After(end) {
			w.t.Fatalf("seed %d: what is to be read again does not end", seed)
		}
		w.keys()
		w.chunkOnce()
		w.must(w.next())
		w.take()
	}
	table := w.version("t")
	fresh, _, err := w.chunk(table, nil, 100)
	w.must(err)
	want := map[string]string{}
	for _, row := range fresh {
		want[string(row.After[0].Bytes)] = shown(schemas.Change{Table: table, Op: schemas.Read, After: row.After})
	}
	for shuffle := range 4 {
		if got := folded(table, w.sent); !maps.Equal(got, want) {
			w.t.Fatalf("seed %d, shuffle %d:\n%v\nwant\n%v", seed, shuffle, got, want)
		}
		w.rng.Shuffle(len(w.sent), func(i, j int) { w.sent[i], w.sent[j] = w.sent[j], w.sent[i] })
	}
}

// folded are the rows that are left, by key, in the columns of a version.
func folded(table *schemas.Table, changes []schemas.Change) map[string]string {
	rows := map[string]register.Row{}
	for _, ch := range changes {
		if ch.Op == schemas.Truncate {
			continue
		}
		ch = widened(table, ch)
		image := ch.After
		if ch.Op == schemas.Delete {
			image = ch.Before
		}
		id := string(image[0].Bytes)
		before, found := rows[id]
		if next, wrote := register.Apply(before, found, schemas.Position{}, register.FromChange(&ch, len(table.Columns))); wrote {
			rows[id] = next
		}
	}
	out := map[string]string{}
	for id, row := range rows {
		if !row.Deleted {
			out[id] = shown(schemas.Change{Table: table, Op: schemas.Read, After: row.V})
		}
	}
	return out
}

// widened is a change of an older version in the columns of a version.
func widened(table *schemas.Table, ch schemas.Change) schemas.Change {
	widen := func(row schemas.Row) schemas.Row {
		if row == nil {
			return nil
		}
		out := make(schemas.Row, len(table.Columns))
		for i, col := range table.Columns {
			if ord := ch.Table.Column(col.Name); ord >= 0 {
				out[i] = row[ord]
			} else if ch.Op != schemas.Update || !slices.ContainsFunc(row, func(c schemas.Cell) bool { return c.Kind == schemas.Unset }) {
				out[i] = schemas.NullCell()
			}
		}
		return out
	}
	ch.After, ch.Before = widen(ch.After), widen(ch.Before)
	return ch
}
