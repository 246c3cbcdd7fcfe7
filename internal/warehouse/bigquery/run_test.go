package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// deriver runs one derived table, and after an error does what a deriver does:
// it acquires, and compares.
type deriver struct {
	p      *project
	runner *Runner
	table  warehouse.DerivedTable
	head   warehouse.DerivedHead
}

func newDeriver(t *testing.T, p *project, table warehouse.DerivedTable) *deriver {
	t.Helper()
	d := &deriver{p: p, runner: p.w.newRunner(), table: table}
	d.acquire(t)
	return d
}

func days() warehouse.DerivedTable {
	column := func(name string, k schemas.Kind) warehouse.ResultColumn {
		return warehouse.ResultColumn{Name: name, SQLType: k.String(), Type: schemas.Type{Kind: k}}
	}
	return warehouse.DerivedTable{Name: "analytics.days", Columns: []warehouse.ResultColumn{column("day", schemas.Date), column("n", schemas.Int)}, Window: "day", EventTimes: []string{"day"}}
}

func (d *deriver) acquire(t *testing.T) {
	t.Helper()
	var err error
	if d.head, err = d.runner.Acquire(t.Context(), d.table, -1); err != nil {
		t.Fatal(err)
	}
}

// step makes the rows of the day be so many, and marks the day after.
func (d *deriver) step(n int) *warehouse.Step {
	day := time.Date(2024, 3, n, 0, 0, 0, 0, time.UTC)
	s := &warehouse.Step{
		Table: d.table, Epoch: d.head.Epoch, Load: d.head.Load, Head: d.head, WasHash: d.head.CodeHash, Mode: schemas.ModeReplace, StartedAt: time.Now(),
		Parts: []warehouse.Part{{
			Query: fmt.Sprintf("SELECT DATE '%s' AS day, n FROM UNNEST(GENERATE_ARRAY(1, %d)) AS n", day.Format(time.DateOnly), n),
			Owned: fmt.Sprintf("(`day` >= DATE '%s' AND `day` < DATE '%s')", day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)),
			Dirt:  warehouse.Dirt{Window: day, Mark: 1},
		}},
		Mark: []warehouse.Dirt{{Window: day.AddDate(0, 0, 1), Mark: 1, Since: day}},
	}
	s.Head.Absorbed = map[string]int64{"core.payments": int64(n)}
	return s
}

func (d *deriver) commit(ctx context.Context, t *testing.T, n int) error {
	t.Helper()
	s := d.step(n)
	done, err := d.runner.Commit(ctx, s)
	if err != nil {
		before := d.head.Epoch
		d.acquire(t)
		if errors.Is(err, warehouse.ErrFenced) && d.head.Epoch == before+1 {
			t.Fatalf("a deriver stays out for good, and nobody else has acquired: %v", err)
		}
		return err
	}
	if done.Load != s.Load+1 || done.Rows.Inserted != int64(n) || len(done.JobIDs) != 1 {
		t.Fatalf("run %d: %+v", n, done)
	}
	d.head.Load, d.head.Absorbed = done.Load, s.Head.Absorbed
	return nil
}

// check says that every day up to the last was published once, whatever came
// between, and that nothing is left.
func (d *deriver) check(t *testing.T, last int) {
	t.Helper()
	d.acquire(t)
	if d.head.Load != int64(last) || d.head.Absorbed["core.payments"] != int64(last) {
		t.Fatalf("head %+v, want that of run %d", d.head, last)
	}
	n := sqlgen.Name{Dataset: "analytics", Table: "days"}
	if got := d.p.read(t, n, "SELECT COUNT(*) AS n FROM analytics.days"); number(got[0][0]) != int64(last*(last+1)/2) {
		t.Errorf("%v rows", got)
	}
	dirt, _, err := d.runner.Dirt(t.Context(), d.table)
	if err != nil || len(dirt) != 1 || dirt[0].Window.Day() != last+1 {
		t.Errorf("dirt %+v %v", dirt, err)
	}
	events, err := d.runner.Loads(t.Context(), d.table.Name, 0, 100)
	if err != nil || len(events) != last {
		t.Fatalf("%d events, want %d (%v)", len(events), last, err)
	}
	for i, e := range events {
		if e.Load != int64(i)+1 || e.Rows.Inserted != e.Load {
			t.Errorf("event %d is %+v", i+1, e)
		}
	}
}

