package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/internal/config"
)

// A process needs the DSNs of the sources that it opens, and of no others; and
// every table is in one group, its history with it.
func TestSecretsAndGroupsOfPartsApart(t *testing.T) {
	file := filepath.Join("testdata", "good", "groups.yaml")
	c, err := config.LoadFor(file, env, func(source string) bool { return source == "c" })
	if err != nil {
		t.Fatal(err)
	}
	if c.Sources["a"].DSN != "" || c.Sources["b"].DSN != "" || c.Sources["c"].DSN != "mysql://me@db/shop" {
		t.Errorf("the DSNs are %q, %q and %q", c.Sources["a"].DSN, c.Sources["b"].DSN, c.Sources["c"].DSN)
	}
	if got := c.GroupNames(); !slices.Equal(got, []string{"default", "big", "small"}) {
		t.Errorf("the groups are %v", got)
	}
	for table, want := range map[string]string{"a public.orders": "small", "a public.events_a": "big", "a public.events_b": "big", "a public.notes": "default", "b shop.payments": "big", "c shop.items": "default"} {
		source, id, _ := strings.Cut(table, " ")
		if got := c.GroupOf(c.Sources[source].Tables[id]); got != want {
			t.Errorf("%s is in %s, not %s", id, got, want)
		}
	}
	blank := func(string) (string, bool) { return " \n", true }
	if _, err := config.LoadFor(file, blank, func(source string) bool { return source == "a" }); err == nil || !strings.Contains(err.Error(), "sources.a.dsn: is blank; write postgres://") {
		t.Errorf("a blank DSN is told as %v", err)
	}
	newline := func(string) (string, bool) { return "postgres://me@db/shop\n", true }
	if c, err := config.LoadFor(file, newline, func(source string) bool { return source == "a" }); err != nil || c.Sources["a"].DSN != "postgres://me@db/shop" {
		t.Errorf("a DSN that ends in a newline gives %v", err)
	}
	_, err = config.Load(file, env)
	if err == nil || !strings.Contains(err.Error(), "sources.a.dsn: needs the environment variable NOT_SET_HERE") || !strings.Contains(err.Error(), "sources.b.dsn_file: cannot be read") {
		t.Errorf("a process that opens all sources is told %v", err)
	}
	// What is wrong with the configuration itself is a fault for all.
	if _, err := config.LoadFor(filepath.Join("testdata", "bad", "sources.yaml"), env, func(string) bool { return false }); err == nil || !strings.Contains(err.Error(), "dsn: is absent") {
		t.Errorf("an absent dsn is told as %v", err)
	}
}
