package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/deriver"
	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/invalid"
	"millrace/internal/page"
	"millrace/internal/warehouse"
	"millrace/schemas/avro"
)

// derivers runs the derived tables of a folder of specs.
type derivers struct {
	*process
	dialect warehouse.Dialect
	specs   []*spec.Spec
	chosen  []*spec.Spec    // of specs, those that run here
	reads   map[string]bool // the tables that these read, through each other; nil: any
	texts   specTexts       // of the specs' files, as they were read
	client  *kgo.Client
	loads   string // the topic of load-complete events
	loadsID uint32 // of their schema, as this version writes them
	// decoders are those of other versions' schemas, by id; the listener's.
	decoders map[uint32]*avro.LoadDecoder
	metrics  *deriver.Metrics

	changed  chan struct{}  // a core table may have other columns
	versions map[string]int // the newest version of each table's columns; the listener's

	mu      sync.Mutex
	running []*running
	waiting string // why nothing runs yet
	broken  map[string]string
	out     map[string]error // tables that are other writers' (G5)
	ran     map[string]ran   // each table's last run that was asked for
}

// openDerivers reads the specs and refuses those with faults, before anything
// else has started.
func (p *process) openDerivers(ctx context.Context) (*derivers, error) {
	if !p.Parts.Derive || p.Config.Derived == "" {
		return nil, nil
	}
	d := &derivers{process: p, waiting: "to start", broken: map[string]string{}, out: map[string]error{}, ran: map[string]ran{}, versions: map[string]int{}, decoders: map[uint32]*avro.LoadDecoder{}, changed: make(chan struct{}, 1)}
	var faults invalid.Faults
	var err error
	if d.texts, err = readSpecTexts(os.DirFS(p.Config.Derived)); err != nil {
		return nil, err
	}
	if d.specs, faults, err = spec.Load(os.DirFS(p.Config.Derived)); err != nil {
		return nil, err
	}
	if d.dialect, err = openDialect(ctx, p.Config); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, d.dialect.Close)
	tables, _, err := p.graphTables(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	var g *graph.Graph
	var more invalid.Faults
	err = p.outlast(ctx, "the specs' queries", func() (err error) {
		g, more, err = graph.BuildFor(ctx, d.dialect, d.specs, tables, p.runs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the specs: %w", err)
	}
	if err := d.choose(g, append(faults, more...)); err != nil {
		return nil, err
	}
	for _, n := range g.Nodes {
		if !p.runs(n.Spec.Name) {
			continue
		}
		for table, kept := range deriver.Needs(n) {
			err := p.outlast(ctx, "what specs need", func() error { return p.warehouse.SetNeeds(ctx, table, n.Spec.Name, kept) })
			if err != nil {
				return nil, fmt.Errorf("write down what %s needs of %s: %w", n.Spec.Name, table, err)
			}
		}
	}
	if d.metrics, err = deriver.NewMetrics(p.metrics); err != nil {
		return nil, err
	}
	return d, p.metrics.Register(newLeftOut(d.left))
}

// run starts each derived table as soon as the columns of the tables that it
// reads are known, and keeps it up to date. A table whose spec does not fit the
// columns is shown and left out; the others run.
func (d *derivers) run(ctx context.Context) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.client.Close()
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return d.listen(inner) })
	group.Go(func() error {
		d.follow(inner, group)
		return nil
	})
	return group.Wait()
}

// follow starts what can be started, until the columns of all tables are known,
// and then whenever one of them may have changed. A warehouse that does not answer
// is asked again: the tables that run need nothing of this.
func (d *derivers) follow(ctx context.Context, group *errgroup.Group) {
	most := max(5*time.Second, d.Config.Warehouse.Freshness) // to ask costs on some warehouses
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, most) {
		known := d.build(ctx, group)
		again := time.After(pause)
		if known {
			again, pause = nil, 100*time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-d.changed:
		}
	}
}

// build makes the graph of the specs over the tables as they are now, starts
// what does not run yet, and starts what has become another anew. It reports
// whether the columns of all tables are known.
func (d *derivers) build(ctx context.Context, group *errgroup.Group) (known bool) {
	tables, unknown, err := d.graphTables(ctx, d.dialect, d.reads)
	if err != nil {
		d.waitFor(ctx, "the columns of core tables", err)
		return false
	}
	g, faults, err := graph.BuildFor(ctx, d.dialect, d.specs, tables, d.runs)
	if err != nil {
		d.waitFor(ctx, "the columns of derived tables", err)
		return false
	}
	for _, n := range g.Nodes {
		if n.Columns != nil && d.runs(n.Spec.Name) {
			d.start(ctx, group, n)
		}
	}
	if len(unknown) > 0 {
		d.wait("for the columns of " + strings.Join(unknown, ", "))
		return false
	}
	d.leaveOut(g, faults)
	return true
}

