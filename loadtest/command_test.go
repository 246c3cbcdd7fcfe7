package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/loadtest/measure"
	"millrace/loadtest/report"
	"millrace/loadtest/scenario"
)

func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestList(t *testing.T) {
	code, out, _ := command(t, "list")
	for _, name := range scenario.Names() {
		if !strings.Contains(out, name+" ") {
			t.Errorf("%s is not listed", name)
		}
	}
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	text, err := scenario.Text("burst")
	if code, out, _ := command(t, "list", "--show", "burst"); err != nil || code != exitOK || out != string(text) {
		t.Errorf("%d: %s", code, out)
	}
}

// What cannot be run is refused before anything starts, and says what to write.
func TestUsage(t *testing.T) {
	faulty := filepath.Join(t.TempDir(), "my.yaml")
	if err := os.WriteFile(faulty, []byte("about: a\nkind: load\nwarehouse: discard\nrows: 5\ncolour: blue\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	brokers, empty := filepath.Join(t.TempDir(), "millrace.yaml"), t.TempDir()
	if err := os.WriteFile(brokers, []byte("kafka: {brokers: ['127.0.0.1:1']}\nregistry: {url: 'http://127.0.0.1:1'}\nsources: {a: {kind: postgres, dsn: 'postgres://nobody@127.0.0.1:1/none', tables: {public.a: {}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"run nothing", "there is no scenario nothing"},
		{"run burst --rate 5", "such as 2000/s"},
		{"run burst --rows -5", "more than zero"},
		{"run capture-postgres --rows 0", "more than zero"},
		{"run burst --duration 0s", "more than zero"},
		{"run burst --kafka real --config " + brokers, "names brokers"},
		{"run burst --kafka cloud", "embedded or real"},
		{"run burst --profile", "--out"},
		{"run burst --config none.yaml", "none.yaml"},
		{"run " + faulty, "my.yaml:5: colour"},
		{"run", "loadtest run takes one scenario"},
		{"compare a.json", "a result BEFORE and a result AFTER: 1 given"},
		{"compare a.json b.json", "a.json"},
		{"compare " + empty + " " + empty, filepath.Join(empty, "results.json")},
		{"race", "unknown command"},
	} {
		code, out, errs := command(t, strings.Fields(c.args)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %s%s", c.args, code, out, errs)
		}
	}
}

// A run from the command line: one JSON object, a report, profiles, and two
// results beside each other.
func TestRunFromTheCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts processes")
	}
	dir := t.TempDir()
	code, out, errs := command(t, "run", "load-discard", "--rows", "3000", "--rate", "5/s", "--json", "--profile", "--out", dir)
	if code != exitOK || !strings.Contains(errs, "--rate says nothing to load-discard") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var r report.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 || r.Figures.Events != 3000 || !r.OK {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range []string{"results.json", "report.html", "report.md", "bench.txt", "cpu.pprof", "heap.pprof"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	results := filepath.Join(dir, "results.json")
	if code, out, errs := command(t, "compare", results, dir); code != exitOK || !strings.Contains(out, "within noise") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

// A run that is told to end says so and no more, and leaves no empty folder behind;
// what was in the folder before stays.
func TestInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts processes")
	}
	for _, there := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "out")
		if there {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		var out, errs bytes.Buffer
		code := run(ctx, []string{"run", "load-discard", "--rows", "1000", "--out", dir}, &out, &errs)
		if code != exitFailed || out.Len() > 0 || !strings.HasSuffix(errs.String(), "loadtest: interrupted\n") {
			t.Errorf("exit code %d: %s%s", code, &out, &errs)
		}
		if _, err := os.Stat(dir); (err == nil) != there {
			t.Errorf("the folder, which was there before: %v; afterwards: %v", there, err)
		}
	}
}

// A configuration without the scenario's kind of database is told before the run, which
// starts a server of its own.
func TestConfigurationWithoutTheSource(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(path, []byte("sources: {a: {kind: postgres, dsn: 'postgres://nobody@127.0.0.1:1/none', tables: {public.a: {}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	for name, told := range map[string]bool{"capture-mariadb": true, "capture-postgres": false, "load-discard": false} {
		var out, errs bytes.Buffer
		run(ctx, []string{"run", name, "--config", path}, &out, &errs)
		if strings.Contains(errs.String(), "names no source of kind mariadb") != told {
			t.Errorf("%s: %s", name, &errs)
		}
	}
}

// Each fault of the accounting alone makes the exit code 1, and the figures are shown
// all the same.
func TestFaultsMakeTheExitCode(t *testing.T) {
	for name, a := range map[string]measure.Account{"lost": {Lost: 1}, "duplicated": {Duplicated: 1}, "wrong": {Wrong: 1}, "nothing": {}} {
		r := &report.Result{Scenario: "burst", Detail: &report.Detail{}}
		r.Account(&a)
		for _, asJSON := range []bool{false, true} {
			var out, errs bytes.Buffer
			cmd := newRun()
			cmd.SetOut(&out)
			o := &runOptions{json: asJSON}
			code := exitOf(o.finish(cmd, r), &errs)
			if want := map[bool]int{true: exitOK, false: exitFailed}[name == "nothing"]; code != want || out.Len() == 0 || (errs.Len() == 0) != (want == exitOK) {
				t.Errorf("%s: exit code %d: %s%s", name, code, &out, &errs)
			}
		}
	}
}

// A flag that a scenario cannot heed is said to say nothing, and changes nothing.
func TestIdleFlags(t *testing.T) {
	all := scenario.Change{Rows: 7, Rate: 3, Duration: time.Second}
	for name, want := range map[string]string{"burst": "rows", "derive-fanout": "rows", "capture-postgres": "rate duration", "load-discard": "rate duration", "snapshot-postgres": "rate duration"} {
		f, err := scenario.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.Idle(all), " "); got != want {
			t.Errorf("%s: %q are idle, not %q", name, got, want)
		}
		if now := f.With(all); (now.Rows == 7) == strings.Contains(want, "rows") || (now.Rate == 3) == strings.Contains(want, "rate") || (now.Duration == time.Second) == strings.Contains(want, "duration") {
			t.Errorf("%s becomes %+v", name, now)
		}
	}
}
