package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/register"
	"millrace/producers"
	"millrace/schemas"
)

// A random workload of writes, TOASTed values, key changes and DDL that
// rewrites rows without an event; a source that lags, dies and resumes at old
// tokens; snapshots where it calls for them. What was delivered gives what the
// table holds, and so does any repetition of it, in any order (G2).
func TestRandomWorkloadConverges(t *testing.T) {
	const rounds, keys = 6, 6
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &workload{rng: rand.New(rand.NewPCG(seed, 0)), keys: keys, snapshot: true}
			w.capture = newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY, n int, big text)", "ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
				"INSERT INTO t SELECT i, 0, repeat(md5(i::text), 200) FROM generate_series(1, 4) i").open()
			for range 30 {
				w.write()
				w.read()
			}
			w.finish(t, seed)
		})
	}
}

type workload struct {
	*capture
	rng      *rand.Rand
	keys     int
	snapshot bool             // one is called for
	reread   map[int64]string // keys whose value the log left out
	sent     []schemas.Change // all, with repetitions
	points   []checkpointed
}

// checkpointed is a place to resume at.
type checkpointed struct {
	start    producers.Start
	snapshot bool
	reread   map[int64]string
}

func (w *workload) write() {
	big := fmt.Sprintf("repeat(md5('%d'), 200)", w.rng.Uint32())
	key := func() int { return 1 + w.rng.IntN(w.keys) }
	one := func() string {
		switch n := w.rng.IntN(20); {
		case n < 5:
			return fmt.Sprintf("INSERT INTO t VALUES (%d, %d, %s) ON CONFLICT (id) DO UPDATE SET n = t.n + 1", key(), w.rng.IntN(100), big)
		case n < 11:
			return fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id = %d", key())
		case n < 13:
			return fmt.Sprintf("UPDATE t SET big = %s WHERE id = %d", big, key())
		case n < 15:
			return fmt.Sprintf("DELETE FROM t WHERE id = %d", key())
		case n < 18:
			to := key()
			return fmt.Sprintf("UPDATE t SET id = %d WHERE id = %d AND NOT EXISTS (SELECT FROM t WHERE id = %d)", to, key(), to)
		case n < 19:
			return "ALTER TABLE t ALTER COLUMN big TYPE text USING reverse(big); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
		default:
			return "TRUNCATE t"
		}
	}
	for range w.rng.IntN(6) {
		var tx []string
		for range 1 + w.rng.IntN(3) {
			tx = append(tx, one())
		}
		if w.rng.IntN(10) == 0 {
			w.exec("VACUUM FULL t")
		}
		w.exec("BEGIN; " + strings.Join(tx, "; ") + "; COMMIT")
	}
}

// read reads for a moment, or dies and resumes at a token of the past.
func (w *workload) read() {
	w.t.Helper()
	switch w.rng.IntN(6) {
	case 0:
		return // it lags
	case 1:
		if len(w.points) == 0 {
			return
		}
		p := w.points[w.rng.IntN(len(w.points))]
		w.close()
		w.start, w.snapshot, w.reread = p.start, p.snapshot, maps.Clone(p.reread)
		w.tables, w.changes = nil, nil
		w.open()
	}
	if w.rng.IntN(3) == 0 {
		w.src.nextTick = time.Time{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.rng.IntN(30))*time.Millisecond)
	defer cancel()
	for {
		b, err := w.next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.t.Fatal(err)
			}
			return
		}
		w.take(b)
	}
}

// take does what a producer does with a batch.
func (w *workload) take(b producers.Batch) {
	for _, v := range b.Tables {
		w.snapshot = w.snapshot || v.Table.Name == "t" && !v.Since.IsZero()
	}
	mine := w.changes[len(w.changes)-len(b.Changes):]
	for _, ch := range mine {
		if ch.Table.Name != "t" {
			continue
		}
		w.sent = append(w.sent, ch)
		if ch.Op == schemas.Create && ch.After[2].Kind == schemas.Unset {
			if w.reread == nil {
				w.reread = map[int64]string{}
			}
			w.reread[ch.After[0].Int] = ch.Position.String()
		}
	}
	if b.Resume != "" {
		p := checkpointed{start: producers.Start{Epoch: 1, Token: b.Resume, Tables: maps.Clone(w.start.Tables)}, snapshot: w.snapshot, reread: maps.Clone(w.reread)}
		for _, v := range w.tables {
			p.start.Tables[v.Table.ID()] = v
		}
		w.points = append(w.points, p)
	}
	if w.rng.IntN(2) == 0 {
		w.rows()
	}
}

