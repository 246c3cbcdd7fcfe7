package deriver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

// The model runs the real planning code over a warehouse of maps, under random
// schedules of loads, runs, deaths and failing windows. Once quiet, the derived
// table must be what a full computation gives. Each variant takes one rule of
// the protocol away, and must be caught.

type payment struct{ order, day, amount int }

type shopState struct {
	orders map[int]int // id -> item
	pays   map[int]payment
}

func (s shopState) clone() shopState { return shopState{maps.Clone(s.orders), maps.Clone(s.pays)} }

// day is what the derived table holds of one day: item -> total.
func (s shopState) day(day int) string {
	totals := make(map[int]int)
	for _, p := range s.pays {
		if item, ok := s.orders[p.order]; ok && p.day == day {
			totals[item] += p.amount
		}
	}
	return fmt.Sprint(totals) // maps print sorted
}

type modelLoad struct {
	days    map[int]bool // of payments
	changed map[int]bool // ids of orders
	covered bool
}

const modelDays = 4

func dayTime(day int) time.Time { return at("2024-03-01").AddDate(0, 0, day) }

// world is a warehouse.Runner over maps.
type world struct {
	r        *rand.Rand
	variant  string
	now      shopState
	logs     map[string][]modelLoad
	coverAt  int // orders' loads up to it kept no changes
	early    shopState
	held     int // this window fails
	heldTill time.Time
	clock    time.Time
	calm     bool // no more loads, deaths or failures

	table map[int]string
	head  warehouse.DerivedHead
	dirt  map[time.Time]warehouse.Dirt
}

func (w *world) load() {
	if w.calm {
		return
	}
	l := modelLoad{days: map[int]bool{}, changed: map[int]bool{}}
	table := "core.orders"
	if w.r.IntN(2) == 0 {
		table = "core.payments"
	}
	for range 1 + w.r.IntN(3) {
		if table == "core.orders" {
			id := w.r.IntN(5)
			l.changed[id] = true
			if w.r.IntN(10) < 3 {
				delete(w.now.orders, id)
			} else {
				w.now.orders[id] = w.r.IntN(3)
			}
			continue
		}
		id := w.r.IntN(8)
		if was, ok := w.now.pays[id]; ok {
			l.days[was.day] = true
		}
		if w.r.IntN(10) < 3 {
			delete(w.now.pays, id)
		} else {
			p := payment{w.r.IntN(5), w.r.IntN(modelDays), 1 + w.r.IntN(8)}
			w.now.pays[id], l.days[p.day] = p, true
		}
	}
	l.covered = len(w.logs["core.orders"]) >= w.coverAt
	w.logs[table] = append(w.logs[table], l)
}

func (w *world) maybeLoad(percent int) {
	if w.r.IntN(100) < percent {
		w.load()
	}
}

var errDeath = errors.New("death")

func (w *world) dies(percent int) bool { return !w.calm && w.r.IntN(100) < percent }

func (w *world) Acquire(context.Context, warehouse.DerivedTable, int64) (warehouse.DerivedHead, error) {
	w.head.Epoch++
	h := w.head
	h.Absorbed = maps.Clone(h.Absorbed)
	return h, nil
}

func (w *world) Turn(context.Context) (leave func(), err error) { return func() {}, nil }

func (w *world) Dirt(context.Context, warehouse.DerivedTable) (dirt []warehouse.Dirt, keys warehouse.KeyDirt, err error) {
	for _, d := range w.dirt {
		dirt = append(dirt, d)
	}
	return dirt, keys, nil
}

func (w *world) Inputs(_ context.Context, tables []string) (map[string]warehouse.InputState, error) {
	w.early = w.now.clone()
	if w.variant == "snapshot before drain" {
		w.maybeLoad(50)
	}
	out := make(map[string]warehouse.InputState)
	for _, t := range tables {
		out[t] = warehouse.InputState{Load: int64(len(w.logs[t])), Complete: dayTime(modelDays).Add(-time.Hour), Ready: true}
	}
	return out, nil
}

