package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit"
	"millrace/producers"
	"millrace/schemas"
)

const patience = 60 * time.Second

// capture is a source on a database of its own, and what it said.
type capture struct {
	*db
	cfg     *Config
	start   producers.Start
	src     *Source
	changes []schemas.Change // all, copied
	tables  []producers.TableVersion
	halts   []*producers.HaltError
	resume  schemas.Token
	done    schemas.Progress
	fences  int
}

// newCapture makes the tables by the statements and captures those named.
func newCapture(t testing.TB, tables string, ddl ...string) *capture {
	t.Helper()
	return captureOn(t, testkit.PostgresDatabase(t), tables, ddl...)
}

func captureOn(t testing.TB, dsn, tables string, ddl ...string) *capture {
	t.Helper()
	c := &capture{db: newDB(t, dsn), cfg: &Config{DSN: dsn}, start: producers.Start{Epoch: 1, Tables: map[string]producers.TableVersion{}}}
	c.exec("CREATE TABLE fence (id BIGINT PRIMARY KEY)")
	c.exec(ddl...)
	for _, name := range append(strings.Fields(tables), "fence") {
		c.cfg.Tables = append(c.cfg.Tables, TableConfig{Name: "public." + name})
	}
	t.Cleanup(c.close)
	return c
}

func (c *capture) close() {
	if c.src != nil {
		if err := c.src.Close(); err != nil && !strings.Contains(err.Error(), "broken pipe") {
			c.t.Logf("close: %v", err)
		}
		c.src = nil
	}
}

func (c *capture) tryOpen() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	src, err := c.cfg.Open(ctx, c.start, producers.Env{
		Log:    slog.New(slog.DiscardHandler),
		Source: "Orders-DB", Prefix: "pg", Now: time.Now,
		Topic: func(schema, table string, generation int) string {
			return fmt.Sprintf("%s.%s.g%d", schema, table, generation)
		},
		Halt: func(h *producers.HaltError) { c.halts = append(c.halts, h) },
	})
	if err != nil {
		return err
	}
	c.src = src.(*Source)
	return nil
}

// open opens the source and reads its first batch.
func (c *capture) open() *capture {
	c.t.Helper()
	if err := c.tryOpen(); err != nil {
		c.t.Fatalf("open: %v", err)
	}
	return c
}

// reopen closes the source and resumes behind the last token.
func (c *capture) reopen() {
	c.t.Helper()
	c.close()
	c.resumeAt()
	c.open()
}

func (c *capture) resumeAt() {
	c.start.Token = c.resume
	for _, v := range c.tables {
		c.start.Tables[v.Table.ID()] = v
	}
	if n := len(c.changes); n > 0 {
		c.start.Last = c.changes[n-1].Position
	}
	c.tables, c.changes = nil, nil
}

func (c *capture) next(ctx context.Context) (producers.Batch, error) {
	b, err := c.src.Next(ctx)
	if err != nil {
		return b, err
	}
	c.tables = append(c.tables, b.Tables...)
	for i := range b.Changes {
		ch := b.Changes[i]
		ch.After, ch.Before, ch.OtherKey = cloneRow(ch.After), cloneRow(ch.Before), cloneRow(ch.OtherKey)
		c.changes = append(c.changes, ch)
	}
	if b.Resume != "" {
		c.resume = b.Resume
	}
	c.done = b.Complete
	return b, nil
}

func cloneRow(r schemas.Row) schemas.Row {
	if r == nil {
		return nil
	}
	return cloneCells(r)
}

func (c *capture) until(what string, done func(producers.Batch) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		b, err := c.next(ctx)
		if err != nil {
			c.t.Fatalf("wait for %s: %v", what, err)
		}
		if done(b) {
			return
		}
	}
}

// sync reads until all that was committed before has come.
func (c *capture) sync() {
	c.t.Helper()
	c.fences++
	c.exec(fmt.Sprintf("INSERT INTO fence VALUES (%d)", c.fences))
	found := false
	c.until("the fence", func(b producers.Batch) bool {
		for _, ch := range b.Changes {
			found = found || ch.Table.Name == "fence" && ch.Op == schemas.Create && ch.After[0].Int == int64(c.fences)
		}
		return found && b.Resume != ""
	})
}