// rows reads what is called for; a table that is not what it was is read later.
func (w *workload) rows() bool {
	if w.snapshot {
		rows, _, err := w.chunk("t")
		if errors.Is(err, producers.ErrRewritten) {
			return false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.sent, w.snapshot = append(w.sent, rows...), false
	}
	for key, asked := range w.reread {
		var rows []schemas.Change
		chunk, err := w.src.ReadKeys(context.Background(), w.table("t"), [][]schemas.Cell{{schemas.IntCell(key)}}, func(cs []schemas.Change) error {
			for _, ch := range cs {
				ch.After = cloneRow(ch.After)
				rows = append(rows, ch)
			}
			return nil
		})
		if errors.Is(err, producers.ErrRewritten) {
			return false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.sent = append(w.sent, rows...)
		if asked < chunk.ReadPoint.String() {
			delete(w.reread, key)
		}
	}
	return true
}

func (w *workload) finish(t *testing.T, seed uint64) {
	for range 2 { // the catalog is seen, and what it calls for is read
		w.src.nextTick = time.Time{}
		w.until("the end", func(b producers.Batch) bool {
			w.take(b)
			return !b.Complete.Time.IsZero()
		})
	}
	for !w.rows() {
		w.src.nextTick = time.Time{}
		w.until("a version that can be read", func(b producers.Batch) bool { w.take(b); return true })
	}
	want := w.column("SELECT id || '|' || n || '|' || big FROM t ORDER BY id")
	for try := range 4 {
		all := slices.Clone(w.sent)
		for range try {
			again := slices.Clone(w.sent)
			w.rng.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			all = append(all, again...)
		}
		if got := folded(t, all); !slices.Equal(got, want) {
			slices.SortStableFunc(w.sent, func(a, b schemas.Change) int { return a.Position.Compare(b.Position) })
			var log []string
			for _, ch := range w.sent {
				row := ch.After
				if ch.Op == schemas.Delete {
					row = ch.Before
				}
				log = append(log, fmt.Sprintf("%v since %v %s %.20s", ch.Position, ch.Since, ch.Op, rowText(ch.Table, row)))
			}
			t.Fatalf("seed %d, try %d:\ngot  %.60q\nwant %.60q\n%s", seed, try, got, want, strings.Join(slices.Compact(log), "\n"))
		}
	}
}

// folded is the table that the changes give, in the order given.
func folded(t *testing.T, changes []schemas.Change) []string {
	var horizon schemas.Position
	for _, ch := range changes {
		if ch.Op == schemas.Truncate {
			horizon = schemas.MaxPosition(horizon, ch.Position)
		}
	}
	rows := map[int64]register.Row{}
	for i := range changes {
		ch := &changes[i]
		if ch.Op == schemas.Truncate || ch.Position.Less(horizon) {
			continue
		}
		image := ch.After
		if ch.Op == schemas.Delete {
			image = ch.Before
		}
		row, found := rows[image[0].Int]
		if row, wrote := register.Apply(row, found, horizon, register.FromChange(ch, 3)); found || wrote {
			rows[image[0].Int] = row
		}
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if r := rows[id]; !r.Deleted {
			out = append(out, fmt.Sprintf("%d|%d|%s", id, r.V[1].Int, r.V[2].Bytes))
		}
	}
	return out
}

// A context that ends is no loss: what was read is returned, what was not
// comes next.
func TestShortContextsLoseNothing(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	c.exec("INSERT INTO t SELECT generate_series(1, 20000)")
	for n := 0; len(c.of("t")) < 20000; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%5)*time.Millisecond)
		if n%7 == 0 {
			c.src.nextTick = time.Time{}
		}
		if _, err := c.next(ctx); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		cancel()
	}
	c.sync()
	for i, ch := range c.of("t") {
		if ch.After[0].Int != int64(i+1) {
			t.Fatalf("change %d is of row %d", i, ch.After[0].Int)
		}
	}
}

// A role that may not publish a table that came under a captured name halts
// that table alone, with the statement.
func TestSwappedTableThatMayNotBePublished(t *testing.T) {
	c := newCapture(t, "t", "CREATE TABLE t (id int PRIMARY KEY)").open()
	c.sync()
	role := "limited_" + c.one("SELECT current_database()::text")
	c.exec("CREATE ROLE "+role+" LOGIN REPLICATION", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	t.Cleanup(func() { c.close(); c.exec("DROP OWNED BY "+role+" CASCADE", "DROP ROLE "+role) })
	admin := c.cfg.DSN
	c.cfg.DSN = strings.Replace(admin, "postgres@", role+"@", 1)
	c.reopen()
	c.sync()
	c.exec("ALTER TABLE t RENAME TO o", "CREATE TABLE t (id int PRIMARY KEY)", "GRANT SELECT ON t TO "+role)
	c.watch("the halt", func() bool { return len(c.halts) > 0 })
	halted(t, c.halts[0], "public.t", "ALTER PUBLICATION", "ADD TABLE")
	c.sync()
}