func (w *world) Loads(_ context.Context, table string, after int64, limit int) (out []schemas.LoadComplete, err error) {
	if w.dies(3) {
		return nil, errDeath
	}
	for n := after; n < int64(len(w.logs[table])) && len(out) < limit; n++ {
		l := w.logs[table][n]
		e := schemas.LoadComplete{Table: table, Load: n + 1, Rows: schemas.RowCounts{Applied: 1}}
		if table == "core.payments" {
			e.Covers.EventTimes = []string{"paid_at"}
			t := schemas.Touched{Column: "paid_at"}
			for day := range l.days {
				t.Ranges = append(t.Ranges, [2]string{dayTime(day).Format(time.RFC3339), dayTime(day + 1).Format(time.RFC3339)})
			}
			e.Touched = []schemas.Touched{t}
		} else if l.covered || w.variant == "changes that were not kept" {
			e.Covers.Changes = []string{"id"}
		}
		out = append(out, e)
	}
	w.maybeLoad(10) // a log goes on while it is read
	return out, nil
}

// Touched answers the query of a via: the days of the payments of the changed
// orders.
func (w *world) Touched(_ context.Context, query string) (t schemas.Touched, err error) {
	var after, through int
	_, args, _ := strings.Cut(query, "changes:")
	if _, err := fmt.Sscanf(args, "%d-%d", &after, &through); err != nil {
		return t, fmt.Errorf("%q: %w", query, err)
	}
	changed := make(map[int]bool)
	for _, l := range w.logs["core.orders"][after:through] {
		if l.covered {
			maps.Copy(changed, l.changed)
		}
	}
	for _, p := range w.now.pays {
		if changed[p.order] {
			t.Ranges = append(t.Ranges, [2]string{dayTime(p.day).Format(time.RFC3339), dayTime(p.day + 1).Format(time.RFC3339)})
		}
	}
	w.maybeLoad(10)
	return t, nil
}

func (w *world) Commit(_ context.Context, s *warehouse.Step) (e schemas.LoadComplete, err error) {
	w.maybeLoad(40) // between the marks and the snapshot
	snapshot := w.now.clone()
	if w.variant == "snapshot before drain" {
		snapshot = w.early
	}
	w.maybeLoad(30) // during the query
	if w.dies(15) {
		return e, errDeath
	}
	if s.Epoch != w.head.Epoch || s.Load != w.head.Load || s.WasHash != w.head.CodeHash {
		return e, warehouse.ErrFenced
	}
	results := make(map[int]string)
	for i, p := range s.Parts {
		day := int(p.Dirt.Window.Sub(dayTime(0)).Hours() / 24)
		if day == w.held && w.clock.Before(w.heldTill) && !w.calm {
			return e, &warehouse.ViolationError{Check: "model", Part: i, Rows: 1}
		}
		results[day] = snapshot.day(day)
	}
	maps.Copy(w.table, results)
	for _, p := range s.Parts {
		if w.dirt[p.Dirt.Window].Mark <= p.Dirt.Mark {
			delete(w.dirt, p.Dirt.Window)
		}
	}
	for _, m := range s.Mark {
		if w.variant == "absorbed past what is held" && m.Error != "" {
			delete(w.dirt, m.Window)
			continue
		}
		w.dirt[m.Window] = m
	}
	load := w.head.Load
	epoch := w.head.Epoch
	w.head = s.Head
	w.head.Epoch, w.head.Load = epoch, load
	w.head.Absorbed = maps.Clone(s.Head.Absorbed)
	if len(s.Parts) > 0 {
		w.head.Load++
		e.Load = w.head.Load
	}
	if w.variant == "cleared what came during the run" {
		for t := range w.head.Absorbed {
			w.head.Absorbed[t] = int64(len(w.logs[t]))
		}
		w.dirt = make(map[time.Time]warehouse.Dirt)
	}
	if w.dies(15) {
		return schemas.LoadComplete{}, errDeath // the reply is lost
	}
	return e, nil
}

func (w *world) Sweep(context.Context, string) error { return nil }

func (w *world) SetNeeds(context.Context, string, string, warehouse.Kept) error { return nil }

// modelSpelling writes queries that world understands.
type modelSpelling struct{ warehouse.Spelling }

func (modelSpelling) Changes(_ string, after, through int64) string {
	return fmt.Sprintf("changes:%d-%d ", after, through)
}