// drain reads until the log was drained n times, so that the catalog was seen.
// It does not wait for the ticks.
func (c *capture) drain(n int) {
	c.t.Helper()
	c.src.nextTick = time.Time{}
	c.until("a drained log", func(b producers.Batch) bool {
		if !b.Complete.Time.IsZero() {
			n--
			c.src.nextTick = time.Time{}
		}
		return n <= 0
	})
}

// watch reads until the catalog was seen and done is true.
func (c *capture) watch(what string, done func() bool) {
	c.t.Helper()
	c.until(what, func(producers.Batch) bool {
		c.src.nextTick = time.Time{}
		return done()
	})
}

// of are the changes of a table.
func (c *capture) of(name string) []schemas.Change {
	var out []schemas.Change
	for _, ch := range c.changes {
		if ch.Table.Name == name {
			out = append(out, ch)
		}
	}
	return out
}

// versions are those announced of a table.
func (c *capture) versions(name string) []producers.TableVersion {
	var out []producers.TableVersion
	for _, v := range c.tables {
		if v.Table.Name == name {
			out = append(out, v)
		}
	}
	return out
}

func (c *capture) table(name string) *schemas.Table {
	c.t.Helper()
	if vs := c.versions(name); len(vs) > 0 {
		return vs[len(vs)-1].Table
	}
	return c.start.Tables["public."+name].Table
}

// text writes changes: op, then the row, or the old row of a delete.
func lines(changes []schemas.Change) string {
	var out []string
	for _, ch := range changes {
		row := ch.After
		if ch.Op == schemas.Delete {
			row = ch.Before
		}
		out = append(out, ch.Op.String()+" "+rowText(ch.Table, row))
	}
	return strings.Join(out, ", ")
}

func rowText(t *schemas.Table, row schemas.Row) string {
	var out []string
	for i, c := range row {
		switch {
		case c.Kind == schemas.Unset:
			out = append(out, "?")
		case c.Kind == schemas.Null:
			out = append(out, "null")
		case t.Columns[i].Type.Kind == schemas.Decimal:
			out = append(out, string(schemas.AppendDecimalText(nil, c.Bytes, t.Columns[i].Type.Scale)))
		case t.Columns[i].Type.Kind.InBytes():
			out = append(out, string(clip(c.Bytes)))
		default:
			out = append(out, fmt.Sprint(c.Int))
		}
	}
	return strings.Join(out, "|")
}

func (c *capture) want(name, want string) {
	c.t.Helper()
	if got := lines(c.of(name)); got != want {
		c.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// chunk reads a whole table.
func (c *capture) chunk(name string) ([]schemas.Change, producers.Chunk, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var rows []schemas.Change
	chunk, err := c.src.ReadChunk(ctx, c.table(name), nil, 1_000_000, func(cs []schemas.Change) error {
		for _, ch := range cs {
			ch.After = cloneRow(ch.After)
			rows = append(rows, ch)
		}
		return nil
	})
	return rows, chunk, err
}

// halted fails unless err is a HaltError that says all of the words.
func halted(t testing.TB, err error, words ...string) *producers.HaltError {
	t.Helper()
	var h *producers.HaltError
	if !errors.As(err, &h) {
		t.Fatalf("want a HaltError, got %v", err)
	}
	for _, w := range words {
		if !strings.Contains(h.Error(), w) {
			t.Errorf("%q does not say %q", h.Error(), w)
		}
	}
	return h
}

// sinceBetween fails unless the last version of a table was announced with a
// since above below and not above above.
func (c *capture) raised(name string) schemas.Position {
	c.t.Helper()
	var since schemas.Position
	for _, v := range c.versions(name) {
		since = schemas.MaxPosition(since, v.Since)
	}
	if since.IsZero() {
		c.t.Fatalf("no version of %s calls for a snapshot: %d versions", name, len(c.versions(name)))
	}
	return since
}

func (c *capture) notRaised(name string) {
	c.t.Helper()
	for _, v := range c.versions(name) {
		if !v.Since.IsZero() {
			c.t.Fatalf("a version of %s calls for a snapshot without need: %s", name, v.State)
		}
	}
}
