package verify

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Spec is what a derived table's file says about its rows: enough to compute
// them, and nothing about when or how that is done.
type Spec struct {
	Name      string
	UniqueKey []string
	Append    bool
	Keys      bool // rows belong to keys, and a query may read the relation dirty
	Window    *Window
	Inputs    map[string][]Input
	Query     string
}

// Window is how a table's event time is cut.
type Window struct {
	Column   string // of the result; empty: its first DATE, TIMESTAMP or DATETIME
	Size     string // hour, day, week, month
	Timezone *time.Location
	Begin    time.Time // zero: not said
}

// Input is one entry about an input.
type Input struct {
	EventTime string   `yaml:"event_time"`
	Lookback  lookback `yaml:"lookback"`
	Via       string   `yaml:"via"`
	Key       names    `yaml:"key"`
	Dirty     string   `yaml:"dirty"`
	OnChange  string   `yaml:"on_change"`
}

// file is a spec as it is written.
type file struct {
	Name      string               `yaml:"name"`
	Dataset   string               `yaml:"dataset"`
	Strategy  string               `yaml:"strategy"`
	Scope     string               `yaml:"scope"`
	UniqueKey names                `yaml:"unique_key"`
	Window    yaml.Node            `yaml:"window"`
	Begin     string               `yaml:"begin"`
	Inputs    map[string]yaml.Node `yaml:"inputs"`
	Query     string               `yaml:"query"`
}

// ReadSpecs reads every spec in a folder and below. It takes them to be sound:
// check is what finds their faults.
func ReadSpecs(dir string) ([]*Spec, error) {
	var specs []*Spec
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != dir && d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir // a mounted ConfigMap has each file a second time in there
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		s, err := readSpec(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		specs = append(specs, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read specs: %w", err)
	}
	return specs, nil
}

func readSpec(path string) (*Spec, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&f); err != nil {
		return nil, err
	}
	s := &Spec{Name: f.Name, UniqueKey: f.UniqueKey, Append: f.Strategy == "append", Query: f.Query, Inputs: make(map[string][]Input)}
	if !strings.Contains(s.Name, ".") {
		s.Name = f.Dataset + "." + s.Name
	}
	if strings.HasSuffix(s.Query, ".sql") && !strings.ContainsAny(s.Query, " \n") {
		query, err := os.ReadFile(filepath.Join(filepath.Dir(path), s.Query))
		if err != nil {
			return nil, err
		}
		s.Query = string(query)
	}
	for table, node := range f.Inputs {
		if s.Inputs[table], err = inputs(&node); err != nil {
			return nil, fmt.Errorf("inputs.%s: %w", table, err)
		}
	}
	s.Keys = f.Scope == "keys" || f.Scope == "" && f.Strategy == "merge" && f.Window.IsZero()
	if f.Window.IsZero() {
		return s, nil
	}
	s.Window, err = window(&f.Window, f.Begin)
	return s, err
}

// names is a list of names, or one name.
type names []string

func (l *names) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = names{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

func inputs(n *yaml.Node) (out []Input, err error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []Input{{EventTime: n.Value}}, nil
	case yaml.SequenceNode:
		for _, item := range n.Content {
			some, err := inputs(item)
			if err != nil {
				return nil, err
			}
			out = append(out, some...)
		}
		return out, nil
	}
	var in Input
	if err := n.Decode(&in); err != nil {
		return nil, err
	}
	return []Input{in}, nil
}

func window(n *yaml.Node, begin string) (*Window, error) {
	w := struct {
		Column, Size, Timezone, Begin string
	}{Size: n.Value, Begin: begin}
	if n.Kind == yaml.MappingNode {
		if err := n.Decode(&w); err != nil {
			return nil, err
		}
	}
	zone, err := time.LoadLocation(w.Timezone)
	if err != nil {
		return nil, err
	}
	out := &Window{Column: w.Column, Size: w.Size, Timezone: zone}
	if w.Begin != "" {
		out.Begin, err = time.Parse(time.DateOnly, w.Begin)
	}
	return out, err
}

// bounded says whether a query sees only a span of the input.
func bounded(entries []Input) bool {
	return !slices.ContainsFunc(entries, func(in Input) bool {
		return in.Via != "" || in.Dirty != "" || in.OnChange != "" || len(in.Key) > 0
	})
}

// lookback is a number of units: h, d or w.
type lookback struct {
	n    int
	unit byte
}

func (l *lookback) UnmarshalYAML(n *yaml.Node) error {
	var err error
	if l.n, err = strconv.Atoi(strings.TrimRight(n.Value, "hdw")); err != nil {
		return fmt.Errorf("read the lookback %q: %w", n.Value, err)
	}
	l.unit = n.Value[len(n.Value)-1]
	return nil
}

// back is the civil time from which on the input is read for a window that
// starts at t.
func (in Input) back(t time.Time) time.Time {
	switch in.Lookback.unit {
	case 'h':
		return t.Add(-time.Duration(in.Lookback.n) * time.Hour)
	case 'w':
		return t.AddDate(0, 0, -7*in.Lookback.n)
	}
	return t.AddDate(0, 0, -in.Lookback.n)
}

// start is the first moment of the window that holds a civil time.
func (w *Window) start(t time.Time) time.Time {
	y, m, d := t.Date()
	switch w.Size {
	case "hour":
		return t.Truncate(time.Hour)
	case "week":
		return time.Date(y, m, d-(int(t.Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
	case "month":
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// next is the start of the window after the one that starts at t.
func (w *Window) next(t time.Time) time.Time {
	switch w.Size {
	case "hour":
		return t.Add(time.Hour)
	case "week":
		return t.AddDate(0, 0, 7)
	case "month":
		return t.AddDate(0, 1, 0)
	}
	return t.AddDate(0, 0, 1)
}
