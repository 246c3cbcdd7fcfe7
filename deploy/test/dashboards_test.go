package deploytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// dashboard is what of Grafana's format is looked at.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Panels        []panel
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ UID string }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ UID string }
	}
	FieldConfig struct{ Defaults struct{ Unit string } }
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(root + "/deploy/helm/millrace/dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	out := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[filepath.Base(file)] = d
	}
	return out
}

// concrete is a query of Grafana as Prometheus gets it.
func concrete(text string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$source", ".*", "$table", ".*", "$price", "6.25").Replace(text)
}

var (
	legendLabel = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)
	variable    = regexp.MustCompile(`\$\{?([a-z_]+)\}?`)
	labelValues = regexp.MustCompile(`^label_values\((.*), ([a-z]+)\)$`)
)

// Every query asks for what is there, names its variables, and says in its
// legend what it has.
func TestDashboards(t *testing.T) {
	known := metrics(t)
	uids := map[string]string{}
	for file, d := range dashboards(t) {
		if other := uids[d.UID]; d.UID == "" || other != "" {
			t.Errorf("%s and %s have the uid %q", file, other, d.UID)
		}
		uids[d.UID] = file
		if d.SchemaVersion == 0 || d.Title == "" {
			t.Errorf("%s: no title or version of its format", file)
		}
		names := []string{"__rate_interval"}
		for _, v := range d.Templating.List {
			names = append(names, v.Name)
			if v.Type != "query" {
				continue
			}
			text := v.Query.(map[string]any)["query"].(string)
			m := labelValues.FindStringSubmatch(concrete(text))
			if m == nil {
				t.Errorf("%s: variable %s: %s", file, v.Name, text)
				continue
			}
			if faults := check(m[1], known).faults; len(faults) > 0 || !slices.Contains(resultLabels(m[1], known), m[2]) {
				t.Errorf("%s: variable %s: %s %v", file, v.Name, text, faults)
			}
		}
		for _, p := range d.Panels {
			where := fmt.Sprintf("%s, %q", file, p.Title)
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: no query, unit or data source", where)
			}
			for _, q := range p.Targets {
				for _, v := range variable.FindAllStringSubmatch(q.Expr, -1) {
					if !slices.Contains(names, v[1]) {
						t.Errorf("%s: variable %s is not defined", where, v[1])
					}
				}
				text := concrete(q.Expr)
				for _, fault := range check(text, known).faults {
					t.Errorf("%s: %s", where, fault)
				}
				for _, l := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
					if !slices.Contains(resultLabels(text, known), l[1]) {
						t.Errorf("%s: the legend names %s, which the result has not: %s", where, l[1], q.Expr)
					}
				}
			}
		}
	}
}

// Panels have numbers of their own and lie beside each other.
func TestLayout(t *testing.T) {
	for file, d := range dashboards(t) {
		ids, taken := map[int]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", file, p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s, %q: lies outside of the page: %+v", file, p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: %q lies over %q", file, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// Each metric of ours is looked at somewhere, or it is said why not.
func TestEveryMetricIsLookedAt(t *testing.T) {
	known := metrics(t)
	used := map[string]bool{}
	note := func(text string) { maps.Copy(used, check(text, known).used) }
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				note(concrete(q.Expr))
			}
		}
	}
	for _, r := range alerts(t) {
		note(r.Expr)
	}
	text, err := os.ReadFile("left-out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var leftOut map[string]string
	if err := yaml.Unmarshal(text, &leftOut); err != nil {
		t.Fatal(err)
	}
	for name := range known {
		if strings.HasPrefix(name, "millrace_") && !used[name] && leftOut[name] == "" {
			t.Errorf("%s stands in no dashboard and no alert: put it there, or into left-out.yaml with the reason", name)
		}
	}
	for name := range leftOut {
		if _, ok := known[name]; !ok || used[name] {
			t.Errorf("left-out.yaml names %s, which is used or not there", name)
		}
	}
}
