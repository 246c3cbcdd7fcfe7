package up

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/invalid"
	"millrace/internal/warehouse"
)

// runs reports whether a derived table is kept up to date here.
func (p *process) runs(table string) bool {
	return !p.Parts.only(Parts{Derive: true}) || p.chosen(table)
}

// choose takes the specs that are to run, which g holds if they have no fault.
// Where all run, a fault refuses all. Where some do, those of the other tables
// are told and hold up nothing: their own pods refuse them.
func (d *derivers) choose(g *graph.Graph, faults invalid.Faults) error {
	var known []string
	for _, s := range d.specs {
		if d.runs(s.Name) {
			d.chosen = append(d.chosen, s)
		}
		if s.Name != "" {
			known = append(known, s.Name)
		}
	}
	inFolder := func() invalid.Faults { return inFolder(d.Config.Derived, slices.Clone(faults)) }
	if len(d.chosen) == len(d.specs) {
		return inFolder().Err()
	}
	slices.Sort(known)
	if err := checkNames("derived table", d.Only, slices.Compact(known)); err != nil {
		if len(faults) > 0 { // one of them may hide the name
			return fmt.Errorf("%w; and the specs have faults:\n%s", err, inFolder().Error())
		}
		return err
	}
	d.reads = map[string]bool{}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			d.reads[in.Table] = true
		}
	}
	for _, s := range d.chosen {
		sound := slices.ContainsFunc(g.Nodes, func(n *graph.Node) bool { return n.Spec == s })
		if !sound || slices.ContainsFunc(faults, func(f invalid.Fault) bool { return concerns(f, s) }) {
			return inFolder().Err()
		}
	}
	if len(faults) > 0 {
		d.Log.Warn("specs of other tables have faults", "faults", strings.ReplaceAll(inFolder().Error(), "\n", "; "))
	}
	return nil
}

// concerns reports whether a fault is in a file of the spec.
func concerns(f invalid.Fault, s *spec.Spec) bool { return f.File == s.File || f.File == s.QueryFile }

// ours are the faults of the specs that run here.
func (d *derivers) ours(faults invalid.Faults) (out invalid.Faults) {
	for _, f := range faults {
		if slices.ContainsFunc(d.chosen, func(s *spec.Spec) bool { return concerns(f, s) }) {
			out = append(out, f)
		}
	}
	return out
}

// revision is what the derivers take tables over with.
func (p *process) revision() int64 {
	if p.Revision == 0 {
		return -1
	}
	return p.Revision
}

// curable says of a table that a later revision has what to do if there is none: the
// head remembers the revisions of an installation that is gone.
func (p *process) curable(err error) error {
	if !errors.Is(err, warehouse.ErrRevision) {
		return err
	}
	return fmt.Errorf("%w; this process has %d: if it is the newer one, as after a new installation, start it with a greater --revision (in the chart: derived.revision)", err, p.Revision)
}

// wentOut remembers that a table is another writer's. It returns the error when
// nothing is left to do for a process that derives: it then ends, and stays out
// as long as the head has a later revision.
func (d *derivers) wentOut(table string, why error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out[table] = why
	if len(d.out) == len(d.chosen) && d.Parts.only(Parts{Derive: true}) {
		return why
	}
	return nil
}

// dead says that all tables are other writers'.
func (d *derivers) dead() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.chosen) == 0 || len(d.out) < len(d.chosen) {
		return ""
	}
	return "every derived table has been taken over by another process"
}

// notReady says which tables are not this process's, and why.
func (d *derivers) notReady() (why []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.chosen {
		at := slices.IndexFunc(d.running, func(r *running) bool { return r.node.Spec.Name == s.Name })
		reason := ""
		if d.waiting != "" {
			reason = "waits " + d.waiting
		}
		if at >= 0 {
			status := d.running[at].Status()
			if reason = status.Error; status.Acquired {
				continue
			}
		}
		if out := d.out[s.Name]; out != nil {
			reason = out.Error()
		} else if broken := d.broken[s.Name]; broken != "" {
			reason = broken
		}
		if reason == "" {
			reason = "is not taken over yet"
		}
		why = append(why, fmt.Sprintf("table %s: %s", s.Name, strings.Join(strings.Fields(reason), " ")))
	}
	return why
}
