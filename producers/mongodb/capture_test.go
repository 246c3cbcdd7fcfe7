package mongodb

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/producers"
	"millrace/schemas"
)

// capture reads a source and remembers what it said.
type capture struct {
	t        *testing.T
	db       *database
	cfg      *Config
	start    producers.Start
	src      producers.Source
	changes  []schemas.Change
	versions []producers.TableVersion
	halts    []*producers.HaltError
	token    schemas.Token
	complete schemas.Progress
	fence    int
}

// tick is how often a source speaks that has nothing to say: tests wait for that
// all the time.
const tick = 50 * time.Millisecond

// newCapture captures the tables of a new database, and a collection fence.
func newCapture(t *testing.T, uri string, images bool, tables ...Table) *capture {
	t.Helper()
	c := &capture{t: t, db: newDB(t, uri, images), start: producers.Start{Epoch: 1, Tables: map[string]producers.TableVersion{}}}
	c.cfg = &Config{DSN: uri, tick: tick}
	for _, table := range append(tables, Table{Name: "fence"}) {
		c.create(table.Name)
		table.Name = c.db.name + "." + table.Name
		c.cfg.Tables = append(c.cfg.Tables, table)
	}
	return c
}

func (c *capture) create(name string) {
	c.t.Helper()
	opts := options.CreateCollection()
	if c.db.images {
		opts.SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
	}
	c.must(c.db.CreateCollection(c.t.Context(), name, opts))
}

func (c *capture) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *capture) env() producers.Env {
	return producers.Env{
		Log: slog.New(slog.DiscardHandler), Source: "src", Prefix: "p", Now: time.Now,
		Topic: func(schema, table string, generation int) string {
			return fmt.Sprint(schema, ".", table, ".", generation)
		},
		Halt: func(h *producers.HaltError) { c.halts = append(c.halts, h) },
	}
}

// open resumes at c.start and forgets what was said before.
func (c *capture) open() *capture {
	c.t.Helper()
	src, err := c.cfg.Open(c.t.Context(), c.start, c.env())
	c.must(err)
	c.src, c.changes, c.versions, c.token = src, nil, nil, ""
	c.t.Cleanup(func() { _ = src.Close() })
	return c
}

func (c *capture) reopen(at producers.Start) {
	c.t.Helper()
	_ = c.src.Close()
	c.start = at
	c.open()
}

func (c *capture) next() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	b, err := c.src.Next(ctx)
	if err != nil {
		return err
	}
	c.versions = append(c.versions, b.Tables...)
	for i := range b.Changes {
		c.changes = append(c.changes, clone(b.Changes[i]))
	}
	if b.Resume != "" {
		c.token = b.Resume
	}
	c.complete = b.Complete
	return nil
}

func clone(ch schemas.Change) schemas.Change {
	row := func(r schemas.Row) schemas.Row {
		out := append(schemas.Row(nil), r...)
		for i := range out {
			if out[i].Bytes != nil {
				out[i].Bytes = append([]byte{}, out[i].Bytes...)
			}
		}
		return out
	}
	ch.After, ch.Before = row(ch.After), row(ch.Before)
	return ch
}

// sync writes to the fence and reads until that comes out, with a token behind it.
func (c *capture) sync() {
	c.t.Helper()
	c.fence++
	id := fmt.Sprint("fence", c.fence)
	_, err := c.db.Collection("fence").InsertOne(c.t.Context(), bson.D{{Key: "_id", Value: id}})
	c.must(err)
	for {
		c.must(c.next())
		if n := len(c.changes); n > 0 && c.changes[n-1].Table.Name == "fence" && len(c.changes[n-1].After) > 0 && string(c.changes[n-1].After[0].Bytes) == id && c.token != "" {
			return
		}
	}
}

