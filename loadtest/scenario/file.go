package scenario

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"millrace/internal/invalid"
	"millrace/loadtest/report"
	"millrace/loadtest/source"
	"millrace/loadtest/workload"
)

// The kinds of scenarios.
const (
	Capture  = "capture"    // a log that is there is captured, as fast as it can be
	Snapshot = "snapshot"   // rows that are there are captured
	Load     = "load"       // a topic that is there is loaded
	EndToEnd = "end-to-end" // changes at a fixed rate, from commit to readable
	Fanout   = "fanout"     // the same, with many derived tables
)

// The warehouses of a scenario.
const (
	Discard      = "discard" // decodes every row and keeps none
	DuckDB       = "duckdb"
	BigQueryFake = "bigquery-fake"
)

// File is a scenario as its file says it.
type File struct {
	Name      string
	About     string
	Kind      string
	Source    string // of captures, snapshots and end to end
	Warehouse string // of loads
	Rows      int    // changes, or rows of a snapshot
	Seeded    int    // rows that are there before
	Rate      float64
	Duration  time.Duration
	Derived   int // derived tables
	Workload  workload.Spec
	Targets   []report.Target
}

//go:embed scenarios/*.yaml
var files embed.FS

// Names are the scenarios that are here.
func Names() []string {
	entries, err := files.ReadDir("scenarios")
	if err != nil {
		panic(err) // they are linked in
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Find reads a scenario by its name, or by the path of a file that ends in .yaml.
// Every fault of the file is found at once, as an invalid.Faults.
func Find(name string) (*File, error) {
	if strings.HasSuffix(name, ".yaml") {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read a scenario: %w", err)
		}
		return Parse(name, text)
	}
	text, err := files.ReadFile("scenarios/" + name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no scenario %s: there are %s; a file of your own ends in .yaml", name, strings.Join(Names(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("read a scenario: %w", err)
	}
	return Parse(name+".yaml", text)
}

// Text is the file of a scenario that is here.
func Text(name string) ([]byte, error) { return files.ReadFile("scenarios/" + name + ".yaml") }

// reader collects the faults of a file.
type reader struct {
	file   string
	faults invalid.Faults
	lines  map[string]int // of the fields at the top; what stands there is not absent
}

// Parse reads a scenario.
func Parse(file string, text []byte) (*File, error) {
	r := &reader{file: file}
	s := &File{
		Name:     strings.TrimSuffix(filepath.Base(file), ".yaml"),
		Workload: workload.Spec{Seed: 1, Tables: 1, Width: 12, Types: workload.Types, Mix: workload.Mix{Insert: 100}, Transaction: 10},
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil {
		r.faults.Add(file, 0, "", strings.TrimPrefix(err.Error(), "yaml: "), "write a scenario as in docs/loadtest.md")
		return nil, r.faults.Err()
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		r.faults.Add(file, 0, "", "holds more than one document", "keep one")
	}
	top := doc.Content[0]
	r.lines = map[string]int{}
	if top.Kind == yaml.MappingNode {
		for i := 0; i < len(top.Content); i += 2 {
			r.lines[top.Content[i].Value] = top.Content[i].Line
		}
	}
	r.fields(top, "", map[string]func(*yaml.Node, string){
		"about":     r.text(&s.About),
		"kind":      r.choice(&s.Kind, Capture, Snapshot, Load, EndToEnd, Fanout),
		"source":    r.text(&s.Source),
		"warehouse": r.choice(&s.Warehouse, Discard, DuckDB, BigQueryFake),
		"rows":      r.number(&s.Rows, 1, 100_000_000),
		"seeded":    r.number(&s.Seeded, 0, 100_000_000),
		"rate":      r.rate(&s.Rate),
		"duration":  r.duration(&s.Duration),
		"derived":   r.number(&s.Derived, 1, 10_000),
		"workload":  r.workload(&s.Workload),
		"targets":   r.targets(&s.Targets),
	})
	if top.Kind == yaml.MappingNode {
		r.check(s, top.Line)
	}
	if err := r.faults.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func (r *reader) fault(line int, field, problem, cure string) {
	r.faults.Add(r.file, line, field, problem, cure)
}

// fields reads a mapping whose fields are known.
func (r *reader) fields(n *yaml.Node, path string, known map[string]func(*yaml.Node, string)) {
	if n.Kind != yaml.MappingNode {
		r.fault(n.Line, path, "is no mapping", "write fields, one a line")
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		name, at := n.Content[i].Value, n.Content[i].Value
		if path != "" {
			at = path + "." + name
		}
		read, ok := known[name]
		switch {
		case !ok:
			r.fault(n.Content[i].Line, at, "is not known", "the fields here are "+strings.Join(sorted(known), ", "))
		case seen[name]:
			r.fault(n.Content[i].Line, at, "stands twice", "keep one")
		default:
			read(n.Content[i+1], at)
		}
		seen[name] = true
	}
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (r *reader) text(into *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if *into = n.Value; n.Kind != yaml.ScalarNode || n.Value == "" {
			r.fault(n.Line, path, "is no text", "write one")
		}
	}
}

func (r *reader) choice(into *string, among ...string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if *into = n.Value; !slices.Contains(among, n.Value) {
			r.fault(n.Line, path, fmt.Sprintf("%q is none", n.Value), "write "+strings.Join(among, ", "))
		}
	}
}

func (r *reader) number(into *int, least, most int) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		v, err := strconv.Atoi(strings.ReplaceAll(n.Value, "_", ""))
		if err != nil || v < least || v > most {
			r.fault(n.Line, path, fmt.Sprintf("%q is no number from %d to %d", n.Value, least, most), "write one")
			return
		}
		*into = v
	}
}