// Whatever the service does at one of the calls or statements of a run, it is
// published once, and no number is left out (G4, G6).
func TestEveryFaultOfARun(t *testing.T) {
	slow(t)
	type fault struct {
		point string
		nth   int
		fault bigqueryfake.Fault
		fails bool // the run returns an error; the deriver goes on
	}
	conflict := bigqueryfake.Refuse(400, "invalidQuery", "Transaction is aborted due to concurrent update against table x")
	faults := map[string]fault{
		"insert: 401":        {"jobs.insert", 2, bigqueryfake.Refuse(401, "authError", "expired"), true},
		"job: fatal":         {"job", 1, bigqueryfake.FailJob("invalid", "no"), true},
		"job: error behind":  {"job", 4, bigqueryfake.FailJobLate("backendError", "no"), true}, // it was committed
		"UPDATE: conflict":   {"statement UPDATE", 1, conflict, false},
		"DELETE: conflict":   {"statement DELETE", 1, conflict, false},
		"INSERT: error":      {"statement INSERT", 1, bigqueryfake.Refuse(400, "backendError", "no"), false},
		"INSERT: of the log": {"statement INSERT", 3, bigqueryfake.Refuse(400, "invalid", "no"), true},
		"COMMIT: conflict":   {"statement COMMIT", 1, conflict, false},
		"COMMIT: fatal":      {"statement COMMIT", 1, bigqueryfake.Refuse(400, "invalid", "no"), true},
		"tables.delete":      {"tables.delete", 1, bigqueryfake.Refuse(503, "backendError", "no"), false},
	}
	for nth := 1; nth <= 5; nth++ { // the dry run, and the four jobs
		faults[fmt.Sprintf("insert %d: reply lost", nth)] = fault{"jobs.insert", nth, bigqueryfake.LoseReply(), false}
		faults[fmt.Sprintf("insert %d: 503", nth)] = fault{"jobs.insert", nth, bigqueryfake.Refuse(503, "backendError", "no"), false}
		faults[fmt.Sprintf("insert %d: quota", nth)] = fault{"jobs.insert", nth, bigqueryfake.Quota("no"), false}
	}
	for nth := 1; nth <= 4; nth++ {
		faults[fmt.Sprintf("results %d: reply lost", nth)] = fault{"jobs.getQueryResults", nth, bigqueryfake.LoseReply(), false}
		faults[fmt.Sprintf("job %d: error before", nth)] = fault{"job", nth, bigqueryfake.FailJob("backendError", "no"), false}
	}
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeriver(t, newProject(t), days())
			if err := d.commit(t.Context(), t, 1); err != nil {
				t.Fatal(err)
			}
			d.p.fake.On(c.point, c.nth, c.fault)
			if err := d.commit(t.Context(), t, 2); (err != nil) != c.fails {
				t.Fatalf("got %v; fired: %v", err, d.p.fake.Fired())
			}
			if fired := d.p.fake.Fired(); len(fired) != 1 {
				t.Fatalf("fired: %v", fired)
			}
			for d.head.Load < 3 {
				if err := d.commit(t.Context(), t, int(d.head.Load)+1); err != nil {
					t.Fatal(err)
				}
			}
			d.check(t, 3)
		})
	}
}

// A run hangs before its commit until the deriver gives up; another one takes the
// table over and computes the same. What hangs has no effect any more, and has
// computed into tables of its own.
func TestHangingRunIsFenced(t *testing.T) {
	slow(t)
	p := newProject(t)
	old := newDeriver(t, p, days())
	release := make(chan struct{})
	p.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
	s := old.step(1)
	if _, err := old.runner.Commit(givesUpWhenFired(t, p.fake), s); !errors.Is(err, errGivenUp) {
		t.Fatalf("got %v", err)
	}
	d := newDeriver(t, p, days())
	close(release)
	if _, err := old.runner.Commit(t.Context(), s); !errors.Is(err, warehouse.ErrFenced) {
		t.Fatalf("the old owner: %v", err)
	}
	for d.head.Load < 2 {
		if err := d.commit(t.Context(), t, int(d.head.Load)+1); err != nil {
			t.Fatal(err)
		}
	}
	d.check(t, 2)
}

// onRepeat does something when a job is about to be made again.
type onRepeat struct {
	slog.Handler
	do func()
}

func (h *onRepeat) Enabled(context.Context, slog.Level) bool { return true }
func (h *onRepeat) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "job repeated" {
		h.do()
	}
	return nil
}

