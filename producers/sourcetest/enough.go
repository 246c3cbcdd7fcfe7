package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/producers"
	"millrace/schemas"
)

// testEnough: a chunk ends behind the batch with which emit has enough, and the next
// goes on there: every row comes once, in order, and never more than the limit.
func testEnough(t *testing.T, h *Harness) {
	makeItems(t, h)
	const n, each, wide = 14, 4, 1 << 20
	if h.Write != nil {
		h.exec(t, create(wideTable))
	} else {
		h.Exec(t, "CREATE TABLE wide (id BIGINT PRIMARY KEY, name "+h.BigType+")")
	}
	names := []string{strings.Repeat("wide", wide/4), "narrow"}
	var rows [][]any
	var want []string
	for i := range n {
		name := names[min(i%each, 1)]
		rows = append(rows, []any{i, name})
		want = append(want, fmt.Sprintf("%d:%d", i, len(name)))
	}
	h.exec(t, insert(wideTable, rows...))
	r := newReader(t, h, wideTable.Name)
	r.ready(t)
	table := r.table(t, wideTable.Name)
	name := table.Column("name")
	for _, c := range []struct{ enough, limit, chunks int }{
		{1, 1000, 2}, // each batch is a chunk
		{2 * wide, 1000, 2},
		{2 * wide, 3, 5}, // the limit is met first
		{2 * wide, 6, 3},
		{1 << 40, 1000, 1},
	} {
		what := fmt.Sprintf("%d rows or %d bytes", c.limit, c.enough)
		var got []string
		var after []schemas.Cell
		early, chunks := 0, 0
		for end := false; !end; chunks++ {
			before, bytes, had := len(got), 0, false
			chunk, err := r.readChunk(t, table, after, c.limit, func(cs []schemas.Change) error {
				if had {
					t.Errorf("%s: %d rows came after there were enough", what, len(cs))
				}
				for i := range cs {
					got = append(got, fmt.Sprintf("%d:%d", number(cs[i].After[0]), len(cs[i].After[name].Bytes)))
					bytes += len(cs[i].After[name].Bytes)
				}
				if had = bytes >= c.enough; had {
					return producers.ErrEnough
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%s: chunk %d: %v", what, chunks, err)
			}
			if count := len(got) - before; count > c.limit || count == 0 && !chunk.End || len(got) > n {
				t.Fatalf("%s: chunk %d has %d rows, %d in all, and its end is %t", what, chunks, count, len(got), chunk.End)
			}
			if had {
				early++
			}
			if had && (chunk.End || len(chunk.Last) != 1 || fmt.Sprintf("%d", number(chunk.Last[0])) != strings.Split(got[len(got)-1], ":")[0]) {
				t.Fatalf("%s: chunk %d ended early, and says %v, %t; its last row is %s", what, chunks, chunk.Last, chunk.End, got[len(got)-1])
			}
			after, end = cloneRow(chunk.Last), chunk.End
		}
		diff(t, what, got, want)
		if chunks < c.chunks || (early > 0) != (c.enough < 1<<40 && c.limit > each) {
			t.Errorf("%s: %d chunks, of which %d ended early", what, chunks, early)
		}
	}
	// Keys are few, and all of them are to be read.
	_, err := r.src.ReadKeys(t.Context(), table, [][]schemas.Cell{{h.key(0)}}, func([]schemas.Change) error { return producers.ErrEnough })
	if !errors.Is(err, producers.ErrEnough) {
		t.Errorf("keys that were not wanted to the last were read with %v", err)
	}
	if rows, _ := r.chunk(t, table, nil, 2); len(rows) != 2 {
		t.Errorf("after that %d rows of 2 are read", len(rows))
	}
}

// readChunk is the source's, with a bound of its time.
func (r *reader) readChunk(t *testing.T, table *schemas.Table, after []schemas.Cell, limit int, emit func([]schemas.Change) error) (producers.Chunk, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return r.src.ReadChunk(ctx, table, after, limit, emit)
}
