package consumers

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/consumers/deadletter"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
	"millrace/schemas"
)

// bigquery makes a fake project the warehouse, and returns what readers see of a
// table, by id.
func (r *rig) bigquery() func(query string) map[string]string {
	r.t.Helper()
	fake, err := bigqueryfake.Start(r.ctx(), bigqueryfake.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			r.t.Error(err)
		}
	})
	w, err := bigquery.Open(r.ctx(), bigquery.Options{
		Project: fake.Project(), Location: "US", RetryWait: time.Millisecond, Endpoints: bigquery.Endpoints{Jobs: fake.URL(), Writes: fake.GRPCAddr()},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			r.t.Error(err)
		}
	})
	r.loader = w
	return func(query string) map[string]string {
		out := map[string]string{}
		answer, err := w.Select(r.ctx(), query, 1000)
		if err != nil {
			return map[string]string{"": err.Error()}
		}
		for _, row := range answer.Rows {
			out[*row[0]] = *row[1]
		}
		return out
	}
}

// A table in mode upsert is what its source says, beside its history; a change
// that lacks a value is a dead letter that says why, and a truncate halts it.
func TestUpsertTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sees := r.bigquery()
	s := r.table("accounts", 2)
	r.tables[0].Upsert, r.tables[0].History = true, "core.accounts_history"
	want := map[string]string{}
	for id := range int64(60) {
		r.produce(r.put(s, id%20, fmt.Sprint("v", id)))
		want[fmt.Sprint(id%20)] = fmt.Sprint("v", id)
	}
	r.produce(r.del(s, 7))
	delete(want, "7")
	equal := func() bool { return maps.Equal(sees("SELECT id, x FROM core.accounts"), want) }
	_, stop := r.start()
	r.await("core.accounts equals its source", equal)
	stop()
	c, stop := r.start() // another member takes it over
	defer stop()
	s.n++
	partial := r.record(s, schemas.Change{Op: schemas.Update, Position: s.pos(), After: schemas.Row{schemas.IntCell(3), {}}})
	r.produce(partial)
	r.await("a letter", func() bool { return status(c, "core.accounts").Letters == 1 })
	r.produce(r.put(s, 3, "waits behind it"), r.put(s, 4, "new"), r.put(s, 7, "again"))
	want["4"], want["7"] = "new", "again"
	r.await("the rest is loaded", equal)
	r.await("letters", func() bool { return status(c, "core.accounts").Letters == 2 })
	r.await("the history has what was changed", func() bool {
		return sees("SELECT _op, COUNT(*) FROM core.accounts_history GROUP BY _op")["d"] == "1"
	})
	s.n++
	r.produce(r.control(s, schemas.Truncate, s.pos(), 0)...)
	r.await("it halts", func() bool { return status(c, "core.accounts").Halted != "" })
	if why := status(c, "core.accounts").Halted; !strings.Contains(why, "the source truncated the table at "+s.pos().String()) || !strings.Contains(why, "without mode: upsert; then restart millrace") {
		t.Errorf("it says %s", why)
	}
	if book, err := os.ReadFile("../docs/runbooks/bigquery.md"); err != nil || !strings.Contains(string(book), strings.NewReplacer(s.pos().String(), "…", "core.accounts", "…").Replace(status(c, "core.accounts").Halted)) {
		t.Errorf("the runbook does not say so: %v", err)
	}
	if !equal() {
		t.Errorf("readers see %v", sees("SELECT id, x FROM core.accounts"))
	}
	letters := r.topic(s.Topic + ".dlq")
	if len(letters) == 0 || string(letters[0].Value) != string(partial.Value) {
		t.Fatalf("%d letters", len(letters))
	}
	for _, h := range letters[0].Headers {
		if why := string(h.Value); h.Key == deadletter.HeaderReason && (!strings.Contains(why, `column "x"`) || !strings.Contains(why, "REPLICA IDENTITY FULL")) {
			t.Errorf("the letter says %s", why)
		}
	}
	for _, e := range r.events() {
		if e.Table == "core.accounts" && e.Rows.Applied > 0 && (!e.All || e.Mode != schemas.ModeUpsert) {
			t.Errorf("announced %+v", e)
		}
		if c := e.Rows; c.Read != c.Applied+c.Folded+c.Stale+c.Quarantined {
			t.Errorf("load %d of %s counts %+v", e.Load, e.Table, c)
		}
	}
}

func TestUpsertWithoutAKeyHalts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.keyed("lines", 1)
	r.tables[0].Upsert = true
	r.produce(r.record(s, schemas.Change{Op: schemas.Create, Position: schemas.Position{Epoch: 1, Major: 1}, After: schemas.Row{schemas.IntCell(1), schemas.BytesCell([]byte("x"))}}))
	c, stop := r.start()
	defer stop()
	r.await("it halts", func() bool {
		return strings.Contains(status(c, "core.lines").Halted, "core.lines is of mode upsert: leave mode: upsert out")
	})
}