// A job commits, and ends in an error behind that. Whether its writer is fenced is
// told by who has the table when it is made again.
func TestFencedBehindOwnCommit(t *testing.T) {
	slow(t)
	p := newProject(t)
	c, d := newConsumer(t, p), newDeriver(t, p, days())
	other, err := Open(t.Context(), fakeOptions(p.fake))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	day := 0
	for _, taken := range []bool{false, true} {
		p.w.opts.Logger = slog.New(&onRepeat{slog.DiscardHandler, func() {
			if !taken {
				return
			}
			if _, err := other.Acquire(t.Context(), c.table.Name, "topic", "id"); err != nil {
				t.Error(err)
			}
			if _, err := other.newRunner().Acquire(t.Context(), d.table, -1); err != nil {
				t.Error(err)
			}
		}})
		for of, write := range map[string]struct {
			job int // of those that the write makes
			do  func() error
		}{
			"load": {1, func() error { return c.try(t.Context(), t) }},
			"run":  {4, func() error { _, err := d.runner.Commit(t.Context(), d.step(day)); return err }},
		} {
			if day++; d.commit(t.Context(), t, day) != nil { // it knows what specs need now
				t.Fatal("a run fails")
			}
			day++
			p.fake.On("job", write.job, bigqueryfake.FailJobLate("backendError", "no"))
			if err := write.do(); err == nil || errors.Is(err, warehouse.ErrFenced) != taken {
				t.Errorf("%s, taken over: %t: got %v", of, taken, err)
			}
			c.acquire(t)
			d.acquire(t)
		}
	}
}

