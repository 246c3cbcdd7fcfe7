package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"millrace/producers"
	"millrace/schemas"
)

func testChunks(t *testing.T, h *Harness) {
	makeItems(t, h)
	h.exec(t, create(nothingTable))
	const n = 53
	chunked := items
	if h.compositeKeys() {
		chunked = "pairs"
		h.Exec(t, "CREATE TABLE pairs (b BIGINT NOT NULL, a BIGINT NOT NULL, v VARCHAR(20), PRIMARY KEY (a, b))")
	}
	for i := range n {
		if h.compositeKeys() {
			h.Exec(t, fmt.Sprintf("INSERT INTO pairs VALUES (%d, %d, 'v%d')", i%7, i/7, i))
		} else {
			h.exec(t, item(int64(i), fmt.Sprintf("v%d", i), "1"))
		}
	}
	r := newReader(t, h, chunked, "nothing")
	r.ready(t)
	table := r.table(t, chunked)
	for _, limit := range []int{1, 10, n, n + 1, 1000} {
		var got []string
		var after []schemas.Cell
		var point schemas.Position
		for end := false; !end; {
			rows, chunk := r.chunk(t, table, after, limit)
			if len(rows) > limit {
				t.Fatalf("%d rows of at most %d", len(rows), limit)
			}
			if chunk.ReadPoint.Less(point) {
				t.Fatalf("the read point fell from %v to %v", point, chunk.ReadPoint)
			}
			point = chunk.ReadPoint
			for i := range rows {
				got = append(got, keyText(table, rows[i].After)+" "+h.rowText(table, rows[i].After))
			}
			if len(rows) > 0 && len(chunk.Last) == len(table.Key) {
				for i, ord := range table.Key {
					if !sameCell(chunk.Last[i], rows[len(rows)-1].After[ord]) {
						t.Fatalf("the last key is %v, the last row %v", chunk.Last, rows[len(rows)-1].After)
					}
				}
			} else if !chunk.End {
				t.Fatalf("a chunk of %d rows has the last key %v and is not the end", len(rows), chunk.Last)
			}
			after, end = chunk.Last, chunk.End
			if len(got) > n {
				t.Fatalf("limit %d: more than %d rows", limit, n)
			}
		}
		var want []string
		if !h.compositeKeys() {
			for i := range n {
				want = append(want, fmt.Sprintf("%d %d|v%d|1.00", i, i, i))
			}
		}
		for a := range (n + 6) / 7 {
			if !h.compositeKeys() {
				break
			}
			for b := range min(7, n-7*a) {
				want = append(want, fmt.Sprintf("%d|%d %d|%d|v%d", a, b, b, a, 7*a+b))
			}
		}
		diff(t, fmt.Sprintf("chunks of %d", limit), got, want)
	}
	if rows, chunk := r.chunk(t, r.table(t, "nothing"), nil, 10); len(rows) != 0 || !chunk.End || chunk.ReadPoint.IsZero() {
		t.Fatalf("an empty table: %d rows, %+v", len(rows), chunk)
	}
	stop := errors.New("stop")
	_, err := r.src.ReadChunk(t.Context(), table, nil, 10, func([]schemas.Change) error { return stop })
	if !errors.Is(err, stop) {
		t.Fatalf("the error of emit came back as %v", err)
	}
	if _, chunk := r.chunk(t, table, nil, n); chunk.ReadPoint.IsZero() {
		t.Fatal("after an emit that failed nothing can be read")
	}
}

// testConverge: chunks run beside the stream, and whatever the order in which
// both arrive, the table is what the source holds (G2).
func testConverge(t *testing.T, h *Harness) {
	makeItems(t, h)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const keys = 200
	before := insert(itemTable)
	for i := range keys {
		before.Rows = append(before.Rows, []any{i, "before", fmt.Sprint(i)})
	}
	h.exec(t, before)
	r := newReader(t, h, items)
	r.ready(t)
	table := r.table(t, items)

	write := h.session(t)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- workload(rand.New(rand.NewPCG(seed, 1)), keys, h.keysChange(), write, stop) }()
	var rows []schemas.Change
	var after []schemas.Cell
	for end := false; !end; {
		got, chunk := r.chunk(t, table, after, 20)
		rows, after, end = append(rows, got...), chunk.Last, chunk.End
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	r.sync(t)
	want := h.Rows(t, items, itemColumns...)
	all := append(rows, r.changes()...)
	diff(t, fmt.Sprintf("seed %d: rows first", seed), h.fold(t, table, all), want)
	// What carries parts of rows comes in order once, and then in any (G2).
	var once []schemas.Change
	if h.Partial {
		once = slices.Clone(all)
	}
	for range 5 {
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		diff(t, fmt.Sprintf("seed %d: shuffled", seed), h.fold(t, table, slices.Concat(once, all)), want)
	}
}

// workload writes until it is stopped, and at least a little.
func workload(rng *rand.Rand, keys int, keysChange bool, write func(Statement) error, stop <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			if n >= 30 {
				return nil
			}
		default:
		}
		k := int64(rng.IntN(keys))
		stmts := []Statement{update(k, "name", fmt.Sprintf("w%d", n))}
		switch rng.IntN(5) {
		case 0:
			stmts = []Statement{remove(k)}
		case 1:
			stmts = []Statement{begin, remove(k), item(k, fmt.Sprintf("i%d", n), "1"), commit}
		case 2:
			if keysChange {
				stmts = []Statement{update(k, "id", keys+n)}
			}
		}
		for _, s := range stmts {
			if err := write(s); err != nil {
				return fmt.Errorf("%s: %w", s.SQL(), err)
			}
		}
	}
}

func testReadKeys(t *testing.T, h *Harness) {
	makeItems(t, h)
	r := newReader(t, h, items)
	r.ready(t)
	h.exec(t, insert(itemTable, []any{1, "a", "1"}, []any{2, "b", "2"}, []any{3, "c", "3"}))
	r.sync(t)
	keys := [][]schemas.Cell{{h.key(3)}, {h.key(1)}, {h.key(77)}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := make(map[string]bool)
	var chunk producers.Chunk
	chunk, err := r.src.ReadKeys(ctx, r.table(t, items), keys, func(cs []schemas.Change) error {
		for i := range cs {
			got[cs[i].Op.String()+" "+h.rowText(cs[i].Table, cs[i].After)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !got["r 1|a|1.00"] || !got["r 3|c|3.00"] {
		t.Fatalf("got %v", got)
	}
	if !r.lastPosition().Less(chunk.ReadPoint) {
		t.Fatalf("the read point %v is not above %v, which had been read", chunk.ReadPoint, r.lastPosition())
	}
}
