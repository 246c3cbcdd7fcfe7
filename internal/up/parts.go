package up

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/internal/invalid"
)

// only reports whether these parts and no others run.
func (p Parts) only(these Parts) bool { return p == these }

// chosen reports whether a source, a group of consumers or a derived table is
// to run here.
func (p *process) chosen(name string) bool { return len(p.Only) == 0 || slices.Contains(p.Only, name) }

// checkOnly refuses names that the configuration does not know. Derived tables
// are known once the specs are read.
func (p *process) checkOnly() error {
	switch p.Parts {
	case Parts{Produce: true}:
		return checkNames("source", p.Only, slices.Sorted(maps.Keys(p.Config.Sources)))
	case Parts{Consume: true}:
		return checkNames("group of consumers", p.Only, p.Config.GroupNames())
	case Parts{Derive: true}:
		if p.Config.Derived == "" {
			return fmt.Errorf("the configuration names no folder of specs: write derived: ./folder, or there is nothing to derive")
		}
	}
	return nil
}

func checkNames(kind string, asked, known []string) error {
	for _, name := range asked {
		if slices.Contains(known, name) {
			continue
		}
		near := ""
		if n := invalid.Nearest(name, known); n != "" {
			near = fmt.Sprintf("did you mean %s? ", n)
		}
		return fmt.Errorf("there is no %s %s: %sknown are %s", kind, name, near, strings.Join(known, ", "))
	}
	return nil
}

// notReady says which part does not do its work now, and why; empty: none. It is
// for a probe: nothing outside of the process is asked.
func (p *process) notReady(running context.Context) string {
	if running.Err() != nil {
		return "stopping"
	}
	var why []string
	for _, source := range p.producers {
		switch s := source.Status(); {
		case s.Running:
		case s.Err != nil:
			why = append(why, fmt.Sprintf("source %s: %s", s.Source, oneLine(s.Err)))
		default:
			why = append(why, fmt.Sprintf("source %s: is not connected yet", s.Source))
		}
	}
	for _, c := range p.consumers {
		if !c.Member() {
			why = append(why, fmt.Sprintf("group %s: has not counted this process in yet; it does once a topic of a table is there", c.Group()))
		}
	}
	if p.derivers != nil {
		why = append(why, p.derivers.notReady()...)
	}
	return strings.Join(why, "\n")
}

// dead says why the process never does its work again by itself; empty: it does.
// A process that runs nothing else has ended by then.
func (p *process) dead() string {
	if p.derivers != nil {
		return p.derivers.dead()
	}
	return ""
}
