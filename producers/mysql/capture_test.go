package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/producers/mysql"
	"millrace/schemas"
)

const patience = time.Minute

// capture is a source under test, with what a producer would keep of it.
type capture struct {
	t      *testing.T
	family family
	dsn    string
	db     *sql.DB
	cfg    *mysql.Config
	src    producers.Source
	start  producers.Start
	halts  []*producers.HaltError
	fences int

	changes  []schemas.Change
	versions []producers.TableVersion
	tokens   []producers.Start // after every batch with a token
	complete schemas.Progress
}

// newCapture makes a database with the statements and captures the tables.
func newCapture(t *testing.T, f family, dsn string, tables []mysql.Table, stmts ...string) *capture {
	t.Helper()
	c := &capture{t: t, family: f, dsn: dsn, db: testkit.Open(t, dsn), start: producers.Start{Epoch: 1, Tables: map[string]producers.TableVersion{}}}
	c.exec("CREATE TABLE fence (id INT PRIMARY KEY)")
	c.exec(stmts...)
	c.cfg = &mysql.Config{DSN: dsn, Tables: append([]mysql.Table{{Name: c.name("fence")}}, tables...)}
	for i, table := range c.cfg.Tables {
		if !strings.Contains(table.Name, ".") {
			c.cfg.Tables[i].Name = c.name(table.Name)
		}
	}
	t.Cleanup(c.close)
	return c
}

func (c *capture) name(table string) string {
	return c.dsn[strings.LastIndexByte(c.dsn, '/')+1:] + "." + table
}

func (c *capture) exec(stmts ...string) {
	c.t.Helper()
	conn, err := c.db.Conn(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	for _, stmt := range stmts {
		if _, err := conn.ExecContext(c.t.Context(), stmt); err != nil {
			c.t.Fatalf("%s: %v", stmt, err)
		}
	}
}

func (c *capture) env() producers.Env {
	return producers.Env{
		Log:    slog.New(slog.DiscardHandler),
		Source: "src", Prefix: "p", Now: time.Now,
		Topic: func(schema, table string, generation int) string {
			return fmt.Sprintf("p.src.%s.%s.%d", schema, table, generation)
		},
		Halt: func(h *producers.HaltError) { c.halts = append(c.halts, h) },
	}
}

// tryOpen opens the source at c.start.
func (c *capture) tryOpen() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	src, err := c.cfg.Open(ctx, c.start, c.env())
	c.src, c.changes, c.versions, c.tokens = nil, nil, nil, nil
	if err == nil {
		c.src = src
	}
	return err
}

