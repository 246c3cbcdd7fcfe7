package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What the command line says of itself is part of the product.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	root := newRoot(&out, &out)
	names := []string{""}
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	for _, name := range names {
		args := []string{"--help"}
		if name != "" {
			args = []string{name, "--help"}
		}
		out.WriteString("$ millrace " + name + " --help\n")
		if code := run(t.Context(), args, &out, &out); code != 0 {
			t.Errorf("millrace %s --help ends with %d", name, code)
		}
		out.WriteString("\n")
	}
	golden := filepath.Join("testdata", "help.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("rewrite it with -update if this is meant:\n%s", diff)
	}
}

// Where nothing can run, the exit code is not 0, and one line says what to do.
func TestBadInput(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("millrace.yaml", []byte("sources:\n  one: {kind: oracle, dsn: x, tables: {}}\nhtpp: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("good.yaml", []byte("data: ./data\nsources:\n  one: {kind: postgres, dsn: 'postgres://h/d', tables: {public.a: {}}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"up"}, `millrace.yaml:3: htpp: is unknown; did you mean http?`},
		{[]string{"up", "--config", "nowhere.yaml"}, "nowhere.yaml"},
		{[]string{"verify"}, "millrace verify takes one table, such as core.orders: 0 given"},
		{[]string{"sql", "SELECT", "1"}, "millrace sql takes one query, in quotes: 2 given"},
		{[]string{"check"}, `millrace.yaml:3: htpp: is unknown`},
		{[]string{"status", "--config", "good.yaml"}, "start millrace up"},
		{[]string{"sql", "SELECT 1", "--config", "good.yaml"}, "start millrace up"},
		{[]string{"produce", "--config", "good.yaml"}, "kafka: {brokers: [host:port]}"},
		{[]string{"init", "--config", "good.yaml"}, "kafka: {brokers: [host:port]}"},
		{[]string{"produce", "two", "--config", "good.yaml"}, "kafka: {brokers: [host:port]}"},
		{[]string{"bogus"}, `unknown command "bogus"`},
		{[]string{"up", "--config", "good.yaml", "--log", "loud"}, "write debug, info, warn or error"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), c.args, &out, &errs)
		if code == 0 || !bytes.Contains(errs.Bytes(), []byte(c.want)) {
			t.Errorf("%v ends with %d and says %q, want %q", c.args, code, errs.String(), c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	var said []string
	for _, word := range []string{"version", "--version"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{word}, &out, &errs); code != 0 {
			t.Errorf("%s ends with %d: %s", word, code, errs.String())
		}
		said = append(said, out.String())
	}
	if said[0] != said[1] || !strings.HasPrefix(said[0], "millrace dev go") {
		t.Errorf("version says %q, --version %q", said[0], said[1])
	}
}

// The examples are without fault, with their configuration and without.
func TestExamples(t *testing.T) {
	t.Setenv("CATALOG_DSN", "postgres://me@127.0.0.1:1/shop")
	t.Setenv("ORDERS_DSN", "mongodb://127.0.0.1:1/?replicaSet=rs0")
	t.Setenv("PAYMENTS_DSN", "mysql://me@127.0.0.1:1/shop")
	t.Setenv("REFUNDS_DSN", "mysql://me@127.0.0.1:1/shop")
	for _, args := range [][]string{
		{"check", "--derived", "../../examples/shop/derived"},
		{"check", "--config", "../../examples/shop/millrace.yaml"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 0 || !bytes.Contains(out.Bytes(), []byte("8 specs")) {
			t.Errorf("%v ends with %d: %s%s", args, code, out.String(), errs.String())
		}
	}
}
