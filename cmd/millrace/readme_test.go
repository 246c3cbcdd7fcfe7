package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// yamlBlocks are the YAML examples of the README, in order.
func yamlBlocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// A person who has read only the README points millrace at their own database
// and sees a derived table of their own.
func TestReadme(t *testing.T) {
	dsn := testkit.PostgresDatabase(t)
	db := testkit.Open(t, dsn)
	s := &shop{db: db, name: "public.orders"}
	s.exec(t,
		"CREATE TABLE public.orders (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, created_at timestamptz NOT NULL)",
		"CREATE TABLE public.items (id bigint PRIMARY KEY, name text)",
		"INSERT INTO public.orders VALUES (1, 10.50, '2026-03-01T10:00:00Z'), (2, 4.25, '2026-03-01T23:59:59Z'), (3, 1, '2026-03-03T00:00:00Z')")
	blocks := yamlBlocks(t)
	if len(blocks) != 2 {
		t.Fatalf("the README has %d YAML examples, want the configuration and a derived table", len(blocks))
	}
	config := strings.NewReplacer("${ORDERS_DSN}", dsn).Replace(blocks[0]) + "http: 127.0.0.1:0\n"
	i := newInstall(t, config, map[string]string{"derived/revenue_daily.yaml": blocks[1]})
	if out, err := i.command("check", "--config", "millrace.yaml").CombinedOutput(); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	i.start()
	const query = "SELECT * FROM analytics.revenue_daily ORDER BY day"
	equal := func(want ...string) {
		t.Helper()
		var got []string
		var err error
		i.await("the derived table", func() bool {
			got, err = i.rows(query)
			return err == nil && slices.Equal(got, want)
		})
	}
	equal("2026-03-01|2|14.75", "2026-03-03|1|1.00")
	s.exec(t, "INSERT INTO public.orders VALUES (4, 2, '2026-03-02T12:00:00Z')", "UPDATE public.orders SET amount = 20 WHERE id = 1")
	equal("2026-03-01|2|24.25", "2026-03-02|1|2.00", "2026-03-03|1|1.00")
	s.exec(t, "DELETE FROM public.orders WHERE id = 3")
	equal("2026-03-01|2|24.25", "2026-03-02|1|2.00")
	out, err := i.command("show", "analytics.revenue_daily", "--window", "2026-03-02", "--config", "millrace.yaml").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "2026-03-02  1       2.00") || strings.Contains(string(out), "2026-03-01  ") {
		t.Errorf("show: %v\n%s", err, out)
	}
	if out, err = i.command("show", "analytics.revenue_daily", "--config", "millrace.yaml").CombinedOutput(); err == nil || !strings.Contains(string(out), "--window") {
		t.Errorf("show without a window: %v\n%s", err, out)
	}
	for _, table := range []string{"core.orders", "core.items", "analytics.revenue_daily"} {
		if out, err := i.command("verify", table, "--config", "millrace.yaml").CombinedOutput(); err != nil || !strings.Contains(string(out), "is as it should be") {
			t.Errorf("verify %s: %v\n%s", table, err, out)
		}
	}
	for _, args := range [][]string{{"status"}, {"sql", query}} {
		out, err := i.command(append(args, "--config", "millrace.yaml")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "2026-03-01") && args[0] == "sql" || !strings.Contains(string(out), "analytics.revenue_daily") && args[0] == "status" {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
