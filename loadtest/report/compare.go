package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// smaller are the figures of which less is better.
var smaller = map[string]bool{"p50_ms": true, "p99_ms": true, "max_ms": true, "peak_rss_mb": true, "lost": true, "duplicated": true, "wrong": true}

// noise is below what two runs on one machine differ by themselves.
const noise = 0.1

// Compare prints two results side by side. Results of two scenarios cannot be
// compared.
func Compare(out io.Writer, before, after *Result) error {
	if before.Scenario != after.Scenario {
		return fmt.Errorf("compare %s with %s: they are two scenarios", before.Scenario, after.Scenario)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tbefore\tafter\tchange\t\n", before.Scenario)
	a, b := before.Figures.list(), after.Figures.list()
	for i, f := range a {
		old, now := f.Value, b[i].Value
		if old == 0 && now == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", words[f.Name], number(old), number(now), change(old, now), judgement(f.Name, old, now))
	}
	if before.Machine.CPU != after.Machine.CPU || before.Machine.Cores != after.Machine.Cores {
		fmt.Fprintln(w, "the machines differ: only the ratio to the limit says anything")
	}
	if before.Machine.Load > float64(before.Machine.Cores) || after.Machine.Load > float64(after.Machine.Cores) {
		fmt.Fprintln(w, "a machine was busy: figures by the clock say little")
	}
	return w.Flush()
}

func change(old, now float64) string {
	if old == 0 {
		return "new"
	}
	return fmt.Sprintf("%+.1f %%", (now/old-1)*100)
}

// judgement says which way a figure went, if it is one that can be better.
func judgement(name string, old, now float64) string {
	if name == "events" || name == "limit_events_per_second" || old == 0 && !smaller[name] {
		return ""
	}
	better := now > old
	if smaller[name] {
		better = now < old
	}
	if name != "lost" && name != "duplicated" && name != "wrong" && now > old*(1-noise) && now < old*(1+noise) {
		return "within noise"
	}
	if better {
		return "better"
	}
	return "worse"
}
