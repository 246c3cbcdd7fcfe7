package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/loadtest/workload"
)

// Every scenario that is here can be read, and copied.
func TestScenariosRead(t *testing.T) {
	names := Names()
	if len(names) < 13 {
		t.Errorf("only %v", names)
	}
	for _, name := range names {
		f, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name != name || f.About == "" {
			t.Errorf("%s is %+v", name, f)
		}
		text, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "my.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if own, err := Find(path); err != nil || own.Name != "my" || own.Kind != f.Kind || own.Rows != f.Rows {
			t.Errorf("a copy of %s: %+v, %v", name, own, err)
		}
	}
}

// All faults of a file are told at once, each with its line.
func TestFaults(t *testing.T) {
	_, err := Parse("my.yaml", []byte(`about: ""
kind: race
source: oracle
rows: many
rate: 2000
duration: soon
colour: blue
derived: 0
derived: 5
workload:
  seed: -1
  width: 2
  types: [text, blob]
  mix: {insert: 0, upsert: 3}
  zipf: 0.5
  burst: {every: 1s, for: 2s, times: 3}
targets: {p99_ms: "2000", speed: ">= 1"}
`))
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		"my.yaml:1: about: is no text", `my.yaml:2: kind: "race" is none`, `my.yaml:3: source: "oracle" is no kind of database`, "my.yaml:4: rows", "my.yaml:5: rate",
		"my.yaml:6: duration", "my.yaml:7: colour: is not known", "my.yaml:8: derived", "my.yaml:9: derived: stands twice",
		"my.yaml:11: workload.seed", "my.yaml:12: workload.width", `my.yaml:13: workload.types: "blob"`, "my.yaml:14: workload.mix.upsert: is not known",
		"my.yaml:14: workload.mix: has no part", "my.yaml:15: workload.zipf", "my.yaml:16: workload.burst: is not whole",
		"my.yaml:17: targets.p99_ms", "my.yaml:17: targets.speed: is not known",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "absent") {
		t.Errorf("what stands there is no text, and not absent:\n%v", err)
	}
	for text, want := range map[string]string{
		"about: a\nkind: end-to-end\nsource: postgres\nrate: 5/s\nduration: soon\nderived: 7\n": "my.yaml:6: derived: says nothing to the kind end-to-end",
		"about: a\nkind: capture\nsource: postgres\nrows: 1\nwarehouse: duckdb\n":               "my.yaml:5: warehouse: says nothing to the kind capture",
		"about: a\nkind: snapshot\nsource: postgres\nrows: 1\nseeded: 5\n":                      "my.yaml:5: seeded: says nothing to the kind snapshot",
		"about: a\nkind: load\nwarehouse: duckdb\nrows: 1\nsource: postgres\nrate: 1/s\n":       "my.yaml:5: source: says nothing to the kind load",
		"":                        "EOF",
		"- a":                     "is no mapping",
		"a: b: c":                 "mapping values",
		"about: a\nkind: load\n":  "warehouse: is absent",
		"about: a\nkind: fanout":  "derived: is absent",
		"kind: capture\nrows: 10": "source: is absent",
		"about: a\nkind: load\nwarehouse: duckdb\nrows: 1\n---\na: b\n": "more than one document",
	} {
		if _, err := Parse("my.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, err = Parse("my.yaml", []byte("about: a\nkind: end-to-end\nsource: postgres\nrate: 5/s\nduration: soon\n"))
	if err == nil || !strings.Contains(err.Error(), "my.yaml:5: duration") || strings.Contains(err.Error(), "absent") {
		t.Errorf("a duration that cannot be read: %v", err)
	}
	if _, err := Find("capture-everything"); err == nil || !strings.Contains(err.Error(), "capture-postgres") {
		t.Errorf("a scenario that is not here: %v", err)
	}
	if _, err := Find("./none.yaml"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestTheCommandLineWins(t *testing.T) {
	f := File{Kind: Capture, Rows: 1000, Rate: 5, Workload: workload.Spec{Transaction: 1000}}
	if g := f.With(Change{Rows: 10}); g.Rows != 10 || g.Workload.Transaction != 10 {
		t.Errorf("%+v", g)
	}
	paced := File{Kind: EndToEnd, Rate: 5, Duration: time.Hour}
	if g := paced.With(Change{Rate: 7, Duration: time.Second}); g.Rate != 7 || g.Duration != time.Second {
		t.Errorf("%+v", g)
	}
	if same := f.With(Change{}); same.Rows != 1000 || same.Rate != 5 || same.Workload.Transaction != 1000 {
		t.Errorf("%+v", same)
	}
}