// running is a derived table that is kept up to date. Its stop returns when its
// writer has ended.
type running struct {
	*deriver.Deriver
	node *graph.Node
	stop func()
}

// start starts the table, in the place of what it was before. What is the same
// runs on.
func (d *derivers) start(ctx context.Context, group *errgroup.Group, n *graph.Node) {
	d.mu.Lock()
	at := slices.IndexFunc(d.running, func(r *running) bool { return r.node.Spec.Name == n.Spec.Name })
	var old *running
	if at >= 0 {
		old = d.running[at]
	}
	out := d.out[n.Spec.Name] != nil
	delete(d.broken, n.Spec.Name) // its spec fits the columns
	d.mu.Unlock()
	if out {
		return
	}
	if old != nil {
		if same(old.node, n) {
			return
		}
		d.Log.Info("derived table starts anew: a table that it reads has other columns", "table", n.Spec.Name)
		old.stop()
	}
	table, err := deriver.New(deriver.Options{
		Node: n, Runner: d.warehouse.Runner(), Spelling: d.dialect, Announce: d.announce, Revision: d.revision(),
		Freshness: d.Config.Warehouse.Freshness, Poll: poll(d.Config.Warehouse.Freshness), Metrics: d.metrics, Logger: d.Log,
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out[n.Spec.Name] != nil { // while the one before was stopped
		return
	}
	if err != nil {
		d.Log.Error("derived table left out", "table", n.Spec.Name, "err", err)
		d.broken[n.Spec.Name] = err.Error()
		if old != nil { // it has ended
			d.running = slices.Delete(d.running, at, at+1)
		}
		return
	}
	inner, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	next := &running{Deriver: table, node: n, stop: func() {
		cancel()
		<-done
	}}
	if old != nil {
		d.running[at] = next
	} else {
		d.running = append(d.running, next)
	}
	group.Go(func() error {
		defer close(done)
		defer cancel()
		if err := d.curable(table.Run(inner)); err != nil {
			d.Log.Error("derived table stays out", "table", n.Spec.Name, "err", err)
			return d.wentOut(n.Spec.Name, err)
		}
		return nil
	})
}

// poll is how long a derived table that has heard of nothing believes that there
// is nothing: to ask costs, on a warehouse whose tables had better be computed
// seldom.
func poll(freshness time.Duration) time.Duration { return max(10*time.Second, 5*freshness) }

// same reports whether a node's runs and what they read are those of another.
func same(a, b *graph.Node) bool {
	return a.Hash == b.Hash && slices.EqualFunc(a.Inputs, b.Inputs, func(x, y *graph.Input) bool {
		return x.Table == y.Table && x.Driver == y.Driver && slices.EqualFunc(x.Mappings, y.Mappings, func(m, n graph.Mapping) bool {
			m.Dirty, n.Dirty = nil, nil // its text is in the hash
			return reflect.DeepEqual(m, n)
		})
	})
}

// left is how many specs are left out.
func (d *derivers) left() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return float64(len(d.broken))
}

func (d *derivers) wait(why string) {
	d.mu.Lock()
	d.waiting = why
	d.mu.Unlock()
}

// waitFor waits for what could not be read.
func (d *derivers) waitFor(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return // asked to end
	}
	d.Log.Warn("derived tables wait", "for", what, "err", err)
	d.wait("for " + what + ": " + err.Error())
}

// leaveOut remembers why specs are not among the graph's nodes. Of those that are,
// start knows why they do not run.
func (d *derivers) leaveOut(g *graph.Graph, faults invalid.Faults) {
	if err := d.ours(faults).Err(); err != nil {
		d.Log.Error("derived tables left out", "err", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.chosen {
		if slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Spec == s }) {
			continue
		}
		d.broken[s.Name] = "a table that it reads is left out"
		for _, f := range faults {
			if f.File == s.File || f.File == s.QueryFile {
				d.broken[s.Name] = f.String()
				break
			}
		}
	}
}

// show computes a part of a derived table and publishes nothing.
func (p *process) show(ctx context.Context, table, window string, key []string) (*page.Shown, error) {
	if p.derivers == nil {
		return nil, errors.New("this process derives no tables")
	}
	p.derivers.mu.Lock()
	at := slices.IndexFunc(p.derivers.running, func(r *running) bool { return r.node.Spec.Name == table })
	if at < 0 {
		p.derivers.mu.Unlock()
		return nil, fmt.Errorf("no derived table %s runs here: see millrace status", table)
	}
	node := p.derivers.running[at].node
	p.derivers.mu.Unlock()
	sql, err := deriver.Show(node, p.derivers.dialect, deriver.Choice{Window: window, Key: key})
	if err != nil {
		return nil, err
	}
	result, err := p.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return &page.Shown{SQL: sql, Result: result}, nil
}