func (r *reader) decimal(into *float64, least, most float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		v, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || v < least || v > most {
			r.fault(n.Line, path, fmt.Sprintf("%q is no number from %v to %v", n.Value, least, most), "write one")
			return
		}
		*into = v
	}
}

func (r *reader) rate(into *float64) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		v, err := ParseRate(n.Value)
		if err != nil {
			r.fault(n.Line, path, err.Error(), "write changes a second, such as 2000/s")
			return
		}
		*into = v
	}
}

// ParseRate reads changes a second, such as 2000/s.
func ParseRate(text string) (float64, error) {
	number, ok := strings.CutSuffix(strings.ReplaceAll(text, "_", ""), "/s")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v > 0 && v <= 1e7) {
		return 0, fmt.Errorf("%q is no rate", text)
	}
	return v, nil
}

func (r *reader) duration(into *time.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		d, err := time.ParseDuration(n.Value)
		if err != nil || d <= 0 || d > 7*24*time.Hour {
			r.fault(n.Line, path, fmt.Sprintf("%q is no time", n.Value), "write it as 30s or 5m")
			return
		}
		*into = d
	}
}

func (r *reader) workload(s *workload.Spec) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		seed := 1
		r.fields(n, path, map[string]func(*yaml.Node, string){
			"seed":        r.number(&seed, 0, 1<<62),
			"tables":      r.number(&s.Tables, 1, 1000),
			"width":       r.number(&s.Width, 4, 500),
			"types":       r.types(&s.Types),
			"mix":         r.mix(&s.Mix),
			"toast":       r.number(&s.Toast, 0, 100),
			"zipf":        r.decimal(&s.Zipf, 1.01, 10),
			"transaction": r.number(&s.Transaction, 1, 10_000_000),
			"late":        r.number(&s.Late, 0, 100),
			"burst":       r.burst(&s.Burst),
		})
		s.Seed = uint64(seed) //nolint:gosec // not below zero
	}
}

func (r *reader) types(into *[]workload.Type) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		*into = nil
		for _, item := range n.Content {
			t := workload.Type(item.Value)
			if !slices.Contains(workload.Types, t) {
				r.fault(item.Line, path, fmt.Sprintf("%q is no type", item.Value), fmt.Sprintf("the types are %v", workload.Types))
			}
			*into = append(*into, t)
		}
		if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
			r.fault(n.Line, path, "is no list", "write [text, int]")
		}
	}
}

func (r *reader) mix(m *workload.Mix) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		*m = workload.Mix{}
		r.fields(n, path, map[string]func(*yaml.Node, string){
			"insert": r.number(&m.Insert, 0, 1000), "update": r.number(&m.Update, 0, 1000),
			"delete": r.number(&m.Delete, 0, 1000), "key": r.number(&m.Key, 0, 1000),
		})
		if m.Insert+m.Update+m.Delete+m.Key == 0 {
			r.fault(n.Line, path, "has no part", "write at least one, such as insert: 1")
		}
	}
}

