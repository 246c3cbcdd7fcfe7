package main

import (
	"bytes"
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
	for _, c := range []struct{ args, want string }{
		{"run nothing", "there is no scenario nothing"},
		{"run burst --rate 5", "such as 2000/s"},
		{"run burst --rows -5", "more than zero"},
		{"run burst --kafka cloud", "embedded or real"},
		{"run burst --profile", "--out"},
		{"run burst --config none.yaml", "none.yaml"},
		{"run " + faulty, "my.yaml:5: colour"},
		{"run", "accepts 1 arg"},
		{"compare a.json b.json", "a.json"},
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
	if code, out, errs := command(t, "compare", results, results); code != exitOK || !strings.Contains(out, "within noise") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
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
