package bigquery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// What a job cost is counted by what it was for, also if it failed; and the log
// tells it of each load and run.
func TestCostIsRecorded(t *testing.T) {
	p := newProject(t)
	var log bytes.Buffer
	p.w.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	line := lineWith(log.String(), "load committed")
	for _, part := range []string{"table=core.all", "load=1", "job=millrace_load_", "rows=4", "billed_bytes=", "slot_ms="} {
		if !strings.Contains(line, part) {
			t.Errorf("the log has no %s: %s", part, line)
		}
	}
	billed := func(kind string) float64 { return valueOf(t, p.w.metrics.billedBytes, kind) }
	if billed("load") < 10<<20 || valueOf(t, p.w.metrics.slotSeconds, "load") <= 0 {
		t.Errorf("a load cost %v bytes", billed("load"))
	}
	d := newDeriver(t, p, days())
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	line = lineWith(log.String(), "run committed")
	for _, part := range []string{"table=analytics.days", "load=1", "job=millrace_publish_", "rows=", "billed_bytes=", "slot_ms="} {
		if !strings.Contains(line, part) {
			t.Errorf("the log has no %s: %s", part, line)
		}
	}
	for _, kind := range []string{"compare", "publish", "acquire", "read"} {
		if billed(kind) == 0 {
			t.Errorf("jobs of kind %s cost nothing", kind)
		}
	}
	before := billed("load")
	p.fake.On("job", 1, bigqueryfake.FailJobLate("invalid", "no"))
	if err := c.load(t, time.Minute); err == nil {
		t.Fatal("the job did not fail")
	}
	if billed("load") <= before {
		t.Error("a job that failed was billed, and is not counted")
	}
}

// A commit without rows is told only to who asks for all; one that removes rows has
// done something.
func TestProgressIsLoggedForDebugging(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	var log, all bytes.Buffer
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	d := newDeriver(t, p, days())
	p.w.opts.Logger = slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(&log, nil), slog.NewTextHandler(&all, &slog.HandlerOptions{Level: slog.LevelDebug}),
	))
	told := func(what, line string, want bool) {
		t.Helper()
		if got := lineWith(log.String(), line) != ""; got != want || lineWith(all.String(), line) == "" {
			t.Errorf("%s: told: %v, want %v; of all that is told: %s", what, got, want, all.String())
		}
		log.Reset()
		all.Reset()
	}
	if err := c.remove(t); err != nil {
		t.Fatal(err)
	}
	told("a load without rows", "load committed", false)
	b := c.batch(c.head.Load + 1)
	b.Rows, b.Counts, b.Truncate = &listed{}, schemas.RowCounts{}, at(1_000_000)
	if _, err := p.w.Load(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	told("a truncate", "load committed", true)

	s := d.step(1)
	s.Parts, s.Mark = nil, nil
	if done, err := d.runner.Commit(t.Context(), s); err != nil || done.Load != 0 {
		t.Fatalf("%+v %v", done, err)
	}
	d.head.Absorbed = s.Head.Absorbed
	told("a run's progress", "run committed", false)
	if err := d.commit(t.Context(), t, 1); err != nil {
		t.Fatal(err)
	}
	told("a run", "run committed", true)
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// valueOf is the value of the collector's metric whose one label is so.
func valueOf(t *testing.T, c prometheus.Collector, label string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); len(l) == 1 && l[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// Jobs of one run are found by its label, and two long names stay two.
func TestLabels(t *testing.T) {
	l := task{what: "compute", table: "analytics.Days", run: "3_1_7"}.labels()
	if l["millrace"] != "compute" || l["millrace_table"] != "analytics_days" || l["millrace_run"] != "3_1_7" {
		t.Errorf("%v", l)
	}
	if _, ok := (task{what: "load", table: "core.x"}).labels()["millrace_run"]; ok {
		t.Error("a load is no run")
	}
	long := "core." + strings.Repeat("x", 70)
	if a, b := label(long+"a"), label(long+"b"); a == b || len(a) != labelLength {
		t.Errorf("%s and %s", a, b)
	}
}

// What waits can be seen from outside.
func TestWaitingIsShown(t *testing.T) {
	p := newProject(t)
	p.w.opts.RetryWait = time.Hour
	p.w.opts.Patience = 1000 * time.Hour
	p.fake.On("jobs.insert", 1, bigqueryfake.Quota("Quota exceeded"))
	failed := make(chan error, 1)
	if _, err := p.w.Select(t.Context(), "SELECT 1 AS n", 1); err == nil || !strings.Contains(err.Error(), hintQuota) { // a person does not wait
		t.Errorf("got %v", err)
	}
	p.fake.On("jobs.insert", 1, bigqueryfake.Quota("Quota exceeded"))
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, err := p.w.query(ctx, sqlgen.Name{Dataset: "core", Table: "all"}, "SELECT 1 AS n")
		failed <- err
	}()
	for valueOf(t, p.w.metrics.waiting, "quota") != 1 {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-failed; !errors.Is(err, context.Canceled) || valueOf(t, p.w.metrics.waiting, "quota") != 0 {
		t.Errorf("%v, and %v wait", err, valueOf(t, p.w.metrics.waiting, "quota"))
	}
}

func TestOpenWithoutCredentials(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "key.json")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "nothing.json"), bad} {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		w, err := Open(t.Context(), Options{Project: "p", Location: "EU"})
		if err == nil {
			err = errors.Join(errors.New("it was opened"), w.Close())
		}
		if !matches(err, runbook(t)["There are no credentials"]) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
