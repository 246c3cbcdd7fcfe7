package deriver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/schemas"
)

// A deriver counts its runs, what waits, and what failed; one that another has
// fenced says that it does not run any more.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := shop(t)
	reg := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	p.derive(revenue)
	zombie := p.derived["analytics.revenue"]
	zombie.opts.Metrics = m
	p.quiet()
	p.core["core.payments"].loads("2024-03-05T11:00:00Z", put(13, 2, 1, "2024-03-01T10:00:00Z"))
	p.quiet()
	for name, want := range map[string]string{
		"runs_total": "published=2", "held": "=0", "dirty": "=0", "outside_ranges": "=0",
	} {
		if got := valuesOf(t, reg, "millrace_deriver_"+name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	p.restart(revenue)
	p.quiet()
	p.core["core.payments"].loads("2024-03-06T11:00:00Z", put(14, 2, 1, "2024-03-01T10:00:00Z"))
	if err := zombie.Run(t.Context()); err == nil {
		t.Error("the fenced deriver went on")
	}
	if got := valuesOf(t, reg, "millrace_deriver_running"); got != "=0" {
		t.Errorf("running: %s", got)
	}
	// What is true of the table by now, its writer says.
	for _, name := range []string{"held", "dirty", "outside_ranges", "complete_through_seconds"} {
		if got := valuesOf(t, reg, "millrace_deriver_"+name); got != "" {
			t.Errorf("%s of another's table: %s", name, got)
		}
	}
}

// valuesOf are the values of a metric by its labels but for the table's.
func valuesOf(t *testing.T, reg prometheus.Gatherer, name string) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				if l.GetName() != "table" {
					label = l.GetValue()
				}
			}
			out = append(out, fmt.Sprintf("%s=%v", label, m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// A table whose inputs say that nothing has come is complete up to there, although
// nothing was run for it.
func TestQuietTableIsComplete(t *testing.T) {
	t.Parallel()
	p := shop(t)
	p.derive(revenue)
	p.quiet()
	through := at("2024-03-05T23:00:00Z")
	for _, table := range []string{"core.orders", "core.payments"} {
		p.derived["analytics.revenue"].Notify(schemas.LoadComplete{Table: table, CompleteThrough: schemas.Progress{Time: through}})
	}
	load := p.status("analytics.revenue").Load
	p.quiet()
	if s := p.status("analytics.revenue"); !s.Complete.Equal(through) || s.Load != load {
		t.Errorf("complete through %s at run %d, not %s at run %d", s.Complete, s.Load, through, load)
	}
}
