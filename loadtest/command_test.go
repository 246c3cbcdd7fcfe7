package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	code, out, errs := command(t, "run", "load-discard", "--rows", "3000", "--json", "--profile", "--out", dir)
	if code != exitOK {
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