// Beyond so many keys they are read from their table, and the result is the same.
func TestMoreKeysThanLiterals(t *testing.T) {
	slow(t)
	table := days()
	table.Name, table.Window, table.EventTimes = "analytics.keyed", "", nil
	table.Columns[0] = warehouse.ResultColumn{Name: "k", SQLType: "INT64", Type: schemas.Type{Kind: schemas.Int}}
	table.Key, table.Owning = []string{"k"}, []string{"k"}
	for _, mode := range []schemas.Mode{schemas.ModeMerge, schemas.ModeReplace} {
		d := newDeriver(t, newProject(t), table)
		run := func(from, to, rows int) schemas.LoadComplete {
			s := &warehouse.Step{
				Table: table, Epoch: d.head.Epoch, Load: d.head.Load, Head: d.head, WasHash: d.head.CodeHash, Mode: mode, ByKeys: true, KeyMark: 1, StartedAt: time.Now(),
				MarkKeys: []string{fmt.Sprintf("SELECT x FROM UNNEST(GENERATE_ARRAY(%d, %d)) AS x", from, to)},
				Parts: []warehouse.Part{{Query: fmt.Sprintf("SELECT q.k AS k, 1 AS n FROM (SELECT k FROM UNNEST(GENERATE_ARRAY(1, %d)) AS k) AS q WHERE (`k`) IN %s",
					rows, NewSpelling().DirtyKeyList(table.Owning))}},
			}
			done, err := d.runner.Commit(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			d.head.Load = done.Load
			return done
		}
		const most = maxKeys + 1
		if done := run(1, most, 2*most); done.Rows.Inserted != most {
			t.Fatalf("event %+v", done)
		}
		if done := run(1, most, most-5); done.Rows.Deleted != 5 || done.Rows.Inserted != 0 {
			t.Fatalf("event %+v", done)
		}
	}
}

// A first start dirties more windows than the text of a script holds, and causes
// and errors may be long.
func TestManyWindowsBecomeDirty(t *testing.T) {
	slow(t)
	d := newDeriver(t, newProject(t), days())
	for i, marks := range []int{10_000, 30} {
		s := d.step(1)
		s.Mark, s.Forget = nil, true
		for n := range marks {
			day := time.Date(1990, 1, 1+n, 0, 0, 0, 0, time.UTC)
			m := warehouse.Dirt{Window: day, Mark: 1, Since: day, Cause: []schemas.Cause{{Table: "core.it's", Load: 1}}}
			if i > 0 {
				m.Error = strings.Repeat("it's no ", 5000)
			}
			s.Mark = append(s.Mark, m)
		}
		done, err := d.runner.Commit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		d.head.Load, d.head.Absorbed = max(d.head.Load, done.Load), s.Head.Absorbed
		dirt, _, err := d.runner.Dirt(t.Context(), d.table)
		if err != nil || len(dirt) != marks {
			t.Fatalf("%d windows are dirty, want %d (%v)", len(dirt), marks, err)
		}
		last := dirt[marks-1]
		if want := s.Mark[marks-1]; !last.Window.Equal(want.Window) || last.Error != want.Error || len(last.Cause) != 1 || last.Cause[0] != want.Cause[0] {
			t.Errorf("the last is %+v", last.Window)
		}
	}
	left, err := d.p.w.jobs.Tables.List(d.p.fake.Project(), sqlgen.Scratch).Do()
	if err != nil || len(left.Tables) > 0 {
		t.Errorf("%d tables are left (%v)", len(left.Tables), err)
	}
}

// What would read more than the cap is refused before it costs anything, with
// what to do.
func TestCapOnBilledBytes(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	p.w.opts.MaxBytesBilled = 25 << 20 // the head can be taken over
	err := d.commit(t.Context(), t, 2)
	if err == nil || !strings.Contains(err.Error(), hintCap) {
		t.Fatalf("got %v", err)
	}
	p.w.opts.MaxBytesBilled = 0
	if err := d.commit(t.Context(), t, 2); err != nil {
		t.Fatal(err)
	}
	d.check(t, 2)
}

// Of a job is said what it is for. None waits for idle slots: after new code all
// windows are of the past, and the live ones would wait behind them.
func TestJobsOfARunAreNamed(t *testing.T) {
	_, w := newService(t)
	w.opts.MaxBytesBilled = 7
	job := w.describe(task{what: "compute", table: "analytics.Days", text: func(string) string { return "SELECT 1" }, into: "t"}, "id")
	q := job.Configuration.Query
	if q.Priority == "BATCH" || q.MaximumBytesBilled != 7 || q.WriteDisposition != "WRITE_TRUNCATE" || q.DestinationTable.DatasetId != sqlgen.Scratch ||
		job.Configuration.Labels["millrace"] != "compute" || job.Configuration.Labels["millrace_table"] != "analytics_days" || job.JobReference.Location != "EU" {
		t.Errorf("%+v", job.Configuration)
	}
}

// A table is kept as its spec says, also if that is said later. Rows stay.
func TestDerivedLayout(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 2); err != nil {
		t.Fatal(err)
	}
	layout := func(t *testing.T) string {
		t.Helper()
		md, found, err := d.runner.metadata(t.Context(), "analytics", "days")
		if err != nil || !found {
			t.Fatalf("%v %v", found, err)
		}
		var partition, cluster string
		if md.TimePartitioning != nil {
			partition = md.TimePartitioning.Type + " " + md.TimePartitioning.Field
		}
		if md.Clustering != nil {
			cluster = strings.Join(md.Clustering.Fields, ",")
		}
		return fmt.Sprintf("%s; %s; %s; %v; %s", partition, cluster, md.Description, md.Labels, md.Schema.Fields[1].Description)
	}
	for _, c := range []struct {
		change func(*warehouse.DerivedTable)
		want   string
	}{
		{func(*warehouse.DerivedTable) {}, "DAY day; ; ; map[millrace:derived]; "},
		{func(t *warehouse.DerivedTable) {
			t.Description, t.Labels = "it's counts", map[string]string{"Team": "Growth", "1": "x", "millrace": "mine"}
		}, "DAY day; ; it's counts; map[label_1:x millrace:derived team:growth]; "},
		{func(t *warehouse.DerivedTable) { t.Cluster, t.Columns[1].Description = []string{"n"}, "how many" }, "DAY day; n; it's counts; map[label_1:x millrace:derived team:growth]; how many"},
		{func(t *warehouse.DerivedTable) { t.Columns[0].Description = "of the sale" }, "DAY day; n; it's counts; map[label_1:x millrace:derived team:growth]; how many"},
		{func(t *warehouse.DerivedTable) { t.Key = []string{"n", "day"}; t.Cluster = nil }, "DAY day; n; it's counts; map[label_1:x millrace:derived team:growth]; how many"},
		{func(t *warehouse.DerivedTable) { t.Partition = "n" }, "; n,day; it's counts; map[label_1:x millrace:derived team:growth]; how many"},
	} {
		c.change(&d.table)
		d.acquire(t)
		if got := layout(t); got != c.want {
			t.Errorf("kept as %s, want %s", got, c.want)
		}
		if d.head.Absorbed["core.payments"] != 2 {
			t.Errorf("head %+v", d.head)
		}
		if rows := p.read(t, p.name(t, warehouse.CoreTable{Name: "analytics.days"}), "SELECT n FROM analytics.days"); len(rows) != 2 {
			t.Errorf("%d rows", len(rows))
		}
	}
}

