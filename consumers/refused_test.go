package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/deadletter"
	"millrace/internal/kafka"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/duckdb"
	"millrace/schemas"
)

// loneSurrogate is a JSON value to PostgreSQL and MariaDB, and none to DuckDB.
const loneSurrogate = `"\ud800"`

// judge is DuckDB, with something that happens when it has refused rows.
type judge struct {
	*duckdb.Warehouse
	refused atomic.Int32
	then    func(ctx context.Context)
	dead    atomic.Bool
}

func (j *judge) Load(ctx context.Context, b *warehouse.Batch) (schemas.LoadComplete, error) {
	if j.dead.Load() {
		return schemas.LoadComplete{}, errDown
	}
	e, err := j.Warehouse.Load(ctx, b)
	var rows *warehouse.RowsError
	if errors.As(err, &rows) {
		j.refused.Add(1)
		j.then(ctx)
	}
	return e, err
}

func (r *rig) judge() *judge {
	r.t.Helper()
	w, err := duckdb.Open(r.ctx(), filepath.Join(r.t.TempDir(), duckdb.FileName), duckdb.Options{Threads: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			r.t.Error(err)
		}
	})
	j := &judge{Warehouse: w, then: func(context.Context) {}}
	r.loader = j
	return j
}

// documents is a table whose text is JSON, copied and with a history.
func (r *rig) documents(name string) *sourceTable {
	s := r.keyed(name, 1, 0)
	s.Columns[1].Type = schemas.Type{Kind: schemas.JSON}
	s.Topic += "_json"
	if err := kafka.EnsureTopics(r.ctx(), r.client, r.cluster.Data(s.Topic, 1, 1)); err != nil {
		r.t.Fatal(err)
	}
	r.register(s)
	r.tables[len(r.tables)-1] = Table{Topic: s.Topic, Core: "core." + name, History: "core." + name + "_history"}
	return s
}

// rows are the values that readers see by id, or none if the table is not there.
func (j *judge) rows(t *testing.T, query string) map[int64]string {
	t.Helper()
	out := map[int64]string{}
	rows, err := j.Query(t.Context(), query)
	if err != nil {
		return out
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var x string
		if err := rows.Scan(&id, &x); err != nil {
			t.Fatal(err)
		}
		out[id] = x
	}
	return out
}

// quarantined adds up what the loads of a table left out, and checks that all of
// them add up (G11) and claim no completeness.
func (r *rig) quarantined(table string) (n int64) {
	r.t.Helper()
	seen := map[int64]bool{}
	for _, e := range r.events() {
		if c := e.Rows; c.Read != c.Applied+c.Folded+c.Stale+c.Quarantined {
			r.t.Errorf("load %d of %s counts %+v", e.Load, e.Table, c)
		}
		if !e.CompleteThrough.Pos.IsZero() {
			r.t.Errorf("load %d of %s is complete through %s behind a dead letter", e.Load, e.Table, e.CompleteThrough.Pos)
		}
		if e.Table == table && e.Load > 0 && !seen[e.Load] {
			seen[e.Load] = true
			n += e.Rows.Quarantined
		}
	}
	return n
}

// A value that the warehouse cannot take is a dead letter with its bytes and the
// reason, and the rest loads: also what shares its position (G12).
func TestRefusedValues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.judge()
	s := r.documents("docs")
	read := func(id int64, x string) *kgo.Record {
		return r.record(s, schemas.Change{Op: schemas.Read, Position: schemas.Position{Epoch: 1, Major: 1}, After: schemas.Row{schemas.IntCell(id), schemas.BytesCell([]byte(x))}})
	}
	s.n = 1
	bad := read(2, loneSurrogate)
	r.produce(read(1, `{"a":  1}`), bad, read(3, `[3]`))
	c, stop := r.start()
	defer stop()
	want := map[int64]string{1: `{"a":  1}`, 3: `[3]`}
	equal := func() bool { return maps.Equal(j.rows(t, "SELECT id, x::VARCHAR FROM core.docs"), want) }
	r.await("the rest is loaded", equal)
	r.await("a letter", func() bool { return status(c, "core.docs").Letters == 1 })
	behind := r.put(s, 2, `"behind"`)
	r.produce(behind)
	r.produce(r.control(s, schemas.Watermark, s.pos(), 1000)...)
	r.produce(r.put(s, 3, `[4]`))
	want[3] = `[4]`
	r.await("what follows is loaded", equal)
	r.await("the history is the same", func() bool {
		return maps.Equal(j.rows(t, "SELECT id, max_by(x::VARCHAR, _pos) FROM core.docs_history GROUP BY id"), want)
	})
	for _, table := range []string{"core.docs", "core.docs_history"} {
		r.await("all that was quarantined is counted", func() bool { return r.quarantined(table) == 2 })
	}
	stop()
	letters := r.topic(s.Topic + ".dlq")
	if len(letters) != 2 || string(letters[0].Value) != string(bad.Value) || string(letters[1].Value) != string(behind.Value) {
		t.Fatalf("%d letters", len(letters))
	}
	for i, reason := range []string{`column "x": DuckDB does not take it as JSON`, errBehind.Error()} {
		for _, h := range letters[i].Headers {
			if h.Key == deadletter.HeaderReason && string(h.Value) != reason {
				t.Errorf("letter %d says %s", i, h.Value)
			}
		}
	}
	if n := j.refused.Load(); n != 1 {
		t.Errorf("%d loads were refused", n)
	}
}

