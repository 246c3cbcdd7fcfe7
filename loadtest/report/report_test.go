package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/loadtest/measure"
)

var update = flag.Bool("update", false, "write the goldens anew")

// sample is a result with everything in it.
func sample() *Result {
	return &Result{
		Scenario: "capture-postgres", OK: true,
		Figures: Figures{
			Events: 400_000, EventsPerSecond: 120_000.4, EventsPerCPUSecond: 240_000, LimitEventsPerSecond: 150_000, RatioToLimit: 0.8,
			P50Ms: 12.345, P99Ms: 99, MaxMs: 1234, PeakRSSMB: 98.7,
		},
		Machine:  measure.Machine{OS: "linux", Arch: "amd64", CPU: "An <old> CPU", Cores: 2, MemoryMB: 24_000, Load: 0.5},
		Versions: map[string]string{"go": "go1.26", "millrace": "abc", "source": "PostgreSQL 15"},
		Detail: &Detail{
			About: "What is measured & why.", Limit: "the same log, thrown away", Latency: "from there to here",
			Began: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC), Seconds: 3.33,
			More: []Figure{{"loads", 7, ""}, {"commit_p99", 3.2, "ms"}},
			Processes: []measure.Process{
				{Name: "millrace", CPUSeconds: 1.67, PeakRSSMB: 98.7, Series: []measure.Sample{{Seconds: 0, RSSMB: 50}, {Seconds: 1, CPUSeconds: 1, RSSMB: 90}}},
				{Name: "source", CPUSeconds: 2, PeakRSSMB: 70, Series: []measure.Sample{{Seconds: 0, RSSMB: 60}, {Seconds: 1, CPUSeconds: 1.2, RSSMB: 70}}},
			},
			Quantiles: []measure.Point{{Quantile: 50, Ms: 12.3}, {Quantile: 99, Ms: 99}, {Quantile: 100, Ms: 1234}},
			Timeline:  []measure.Sample{{Seconds: 0}, {Seconds: 1, Events: 100_000}, {Seconds: 3, Events: 400_000}},
			Targets:   []Target{{Figure: "ratio_to_limit", Bound: 0.8, Value: 0.8}, {Figure: "p99_ms", Bound: 50, AtMost: true, Value: 99}},
			Workload:  map[string]any{"seed": 1, "rows": 400_000},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed (go test ./loadtest/report -update writes it anew):\n%s", name, got)
	}
}

func TestGoldens(t *testing.T) {
	r := sample()
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", table.Bytes())
	golden(t, "result.json", text)
	golden(t, "report.md", []byte(r.Markdown()))
	golden(t, "report.html", page)
	golden(t, "bench.txt", []byte(r.Benchfmt()))
}

// The page needs nothing from anywhere, is well formed, and a name in it is no
// markup.
func TestPageStandsAlone(t *testing.T) {
	r := sample()
	r.Detail.Processes[0].Name = "<script>alert(1)</script>"
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"<script", "http://", "https://", "NaN", "Inf"} {
		if bytes.Contains(page, []byte(never)) {
			t.Errorf("it holds %q", never)
		}
	}
	if !bytes.Contains(page, []byte("prefers-color-scheme: dark")) || bytes.Count(page, []byte("<svg")) != 5 {
		t.Error("it lacks its dark colours or a plot")
	}
	for _, svg := range strings.Split(string(page), "<svg")[1:] {
		d := xml.NewDecoder(strings.NewReader("<svg" + svg[:strings.Index(svg, "</svg>")+6]))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An empty result, of a run that measured nothing, makes a report as well.
func TestEmptyReport(t *testing.T) {
	r := &Result{Scenario: "s", Detail: &Detail{Timeline: []measure.Sample{{}, {}}, Quantiles: []measure.Point{{}}}}
	page, err := r.HTML()
	if err != nil || bytes.Contains(page, []byte("NaN")) || bytes.Contains(page, []byte("Inf")) {
		t.Errorf("%v\n%s", err, page)
	}
	if !strings.Contains(r.Markdown(), "FAILED") {
		t.Error("a run that is not sound does not say so")
	}
}

func TestAccountDecides(t *testing.T) {
	for _, a := range []measure.Account{{Lost: 1}, {Duplicated: 1}, {Wrong: 1}} {
		r := sample()
		if r.Account(&a); r.OK || r.Figures.Lost+r.Figures.Duplicated+r.Figures.Wrong != 1 {
			t.Errorf("%+v: ok is %v", a, r.OK)
		}
	}
	r := sample()
	if r.Account(&measure.Account{}); !r.OK {
		t.Error("a sound account is not ok")
	}
}

// What is written can be read, from results.json and from what --json prints.
func TestWriteAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	r := sample()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r)
	if b, _ := json.Marshal(got); !bytes.Equal(a, b) {
		t.Errorf("%s came back as %s", a, b)
	}
	for _, name := range []string{"report.md", "report.html", "bench.txt"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	short, _ := r.JSON()
	path := filepath.Join(dir, "short.json")
	if err := os.WriteFile(path, short, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got.Figures, r.Figures) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "{}", "[1]"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil {
			t.Errorf("%q is a result", text)
		}
	}
}

