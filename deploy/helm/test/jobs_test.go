package test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"
)

// jobs are the specs of the Jobs by name: what Kubernetes refuses to change.
func jobs(t *testing.T, r rendered) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range r.names("Job") {
		text, err := yaml.Marshal(as[*batchv1.Job](t, r, "Job", name).Spec)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = text
	}
	return out
}

// An upgrade that changes a Job is refused as a whole. So whatever changes one gives
// it another name, and what does not leaves it alone: it has run.
func TestJobsAreReplacedNotChanged(t *testing.T) {
	const base = teams + "loadtest: {enabled: true, image: \"a/loadtest:1\"}\n"
	before := jobs(t, mustRender(t, base, options{revision: 1}))
	if len(before) != 2 {
		t.Fatalf("the Jobs are %v", slices.Sorted(maps.Keys(before)))
	}
	const none, initJob, load = "", "init", "loadtest"
	const both = initJob + " " + load
	for _, test := range []struct{ old, now, replaced string }{
		{"", "", none},
		{"", "consume: {replicas: 3}\n", none},
		{"", "produce: {nodeSelector: {a: b}}\n", none},
		{"SELECT 2 AS", "SELECT 22 AS", none},
		{"name: analytics.b", "name: other.b", initJob},
		{"", "init: {resources: {limits: {memory: 1Gi}}}\n", initJob},
		{"", "serviceAccounts: {init: {create: false, name: x}}\n", initJob},
		{"", "image: {tag: \"2\"}\n", initJob},
		{"image: \"a/loadtest:1\"", "image: \"a/loadtest:2\"", load},
		{"dsnSecret: {name: a}", "dsnSecret: {name: a2}", load},
		{"{project: acme-data}", "{project: acme-data, credentialsSecret: {name: g}}", both},
		{"kafka:9092", "kafka:9093", both},
		{"derived:\n", "derived:\n  configMaps: 2\n", both},
		{"", "terminationGracePeriodSeconds: 90\n", both},
		{"", "image: {pullPolicy: Always}\n", both},
		{"", "image: {pullSecrets: [a]}\n", both},
		{"", "pod: {labels: {a: b}}\n", both},
		{"", "pod: {annotations: {a: b}}\n", both},
		{"", "pod: {env: [{name: A, value: b}]}\n", both},
		{"", "pod: {tolerations: [{key: a}]}\n", both},
		{"", "pod: {priorityClassName: high}\n", both},
	} {
		text := base + test.now
		if test.old != "" {
			text = strings.Replace(base, test.old, test.now, 1)
		}
		after := jobs(t, mustRender(t, text, options{revision: 2}))
		for name := range before {
			now, stays := after[name]
			if stays && !bytes.Equal(now, before[name]) {
				t.Errorf("%q changes the Job %s, which Kubernetes refuses", test.now, name)
			}
			of := initJob
			if strings.Contains(name, load) {
				of = load
			}
			if stays == strings.Contains(test.replaced, of) {
				t.Errorf("%q: the Job %s stays: %v", test.now, name, stays)
			}
		}
	}
}
