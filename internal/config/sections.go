package config

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// plainName is what topics, slots and publications are named after; it is the
// least of what Kafka and PostgreSQL take without quotes.
var plainName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (r *reader) name(v value, name string) string {
	if name != "" && !plainName.MatchString(name) {
		r.fault(v, fmt.Sprintf("%q cannot name a slot", name), "write lower-case letters, digits and _, a letter first")
	}
	return name
}

// reserved are the schemas in the warehouse. DuckDB finds a schema that is
// called like the file ambiguous.
var reserved = []string{"core", "core__base", "millrace"}

func (r *reader) warehouse(v value, w *Warehouse, k Kafka) {
	f := r.fields(v, "kind", "path", "project", "location", "max_bytes_billed", "endpoints", "load_every", "freshness")
	if kind, ok := f["kind"]; ok {
		w.Kind = r.choice(kind, KindDuckDB, KindBigQuery)
	}
	w.setDefaults(k)
	if every, ok := f["load_every"]; ok {
		if w.LoadEvery = r.duration(every); w.LoadEvery > longestLoadEvery {
			r.fault(every, "is longer than an hour", "write at most 1h: what is gathered is held in memory")
		}
	}
	if fresh, ok := f["freshness"]; ok && fresh.node.Value != "0" {
		w.Freshness = r.duration(fresh)
	} else if ok {
		w.Freshness = 0
	}
	if w.Kind == KindBigQuery {
		r.bigQuery(v, f, &w.BigQuery)
		return
	}
	for _, name := range []string{"project", "location", "max_bytes_billed", "endpoints"} {
		if other, ok := f[name]; ok {
			r.fault(other, "belongs to BigQuery", "write kind: bigquery, or leave it out")
		}
	}
	path, ok := f["path"]
	if !ok {
		return
	}
	text := r.text(path)
	if text == "" {
		return
	}
	w.Path = r.resolve(text)
	base := filepath.Base(text)
	if stem := strings.TrimSuffix(base, filepath.Ext(base)); slices.Contains(reserved, strings.ToLower(stem)) {
		r.fault(path, fmt.Sprintf("is called like the schema %s inside it", stem), "choose another name, such as warehouse.duckdb")
	}
}

func (r *reader) bigQuery(v value, f map[string]value, b *BigQuery) {
	if path, ok := f["path"]; ok {
		r.fault(path, "belongs to DuckDB", "leave it out: BigQuery's tables are in the project")
	}
	for _, needed := range []struct {
		name, cure string
		into       *string
	}{
		{"project", "write the project's id, such as acme-data", &b.Project},
		{"location", "write where the datasets are or are to be, such as EU or europe-west1", &b.Location},
	} {
		if field, ok := f[needed.name]; ok {
			*needed.into = r.text(field)
		} else {
			r.fault(v.child(needed.name, v.line), "is absent", needed.cure)
		}
	}
	if field, ok := f["max_bytes_billed"]; ok {
		b.MaxBytesBilled = r.bytes(field)
	}
	if field, ok := f["endpoints"]; ok {
		e := r.fields(field, "jobs", "writes")
		for name, into := range map[string]*string{"jobs": &b.JobsURL, "writes": &b.WritesAddr} {
			if at, ok := e[name]; ok {
				*into = r.text(at)
			} else if isMapping(field) {
				r.fault(field.child(name, field.line), "is absent", "write both, or leave endpoints out for Google's")
			}
		}
		if at, ok := e["writes"]; ok {
			r.address(at, b.WritesAddr)
		}
	}
}

var byteSize = regexp.MustCompile(`^(\d{1,9})\s*(MB|GB|TB)$`)

// bytes is a size such as 500GB.
func (r *reader) bytes(v value) int64 {
	m := byteSize.FindStringSubmatch(r.text(v))
	if m == nil {
		r.fault(v, "is not a size", "write it as 500GB or 2TB")
		return 0
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // nine digits
	return n * map[string]int64{"MB": 1e6, "GB": 1e9, "TB": 1e12}[m[2]]
}

// longestLoadEvery is far below what a topic keeps.
const longestLoadEvery = time.Hour

var durations = regexp.MustCompile(`^(\d{1,6})(ms|s|m|h)$`)

// duration is a time such as 30s, and not zero.
func (r *reader) duration(v value) time.Duration {
	before := len(r.faults)
	m := durations.FindStringSubmatch(r.expand(v, v.node.Value))
	if len(r.faults) > before {
		return 0
	}
	if v.node.Kind != yaml.ScalarNode || m == nil || strings.Trim(m[1], "0") == "" {
		r.fault(v, "is not a time", "write it as 500ms, 30s, 5m or 1h")
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // six digits
	return time.Duration(n) * map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour}[m[2]]
}

// address checks host:port.
func (r *reader) address(v value, text string) string {
	if text == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.Contains(text, "@") {
		problem := "is not host:port"
		if !strings.Contains(text, "@") { // else it may hold a password
			problem = fmt.Sprintf("%q %s", text, problem)
		}
		r.fault(v, problem, "write a host and a port, such as 127.0.0.1:8080")
	}
	return text
}
