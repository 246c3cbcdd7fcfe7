// Package report says how a measurement went: as a table for a terminal, as
// JSON, Markdown and HTML, as lines for benchstat, and beside another one.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"millrace/loadtest/measure"
)

// Result is one run of a scenario.
type Result struct {
	Scenario string            `json:"scenario"`
	OK       bool              `json:"ok"`
	Figures  Figures           `json:"figures"`
	Machine  measure.Machine   `json:"machine"`
	Versions map[string]string `json:"versions"`
	// Detail is in results.json and not in what --json prints.
	Detail *Detail `json:"detail,omitempty"`
}

// Figures are the same for every scenario. What one does not measure is zero.
type Figures struct {
	Events               int64   `json:"events"`
	EventsPerSecond      float64 `json:"events_per_second"`
	EventsPerCPUSecond   float64 `json:"events_per_cpu_second"`
	LimitEventsPerSecond float64 `json:"limit_events_per_second"`
	RatioToLimit         float64 `json:"ratio_to_limit"`
	P50Ms                float64 `json:"p50_ms"`
	P99Ms                float64 `json:"p99_ms"`
	MaxMs                float64 `json:"max_ms"`
	PeakRSSMB            float64 `json:"peak_rss_mb"`
	Lost                 int64   `json:"lost"`
	Duplicated           int64   `json:"duplicated"`
	Wrong                int64   `json:"wrong"`
}

// Detail is what a reader of the report may want to know beyond the figures.
type Detail struct {
	About     string            `json:"about"`
	Limit     string            `json:"limit"`   // what was measured as the limit
	Latency   string            `json:"latency"` // what the times are the times of
	Began     time.Time         `json:"began"`
	Seconds   float64           `json:"seconds"` // of what was measured
	More      []Figure          `json:"more,omitempty"`
	Processes []measure.Process `json:"processes"`
	Quantiles []measure.Point   `json:"quantiles,omitempty"`
	Timeline  []measure.Sample  `json:"timeline,omitempty"`
	Examples  []string          `json:"examples,omitempty"`
	Targets   []Target          `json:"targets,omitempty"`
	Workload  map[string]any    `json:"workload,omitempty"`
}

// Figure is one that belongs to a scenario alone.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Target is what a scenario is to reach. To miss one is no fault of the run: a
// machine may be slow or busy.
type Target struct {
	Figure string  `json:"figure"`
	Bound  float64 `json:"bound"`
	AtMost bool    `json:"at_most,omitempty"` // else at least
	Value  float64 `json:"value"`
}

// Met reports whether the target was reached.
func (t Target) Met() bool {
	if t.AtMost {
		return t.Value <= t.Bound
	}
	return t.Value >= t.Bound
}

// unit is that of the figure, as people read it.
func (t Target) unit() string {
	for _, f := range (Figures{}).list() {
		if f.Name == t.Figure {
			return unit(f.Unit)
		}
	}
	return ""
}

// Value is the figure of that name, as in JSON.
func (f Figures) Value(name string) (float64, bool) {
	for _, v := range f.list() {
		if v.Name == name {
			return v.Value, true
		}
	}
	return 0, false
}

func (f Figures) list() []Figure {
	return []Figure{
		{"events", float64(f.Events), ""},
		{"events_per_second", f.EventsPerSecond, "/s"},
		{"events_per_cpu_second", f.EventsPerCPUSecond, "/cpu-s"},
		{"limit_events_per_second", f.LimitEventsPerSecond, "/s"},
		{"ratio_to_limit", f.RatioToLimit, ""},
		{"p50_ms", f.P50Ms, "ms"},
		{"p99_ms", f.P99Ms, "ms"},
		{"max_ms", f.MaxMs, "ms"},
		{"peak_rss_mb", f.PeakRSSMB, "MB"},
		{"lost", float64(f.Lost), ""},
		{"duplicated", float64(f.Duplicated), ""},
		{"wrong", float64(f.Wrong), ""},
	}
}

// Names are the names of the figures.
func Names() (out []string) {
	for _, f := range (Figures{}).list() {
		out = append(out, f.Name)
	}
	return out
}

// Account puts what the accounting found into the figures, and decides whether
// the run is sound.
func (r *Result) Account(a *measure.Account) {
	r.Figures.Lost, r.Figures.Duplicated, r.Figures.Wrong = a.Lost, a.Duplicated, a.Wrong
	r.OK = a.OK()
	r.Detail.Examples = a.Examples
}

// JSON is the object that --json prints.
func (r *Result) JSON() ([]byte, error) {
	short := *r
	short.Detail = nil
	text, err := json.Marshal(short)
	if err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	return append(text, '\n'), nil
}

// Read reads a file that holds a result, results.json or what --json printed, or the
// folder of --out.
func Read(path string) (*Result, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "results.json") // what --out has written
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a result: %w", err)
	}
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read the result %s: %w", path, err)
	}
	if r.Scenario == "" {
		return nil, fmt.Errorf("read the result %s: it names no scenario: give results.json of --out, or what --json printed", path)
	}
	return &r, nil
}