func (c *capture) open() {
	c.t.Helper()
	if err := c.tryOpen(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *capture) close() {
	if c.src != nil {
		if err := c.src.Close(); err != nil {
			c.t.Error(err)
		}
	}
	c.src = nil
}

// reopen resumes at a checkpoint, as after a crash.
func (c *capture) reopen(at producers.Start) {
	c.t.Helper()
	c.close()
	c.start = at
	c.open()
}

// checkpoint is what the producer would have kept so far.
func (c *capture) checkpoint() producers.Start {
	if len(c.tokens) == 0 {
		c.t.Fatal("there is no token yet")
	}
	return c.tokens[len(c.tokens)-1]
}

// next reads one batch.
func (c *capture) next() (producers.Batch, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	b, err := c.src.Next(ctx)
	if err != nil {
		return b, err
	}
	for _, v := range b.Tables {
		v.State = slices.Clone(v.State)
		c.versions = append(c.versions, v)
	}
	for i := range b.Changes {
		ch := b.Changes[i]
		ch.After, ch.Before, ch.OtherKey = cloneRow(ch.After), cloneRow(ch.Before), cloneRow(ch.OtherKey)
		c.changes = append(c.changes, ch)
	}
	if b.Complete.Pos.Less(c.complete.Pos) && c.complete.Pos.Epoch == b.Complete.Pos.Epoch && len(c.tokens) > 0 {
		c.t.Errorf("complete fell from %v to %v", c.complete.Pos, b.Complete.Pos)
	}
	c.complete = b.Complete
	if b.Resume != "" {
		at := producers.Start{Epoch: c.start.Epoch, Token: b.Resume, Tables: map[string]producers.TableVersion{}}
		for id, v := range c.start.Tables {
			at.Tables[id] = v
		}
		for _, v := range c.versions {
			at.Tables[v.Table.ID()] = v
		}
		if n := len(c.changes); n > 0 {
			at.Last = c.changes[n-1].Position
		}
		c.tokens = append(c.tokens, at)
	}
	return b, nil
}

func cloneRow(r schemas.Row) schemas.Row {
	out := slices.Clone(r)
	for i := range out {
		out[i].Bytes = slices.Clone(out[i].Bytes)
	}
	return out
}

// until reads until done.
func (c *capture) until(what string, done func() bool) {
	c.t.Helper()
	for !done() {
		if _, err := c.next(); err != nil {
			c.t.Fatalf("wait for %s: %v", what, err)
		}
	}
}

// ready reads the first token.
func (c *capture) ready() {
	c.t.Helper()
	c.until("the first token", func() bool { return len(c.tokens) > 0 })
}

// sync reads all that was committed up to now.
func (c *capture) sync() {
	c.t.Helper()
	c.fences++
	c.exec(fmt.Sprintf("INSERT INTO fence VALUES (%d)", c.fences))
	c.awaitFence()
}

func (c *capture) awaitFence() {
	c.t.Helper()
	c.until("the fence", func() bool {
		n := len(c.changes)
		return n > 0 && c.changes[n-1].Table.Name == "fence" && c.changes[n-1].After[0].Int == int64(c.fences)
	})
}

// drained reads until the source says that it has read everything.
func (c *capture) drained() {
	c.t.Helper()
	was := c.complete.Time
	c.until("a drained log", func() bool { return c.complete.Time.After(was) })
}

// of are the changes of one table.
func (c *capture) of(table string) []schemas.Change {
	var out []schemas.Change
	for _, ch := range c.changes {
		if ch.Table.Name == table {
			out = append(out, ch)
		}
	}
	return out
}

// versionsOf are the versions that were announced of one table.
func (c *capture) versionsOf(table string) []producers.TableVersion {
	var out []producers.TableVersion
	for _, v := range c.versions {
		if v.Table.Name == table {
			out = append(out, v)
		}
	}
	return out
}

// text is the changes of a table, one word each: op, first column, and the
// second if it is there.
func (c *capture) text(table string) string {
	var out []string
	for _, ch := range c.of(table) {
		row := ch.After
		if ch.Op == schemas.Delete {
			row = ch.Before
		}
		s := ch.Op.String()
		for i := range min(2, len(row)) {
			s += ":" + cell(row[i], ch.Table.Columns[i])
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func cell(c schemas.Cell, col schemas.Column) string {
	switch {
	case c.Kind == schemas.Unset:
		return "unset"
	case c.Kind == schemas.Null:
		return "null"
	case col.Type.Kind.InBytes():
		return string(c.Bytes)
	}
	return fmt.Sprint(c.Int)
}

// chunk reads rows of a table.
func (c *capture) chunk(table *schemas.Table, after []schemas.Cell, limit int) ([]schemas.Change, producers.Chunk, error) {
	var rows []schemas.Change
	chunk, err := c.src.ReadChunk(c.t.Context(), table, after, limit, func(batch []schemas.Change) error {
		for _, ch := range batch {
			ch.After = cloneRow(ch.After)
			rows = append(rows, ch)
		}
		return nil
	})
	return rows, chunk, err
}

// wantHalt checks that an error is a HaltError of the table, or of the source,
// and says what is wrong and what cures it.
func wantHalt(t *testing.T, err error, table string, words ...string) {
	t.Helper()
	var h *producers.HaltError
	if !errors.As(err, &h) {
		t.Fatalf("no HaltError: %v", err)
	}
	if h.Table != table {
		t.Errorf("it halts %q, want %q", h.Table, table)
	}
	if h.Hint == "" {
		t.Error("it does not say what to do")
	}
	for _, w := range words {
		if !strings.Contains(h.Error(), w) {
			t.Errorf("%q is not in: %v", w, h)
		}
	}
}

// halted waits for the halt of a table.
func (c *capture) halted(table string, words ...string) {
	c.t.Helper()
	c.until("a halt of "+table, func() bool {
		return slices.ContainsFunc(c.halts, func(h *producers.HaltError) bool { return h.Table == c.name(table) })
	})
	wantHalt(c.t, c.halts[len(c.halts)-1], c.name(table), words...)
}
