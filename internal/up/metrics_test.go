package up

import (
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers"
	"millrace/consumers/batch"
	"millrace/deriver"
	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/producers"
	"millrace/producers/postgres"
	"millrace/schemas/registry"
)

var update = flag.Bool("update", false, "rewrite the list of metrics in docs/monitoring.md")

// ledger registers metrics, and remembers what they are called: a metric with
// labels is gathered only once it has a value.
type ledger struct {
	*prometheus.Registry
	metrics map[string]listed
	types   map[string]string
}

// listed is a line of docs/monitoring.md.
type listed struct{ kind, labels, help string }

func (m listed) line(name string) string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, m.kind, m.labels, m.help)
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

func (l *ledger) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 100)
	c.Describe(descs)
	close(descs)
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			return fmt.Errorf("%s: written differently than it was", d)
		}
		var labels []string
		for label := range strings.SplitSeq(m[3], ",") {
			if name, _, ok := strings.Cut(label, "="); ok {
				labels = append(labels, name)
			}
		}
		if m[4] != "" {
			labels = append(labels, strings.Split(m[4], ",")...)
		}
		slices.Sort(labels)
		l.metrics[m[1]] = listed{labels: strings.Join(labels, ", "), help: m[2]}
		l.types[m[1]] = typeOf(c)
	}
	return l.Registry.Register(c)
}

// typeOf is the type of a collector's metrics, if the collector has but one; it
// may stand behind labels of the installation.
func typeOf(c prometheus.Collector) string {
	v := reflect.ValueOf(c)
	for v.Type().String() == "*prometheus.wrappingCollector" {
		v = v.Elem().FieldByName("wrappedCollector").Elem()
	}
	for _, kind := range []string{"Counter", "Gauge", "Histogram"} {
		if v.Type().String() == "*prometheus."+kind+"Vec" {
			return strings.ToLower(kind)
		}
	}
	if strings.HasSuffix(v.Type().String(), ".collector") { // of a status, which goes up and down
		return "gauge"
	}
	return ""
}

func (l *ledger) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := l.Register(c); err != nil {
			panic(err)
		}
	}
}

// list is every metric with its type: that of its value, or of its collector.
func (l *ledger) list(t *testing.T) map[string]listed {
	t.Helper()
	families, err := l.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		l.types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	for name, m := range l.metrics {
		if m.kind = l.types[name]; m.kind == "" {
			t.Errorf("of what type %s is cannot be told", name)
		}
		l.metrics[name] = m
	}
	return l.metrics
}

// registered makes what each package registers, in one registry.
func registered(t *testing.T) map[string]listed {
	t.Helper()
	l := &ledger{Registry: prometheus.NewRegistry(), metrics: map[string]listed{}, types: map[string]string{}}
	cluster := kafka.Cluster{Brokers: []string{"127.0.0.1:1"}}
	schemas, err := registry.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := producers.New(producers.Options{
		Prefix: "p", Source: "s", Connector: "postgres", Config: new(postgres.Config), Kafka: cluster, Registry: schemas, Metrics: l,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := consumers.New(consumers.Options{Cluster: cluster, Limits: batch.Limits{Rows: 1, Bytes: 1, Age: 1}, Memory: 1, Metrics: l}); err != nil {
		t.Fatal(err)
	}
	if _, err := deriver.NewMetrics(l); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(cluster.ClientOpts("c", nil, l)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	l.MustRegister(newLeftOut(func() float64 { return 0 }), newBuild("v"))

	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() })
	for _, c := range []config.Config{
		{Data: t.TempDir(), Warehouse: config.Warehouse{Kind: config.KindDuckDB}},
		{Warehouse: config.Warehouse{Kind: config.KindBigQuery, BigQuery: config.BigQuery{
			Project: fake.Project(), Location: "EU", JobsURL: fake.URL(), WritesAddr: fake.GRPCAddr(),
		}}},
	} {
		w, err := openWarehouse(t.Context(), &c, slog.New(slog.DiscardHandler), l)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return l.list(t)
}

const monitoring = "../../docs/monitoring.md"

var metricLines = regexp.MustCompile("(?m)(^\\| `[a-z0-9_]+` \\|.*\\|\n)+")

// The list of metrics in docs/monitoring.md is what the code registers.
// Dashboards and alerts are compared with that list, in deploy/test.
func TestMetricsAreDocumented(t *testing.T) {
	metrics := registered(t)
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if !strings.HasPrefix(name, "millrace_") {
			t.Errorf("%s is not ours by its name", name)
		}
		want.WriteString(metrics[name].line(name))
	}
	text, err := os.ReadFile(monitoring)
	if err != nil {
		t.Fatal(err)
	}
	got := string(metricLines.Find(text))
	if got == want.String() {
		return
	}
	if *update && got != "" {
		if err := os.WriteFile(monitoring, []byte(strings.Replace(string(text), got, want.String(), 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for line := range strings.SplitSeq(want.String(), "\n") {
		if !strings.Contains(got, line) {
			t.Errorf("is registered, and not in docs/monitoring.md (go test ./internal/up -run %s -update writes it): %s", t.Name(), line)
		}
	}
	for line := range strings.SplitSeq(got, "\n") {
		if !strings.Contains(want.String(), line) {
			t.Errorf("is in docs/monitoring.md, and not registered: %s", line)
		}
	}
}

// Whoever makes metrics is among those that registered asks.
func TestWhereMetricsAreMade(t *testing.T) {
	asked := []string{"consumers", "deriver", "internal/kafka", "internal/up", "internal/warehouse/bigquery", "internal/warehouse/duckdb", "producers"}
	made := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if regexp.MustCompile(`prometheus\.(Must)?New(Counter|Gauge|Histogram|Summary|Untyped|Desc)|promauto\.|kprom\.New`).Match(text) {
			rel, err := filepath.Rel(root, filepath.Dir(path))
			made[filepath.ToSlash(rel)] = true
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(made)); !slices.Equal(got, asked) {
		t.Errorf("metrics are made in %v; this test knows of %v: add what is new to registered", got, asked)
	}
}
