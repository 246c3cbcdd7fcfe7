package deploytest

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// alerts are all rules, as Prometheus itself reads them.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	files, err := filepath.Glob(root + "/deploy/helm/millrace/alerts/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var out []rulefmt.Rule
	groups := map[string]string{}
	for _, file := range files {
		parsed, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", file, err)
		}
		for _, g := range parsed.Groups {
			if other := groups[g.Name]; other != "" {
				t.Errorf("group %s is in %s and in %s", g.Name, other, file)
			}
			groups[g.Name] = file
			out = append(out, g.Rules...)
		}
	}
	return out
}

var templated = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// A rule asks for what is there, waits before it wakes someone, and leads to a
// page that says what to do.
func TestRules(t *testing.T) {
	known := metrics(t)
	documented, err := os.ReadFile(root + "/docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	for _, r := range alerts(t) {
		t.Run(r.Alert, func(t *testing.T) {
			for _, fault := range check(r.Expr, known).faults {
				t.Error(fault)
			}
			severity := r.Labels["severity"]
			if severity != "page" && severity != "ticket" {
				t.Errorf("severity %q is neither page nor ticket", severity)
			}
			if r.For < model.Duration(time.Minute) {
				t.Error("it fires at the first sample: one scrape that fails is no alert")
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Error("no summary or description")
			}
			if want := "docs/runbooks/" + r.Alert + ".md"; r.Annotations["runbook"] != want {
				t.Errorf("its runbook is %q, not %q", r.Annotations["runbook"], want)
			}
			pages[r.Alert+".md"] = true
			have := resultLabels(r.Expr, known)
			for _, text := range r.Annotations {
				for _, m := range templated.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(have, m[1]) {
						t.Errorf("%q names the label %s, which the result has not", text, m[1])
					}
				}
			}
			if !strings.Contains(string(documented), "| [`"+r.Alert+"`](runbooks/"+r.Alert+".md) | ") {
				t.Error("docs/monitoring.md does not list it")
			}
			runbook(t, r.Alert)
		})
	}
	entries, err := os.ReadDir(root + "/docs/runbooks")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "Millrace") && !pages[e.Name()] {
			t.Errorf("docs/runbooks/%s belongs to no alert", e.Name())
		}
	}
}

var (
	mentioned = regexp.MustCompile("millrace_[a-z0-9_]+[a-z0-9]")
	link      = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// runbook reads the page of an alert.
func runbook(t *testing.T, alert string) {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/runbooks/" + alert + ".md")
	if err != nil {
		t.Error(err)
		return
	}
	sections := "# " + alert + "\n\n## What it means\n"
	if !strings.HasPrefix(string(text), sections) {
		t.Errorf("the page does not begin with %q", sections)
	}
	for _, section := range []string{"What to look at", "What to do", "What not to do"} {
		if !strings.Contains(string(text), "\n## "+section+"\n\n- ") {
			t.Errorf("the page has no section %q", section)
		}
	}
	known := metrics(t)
	for _, name := range mentioned.FindAllString(string(text), -1) {
		if _, ok := known[name]; !ok && name != "millrace_test" {
			t.Errorf("the page names the metric %s, which is not there", name)
		}
	}
	for _, m := range link.FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(root + "/docs/runbooks/" + m[1]); err != nil {
			t.Errorf("the page links to %s, which is not there", m[1])
		}
	}
}