// checkpoint is what a producer would have kept by now.
func (c *capture) checkpoint() producers.Start {
	out := producers.Start{Epoch: 1, Token: c.start.Token, Last: c.start.Last, Tables: map[string]producers.TableVersion{}}
	for id, v := range c.start.Tables {
		out.Tables[id] = v
	}
	for _, v := range c.versions {
		out.Tables[v.Table.ID()] = v
	}
	if n := len(c.changes); n > 0 {
		out.Last = c.changes[n-1].Position
	}
	if c.token != "" {
		out.Token = c.token
	}
	return out
}

// of are the changes of a table.
func (c *capture) of(table string) []schemas.Change {
	var out []schemas.Change
	for _, ch := range c.changes {
		if ch.Table.Name == table {
			out = append(out, ch)
		}
	}
	return out
}

// version is the newest of a table.
func (c *capture) version(table string) *schemas.Table {
	c.t.Helper()
	for i := len(c.versions) - 1; i >= 0; i-- {
		if c.versions[i].Table.Name == table {
			return c.versions[i].Table
		}
	}
	if v, ok := c.start.Tables[c.db.name+"."+table]; ok {
		return v.Table
	}
	c.t.Fatalf("no version of %s", table)
	return nil
}

func (c *capture) insert(table string, docs ...any) {
	c.t.Helper()
	_, err := c.db.Collection(table).InsertMany(c.t.Context(), docs)
	c.must(err)
}

func (c *capture) update(table string, id any, update bson.D) {
	c.t.Helper()
	_, err := c.db.Collection(table).UpdateOne(c.t.Context(), bson.D{{Key: "_id", Value: id}}, update)
	c.must(err)
}

func (c *capture) remove(table string, id any) {
	c.t.Helper()
	_, err := c.db.Collection(table).DeleteOne(c.t.Context(), bson.D{{Key: "_id", Value: id}})
	c.must(err)
}

// rename renames a collection, with its target dropped.
func (c *capture) rename(from, to string) {
	c.t.Helper()
	c.must(c.db.client.Database("admin").RunCommand(c.t.Context(), bson.D{
		{Key: "renameCollection", Value: c.db.name + "." + from}, {Key: "to", Value: c.db.name + "." + to}, {Key: "dropTarget", Value: true},
	}).Err())
}

// chunk reads rows; an error is the chunk's.
func (c *capture) chunk(table *schemas.Table, after []schemas.Cell, limit int) ([]schemas.Change, producers.Chunk, error) {
	var rows []schemas.Change
	got, err := c.src.ReadChunk(c.t.Context(), table, after, limit, func(cs []schemas.Change) error {
		for i := range cs {
			rows = append(rows, clone(cs[i]))
		}
		return nil
	})
	return rows, got, err
}

// shown is a change as op and the columns by name, those that are null left out.
func shown(ch schemas.Change) string {
	row := ch.After
	if ch.Op == schemas.Delete {
		row = ch.Before
	}
	var out []string
	for i, cell := range row {
		name, typ := ch.Table.Columns[i].Name, ch.Table.Columns[i].Type
		switch {
		case cell.Kind == schemas.Null:
		case cell.Kind == schemas.Unset:
			out = append(out, name+"?")
		case typ.Kind == schemas.Decimal:
			out = append(out, name+"="+string(schemas.AppendDecimalText(nil, cell.Bytes, typ.Scale)))
		case typ.Kind.InBytes():
			out = append(out, name+"="+string(cell.Bytes))
		case typ.Kind == schemas.Float:
			out = append(out, fmt.Sprint(name, "=", cell.Float()))
		default:
			out = append(out, fmt.Sprint(name, "=", cell.Int))
		}
	}
	text := ch.Op.String() + " " + strings.Join(out, " ")
	if ch.Reread {
		text += " again"
	}
	return text
}

func (c *capture) expect(table string, want ...string) {
	c.t.Helper()
	var got []string
	for _, ch := range c.of(table) {
		got = append(got, shown(ch))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		c.t.Fatalf("changes of %s:\n%s\nwant:\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func typeOf(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }

var money = schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}

func set(field string, v any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: v}}}}
}