func (r *reader) burst(b *workload.Burst) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		r.fields(n, path, map[string]func(*yaml.Node, string){
			"every": r.duration(&b.Every), "for": r.duration(&b.For), "times": r.decimal(&b.Times, 1, 1000),
		})
		if b.Every <= 0 || b.For <= 0 || b.Times < 1 || b.For > b.Every {
			r.fault(n.Line, path, "is not whole", "write every, for (not longer) and times")
		}
	}
}

// targets are figures with a bound: p99_ms: "<= 2000".
func (r *reader) targets(into *[]report.Target) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		known := map[string]func(*yaml.Node, string){}
		for _, figure := range report.Names() {
			known[figure] = func(n *yaml.Node, path string) {
				sign, number, ok := strings.Cut(n.Value, " ")
				bound, err := strconv.ParseFloat(number, 64)
				if !ok || err != nil || sign != "<=" && sign != ">=" {
					r.fault(n.Line, path, fmt.Sprintf("%q is no bound", n.Value), `write ">= 0.8" or "<= 500"`)
					return
				}
				*into = append(*into, report.Target{Figure: figure, Bound: bound, AtMost: sign == "<="})
			}
		}
		r.fields(n, path, known)
	}
}

// check finds what does not fit together.
func (r *reader) check(s *File, line int) {
	need := func(ok bool, field, why string) {
		if _, said := r.lines[field]; !ok && !said { // what is wrong with one that is said, its reader has said
			r.fault(line, field, "is absent", why)
		}
	}
	idle := func(fields ...string) {
		for _, field := range fields {
			if at, said := r.lines[field]; said {
				r.fault(at, field, "says nothing to the kind "+s.Kind, "leave it out")
			}
		}
	}
	need(s.Kind != "", "kind", "write what is measured: capture, snapshot, load, end-to-end or fanout")
	need(s.About != "", "about", "say in a sentence what is measured")
	if s.Kind == Load {
		need(s.Warehouse != "", "warehouse", "a load needs one: discard, duckdb or bigquery-fake")
	} else if s.Kind != "" {
		need(s.Source != "", "source", "name the kind of database, such as postgres")
	}
	if s.Source != "" && s.Kind != Load && !source.Known(s.Source) {
		r.fault(r.lines["source"], "source", fmt.Sprintf("%q is no kind of database", s.Source), "write one that Millrace captures, such as postgres or mariadb")
	}
	switch s.Kind {
	case EndToEnd, Fanout:
		need(s.Rate > 0, "rate", "write changes a second, such as 2000/s")
		need(s.Duration > 0, "duration", "write how long, such as 30s")
		idle("rows")
	case Capture, Snapshot, Load:
		need(s.Rows > 0, "rows", "write how many")
		idle("rate", "duration")
	}
	if s.Kind == Capture || s.Kind == Snapshot {
		idle("warehouse")
	}
	if s.Kind == Load {
		idle("source")
	}
	if s.Kind == Snapshot || s.Kind == Load {
		idle("seeded")
	}
	if s.Kind == Fanout {
		need(s.Derived > 0, "derived", "write how many derived tables")
	} else if s.Kind != "" {
		idle("derived")
	}
}

// Change is what the command line says in place of the file; zero leaves it.
type Change struct {
	Rows     int
	Rate     float64
	Duration time.Duration
}

// Idle are the flags of the change that say nothing to a scenario of this kind.
func (s *File) Idle(c Change) (out []string) {
	paced := s.Kind == EndToEnd || s.Kind == Fanout
	if c.Rows > 0 && paced {
		out = append(out, "rows")
	}
	if c.Rate > 0 && !paced {
		out = append(out, "rate")
	}
	if c.Duration > 0 && !paced {
		out = append(out, "duration")
	}
	return out
}

// With is the scenario with the change.
func (s File) With(c Change) *File {
	for _, idle := range s.Idle(c) {
		switch idle {
		case "rows":
			c.Rows = 0
		case "rate":
			c.Rate = 0
		case "duration":
			c.Duration = 0
		}
	}
	if c.Rows > 0 {
		if s.Workload.Transaction == s.Rows { // one transaction stays one
			s.Workload.Transaction = c.Rows
		}
		s.Rows = c.Rows
	}
	if c.Rate > 0 {
		s.Rate = c.Rate
	}
	if c.Duration > 0 {
		s.Duration = c.Duration
	}
	return &s
}
