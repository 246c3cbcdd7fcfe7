package deploytest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const root = "../.."

// metric is what can be asked for: its type, and its labels beside those that
// Prometheus adds.
type metric struct {
	kind   string // counter, gauge, histogram
	labels []string
}

// target are the labels that Prometheus gives to all that it scrapes; on
// Kubernetes there are more, which no dashboard may rely on.
var target = []string{"job", "instance"}

var listed = regexp.MustCompile("(?m)^\\| `(millrace_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([a-z_, ]*) \\|")

// metrics are those of docs/monitoring.md, which a test of internal/up compares
// with what the code registers; those of every Go process; and Prometheus' own.
func metrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]metric{
		"up":     {kind: "gauge"},
		"ALERTS": {kind: "gauge", labels: []string{"alertname", "alertstate", "severity"}},
	}
	for _, m := range listed.FindAllStringSubmatch(string(text), -1) {
		out[m[1]] = metric{m[2], strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if len(out) < 50 {
		t.Fatalf("docs/monitoring.md lists only %d metrics", len(out)-2)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		out[f.GetName()] = metric{kind: strings.ToLower(f.GetType().String())}
	}
	return out
}
