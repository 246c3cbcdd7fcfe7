package test

import (
	"fmt"
	"strings"
	"testing"
)

// Two tables never have one Deployment, whatever they and the release are called.
func TestNamesAreInjective(t *testing.T) {
	datasets := []string{"a", "A", "a_b", "a_b_c", "_a", "a_", "aa", "a1", strings.Repeat("d", 30), strings.Repeat("d", 31), strings.Repeat("x_", 40) + "x"}
	tables := []string{"a", "b", "B", "b_c", "b_C", "c", "_c", "c_", "t_" + strings.Repeat("0", 10), strings.Repeat("t", 40), strings.Repeat("t", 41)}
	var b strings.Builder
	fmt.Fprintf(&b, "derived:\n  specs:\n")
	n := 0
	for _, dataset := range datasets {
		for _, table := range tables {
			fmt.Fprintf(&b, "    s%d.yaml: \"name: %s.%s\\nquery: SELECT 1 AS n FROM core.orders\"\n", n, dataset, table)
			n++
		}
	}
	for _, release := range []string{"r", "my.release", "millrace", "2shop", "9.millrace", strings.Repeat("long-", 10) + "end"} {
		seen := map[string]bool{}
		count := 0
		for _, name := range mustRender(t, values(t, "minimal")+b.String(), options{release: release}).names("Deployment") {
			if seen[name] || !dnsLabel.MatchString(name) {
				t.Errorf("release %s: %s is no name, or stands twice", release, name)
			}
			seen[name] = true
			if strings.Contains(name, "-derive-") {
				count++
			}
		}
		if count != n {
			t.Errorf("release %s: %d tables have %d Deployments", release, n, count)
		}
	}
}

// A name says what it is of, as long as it can: it is what a person looks for.
func TestNamesAreReadable(t *testing.T) {
	r := mustRender(t, values(t, "minimal")+`
derived:
  specs:
    a.yaml: "name: analytics.item_revenue_daily\nquery: SELECT 1 AS n FROM core.orders"
    b.yaml: "name: analytics.Item_revenue\nquery: SELECT 1 AS n FROM core.orders"
`, options{})
	r.find(t, "Deployment", "shop-millrace-derive-analytics--item-revenue-daily")
	for _, name := range r.names("Deployment") {
		if strings.HasPrefix(name, "shop-millrace-derive-analytics--item-revenue---") {
			return
		}
	}
	t.Errorf("none of %v is that of analytics.Item_revenue", r.names("Deployment"))
}

// The name of a Service begins with a letter, though Helm takes releases that do not.
func TestReleaseThatBeginsWithADigit(t *testing.T) {
	for _, values := range []string{values(t, "minimal"), values(t, "single")} {
		for _, o := range mustRender(t, values, options{release: "2shop"}).objects {
			if !dnsLabel.MatchString(o.name) {
				t.Errorf("%s %s is no name", o.kind, o.name)
			}
		}
	}
}
