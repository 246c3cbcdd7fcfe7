package bigquery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/sqlgen"
)

// callsOf are the calls of the two APIs that do makes, each with its number.
func callsOf(fake *bigqueryfake.Fake, do func()) string {
	before := fake.Calls()
	do()
	after := fake.Calls()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if name == "job" || strings.HasPrefix(name, "statement ") {
			continue // what happens inside the service
		}
		if n := after[name] - before[name]; n > 0 {
			out = append(out, fmt.Sprintf("%s %d", name, n))
		}
	}
	return strings.Join(out, ", ")
}

// A load is one job and the requests of its rows: nothing looks at tables, opens
// streams or polls. What a job cost is said by jobs.get alone: the reply to its
// making comes before it runs, and its result does not say what was billed.
func TestCallsOfALoad(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	load := func() {
		t.Helper()
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := callsOf(p.fake, load), "AppendRows 1, CreateWriteStream 1, GetWriteStream 1, jobs.get 1, jobs.getQueryResults 1, jobs.insert 1"; got != want {
		t.Errorf("the first load: %s; want %s", got, want)
	}
	const steady = "AppendRows 1, jobs.get 1, jobs.getQueryResults 1, jobs.insert 1"
	for range 3 {
		if got := callsOf(p.fake, load); got != steady {
			t.Errorf("a load: %s; want %s", got, steady)
		}
	}
	p.w.opts.RequestBytes = 180 // a row has some 130
	if got, want := callsOf(p.fake, load), strings.Replace(steady, "AppendRows 1", fmt.Sprintf("AppendRows %d", perLoad), 1); got != want {
		t.Errorf("a load of %d requests: %s; want %s", perLoad, got, want)
	}
	c.check(t, 5)
}

// The service holds the question for a job's result until it is there.
func TestNothingPolls(t *testing.T) {
	p := newProject(t)
	c := newConsumer(t, p)
	release := make(chan struct{})
	p.fake.On("job", 1, bigqueryfake.Hang(release))
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	got := callsOf(p.fake, func() {
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
	if !strings.Contains(got, "jobs.get 1, jobs.getQueryResults 1, jobs.insert 1") {
		t.Errorf("a load whose job took long: %s", got)
	}
}

// A run is four jobs and a dry run, and leaves no table behind.
func TestCallsOfARun(t *testing.T) {
	p := newProject(t)
	d := newDeriver(t, p, days())
	for n := 1; n <= 4; n++ {
		got := callsOf(p.fake, func() {
			if err := d.commit(t.Context(), t, n); err != nil {
				t.Fatal(err)
			}
		})
		const want = "jobs.get 4, jobs.getQueryResults 4, jobs.insert 5, tables.delete 2"
		if n > 1 && got != want {
			t.Errorf("run %d: %s; want %s", n, got, want)
		}
	}
	d.check(t, 4)
	left, err := p.w.jobs.Tables.List(p.fake.Project(), sqlgen.Scratch).Do()
	if err != nil || len(left.Tables) > 0 {
		t.Errorf("%d tables are left (%v)", len(left.Tables), err)
	}
}
