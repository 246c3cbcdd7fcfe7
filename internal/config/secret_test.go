package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/config"
)

// Whatever is wrong with a file, no fault shows any of the passwords in it, not even
// those that YAML or a URL takes for something else.
func TestNoFaultShowsAPassword(t *testing.T) {
	const (
		source = "sources: {a: {kind: postgres, dsn: 'postgres://u@h/d', tables: {public.t: {}}}}\n"
		kafka  = "kafka: {brokers: ['h:1'], sasl: {mechanism: PLAIN, user: me, password: %}}\n" + source
		block  = "kafka:\n  brokers: ['h:1']\n  sasl:\n    mechanism: PLAIN\n    user: me\n    password: %\n" + source
		named  = "registry: {url: %}\n" + source
	)
	dsn := func(kind, dsn string) string {
		return "sources:\n  a:\n    kind: " + kind + "\n    dsn: " + dsn + "\n    tables: {d.t: {}}\n"
	}
	with := func(text, password string) string { return strings.ReplaceAll(text, "%", password) }
	for name, text := range map[string]string{
		"a comma in braces":        with(kafka, "pa,hunter2"),
		"two commas in braces":     with(kafka, "pa,hunter2,hunter2"),
		"a brace in braces":        with(kafka, "pa}hunter2"),
		"a bracket in braces":      with(kafka, "[hunter2"),
		"an anchor":                with(block, "*hunter2"),
		"an anchor in braces":      with(kafka, "*hunter2"),
		"a name for an anchor":     with(block, "&hunter2"),
		"a tag":                    with(block, "!hunter2"),
		"a tag with a handle":      with(block, "!x!hunter2 y"),
		"a directive":              with(block, "%hunter2"),
		"a block":                  with(block, "|hunter2"),
		"a folded block":           with(block, ">hunter2"),
		"a mapping":                with(block, "hunter2: x"),
		"a key":                    with(block, "? hunter2"),
		"a list":                   with(block, "- hunter2"),
		"an at sign":               with(block, "@hunter2"),
		"an unended quote":         with(block, "'hunter2"),
		"an escape":                with(block, `"\hunter2"`),
		"a rest behind a quote":    with(block, "'a'hunter2"),
		"a variable":               with(block, "${hunter2"),
		"no variable":              with(block, "${hunter2!}"),
		"a number":                 with(block, "0x12"),
		"a login in a URL":         with(named, "'http://me:hunter2@h:1'"),
		"a login in a second URL":  with(named, "'http://g,http://me:hunter2@h'"),
		"a port in a URL":          with(named, "'http://h:hunter2'"),
		"a slash in a DSN":         dsn("postgres", "postgres://u:12/hunter2@h:5432/d"),
		"a number sign in a DSN":   dsn("postgres", "'postgres://u:12#hunter2@h:5432/d'"),
		"a question mark in a DSN": dsn("postgres", "'postgres://u:12?hunter2@h:5432/d'"),
		"a slash in MariaDB's":     dsn("mariadb", "mysql://u:12/hunter2@h:3306/d"),
		"a slash in MongoDB's":     dsn("mongodb", "mongodb://u:12/hunter2@h:27017/d"),
		"a percent sign in a DSN":  dsn("postgres", "postgres://u:%zhunter2@h/d"),
		"a comma in a DSN":         "sources: {a: {kind: postgres, dsn: postgres://u:p,hunter2@h/d, tables: {d.t: {}}}}\n",
		"a DSN without a scheme":   dsn("postgres", "u:hunter2@h/d"),
		"a DSN of another kind":    dsn("postgres", "mysql://u:hunter2@h/d"),
		"a DSN as a broker":        "kafka: {brokers: ['SASL_SSL://me:hunter2@h']}\n" + source,
		"a DSN as an endpoint":     "warehouse: {kind: bigquery, project: p, location: EU, endpoints: {jobs: 'http://h', writes: 'me:hunter2@h'}}\n" + source,
		"a password among brokers": "kafka: {brokers: ['h:1'], password: hunter2}\n" + source,
	} {
		path := filepath.Join(t.TempDir(), "millrace.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path, func(string) (string, bool) { return "", false })
		if err == nil {
			t.Errorf("%s: there is no fault in\n%s", name, text)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
