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
