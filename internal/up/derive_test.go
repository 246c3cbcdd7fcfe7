package up

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

// troubled does not answer at first, and then refuses the query.
type troubled struct {
	warehouse.Dialect
	asked atomic.Int32
}

func (d *troubled) Columns(context.Context, string, []warehouse.Relation) ([]warehouse.ResultColumn, error) {
	if d.asked.Add(1) <= 2 {
		return nil, errors.New("describe query: 503")
	}
	return nil, &warehouse.QueryError{Offset: -1, Message: "no such column"}
}

// A warehouse that does not answer while specs are read is asked again, and what
// runs meanwhile runs on. What is then a fault of a spec leaves that spec out.
func TestSpecsAreReadAgain(t *testing.T) {
	scratch, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = scratch.Close() }()
	dialect := &troubled{Dialect: scratch}
	table := &schemas.Table{Schema: "public", Name: "orders", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}}
	p := &process{Options: Options{Log: slog.New(slog.DiscardHandler), Config: &config.Config{
		Prefix: "p", Sources: map[string]config.Source{"db": {Tables: map[string]config.Table{"public.orders": {Core: "core.orders"}}}},
	}}, surveyed: map[string]*schemas.Table{"p.db.public.orders": table}}
	p.names.Prefix = "p"
	text := "name: a.n\ninputs: {core.orders: {on_change: rebuild}}\nquery: SELECT id FROM core.orders\n"
	specs, faults, err := spec.Load(fstest.MapFS{"n.yaml": {Data: []byte(text)}})
	if err := errors.Join(err, faults.Err()); err != nil {
		t.Fatal(err)
	}
	d := &derivers{process: p, dialect: dialect, specs: specs, chosen: specs, broken: map[string]string{}, changed: make(chan struct{}, 1)}

	ctx, stop := context.WithCancel(t.Context())
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error {
		d.follow(inner, group)
		return nil
	})
	group.Go(func() error {
		<-inner.Done()
		if ctx.Err() == nil {
			t.Error("what runs was ended")
		}
		return nil
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		d.mu.Lock()
		broken, waiting := d.broken["a.n"], d.waiting
		d.mu.Unlock()
		if strings.Contains(broken, "no such column") {
			if !strings.Contains(waiting, "503") {
				t.Errorf("while it waited it said %q", waiting)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("asked %d times; left out for %q, waits for %q", dialect.asked.Load(), broken, waiting)
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// The specs are read again for other columns and other generations, and not for
// each load of a table in mode upsert.
func TestWhatHasSpecsReadAgain(t *testing.T) {
	d := &derivers{versions: map[string]int{}, changed: make(chan struct{}, 1)}
	read := []schemas.Range{{Topic: "t", To: 1}}
	for n, c := range []struct {
		event schemas.LoadComplete
		want  bool
	}{
		{schemas.LoadComplete{Mode: schemas.ModeUpsert, All: true, Ranges: read, SchemaVersion: 1}, true},
		{schemas.LoadComplete{Mode: schemas.ModeUpsert, All: true, Ranges: read, SchemaVersion: 1}, false},
		{schemas.LoadComplete{Mode: schemas.ModeUpsert, All: true, Ranges: read, SchemaVersion: 2}, true},
		{schemas.LoadComplete{Mode: schemas.ModeUpsert, All: true, SchemaVersion: 2}, true}, // a step to the next generation
		{schemas.LoadComplete{Mode: schemas.ModeMerge, All: true, Ranges: read, SchemaVersion: 2}, true},
		{schemas.LoadComplete{Mode: schemas.ModeMerge, Ranges: read, SchemaVersion: 2}, false},
	} {
		d.noteSchema(&c.event)
		select {
		case <-d.changed:
			if !c.want {
				t.Errorf("event %d has the specs read again", n)
			}
		default:
			if c.want {
				t.Errorf("event %d has not the specs read again", n)
			}
		}
	}
}

// A pod of one derived table hears of the loads of all others, and reads its specs
// again for what it reads alone: each time costs the warehouse some questions.
func TestSpecsAreNotReadAgainForOtherTables(t *testing.T) {
	d := &derivers{reads: map[string]bool{"core.mine": true}, versions: map[string]int{}, changed: make(chan struct{}, 1)}
	for table, want := range map[string]int{"core.mine": 1, "core.other": 0} {
		for _, event := range []schemas.LoadComplete{{Table: table, SchemaVersion: 1}, {Table: table, All: true, SchemaVersion: 1}} {
			d.noteSchema(&event)
			if len(d.changed) != want {
				t.Errorf("a load of %s, all of it %v: read again %d times, want %d", table, event.All, len(d.changed), want)
			}
			clear(d.versions)
			for len(d.changed) > 0 {
				<-d.changed
			}
		}
	}
}

// taken is a warehouse whose derived tables are other writers'.
type taken struct{ warehouse.Warehouse }

func (taken) Runner() warehouse.Runner { return takenRunner{} }

type takenRunner struct{ idleRunner }

func (takenRunner) Acquire(context.Context, warehouse.DerivedTable, int64) (h warehouse.DerivedHead, err error) {
	return h, warehouse.ErrFenced
}

// crossing is a log whose line of a table that stays out is written only once the
// table is about to start anew.
type crossing struct {
	slog.Handler
	out, anew chan struct{}
}

func (c crossing) Enabled(context.Context, slog.Level) bool { return true }

func (c crossing) Handle(_ context.Context, r slog.Record) error {
	switch {
	case strings.Contains(r.Message, "stays out"):
		select {
		case <-c.out:
			return nil // a second time: the test's end tells
		default:
		}
		close(c.out)
		<-c.anew
	case strings.Contains(r.Message, "starts anew"):
		close(c.anew)
	}
	return nil
}

func (c crossing) WithAttrs([]slog.Attr) slog.Handler { return c }

// A table that another writer has taken over while it was to start anew stays out
// (G5).
func TestTableThatGoesOutIsNotStartedAnew(t *testing.T) {
	files := fstest.MapFS{"n.yaml": {Data: []byte("name: a.n\ninputs: {core.orders: {on_change: rebuild}}\nquery: SELECT id FROM core.orders\n")}}
	d, g, faults := derivedFor(t, nil, files)
	if err := d.choose(g, faults); err != nil {
		t.Fatal(err)
	}
	d.Parts, d.warehouse = All(), taken{}
	log := crossing{slog.DiscardHandler, make(chan struct{}), make(chan struct{})}
	d.Log = slog.New(log)
	group, ctx := errgroup.WithContext(t.Context())
	for _, hash := range []string{"1", "2"} {
		node := *g.Nodes[0]
		node.Columns, node.Hash = []warehouse.ResultColumn{{Name: "id", SQLType: "BIGINT"}}, hash
		d.start(ctx, group, &node)
		<-log.out
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if d.out["a.n"] == nil || len(d.running) != 1 || d.running[0].node.Hash != "1" {
		t.Errorf("%v; it runs with the code %s", d.out, d.running[0].node.Hash)
	}
}

// idle is a warehouse whose derived tables nobody takes over.
type idle struct{ warehouse.Warehouse }

func (idle) Runner() warehouse.Runner { return idleRunner{} }

type idleRunner struct{ warehouse.Runner }

func (idleRunner) Turn(context.Context) (leave func(), err error) { return func() {}, nil }

func (idleRunner) Acquire(ctx context.Context, _ warehouse.DerivedTable, _ int64) (h warehouse.DerivedHead, err error) {
	<-ctx.Done()
	return h, ctx.Err()
}

// Why a table could not be started stays known until it is, and what has ended for
// it is started anew.
func TestWhyATableDoesNotStartIsKept(t *testing.T) {
	files := fstest.MapFS{"n.yaml": {Data: []byte("name: a.n\ninputs: {core.orders: {on_change: rebuild}}\nquery: SELECT id FROM core.orders\n")}}
	d, g, faults := derivedFor(t, nil, files)
	if err := d.choose(g, faults); err != nil {
		t.Fatal(err)
	}
	d.warehouse = idle{}
	ctx, stop := context.WithCancel(t.Context())
	group, inner := errgroup.WithContext(ctx)
	n := g.Nodes[0]
	n.Columns = []warehouse.ResultColumn{{Name: "id", SQLType: "BIGINT"}}
	build := func(cron string) (broken string, running int) {
		sp := *n.Spec
		sp.Schedule.Cron = cron
		node := *n
		node.Spec, node.Hash = &sp, cron
		now := &graph.Graph{Nodes: []*graph.Node{&node}}
		d.chosen = []*spec.Spec{&sp}
		d.start(inner, group, &node)
		d.leaveOut(now, nil)
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.broken["a.n"], len(d.running)
	}
	for _, c := range []struct {
		cron, broken string
		running      int
	}{{"bad", "read the schedule of a.n", 0}, {"0 1 * * *", "", 1}, {"bad", "read the schedule of a.n", 0}, {"0 1 * * *", "", 1}} {
		if broken, running := build(c.cron); !strings.Contains(broken, c.broken) || (broken == "") != (c.broken == "") || running != c.running {
			t.Errorf("with the schedule %s: left out for %q, and %d run", c.cron, broken, running)
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
