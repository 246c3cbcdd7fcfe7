package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// number is a figure for people: grouped by thousands above a thousand, and to
// three digits below.
func number(v float64) string {
	switch {
	case v >= 1000 || v <= -1000 || v == float64(int64(v)):
		return grouped(int64(v + 0.5))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// words are what the figures are called for people.
var words = map[string]string{
	"events": "events", "events_per_second": "events a second", "events_per_cpu_second": "events per CPU-second",
	"limit_events_per_second": "the limit, a second", "ratio_to_limit": "ratio to the limit",
	"p50_ms": "p50", "p99_ms": "p99", "max_ms": "most", "peak_rss_mb": "peak memory",
	"lost": "lost", "duplicated": "duplicated", "wrong": "wrong",
}

func unit(u string) string {
	switch u {
	case "", "/s", "/cpu-s":
		return ""
	}
	return " " + u
}

// verdict is the result in a word.
func (r *Result) verdict() string {
	if r.OK {
		return "ok"
	}
	return "FAILED"
}

// rows are the figures that the scenario has, in words.
func (r *Result) rows() [][2]string {
	var out [][2]string
	for _, f := range r.Figures.list() {
		if f.Value == 0 && f.Name != "lost" && f.Name != "duplicated" && f.Name != "wrong" {
			continue // not measured here
		}
		out = append(out, [2]string{words[f.Name], number(f.Value) + unit(f.Unit)})
	}
	return out
}

// more are the figures that belong to the scenario alone.
func (r *Result) more() [][2]string {
	var out [][2]string
	for _, f := range r.Detail.More {
		out = append(out, [2]string{strings.ReplaceAll(f.Name, "_", " "), number(f.Value) + unit(f.Unit)})
	}
	return out
}

func (t Target) String() string {
	sign, met := ">=", "met"
	if t.AtMost {
		sign = "<="
	}
	if !t.Met() {
		met = "missed"
	}
	return fmt.Sprintf("%s %s %s: %s, %s", words[t.Figure], sign, number(t.Bound)+t.unit(), number(t.Value)+t.unit(), met)
}

// where is the machine and the versions, in a line.
func (r *Result) where() string {
	m := r.Machine
	out := fmt.Sprintf("%d cores", m.Cores)
	if m.CPU != "" {
		out += " of " + m.CPU
	}
	if m.MemoryMB > 0 {
		out += fmt.Sprintf(", %.0f GB", m.MemoryMB/1000)
	}
	out += ", " + m.OS + "/" + m.Arch
	if m.Load > 0 {
		out += fmt.Sprintf(", load %.1f before", m.Load)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		v := r.Versions[name]
		if name != "source" {
			v = name + " " + v
		}
		out += "; " + v
	}
	return out
}

// Table prints the result for a terminal.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s\n", r.Scenario, r.verdict())
	for _, row := range append(r.rows(), r.more()...) {
		fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
	}
	for _, t := range r.Detail.Targets {
		fmt.Fprintf(w, "  target\t%s\n", t)
	}
	if r.Detail.Limit != "" {
		fmt.Fprintf(w, "  the limit is\t%s\n", r.Detail.Limit)
	}
	if r.Detail.Latency != "" {
		fmt.Fprintf(w, "  the times are\t%s\n", r.Detail.Latency)
	}
	for _, p := range r.Detail.Processes {
		fmt.Fprintf(w, "  process %s\t%s CPU-seconds, at most %s MB\n", p.Name, number(p.CPUSeconds), number(p.PeakRSSMB))
	}
	for _, e := range r.Detail.Examples {
		fmt.Fprintf(w, "  fault\t%s\n", e)
	}
	fmt.Fprintf(w, "  on\t%s\n", r.where())
	return w.Flush()
}

// Markdown is the report as a page of Markdown.
func (r *Result) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n%s\n\n", r.Scenario, r.verdict(), r.Detail.About)
	fmt.Fprintf(&b, "%s, %.1f s. %s.\n\n", r.Detail.Began.Format("2006-01-02 15:04 MST"), r.Detail.Seconds, r.where())
	b.WriteString("| figure | value |\n|---|---:|\n")
	for _, row := range append(r.rows(), r.more()...) {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	if r.Detail.Limit != "" {
		fmt.Fprintf(&b, "\nThe limit is %s.\n", r.Detail.Limit)
	}
	if r.Detail.Latency != "" {
		fmt.Fprintf(&b, "\nThe times are %s.\n", r.Detail.Latency)
	}
	for i, t := range r.Detail.Targets {
		if i == 0 {
			b.WriteString("\n## Targets\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", t)
	}
	if len(r.Detail.Processes) > 0 {
		b.WriteString("\n## Processes\n\n| process | CPU-seconds | most memory, MB |\n|---|---:|---:|\n")
		for _, p := range r.Detail.Processes {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Name, number(p.CPUSeconds), number(p.PeakRSSMB))
		}
	}
	for i, e := range r.Detail.Examples {
		if i == 0 {
			b.WriteString("\n## Faults\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", e)
	}
	if len(r.Detail.Workload) > 0 {
		b.WriteString("\n## Workload\n\n")
		for _, name := range slices.Sorted(maps.Keys(r.Detail.Workload)) {
			fmt.Fprintf(&b, "- %s: %v\n", name, r.Detail.Workload[name])
		}
	}
	return b.String()
}

// Benchfmt is a line that benchstat reads, after lines that say where it was.
func (r *Result) Benchfmt() string {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: millrace/loadtest\n", r.Machine.OS, r.Machine.Arch)
	if r.Machine.CPU != "" {
		fmt.Fprintf(&b, "cpu: %s\n", r.Machine.CPU)
	}
	fmt.Fprintf(&b, "Benchmark/%s-%d 1", r.Scenario, r.Machine.Cores)
	for _, f := range r.Figures.list() {
		if f.Value == 0 {
			continue
		}
		fmt.Fprintf(&b, " %s %s", strconv.FormatFloat(f.Value, 'g', 6, 64), benchUnits[f.Name])
	}
	b.WriteByte('\n')
	return b.String()
}

// benchUnits are the units of benchmarks in docs/benchmarks.
var benchUnits = map[string]string{
	"events": "events", "events_per_second": "events/s", "events_per_cpu_second": "events/cpu-s", "limit_events_per_second": "limit-events/s",
	"ratio_to_limit": "ratio", "p50_ms": "p50-ms", "p99_ms": "p99-ms", "max_ms": "max-ms", "peak_rss_mb": "peak-MB",
	"lost": "lost", "duplicated": "duplicated", "wrong": "wrong",
}
