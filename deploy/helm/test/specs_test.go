package test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const teams = `
kafka: {brokers: ["kafka:9092"]}
sources:
  a_db: {kind: postgres, dsnSecret: {name: a}, tables: {public.orders: {}}}
  b_db: {kind: postgres, dsnSecret: {name: b}, tables: {public.items: {}}}
warehouse: {project: acme-data}
derived:
  specs:
    a.yaml: "name: analytics.a\nquery: a.sql\n"
    a.sql: "SELECT 1 AS n FROM core.orders"
    b.yaml: "name: analytics.b\nquery: SELECT 2 AS n FROM core.orders\n"
    team/c.yaml: "name: team.c\npod: {memory: 1Gi}\nquery: c.sql\n"
    team/c.sql: "SELECT 3 AS n FROM core.items"
`

// pods are the templates of the Deployments' pods: what restarts when it changes.
func pods(t *testing.T, r rendered) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range r.names("Deployment") {
		text, err := yaml.Marshal(as[*appsv1.Deployment](t, r, "Deployment", name).Spec.Template)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = text
	}
	return out
}

// What an upgrade restarts is what it changed, and nothing else.
func TestWhatAnUpgradeRestarts(t *testing.T) {
	const orders, items, consume = "shop-millrace-produce-a-db", "shop-millrace-produce-b-db", "shop-millrace-consume-default"
	const a, b, c = "shop-millrace-derive-analytics--a", "shop-millrace-derive-analytics--b", "shop-millrace-derive-team--c"
	before := pods(t, mustRender(t, teams, options{revision: 1}))
	all := slices.Sorted(maps.Keys(before))
	for _, test := range []struct {
		name, old, now string
		want           []string // restarted, made or removed
	}{
		{"another revision", "", "", nil},
		{"another spec", "SELECT 2 AS", "SELECT 22 AS", []string{b}},
		{"another SQL beside a spec", "SELECT 1 AS", "SELECT 11 AS", []string{a}},
		{"another SQL in a folder", "SELECT 3 AS", "SELECT 33 AS", []string{c}},
		{"another pod", "memory: 1Gi", "memory: 2Gi", []string{c}},
		{"a new spec", "  specs:\n", "  specs:\n    d.yaml: \"name: analytics.d\\nquery: SELECT 1 AS n FROM core.items\"\n", []string{"shop-millrace-derive-analytics--d"}},
		{"a spec that is gone", `    b.yaml: "name: analytics.b\nquery: SELECT 2 AS n FROM core.orders\n"` + "\n", "", []string{b}},
		{"SQL that nothing names", "  specs:\n", "  specs:\n    d.sql: SELECT 4\n", nil},
		{"another table of a source", "public.items: {}", "public.items: {event_time: at}", []string{consume, a, b, c, items}},
		{"another DSN's Secret", "dsnSecret: {name: a}", "dsnSecret: {name: a2}", []string{orders}},
		{"another group", "warehouse:", "consume: {groups: {big: {tables: [core.items]}}}\nwarehouse:", []string{consume, "shop-millrace-consume-big"}},
		{"other brokers", "kafka:9092", "kafka:9093", all},
		{"more ConfigMaps", "derived:\n", "derived:\n  configMaps: 2\n", all},
	} {
		if test.old != "" && strings.Count(teams, test.old) != 1 {
			t.Fatalf("%s: the text to change stands %d times", test.name, strings.Count(teams, test.old))
		}
		after := pods(t, mustRender(t, strings.Replace(teams, test.old, test.now, 1), options{revision: 2}))
		var changed []string
		for name := range maps.Keys(union(before, after)) {
			if !bytes.Equal(before[name], after[name]) {
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		slices.Sort(test.want)
		if !slices.Equal(changed, test.want) {
			t.Errorf("%s restarts %v, not %v", test.name, changed, test.want)
		}
	}
}

func union[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// The revision reaches the pods that start after an upgrade, by reference.
func TestRevision(t *testing.T) {
	for values, want := range map[string]string{teams: "7", strings.Replace(teams, "derived:\n", "derived:\n  revision: 1234567890123\n", 1): "1234567890123"} {
		r := mustRender(t, values, options{revision: 7})
		if got := as[*corev1.ConfigMap](t, r, "ConfigMap", "shop-millrace").Data["revision"]; got != want {
			t.Errorf("the revision is %s, not %s", got, want)
		}
		c := as[*appsv1.Deployment](t, r, "Deployment", "shop-millrace-derive-team--c").Spec.Template.Spec.Containers[0]
		if !slices.Contains(c.Args, "$(REVISION)") || !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
			return e.Name == "REVISION" && e.ValueFrom.ConfigMapKeyRef.Key == "revision" && e.ValueFrom.ConfigMapKeyRef.Name == "shop-millrace"
		}) {
			t.Errorf("the pod has the arguments %v and the environment %v", c.Args, c.Env)
		}
	}
}

// What a spec asks for its pod is what the pod gets, over the chart's defaults.
func TestPodOfASpec(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	asked := as[*appsv1.Deployment](t, r, "Deployment", "mill-derive-analytics--revenue-daily").Spec.Template.Spec
	left := as[*appsv1.Deployment](t, r, "Deployment", "mill-derive-crm--customers").Spec.Template.Spec
	for _, test := range []struct {
		pod                     corev1.PodSpec
		cpu, memory, atMost, in string
	}{
		{asked, "2", "4Gi", "4Gi", "derive"},
		{left, "50m", "128Mi", "256Mi", "small"},
	} {
		res := test.pod.Containers[0].Resources
		cpu, memory, atMost := res.Requests[corev1.ResourceCPU], res.Requests[corev1.ResourceMemory], res.Limits[corev1.ResourceMemory]
		if cpu.String() != test.cpu || memory.String() != test.memory || atMost.String() != test.atMost || test.pod.NodeSelector["pool"] != test.in || test.pod.NodeSelector["kubernetes.io/os"] != "linux" {
			t.Errorf("a pod has cpu %s, memory %s to %s, on %v; wanted %+v", cpu.String(), memory.String(), atMost.String(), test.pod.NodeSelector, test)
		}
	}
}

// writeSpecs writes the ConfigMaps of specs to a folder, as a pod sees them.
func writeSpecs(t *testing.T, r rendered) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range r.names("ConfigMap") {
		if !strings.Contains(name, "-specs-") {
			continue
		}
		for key, text := range as[*corev1.ConfigMap](t, r, "ConfigMap", name).Data {
			file := filepath.Join(dir, key)
			if _, err := os.Stat(file); err == nil {
				t.Errorf("%s is in two ConfigMaps", key)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
