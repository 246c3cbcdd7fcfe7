package deriver

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/fault"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

// platform is a warehouse with core tables, and the derivers over them.
type platform struct {
	t       testing.TB
	path    string
	plan    *fault.Plan
	w       *duckdb.Warehouse
	runner  warehouse.Runner
	dialect *duckdb.Dialect
	now     time.Time
	core    map[string]*coreTable
	tables  []graph.Table
	derived map[string]*Deriver
	nodes   []*graph.Node
	events  map[string][]schemas.LoadComplete // announced, by table
	deaf    error                             // what Announce returns
	rev     int64
}

func newPlatform(t testing.TB) *platform {
	t.Helper()
	p := &platform{
		t: t, path: filepath.Join(t.TempDir(), duckdb.FileName), plan: &fault.Plan{}, now: at("2024-03-05T12:00:00Z"), rev: -1,
		core: make(map[string]*coreTable), derived: make(map[string]*Deriver), events: make(map[string][]schemas.LoadComplete),
	}
	var err error
	if p.dialect, err = duckdb.OpenDialect(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.open()
	t.Cleanup(func() {
		if err := p.w.Close(); err != nil {
			t.Error(err)
		}
		if err := p.dialect.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *platform) open() {
	p.t.Helper()
	w, err := duckdb.Open(p.t.Context(), p.path, duckdb.Options{Threads: 1, Fault: p.plan.Hook})
	if err != nil {
		p.t.Fatal(err)
	}
	p.w, p.runner = w, w.Runner()
}

// at reads an instant or a date.
func at(text string) time.Time {
	if len(text) == len(time.DateOnly) {
		text += "T00:00:00Z"
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// coreTable is a core table and its one writer.
type coreTable struct {
	p     *platform
	def   warehouse.CoreTable
	epoch int64
	load  int64
	seq   uint64
}

var kindOf = map[string]schemas.Kind{"int": schemas.Int, "text": schemas.String, "ts": schemas.Timestamp, "date": schemas.Date}

// table makes a core table from "id int, paid_at ts"; the first column is the
// key, and the first event time the partition.
func (p *platform) table(name, columns string, mode schemas.Mode) *coreTable {
	p.t.Helper()
	c := &coreTable{p: p, def: warehouse.CoreTable{Name: name, Mode: mode}}
	known := graph.Table{Name: name, Append: mode == schemas.ModeAppend}
	for i, def := range strings.Split(columns, ", ") {
		column, kind, _ := strings.Cut(def, " ")
		t := schemas.Type{Kind: kindOf[kind]}
		c.def.Columns = append(c.def.Columns, schemas.Column{Name: column, Type: t})
		known.Columns = append(known.Columns, warehouse.ResultColumn{Name: column, SQLType: duckdb.SQLType(t), Type: t})
		if i == 0 {
			c.def.Key, known.Key = []string{column}, []string{column}
		}
		if t.Kind.IsEventTime() {
			c.def.EventTimes, known.EventTimes = append(c.def.EventTimes, column), append(known.EventTimes, column)
		}
	}
	if mode == schemas.ModeAppend {
		known.Columns = append(known.Columns, warehouse.ResultColumn{Name: "_load", SQLType: "BIGINT", Type: schemas.Type{Kind: schemas.Int}})
	}
	if err := p.w.Ensure(p.t.Context(), c.def); err != nil {
		p.t.Fatal(err)
	}
	head, err := p.w.Acquire(p.t.Context(), name, "topic", "id")
	if err != nil {
		p.t.Fatal(err)
	}
	c.epoch = head.Epoch
	p.core[name] = c
	p.tables = append(p.tables, known)
	return c
}

// change is one change of a row; its values stand in the table's order.
type change struct {
	op   schemas.Op
	vals []any
}

func put(vals ...any) change  { return change{schemas.Create, vals} }
func gone(vals ...any) change { return change{schemas.Delete, vals} }

// loads commits one load, complete through the time.
func (c *coreTable) loads(through string, changes ...change) schemas.LoadComplete {
	c.p.t.Helper()
	rows := &rows{c: c, changes: changes, from: c.seq}
	first := schemas.Position{Epoch: 1, Major: c.seq + 1, Minor: 1, Seq: 1}
	c.seq += uint64(len(changes)) + 1
	end := schemas.Position{Epoch: 1, Major: c.seq, Minor: 1, Seq: 1}
	c.load++
	b := &warehouse.Batch{
		Table: c.def, Epoch: c.epoch, Load: c.load, Partitions: 1, Rows: rows, Counts: schemas.RowCounts{Read: int64(len(changes))},
		Ranges: []schemas.Range{{Topic: "topic", From: int64(first.Major), To: int64(end.Major)}},
		Marks:  map[int32]warehouse.Mark{0: {Complete: schemas.Progress{Pos: end, Time: at(through)}, SnapshotDone: schemas.Position{Epoch: 1, Seq: 1}}},
		PosMin: first, PosMax: end, StartedAt: time.Now(),
	}
	e, err := c.p.w.Load(c.p.t.Context(), b)
	if err != nil {
		c.p.t.Error(err) // it may be called by another goroutine than the test's
	}
	return e
}

type rows struct {
	c       *coreTable
	changes []change
	from    uint64
	at      int
	folded  warehouse.Folded
}

func (r *rows) Reset() { r.at = 0 }

func (r *rows) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if r.at == len(r.changes) {
		return nil, io.EOF
	}
	ch := r.changes[r.at]
	r.at++
	pos := schemas.Position{Epoch: 1, Major: r.from + uint64(r.at), Minor: 1, Seq: 1}
	r.folded = warehouse.Folded{Op: ch.op, Pos: pos, Born: pos}
	for i, v := range ch.vals {
		switch v := v.(type) {
		case nil:
			sink.Null(i)
		case int:
			sink.Int(i, int64(v))
		case string:
			switch r.c.def.Columns[i].Type.Kind {
			case schemas.Timestamp:
				sink.Int(i, at(v).UnixMicro())
			case schemas.Date:
				sink.Int(i, at(v).Unix()/86400)
			default:
				sink.Bytes(i, []byte(v))
			}
		}
	}
	return &r.folded, nil
}

// derive builds the graph of the specs and a deriver for each.
func (p *platform) derive(specs ...string) {
	p.t.Helper()
	p.nodes = p.build(specs...)
	for _, n := range p.nodes {
		p.derived[n.Spec.Name] = p.deriver(n)
	}
}

func (p *platform) build(specs ...string) []*graph.Node {
	p.t.Helper()
	var parsed []*spec.Spec
	for i, text := range specs {
		s, faults := spec.Parse(fmt.Sprintf("%d.yaml", i), []byte(text), nil)
		if len(faults) > 0 {
			p.t.Fatal(faults)
		}
		parsed = append(parsed, s)
	}
	g, faults, err := graph.Build(p.t.Context(), p.dialect, parsed, p.tables)
	if err != nil || len(faults) > 0 || len(g.Unchecked) > 0 {
		p.t.Fatal(err, faults, g.Unchecked)
	}
	return g.Nodes
}

func (p *platform) deriver(n *graph.Node) *Deriver {
	p.t.Helper()
	d, err := New(Options{
		Node: n, Runner: p.runner, Spelling: p.dialect, Revision: p.rev, Now: func() time.Time { return p.now },
		Announce: func(_ context.Context, e schemas.LoadComplete) error {
			if p.deaf != nil {
				return p.deaf
			}
			p.events[e.Table] = append(p.events[e.Table], e)
			for _, d := range p.derived {
				d.Notify(e)
			}
			return nil
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// settle cycles every deriver until none does anything more, and returns the
// errors of the cycles.
func (p *platform) settle() (errs []error) {
	p.t.Helper()
	for range 200 {
		busy := false
		for _, n := range p.nodes {
			again, err := p.derived[n.Spec.Name].cycle(p.t.Context())
			if err != nil {
				errs = append(errs, err)
				p.derived[n.Spec.Name].state = nil
				busy = true
			}
			busy = busy || !again.IsZero() && !again.After(p.now)
		}
		if !busy {
			return errs
		}
	}
	p.t.Fatalf("it does not settle: %v", errs)
	return errs
}

// quiet is settle without errors.
func (p *platform) quiet() {
	p.t.Helper()
	if errs := p.settle(); len(errs) > 0 {
		p.t.Fatal(errs)
	}
}

// rows is the result of a query as text, one row a line.
func (p *platform) rows(query string) string {
	p.t.Helper()
	r, err := p.w.Query(p.t.Context(), "SELECT * FROM ("+query+") ORDER BY ALL")
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	columns, err := r.Columns()
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for r.Next() {
		vals, ptrs := make([]any, len(columns)), make([]any, len(columns))
		for i := range vals {
			ptrs[i] = &vals[i]
		}
		if err := r.Scan(ptrs...); err != nil {
			p.t.Fatal(err)
		}
		for i, v := range vals {
			if tm, ok := v.(time.Time); ok {
				vals[i] = tm.UTC().Format("2006-01-02T15:04")
			}
		}
		out = append(out, strings.Trim(fmt.Sprint(vals), "[]"))
	}
	if err := r.Err(); err != nil {
		p.t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func (p *platform) want(query string, lines ...string) {
	p.t.Helper()
	if got := p.rows(query); got != strings.Join(lines, "\n") {
		p.t.Errorf("%s:\n got %q\nwant %q", query, got, strings.Join(lines, "\n"))
	}
}

// damage changes the warehouse behind everyone's back.
func (p *platform) damage(statement string) {
	p.t.Helper()
	if err := p.w.Close(); err != nil {
		p.t.Fatal(err)
	}
	db, err := sql.Open("duckdb", p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := db.ExecContext(p.t.Context(), statement); err != nil {
		p.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open()
	for _, n := range p.nodes {
		p.derived[n.Spec.Name] = p.deriver(n)
	}
}
