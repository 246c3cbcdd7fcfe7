package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
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
	for _, line := range cautions(before, after) {
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

// cautions say what else differs than what is to be compared.
func cautions(before, after *Result) (out []string) {
	for when, r := range map[string]*Result{"before": before, "after": after} {
		if !r.OK {
			out = append(out, "the run "+when+" was not sound: what it did fast may be what it left out")
		}
	}
	slices.Sort(out)
	if a, b := before.Machine, after.Machine; a.CPU != b.CPU || a.Cores != b.Cores || a.OS != b.OS || a.Arch != b.Arch || math.Abs(a.MemoryMB-b.MemoryMB) > 0.05*a.MemoryMB {
		out = append(out, "the machines differ: only the ratio to the limit says anything")
	}
	if a, b := before.Detail, after.Detail; a != nil && b != nil {
		for _, name := range differing(a.Workload, b.Workload) {
			out = append(out, fmt.Sprintf("the workloads differ: %s was %v, is %v", name, spoken(a.Workload[name]), spoken(b.Workload[name])))
		}
	} else if e := before.Figures.Events; math.Abs(float64(e-after.Figures.Events)) > noise*float64(e) {
		out = append(out, "the runs have other numbers of events: their workloads may differ")
	}
	for _, name := range differing(before.Versions, after.Versions) {
		if name != "millrace" { // it is what is compared
			out = append(out, fmt.Sprintf("the versions differ: %s was %v, is %v", name, spoken(before.Versions[name]), spoken(after.Versions[name])))
		}
	}
	if before.Machine.Load > float64(before.Machine.Cores) || after.Machine.Load > float64(after.Machine.Cores) {
		out = append(out, "a machine was busy: figures by the clock say little")
	}
	return out
}

// differing are the names whose values are not alike, as JSON has them.
func differing[V any](a, b map[string]V) (out []string) {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x, errX := json.Marshal(a[name])
		y, errY := json.Marshal(b[name])
		if errX != nil || errY != nil || !bytes.Equal(x, y) {
			out = append(out, name)
		}
	}
	return out
}

// spoken is a value of a workload or a version; nothing is said of one that is not
// there.
func spoken(v any) any {
	if v == nil || v == "" {
		return "not said"
	}
	return v
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
