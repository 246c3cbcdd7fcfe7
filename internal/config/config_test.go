package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func env(name string) (string, bool) {
	v, ok := map[string]string{
		"ORDERS_DSN":     "postgres://me:$secret@db:5432/orders",
		"BROKER":         "kafka-1:9092",
		"KAFKA_PASSWORD": "pa$${word}\n", // of a Secret that was made of a file
		"EMPTY":          "",
	}[name]
	return v, ok
}

func TestGood(t *testing.T) {
	dir := filepath.Join("testdata", "good")
	for name, want := range map[string]*config.Config{
		"minimal.yaml": {
			Prefix:    "millrace",
			Data:      filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{Kind: config.KindDuckDB, Path: filepath.Join(dir, "data", "warehouse.duckdb"), LoadEvery: 100 * time.Millisecond},
			HTTP:      "127.0.0.1:8080",
			Sources: map[string]config.Source{"orders_db": {
				Kind: config.KindPostgres, DSN: "postgres://me@localhost/orders",
				Tables: map[string]config.Table{"public.orders": {Core: "core.orders"}},
			}},
		},
		"documents.yaml": {
			Prefix:    "millrace",
			Data:      filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{Kind: config.KindDuckDB, Path: filepath.Join(dir, "data", "warehouse.duckdb"), LoadEvery: 100 * time.Millisecond},
			HTTP:      "127.0.0.1:8080",
			Sources: map[string]config.Source{"shop": {
				Kind: config.KindMongoDB, DSN: "mongodb://u:p@h1:27017,h2:27017/?replicaSet=rs0",
				Tables: map[string]config.Table{
					"shop.orders": {Core: "core.orders", EventTime: []string{"paid_at"}, Columns: []config.Column{
						{Name: "amount", Path: "total.amount", Type: schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}},
						{Name: "paid_at", Type: schemas.Type{Kind: schemas.Timestamp}},
					}},
					"shop.items": {Core: "core.items", Promote: true},
				},
			}},
		},
		"embedded.yaml": {
			Prefix:    "p",
			Data:      filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{Kind: config.KindDuckDB, Path: filepath.Join(dir, "data", "warehouse.duckdb"), LoadEvery: 100 * time.Millisecond},
			HTTP:      "127.0.0.1:8080",
			Sources: map[string]config.Source{"a": {
				Kind: config.KindMySQL, DSN: "mysql://root@db/${x}",
				Tables: map[string]config.Table{"shop.t": {Core: "core.t"}},
			}},
		},
		"bigquery.yaml": {
			Prefix: "millrace",
			Data:   filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{Kind: config.KindBigQuery, Path: filepath.Join(dir, "data", "warehouse.duckdb"), BigQuery: config.BigQuery{
				Project: "acme-data", Location: "EU", MaxBytesBilled: 2e12, JobsURL: "http://localhost:9050", WritesAddr: "localhost:9060",
			}, LoadEvery: 30 * time.Second, Freshness: 5 * time.Minute},
			HTTP: "127.0.0.1:8080",
			Sources: map[string]config.Source{"a": {
				Kind: config.KindPostgres, DSN: "postgres://x@y/z",
				Tables: map[string]config.Table{"public.t": {Core: "core.t"}, "public.u": {Core: "core.u", History: "core.u_history", Upsert: true}, "public.v": {Core: "core.v"}},
			}},
		},
		"bigquery_defaults.yaml": {
			Prefix: "millrace",
			Data:   filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{
				Kind: config.KindBigQuery, Path: filepath.Join(dir, "data", "warehouse.duckdb"), BigQuery: config.BigQuery{Project: "acme-data", Location: "EU"},
				LoadEvery: time.Minute, Freshness: time.Minute,
			},
			HTTP: "127.0.0.1:8080",
			Sources: map[string]config.Source{"a": {
				Kind: config.KindPostgres, DSN: "postgres://x@y/z",
				Tables: map[string]config.Table{"public.t": {Core: "core.t"}},
			}},
		},
		"paces.yaml": {
			Prefix: "millrace",
			Data:   filepath.Join(dir, "data"),
			Warehouse: config.Warehouse{
				Kind: config.KindBigQuery, Path: filepath.Join(dir, "data", "warehouse.duckdb"), BigQuery: config.BigQuery{Project: "acme-data", Location: "EU"},
				LoadEvery: 250 * time.Millisecond,
			},
			HTTP: "127.0.0.1:8080",
			Sources: map[string]config.Source{"a": {
				Kind: config.KindPostgres, DSN: "postgres://x@y/z",
				Tables: map[string]config.Table{"public.t": {Core: "core.t"}},
			}},
		},
		"full.yaml": {
			Prefix:  "shop",
			Data:    "/var/lib/millrace",
			Derived: filepath.Join(dir, "specs"),
			Kafka: config.Kafka{
				Brokers: []string{"kafka-1:9092", "kafka-2:9092"}, TLS: &config.TLS{CA: filepath.Join(dir, "secrets", "ca.pem"), ServerName: "kafka.internal"},
				SASL: &config.SASL{Mechanism: config.MechanismScram512, User: "millrace", Password: "pa$${word}"}, // as it is in the variable
			},
			Registry:  config.Registry{URL: "https://registry:8081", User: "millrace", Password: "$x", CA: filepath.Join(dir, "secrets", "ca.pem")},
			Warehouse: config.Warehouse{Kind: config.KindDuckDB, Path: filepath.Join(dir, "wh", "main.duckdb"), LoadEvery: 5 * time.Second},
			HTTP:      "0.0.0.0:9090",
			Sources: map[string]config.Source{
				"orders_db": {
					Kind: config.KindPostgres, DSN: "postgres://me:$secret@db:5432/orders",
					Tables: map[string]config.Table{
						"public.orders":  {Core: "core.orders", EventTime: []string{"created_at"}},
						"public.items":   {Core: "core.items"},
						"archive.orders": {Core: "core.archived_orders", Key: []string{"region", "number"}, Text: []string{"valid_to"}},
					},
				},
				"payments_db": {
					// A secret's file is taken as it is, without variables.
					Kind: config.KindMariaDB, DSN: "mysql://me:pa$$word$X@db:3306/shop",
					ServerID: 4711,
					Tables: map[string]config.Table{
						"shop.log": {Core: "core.log", AppendOnly: true, ZeroDates: "null", IgnoreCascades: true},
						"shop.payments": {
							Core: "core.payments", History: "core.payments_history",
							EventTime: []string{"paid_at", "booked_on"},
						},
					},
				},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Load(filepath.Join(dir, name), env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBad(t *testing.T) {
	t.Chdir(filepath.Join("testdata", "bad"))
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files, error %v", err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			_, err := config.Load(file, env)
			var faults invalid.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("%T is no list of faults: %v", err, err)
			}
			for _, f := range faults {
				if f.Cure == "" {
					t.Errorf("no cure: %s", f)
				}
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("a password is shown:\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is found wrong later has the line of what stands in the file.
func TestFaultHasItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := "sources:\n  a:\n    kind: postgres\n    dsn: postgres://h/d\n    tables:\n      public.t:\n        event_time: at\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, env)
	if err != nil {
		t.Fatal(err)
	}
	for field, line := range map[string]int{
		"sources.a.dsn": 4, "sources.a.tables.public.t.event_time": 7, "sources.a.tables.public.t.key": 6, "sources.a.server_id": 2, "derived": 0,
	} {
		if got := c.Fault(field, "p", "c"); got != (invalid.Fault{File: path, Line: line, Field: field, Problem: "p", Cure: "c"}) {
			t.Errorf("%s: %+v, want line %d", field, got, line)
		}
	}
}

func TestDataFolderNeedsNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	unset := func(string) (string, bool) { return "", false }
	for text, want := range map[string]string{
		"sources: {a: {dsn: \"${SECRET}\"}}":                  "data",
		"data: elsewhere\nsources: {a: {dsn: \"${SECRET}\"}}": "elsewhere",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.DataFolder(path, unset)
		if err != nil || got != filepath.Join(filepath.Dir(path), want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("data: ${NONE}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.DataFolder(path, unset); err == nil || !strings.Contains(err.Error(), "NONE") {
		t.Errorf("got %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), env)
	var faults invalid.Faults
	if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(err.Error(), "none.yaml: cannot be read") {
		t.Errorf("got %v", err)
	}
}

// Whatever the bytes, the answer is a configuration or a list of faults.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	path := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, env)
		var faults invalid.Faults
		if err == nil && (c == nil || len(c.Sources) == 0) || err != nil && !errors.As(err, &faults) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

// A process reads its file once; what becomes of it is only told.
func TestStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mill.yaml")
	text, err := os.ReadFile(filepath.Join("testdata", "good", "minimal.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(string(text))
	c, err := config.Load(path, env)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(want string) {
		t.Helper()
		if got := c.Stale(); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	stale("")
	write(string(text) + "\nhttp: 127.0.0.1:1\n")
	stale("mill.yaml has changed: restart millrace to use it")
	write(string(text))
	stale("")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	stale("mill.yaml is gone")
	if made := new(config.Config).Stale(); made != "" {
		t.Errorf("a configuration without a file: %q", made)
	}
}
