package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"millrace/deriver"
	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
)

// A probe is asked of the parts themselves: what cannot be reached makes the
// process unready, names itself, and has nobody start the process anew.
func TestProbes(t *testing.T) {
	tables := map[string]config.Table{"public.orders": {Core: "core.orders"}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Config: &config.Config{
				Prefix: "p", Data: t.TempDir(), HTTP: "127.0.0.1:0", Warehouse: config.Warehouse{LoadEvery: time.Second},
				Sources: map[string]config.Source{"orders_db": {Kind: config.KindPostgres, DSN: "postgres://nobody@127.0.0.1:1/nothing", Tables: tables}},
			},
			Parts: All(), Log: slog.New(slog.DiscardHandler), Started: func(f RunFile) { addr <- f.HTTP },
		})
	}()
	var base string
	select {
	case at := <-addr:
		base = "http://" + at
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	ask := func(path string) (int, string) {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		code, why := ask("/readyz")
		if code == http.StatusOK {
			t.Fatal("it is ready without its source")
		}
		if strings.Contains(why, "source orders_db: ") && strings.Contains(why, "refused") && !strings.Contains(why, "group") {
			break // the consumer is a member by now
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is not ready for %q", why)
		}
	}
	if code, why := ask("/healthz"); code != http.StatusOK {
		t.Errorf("it is to be started anew for %q", why)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestGroupsHaveTheirTables(t *testing.T) {
	c := &config.Config{Prefix: "p", Groups: []config.Group{{Name: "big", Tables: []string{"core.e*"}}}, Sources: map[string]config.Source{
		"a": {Tables: map[string]config.Table{"public.events": {Core: "core.events"}, "public.orders": {Core: "core.orders", History: "core.orders_history"}}},
	}}
	for group, want := range map[string]string{config.DefaultGroup: "p.a.public.orders", "big": "p.a.public.events"} {
		tables, err := tablesOf(c, group)
		if err != nil || len(tables) != 1 || tables[0].Topic != want {
			t.Errorf("%s has %+v, error %v", group, tables, err)
		}
	}
	if all, err := tablesOf(c, ""); err != nil || len(all) != 2 {
		t.Errorf("all are %+v, error %v", all, err)
	}
	// What Kafka knows is not to change: the copies of the offsets are there.
	if a, b := kafkaGroup("p", config.DefaultGroup), kafkaGroup("p", "big"); a != "p.consumers" || b != "p.consumers.big" {
		t.Errorf("Kafka's groups are %s and %s", a, b)
	}
}

// derivedFor is a process that derives some of the tables of a folder of specs.
func derivedFor(t *testing.T, only []string, files fstest.MapFS) (*derivers, *graph.Graph, invalid.Faults) {
	t.Helper()
	dialect, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialect.Close() })
	p := &process{Options: Options{Log: slog.New(slog.DiscardHandler), Config: &config.Config{Derived: "specs"}, Parts: Parts{Derive: true}, Only: only}}
	d := &derivers{process: p, dialect: dialect, broken: map[string]string{}, out: map[string]error{}}
	specs, faults, err := spec.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	d.specs = specs
	g, more, err := graph.BuildFor(t.Context(), dialect, specs, []graph.Table{{Name: "core.orders"}}, p.runs)
	if err != nil {
		t.Fatal(err)
	}
	return d, g, append(faults, more...)
}

// One team's fault holds up no other team's pod, but for the tables that are
// computed from it.
func TestFaultsOfOtherSpecs(t *testing.T) {
	const rebuild = "inputs: {%: {on_change: rebuild}}\nquery: SELECT id FROM %\n"
	write := func(name, input string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("name: " + name + "\n" + strings.ReplaceAll(rebuild, "%", input))}
	}
	files := fstest.MapFS{
		"good.yaml": write("a.good", "core.orders"), "next.yaml": write("a.next", "a.good"),
		"bad.yaml": write("a.bad", "core.nowhere"), "after.yaml": write("a.after", "a.bad"),
		"twice.yaml": write("a.twice", "core.orders"), "twice2.yaml": write("a.twice", "core.orders"),
		"yaml.yaml": {Data: []byte("name: [a.lost\n")},
	}
	for table, want := range map[string]string{
		"a.good": "", "a.next": "",
		"a.bad":   "specs/bad.yaml:3: query: there is no table core.nowhere",
		"a.after": "specs/bad.yaml:3: query: there is no table core.nowhere",
		"a.twice": "a.twice is also written by",
		"a.lost":  "specs/yaml.yaml:1: is not YAML",
		"":        "specs/bad.yaml:3: query: there is no table core.nowhere",
	} {
		var only []string
		if table != "" {
			only = []string{table}
		}
		d, g, faults := derivedFor(t, only, files)
		err := d.choose(g, faults)
		if want == "" {
			if err != nil || len(d.chosen) != 1 || d.chosen[0].Name != table || len(d.ours(faults)) > 0 {
				t.Errorf("%s: chosen %v, error %v", table, d.chosen, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", table, err, want)
		}
	}
	// Only what a chosen table reads is described.
	_, g, _ := derivedFor(t, []string{"a.next"}, files)
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Spec.Name)
	}
	if !slices.Equal(names, []string{"a.good", "a.next"}) {
		t.Errorf("described are %v", names)
	}
}

// A process that derives ends once all of its tables are other writers', and not
// before; one that does other work too goes on, and says that it wants a new start.
func TestAllTablesAreTakenOver(t *testing.T) {
	files := fstest.MapFS{}
	for _, name := range []string{"one", "two"} {
		files[name+".yaml"] = &fstest.MapFile{Data: []byte("name: a." + name + "\ninputs: {core.orders: {on_change: rebuild}}\nquery: SELECT id FROM core.orders\n")}
	}
	fenced := errors.New("a later revision owns the table")
	for _, parts := range []Parts{{Derive: true}, All()} {
		d, g, faults := derivedFor(t, nil, files)
		d.Parts = parts
		if err := d.choose(g, faults); err != nil {
			t.Fatal(err)
		}
		d.running = []*running{{Deriver: new(deriver.Deriver), node: g.Nodes[0]}}
		if err := d.wentOut("a.one", fenced); err != nil || d.dead() != "" {
			t.Errorf("%+v: after one of two: %v, %q", parts, err, d.dead())
		}
		why := d.notReady()
		if len(why) != 2 || why[0] != "table a.one: a later revision owns the table" || why[1] != "table a.two: is not taken over yet" {
			t.Errorf("%+v: not ready for %q", parts, why)
		}
		err := d.wentOut("a.two", fenced)
		if parts == All() != (err == nil) || d.dead() == "" {
			t.Errorf("%+v: after both: %v, %q", parts, err, d.dead())
		}
	}
}

// A head remembers the revisions of an installation that is gone: what its successor
// is refused for says how it gets the table.
func TestLaterRevisionSaysWhatToDo(t *testing.T) {
	p := &process{Options: Options{Revision: 3}}
	err := p.curable(fmt.Errorf("derive a.t: %w", warehouse.ErrRevision))
	if !errors.Is(err, warehouse.ErrRevision) || !strings.Contains(err.Error(), "this process has 3") || !strings.Contains(err.Error(), "derived.revision") {
		t.Errorf("it says %v", err)
	}
	for _, err := range []error{nil, warehouse.ErrFenced} {
		if got := p.curable(err); !errors.Is(got, err) || strings.Contains(fmt.Sprint(got), "revision") {
			t.Errorf("of %v it says %v", err, got)
		}
	}
}