// A process may die, or meet a quota, between the statements that put a remade
// table into the place of the old one. No row is lost, or comes twice.
func TestRemadeTableIsPutThere(t *testing.T) {
	slow(t)
	for _, fault := range []struct {
		statement string
		nth       int
	}{{"DROP", 1}, {"CREATE", 1}, {"DROP", 2}, {"ALTER", 1}} {
		p := newProject(t)
		d := newDeriver(t, p, days())
		if err := d.commit(t.Context(), t, 2); err != nil {
			t.Fatal(err)
		}
		d.table.Cluster = []string{"n"}
		p.fake.On("statement "+fault.statement, fault.nth, bigqueryfake.Refuse(400, "rateLimitExceeded", "too many table update operations"))
		if _, err := d.runner.Acquire(t.Context(), d.table, -1); len(p.fake.Fired()) != 1 {
			t.Fatalf("%+v: fired %v, %v", fault, p.fake.Fired(), err)
		}
		d.acquire(t)
		if rows := p.read(t, p.name(t, warehouse.CoreTable{Name: "analytics.days"}), "SELECT n FROM analytics.days"); len(rows) != 2 || d.head.Absorbed == nil {
			t.Errorf("%+v: %d rows, head %+v", fault, len(rows), d.head)
		}
		if _, left, err := d.runner.metadata(t.Context(), "analytics", "days__remade"); left || err != nil {
			t.Errorf("%+v: the remade table is left: %v", fault, err)
		}
	}
}

// What a process has left that died before is of no use to a later one.
func TestRemadeTableOfBeforeGoes(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	if err := p.w.ddl(t.Context(), n, "CREATE TABLE `analytics`.`days__remade` AS SELECT `day`, 'x' AS gone FROM `analytics`.`days`"); err != nil {
		t.Fatal(err)
	}
	d.acquire(t)
	if _, left, err := d.runner.metadata(t.Context(), "analytics", "days__remade"); left || err != nil {
		t.Fatalf("left: %v %v", left, err)
	}
}

// An old owner that remakes the table, and is slow, may take the table away from
// the new one, who then computes everything; it never puts old rows in its place.
func TestSlowRemakeIsFenced(t *testing.T) {
	slow(t)
	for nth, within := range map[int]bool{1: false, 2: true} { // before the rows are copied; between assertion and DROP
		p := newProject(t)
		d := newDeriver(t, p, days())
		if err := d.commit(t.Context(), t, 1); err != nil {
			t.Fatal(err)
		}
		old := newDeriver(t, p, days())
		old.table.Cluster = []string{"n"}
		release, done := make(chan struct{}), make(chan error)
		p.fake.On("statement DROP", nth, bigqueryfake.Hang(release))
		go func() {
			_, err := old.runner.Acquire(context.Background(), old.table, -1)
			done <- err
		}()
		for len(p.fake.Fired()) == 0 {
			time.Sleep(time.Millisecond)
		}
		d.acquire(t)
		if err := d.commit(t.Context(), t, 2); err != nil {
			t.Fatal(err)
		}
		close(release)
		if err := <-done; err == nil {
			t.Error("the old owner has the table")
		}
		d.acquire(t)
		rows := p.read(t, p.name(t, warehouse.CoreTable{Name: "analytics.days"}), "SELECT n FROM analytics.days")
		kept := len(rows) == 3 && d.head.Absorbed != nil
		anew := within && len(rows) == 0 && d.head.Absorbed == nil
		if !kept && !anew {
			t.Errorf("%d: %d rows, head %+v", nth, len(rows), d.head)
		}
	}
}

// What people have put on a table stays.
func TestLabelsOfPeopleStay(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	n := p.name(t, warehouse.CoreTable{Name: "analytics.days"})
	if err := p.w.ddl(t.Context(), n, "ALTER TABLE `analytics`.`days` SET OPTIONS (labels = [('millrace', 'derived'), ('cost_center', '7')])"); err != nil {
		t.Fatal(err)
	}
	d.table.Description, d.table.Labels = "said", map[string]string{"team": "growth"}
	d.acquire(t)
	if md, _, err := d.runner.metadata(t.Context(), "analytics", "days"); err != nil || md.Labels["cost_center"] != "7" || md.Labels["team"] != "growth" || md.Description != "said" {
		t.Fatalf("labels %v, %v", md.Labels, err)
	}
}
