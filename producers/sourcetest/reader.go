package sourcetest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"millrace/producers"
	"millrace/schemas"
)

const patience = 60 * time.Second

// seen is what a batch said, copied.
type seen struct {
	tables   []producers.TableVersion
	changes  []schemas.Change
	resume   schemas.Token
	complete schemas.Progress
}

// reader reads a source and remembers what it said.
type reader struct {
	h        *Harness
	prefix   string
	captured []string
	start    producers.Start
	src      producers.Source
	batches  []seen
	fence    int
}

func newReader(t *testing.T, h *Harness, tables ...string) *reader {
	t.Helper()
	r := &reader{h: h, prefix: "st" + strconv.FormatUint(rand.Uint64(), 36), captured: append(tables, "fence")}
	r.start = producers.Start{Epoch: 1, Tables: map[string]producers.TableVersion{}}
	r.open(t)
	t.Cleanup(func() { r.close(t) })
	return r
}

// open resumes at r.start.
func (r *reader) open(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := r.h.Config(r.captured...)
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	src, err := cfg.Open(ctx, r.start, producers.Env{
		Log:    slog.New(slog.DiscardHandler),
		Source: "src", Prefix: r.prefix, Now: time.Now,
		Topic: func(schema, table string, generation int) string {
			return fmt.Sprintf("%s.src.%s.%s.%d", r.prefix, schema, table, generation)
		},
		Halt: func(e *producers.HaltError) { t.Errorf("a table was halted: %v", e) },
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r.src, r.batches = src, nil
}

func (r *reader) close(t *testing.T) {
	t.Helper()
	if r.src == nil {
		return
	}
	if err := r.src.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	r.src = nil
}

// next reads one batch and checks what holds of every batch.
func (r *reader) next(t *testing.T, ctx context.Context) (seen, error) {
	t.Helper()
	b, err := r.src.Next(ctx)
	if err != nil {
		return seen{}, err
	}
	s := seen{resume: b.Resume, complete: b.Complete}
	for _, v := range b.Tables {
		v.State = slices.Clone(v.State)
		s.tables = append(s.tables, v)
	}
	for i := range b.Changes {
		s.changes = append(s.changes, clone(&b.Changes[i]))
	}
	last := r.lastPosition()
	for i := range s.changes {
		c := &s.changes[i]
		if !last.Less(c.Position) {
			t.Errorf("position %v of %s %s does not rise above %v", c.Position, c.Op, c.Table.ID(), last)
		}
		last = c.Position
		if r.complete() != (schemas.Position{}) && !r.complete().Less(c.Position) {
			t.Errorf("change at %v came after the log was complete up to %v", c.Position, r.complete())
		}
	}
	if len(r.batches) == 0 && r.start.Token == "" && (s.resume == "" || len(s.changes) > 0) {
		t.Errorf("the first batch has %d changes, and the token %q to resume with", len(s.changes), s.resume)
	}
	r.batches = append(r.batches, s)
	return s, nil
}

func (r *reader) lastPosition() schemas.Position {
	for _, b := range slices.Backward(r.batches) {
		if len(b.changes) > 0 {
			return b.changes[len(b.changes)-1].Position
		}
	}
	return schemas.Position{}
}

func (r *reader) complete() schemas.Position {
	var out schemas.Position
	for _, b := range r.batches {
		out = schemas.MaxPosition(out, b.complete.Pos)
	}
	return out
}

// until reads on until done, which sees every batch once.
func (r *reader) until(t *testing.T, what string, done func(seen) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		s, err := r.next(t, ctx)
		if err != nil {
			t.Fatalf("wait for %s: %v\nso far: %s", what, err, r.h.describe(r.changes()))
		}
		if done(s) {
			return
		}
	}
}

// ready reads until every captured table is known and there is a token.
func (r *reader) ready(t *testing.T) {
	t.Helper()
	known := len(r.start.Tables)
	r.until(t, "the first token", func(s seen) bool {
		known += len(s.tables)
		return known >= len(r.captured) && s.resume != ""
	})
}

// sync writes to table fence and reads until that arrives and is complete: all
// that was committed before has then arrived.
func (r *reader) sync(t *testing.T) {
	t.Helper()
	r.fence++
	n := int64(r.fence)
	r.h.exec(t, insert(fenceTable, []any{n, n}))
	r.awaitFence(t)
}

func (r *reader) awaitFence(t *testing.T) {
	t.Helper()
	n, found := int64(r.fence), false
	r.until(t, fmt.Sprintf("fence %d", n), func(s seen) bool {
		for _, c := range s.changes {
			found = found || c.Table.ID() == r.h.ID("fence") && number(c.After[0]) == n
		}
		return found && s.resume != ""
	})
}

// changes are those of the table of items, or of another that is named.
func (r *reader) changes(table ...string) []schemas.Change {
	table = append(table, items)
	var out []schemas.Change
	for _, b := range r.batches {
		for _, c := range b.changes {
			if c.Table.ID() == r.h.ID(table[0]) {
				out = append(out, c)
			}
		}
	}
	return out
}

// versions are those that were announced of a table.
func (r *reader) versions(table string) []producers.TableVersion {
	var out []producers.TableVersion
	for _, b := range r.batches {
		for _, v := range b.tables {
			if v.Table.ID() == r.h.ID(table) {
				out = append(out, v)
			}
		}
	}
	return out
}

// table is the newest version of a table.
func (r *reader) table(t *testing.T, name string) *schemas.Table {
	t.Helper()
	if vs := r.versions(name); len(vs) > 0 {
		return vs[len(vs)-1].Table
	}
	if v, ok := r.start.Tables[r.h.ID(name)]; ok {
		return v.Table
	}
	t.Fatalf("table %s was never announced", name)
	return nil
}

// checkpoint is where to resume after batch n: what the producer would have kept.
func (r *reader) checkpoint(n int) producers.Start {
	out := producers.Start{Epoch: 1, Token: r.start.Token, Last: r.start.Last, Tables: map[string]producers.TableVersion{}}
	for id, v := range r.start.Tables {
		out.Tables[id] = v
	}
	for i := range n + 1 {
		for _, v := range r.batches[i].tables {
			out.Tables[v.Table.ID()] = v
		}
		for _, c := range r.batches[i].changes {
			out.Last, out.Epoch = c.Position, c.Position.Epoch
		}
		if r.batches[i].resume != "" {
			out.Token = r.batches[i].resume
		}
	}
	return out
}

// reopen closes the source, as a crash would, and resumes at the checkpoint.
func (r *reader) reopen(t *testing.T, at producers.Start) {
	t.Helper()
	r.close(t)
	r.start = at
	r.open(t)
}

// chunk reads rows through the source's snapshots.
func (r *reader) chunk(t *testing.T, table *schemas.Table, after []schemas.Cell, limit int) ([]schemas.Change, producers.Chunk) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var rows []schemas.Change
	got, err := r.src.ReadChunk(ctx, table, after, limit, func(cs []schemas.Change) error {
		for i := range cs {
			rows = append(rows, clone(&cs[i]))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("read chunk of %s after %v: %v", table.ID(), after, err)
	}
	got.Last = cloneRow(got.Last)
	for i := range rows {
		if rows[i].Op != schemas.Read || rows[i].Position != got.ReadPoint {
			t.Fatalf("row %d of a chunk: op %s at %v, read point %v", i, rows[i].Op, rows[i].Position, got.ReadPoint)
		}
	}
	return rows, got
}

func clone(c *schemas.Change) schemas.Change {
	out := *c
	out.After, out.Before, out.OtherKey = cloneRow(c.After), cloneRow(c.Before), cloneRow(c.OtherKey)
	return out
}

func cloneRow(r []schemas.Cell) []schemas.Cell {
	out := slices.Clone(r)
	for i := range out {
		out[i].Bytes = slices.Clone(out[i].Bytes)
	}
	return out
}

func sameCell(a, b schemas.Cell) bool {
	return a.Kind == b.Kind && a.Int == b.Int && bytes.Equal(a.Bytes, b.Bytes)
}