func modelNode(t *testing.T) (*graph.Node, warehouse.Spelling) {
	t.Helper()
	dialect, err := duckdb.OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialect.Close() })
	s, faults := spec.Parse("revenue.yaml", []byte(revenue), nil)
	column := func(name, sqlType string, kind schemas.Kind) warehouse.ResultColumn {
		return warehouse.ResultColumn{Name: name, SQLType: sqlType, Type: schemas.Type{Kind: kind}}
	}
	id, item := column("id", "BIGINT", schemas.Int), column("item", "BIGINT", schemas.Int)
	g, more, err := graph.Build(t.Context(), dialect, []*spec.Spec{s}, []graph.Table{
		{Name: "core.orders", Columns: []warehouse.ResultColumn{id, item}, Key: []string{"id"}},
		{Name: "core.payments", Columns: []warehouse.ResultColumn{
			id, column("order_id", "BIGINT", schemas.Int), column("amount", "BIGINT", schemas.Int),
			column("paid_at", "TIMESTAMP WITH TIME ZONE", schemas.Timestamp),
		}, EventTimes: []string{"paid_at"}, Key: []string{"id"}},
	})
	if err != nil || len(faults)+len(more) > 0 {
		t.Fatal(err, faults, more)
	}
	return g.Nodes[0], modelSpelling{dialect}
}

// simulate reports what differs from a full computation once all is quiet.
func simulate(t *testing.T, node *graph.Node, spelling warehouse.Spelling, variant string, seed uint64) error {
	w := &world{
		r: rand.New(rand.NewPCG(seed, 1)), variant: variant, now: shopState{map[int]int{}, map[int]payment{}}, logs: map[string][]modelLoad{},
		held: -1, clock: at("2024-04-01"), table: map[int]string{}, dirt: map[time.Time]warehouse.Dirt{},
	}
	if w.r.IntN(10) < 7 {
		w.held, w.heldTill = w.r.IntN(modelDays), w.clock.Add(time.Duration(w.r.IntN(60))*time.Second)
	}
	if w.r.IntN(2) == 0 {
		w.coverAt = w.r.IntN(40)
	}
	for range w.r.IntN(5) {
		w.load()
	}
	fresh := func() *Deriver {
		d, err := New(Options{
			Node: node, Runner: w, Spelling: spelling, Now: func() time.Time { return w.clock },
			Announce: func(context.Context, schemas.LoadComplete) error {
				if w.dies(5) {
					return errDeath
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := fresh()
	for range 5 + w.r.IntN(55) { // few, so that what goes wrong is not mended by chance
		w.maybeLoad(50)
		w.clock = w.clock.Add(time.Second)
		if w.r.IntN(10) < 6 {
			if _, err := d.cycle(t.Context()); err != nil {
				d.state = nil
			}
		}
		if w.dies(10) {
			d = fresh()
		}
	}
	w.calm = true
	w.clock = w.clock.Add(2 * time.Hour) // what is held comes again
	for n := 0; ; n++ {
		again, err := d.cycle(t.Context())
		if err != nil {
			return err
		}
		if again.IsZero() {
			break
		}
		w.clock = later(w.clock, again)
		if n > 200 {
			return fmt.Errorf("it does not become quiet: %+v", d.Status())
		}
	}
	for day := range modelDays {
		if got, want := w.table[day], w.now.day(day); got != want {
			return fmt.Errorf("day %d: got %s, want %s", day, got, want)
		}
	}
	if len(w.dirt) > 0 {
		return fmt.Errorf("dirt is left: %v", w.dirt)
	}
	return nil
}

func TestEverySchedule(t *testing.T) {
	node, spelling := modelNode(t)
	schedules := 3000
	if testing.Short() {
		schedules = 500
	}
	for seed := range uint64(schedules) {
		if err := simulate(t, node, spelling, "", seed); err != nil {
			t.Fatalf("seed=%d: %v", seed, err)
		}
	}
}

func TestEveryRuleIsNeeded(t *testing.T) {
	node, spelling := modelNode(t)
	for _, variant := range []string{
		"absorbed past what is held", "snapshot before drain", "cleared what came during the run", "changes that were not kept",
	} {
		wrong := 0
		for seed := range uint64(300) {
			if simulate(t, node, spelling, variant, seed) != nil {
				wrong++
			}
		}
		t.Logf("%s: wrong in %d of 300 schedules", variant, wrong)
		if wrong == 0 {
			t.Errorf("%s: no schedule shows that it is wrong", variant)
		}
	}
}
