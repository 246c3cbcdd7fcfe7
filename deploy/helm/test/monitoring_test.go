package test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The PrometheusRule is the files of alerts/, each rule as it stands there but for
// where its runbook is.
func TestAlertsAreTheFiles(t *testing.T) {
	const base = "https://git.example.com/runbooks"
	files, err := filepath.Glob(filepath.Join(chartFolder, "alerts", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var want []ruleGroup
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Groups []ruleGroup `json:"groups"`
		}
		if err := yaml.UnmarshalStrict(text, &parsed); err != nil {
			t.Fatal(err)
		}
		want = append(want, parsed.Groups...)
	}
	for value, begins := range map[string]string{"": "docs/runbooks/", ", runbookBase: " + base: base + "/", ", runbookBase: " + base + "/": base + "/"} {
		r := mustRender(t, values(t, "minimal")+"\nalerts: {enabled: true"+value+"}\n", options{})
		got := as[*prometheusRule](t, r, "PrometheusRule", "shop-millrace").Spec.Groups
		for _, g := range got {
			for _, rule := range g.Rules {
				page, is := strings.CutPrefix(rule.Annotations["runbook"], begins)
				if !is {
					t.Errorf("%s has its runbook at %s", rule.Alert, rule.Annotations["runbook"])
				}
				rule.Annotations["runbook"] = "docs/runbooks/" + page
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with %q the rules are not those of the files", value)
		}
	}
}

// Each dashboard is a ConfigMap that Grafana's sidecar finds, with the file's text.
func TestDashboardsAreTheFiles(t *testing.T) {
	r := mustRender(t, values(t, "minimal")+"\ndashboards: {enabled: true, annotations: {grafana_folder: Data}}\n", options{})
	files, err := filepath.Glob(filepath.Join(chartFolder, "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		m := as[*corev1.ConfigMap](t, r, "ConfigMap", "shop-millrace-dashboard-"+strings.TrimSuffix(name, ".json"))
		if strings.TrimSpace(m.Data[name]) != strings.TrimSpace(string(text)) {
			t.Errorf("%s is not the file", name)
		}
		if m.Labels["grafana_dashboard"] != "1" || m.Annotations["grafana_folder"] != "Data" {
			t.Errorf("%s has labels %v and annotations %v", name, m.Labels, m.Annotations)
		}
		if len(text) > 1_000_000 {
			t.Errorf("%s is larger than a ConfigMap", name)
		}
	}
}

// Neither is made unless asked for: the operator's CRD may not be there.
func TestMonitoringIsOptional(t *testing.T) {
	r := mustRender(t, values(t, "minimal"), options{})
	if rules := r.names("PrometheusRule"); len(rules) != 0 {
		t.Errorf("there are rules %v", rules)
	}
	for _, name := range r.names("ConfigMap") {
		if strings.Contains(name, "dashboard") {
			t.Errorf("there is %s", name)
		}
	}
}