// The owner dies between the refusal and the letter, or between the letter and
// the load: its successor decides the same, and puts no letter twice.
func TestRefusedAgainAfterACrash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		letters int // when the owner dies
	}{{"before the letter", 0}, {"before the load", 1}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			j := r.judge()
			s := r.documents("docs")
			r.produce(r.put(s, 1, `{}`), r.put(s, 2, loneSurrogate), r.put(s, 3, `{}`))
			j.then = func(ctx context.Context) {
				j.dead.Store(true)
				if c.letters == 0 {
					<-ctx.Done()
				}
			}
			_, stop := r.start()
			r.await("the load is refused", func() bool { return j.refused.Load() == 1 })
			if c.letters > 0 {
				r.await("the letter", func() bool { return len(r.topic(s.Topic+".dlq")) == c.letters })
			}
			stop()
			if n := len(j.rows(t, "SELECT id, x::VARCHAR FROM core.docs")); n != 0 {
				t.Fatalf("%d rows were loaded", n)
			}
			j.then = func(context.Context) {}
			j.dead.Store(false)
			want := map[int64]string{1: `{}`, 3: `{}`, 4: `{}`}
			letters := 1
			r.produce(r.put(s, 4, `{}`))
			if c.letters > 0 { // it waits behind the letter, and is not folded over what that holds
				r.produce(r.put(s, 2, `"fixed"`))
				letters++
			}
			_, stop = r.start()
			defer stop()
			for _, table := range []string{"core.docs", "core.docs_history"} {
				r.await("the rest is in "+table, func() bool { return maps.Equal(j.rows(t, "SELECT id, x::VARCHAR FROM "+table), want) })
				r.await("all that was quarantined is counted", func() bool { return r.quarantined(table) == int64(letters) })
			}
			stop()
			if n := len(r.topic(s.Topic + ".dlq")); n != letters {
				t.Errorf("%d letters", n)
			}
		})
	}
}

// A row whose every version is refused costs a bounded number of loads, however
// often it was updated; what came before is loaded.
func TestManyRefusedVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.Age = time.Hour // one load
	j := r.judge()
	s := r.documents("docs")
	r.tables[0].History = "" // which refuses all of them at once
	records := []*kgo.Record{r.put(s, 2, `{}`)}
	for i := range r.limits.Rows - 2 {
		records = append(records, r.put(s, 1, fmt.Sprintf(`{"n": %d, "x": %s}`, i, loneSurrogate)))
	}
	r.produce(append(records, r.put(s, 3, `{}`))...)
	_, stop := r.start()
	defer stop()
	want := map[int64]string{2: `{}`, 3: `{}`}
	r.await("the rest is loaded", func() bool { return maps.Equal(j.rows(t, "SELECT id, x::VARCHAR FROM core.docs"), want) })
	if n := j.refused.Load(); n != exactRefusals+1 {
		t.Errorf("%d loads were refused", n)
	}
	r.await("all that was quarantined is counted", func() bool { return r.quarantined("core.docs") == int64(r.limits.Rows-2) })
	if n := len(r.topic(s.Topic + ".dlq")); n != r.limits.Rows-2 {
		t.Errorf("%d letters", n)
	}
}

// A refusal that names nothing of the batch buries nothing: it is shown, as any
// fault of the warehouse, and holds up no other table.
func TestRefusalOfNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	odd, good := r.table("odd", 1), r.table("good", 1)
	var refuses atomic.Bool
	refuses.Store(true)
	r.mem.fault = func(at, table string, _ int64) error {
		if at == "before load" && table == "core.odd" && refuses.Load() {
			return &warehouse.RowsError{Rows: []warehouse.RefusedRow{{Row: 99, Column: "x", Reason: "odd"}}}
		}
		return nil
	}
	r.produce(r.put(odd, 1, "v"), r.put(good, 1, "v"))
	c, stop := r.start()
	defer stop()
	r.awaitEqual(good)
	r.await("it says why", func() bool { return strings.Contains(status(c, "core.odd").Trouble, `in column "x": odd`) })
	refuses.Store(false)
	r.awaitEqual(odd)
	if n := status(c, "core.odd").Letters; n != 0 {
		t.Errorf("%d letters", n)
	}
}
