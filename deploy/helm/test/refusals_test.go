package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
mode: parts
kafka: {brokers: ["kafka:9092"]}
sources:
  orders_db: {kind: postgres, dsnSecret: {name: a}, tables: {public.orders: {}}}
warehouse: {project: acme-data}
derived: {specs: {a.yaml: "name: analytics.a\nquery: SELECT 1 AS n"}}
`

// Values that would install what cannot work are refused, with what to write.
func TestRefusals(t *testing.T) {
	if _, err := render(good, options{}); err != nil {
		t.Fatal(err)
	}
	oneSource := `orders_db: {kind: postgres, dsnSecret: {name: a}, tables: {public.orders: {}}}`
	spec := `{a.yaml: "name: analytics.a\nquery: SELECT 1 AS n"}`
	large := fmt.Sprintf("{a.yaml: \"name: a.a\\nquery: b.sql\", b.sql: %q}", strings.Repeat("-- long\n", 130_000))
	for _, test := range []struct{ name, old, now, want string }{
		{"no source", "sources:\n  " + oneSource, "", "sources is empty: name at least one source"},
		{"no broker", `kafka: {brokers: ["kafka:9092"]}`, "", "kafka.brokers is empty: list host:port"},
		{"a login at no broker", `kafka: {brokers: ["kafka:9092"]}`, "kafka: {sasl: {mechanism: PLAIN, user: a, passwordSecret: {name: b}}}", "kafka.brokers is empty"},
		{"a login at the embedded broker", "mode: parts\nkafka: {brokers: [\"kafka:9092\"]}", "mode: single\nkafka: {tls: {enabled: true}}", "kafka has tls or sasl and no brokers"},
		{"a login without a password", `["kafka:9092"]}`, `["kafka:9092"], sasl: {mechanism: PLAIN, user: a}}`, "kafka.sasl needs user and passwordSecret"},
		{"a login without a mechanism", `["kafka:9092"]}`, `["kafka:9092"], sasl: {user: a, passwordSecret: {name: b}}}`, "kafka.sasl.mechanism is empty"},
		{"TLS that is off", `["kafka:9092"]}`, `["kafka:9092"], tls: {serverName: a}}`, "kafka.tls.enabled is false"},
		{"a certificate without a Secret", `["kafka:9092"]}`, `["kafka:9092"], tls: {enabled: true, caSecret: {key: a}}}`, "kafka.tls.caSecret names no Secret"},
		{"a login at the chart's registry", "mode: parts", "registry: {user: a, passwordSecret: {name: b}}", "registry has a login or an authority and no url"},
		{"a registry's login without a password", "mode: parts", "registry: {url: \"http://x\", user: a}", "registry.user and registry.passwordSecret: write both"},
		{"a login in a URL", "mode: parts", "registry: {url: \"http://a:b@x\"}", "registry.url holds a login"},
		{"no project", "warehouse: {project: acme-data}", "", "warehouse.project is empty: write the id"},
		{"duckdb in parts", "{project: acme-data}", "{kind: duckdb}", "pods cannot share it: set warehouse.kind=bigquery and warehouse.project, or set mode=single"},
		{"a project for duckdb", "mode: parts", "mode: single", "warehouse.project belongs to BigQuery"},
		{"no DSN", "dsnSecret: {name: a}, ", "", "sources.orders_db has no DSN: write dsnSecret"},
		{"two DSNs", "dsnSecret: {name: a}", "dsnSecret: {name: a}, dsn: x", "sources.orders_db has dsn and dsnSecret"},
		{"a DSN in settings", "dsnSecret: {name: a}", "dsnSecret: {name: a}, settings: {dsn: x}", "sources.orders_db.settings.dsn is not for settings"},
		{"tables for the default group", "mode: parts", "consume: {groups: {default: {tables: [core.a]}}}", "default has the tables that no other group takes"},
		{"a group without tables", "mode: parts", "consume: {groups: {big: {replicas: 2}}}", "consume.groups.big.tables is empty"},
		{"an empty group", "mode: parts", "consume: {groups: {big: {}}}", "consume.groups.big.tables is empty"},
		{"no default group", "mode: parts", "consume: {groups: {default: null, big: {tables: [core.a]}}}", "consume.groups has no default: nothing would load the tables"},
		{"too few at most", "mode: parts", "consume: {scaling: {kind: keda, minReplicas: 5}}", "scaling.minReplicas 5 is above maxReplicas 4"},
		{"no Prometheus", "mode: parts", "consume: {scaling: {kind: keda}}", "scaling.prometheus is empty"},
		{"a registry without a path", "mode: parts", "registry: {image: \"a/b:1\"}", "registry.path is empty"},
		{"a registry without a version", "mode: parts", "registry: {image: \"localhost:5000/a/b\", path: /api}", "registry.image has no version"},
		{"the latest registry", "mode: parts", "registry: {image: \"a/b:latest\", path: /api}", "registry.image has no version"},
		{"two registries", "mode: parts", "registry: {image: \"a/b:1\", path: /api, url: \"http://x\"}", "registry has url and image"},
		{"a load test without an image", "mode: parts", "loadtest: {enabled: true}", "loadtest.image is empty"},
		{"the latest load test", "mode: parts", "loadtest: {enabled: true, image: loadtest}", "loadtest.image has no version"},
		{"metrics behind a wall", "mode: parts", "podMonitor: {enabled: true}", "podMonitor is on and networkPolicy.metricsFrom is empty"},
		{"a spec without a name", "analytics.a", "", `a.yaml: name "" is not dataset.table`},
		{"a spec with half a name", "analytics.a", "orders", `a.yaml: name "orders" is not dataset.table`},
		{"a spec that is no YAML", spec, `{a.yaml: "name: {"}`, "a.yaml is not YAML"},
		{"no quantity of CPU", "SELECT 1 AS n", "q\\npod: {cpu: lots}", "a.yaml: pod.cpu is lots: write cores as 2"},
		{"memory without a unit", "SELECT 1 AS n", "q\\npod: {memory: 512}", "a.yaml: pod.memory is 512: write it as 512Mi"},
		{"a pod that is a word", "SELECT 1 AS n", "q\\npod: big", "a.yaml: pod is not a list of fields"},
		{"two specs of one table", spec, `{a.yaml: "name: x.y\nquery: z", b.yaml: "name: x.y\nquery: z"}`, "a.yaml and b.yaml both define x.y"},
		{"SQL that is not there", "SELECT 1 AS n", "sql/a.sql", "its query sql/a.sql is not among the files"},
		{"SQL in a flow", spec, `{t/a.yaml: "{name: x.y, query: a.sql}", t/a.sql: SELECT 1}`, "write query: a.sql on a line of its own"},
		{"two paths of one key", spec, `{t/a.yaml: "name: x.y\nquery: z", t__a.yaml: "name: x.z\nquery: z"}`, "t/a.yaml and t__a.yaml are one key"},
		{"specs beyond a ConfigMap", spec, large, "raise derived.configMaps"},

		// By values.schema.json.
		{"an unknown value", "mode: parts", "modus: parts", "additional properties 'modus' not allowed"},
		{"an unknown value of a source", "kind: postgres", "kind: postgres, user: me", "additional properties 'user' not allowed"},
		{"an unknown mode", "mode: parts", "mode: both", "value must be one of 'parts', 'single'"},
		{"a source's name", "orders_db", "Orders-DB", "does not match pattern"},
		{"a source without tables", "tables: {public.orders: {}}", "tables: {}", "minProperties"},
		{"a broker without a port", "kafka:9092", "kafka", "does not match pattern"},
		{"the latest image", "mode: parts", "image: {tag: latest}", "'not' failed"},
		{"no limit of memory", "mode: parts", "init: {resources: {limits: {memory: null}}}", "missing property 'memory'"},
		{"a file that is no spec", "a.yaml", "a.txt", "does not match pattern"},
		{"a file outside", "a.yaml", "../a.yaml", "does not match pattern"},
		{"a number as text", "mode: parts", `derived: {configMaps: "2"}`, "want integer"},
	} {
		if strings.Count(good, test.old) != 1 {
			t.Fatalf("%s: the text to change stands %d times", test.name, strings.Count(good, test.old))
		}
		text := strings.Replace(good, test.old, test.now, 1)
		if strings.HasPrefix(test.now, "derived:") {
			text = strings.Replace(text, "derived: {specs: "+spec+"}\n", "", 1)
		}
		_, err := render(text, options{})
		if err == nil {
			t.Errorf("%s is taken", test.name)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s is refused with\n%v\nwhich lacks %q", test.name, err, test.want)
		} else if strings.Contains(err.Error(), "templates/tests/") {
			t.Errorf("%s is refused as a fault of a test: %v", test.name, err)
		}
	}
}

// A file in the values that is in the chart's folder too would be one of two.
func TestSpecInBothPlaces(t *testing.T) {
	_, err := render(values(t, "minimal")+`derived: {specs: {item_catalog.yaml: "name: a.b\nquery: SELECT 1"}}`, options{chart: chartWith(t, shopSpecs)})
	if err == nil || !strings.Contains(err.Error(), "item_catalog.yaml is in the chart's folder specs/ too") {
		t.Errorf("it is refused with %v", err)
	}
}

// A file in the chart's folder must have a name that the key of a ConfigMap may be.
func TestNameOfAFileInTheFolder(t *testing.T) {
	dir := chartWith(t, shopSpecs)
	if err := os.WriteFile(filepath.Join(dir, "specs", "my spec.yaml"), []byte("name: a.b\nquery: SELECT 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := render(values(t, "minimal"), options{chart: dir})
	if err == nil || !strings.Contains(err.Error(), "my spec.yaml: a ConfigMap's key takes letters") {
		t.Errorf("it is refused with %v", err)
	}
}