// The object of --json has exactly the keys that scripts rely on.
func TestJSONKeys(t *testing.T) {
	text, err := sample().JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 {
		t.Errorf("%d keys: %s", len(got), text)
	}
	var figures map[string]float64
	if err := json.Unmarshal(got["figures"], &figures); err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		value, ok := figures[name]
		if own, known := sample().Figures.Value(name); !ok || !known || own != value {
			t.Errorf("%s is %v in JSON, %v as a figure", name, value, own)
		}
	}
	if len(figures) != len(Names()) {
		t.Errorf("%d figures in JSON, %d by name", len(figures), len(Names()))
	}
}

func TestCompare(t *testing.T) {
	before, after := sample(), sample()
	after.Figures.EventsPerSecond, after.Figures.P99Ms, after.Figures.RatioToLimit, after.Figures.Wrong = 150_000, 120, 0.82, 1
	after.Machine.Load = 9
	var out bytes.Buffer
	if err := Compare(&out, before, after); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", out.Bytes())
	after.Scenario = "other"
	if err := Compare(&out, before, after); err == nil {
		t.Error("two scenarios were compared")
	}
}

// What is not to be compared is said; what is alike is not.
func TestCompareCautions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *Result)
		want   string
	}{
		"nothing":              {func(*Result) {}, ""},
		"another millrace":     {func(r *Result) { r.Versions["millrace"] = "def" }, ""},
		"a little less memory": {func(r *Result) { r.Machine.MemoryMB = 23_900 }, ""},
		"another core count":   {func(r *Result) { r.Machine.Cores = 8 }, "the machines differ"},
		"more memory":          {func(r *Result) { r.Machine.MemoryMB = 48_000 }, "the machines differ"},
		"another architecture": {func(r *Result) { r.Machine.CPU, r.Machine.Arch = "An <old> CPU", "arm64" }, "the machines differ"},
		"fewer rows":           {func(r *Result) { r.Detail.Workload["rows"] = 2000 }, "the workloads differ: rows was 400000, is 2000"},
		"another mix":          {func(r *Result) { r.Detail.Workload["mix"] = "1 insert" }, "mix was not said, is 1 insert"},
		"another source":       {func(r *Result) { r.Versions["source"] = "PostgreSQL 17" }, "source was PostgreSQL 15, is PostgreSQL 17"},
		"another Kafka":        {func(r *Result) { r.Versions["kafka"] = "Apache Kafka" }, "kafka was not said, is Apache Kafka"},
		"a run that lost rows": {func(r *Result) { r.OK = false }, "the run after was not sound"},
		"without details":      {func(r *Result) { r.Detail, r.Figures.Events = nil, 2000 }, "other numbers of events"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := sample(), sample()
			c.change(after)
			got := strings.Join(cautions(before, after), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("it says %q, not %q", got, c.want)
			}
		})
	}
}
