package config

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"millrace/internal/invalid"
)

// DefaultGroup is the group of consumers that has the tables of no other.
const DefaultGroup = "default"

// Group is a group of consumers that shares core tables among its members.
type Group struct {
	Name string
	// Tables are patterns of core tables' names, as path.Match takes them. No
	// table is in two groups; a history is in the group of its table.
	Tables []string
}

// GroupOf is the name of the group that loads the table.
func (c *Config) GroupOf(t Table) string {
	for _, g := range c.Groups {
		if g.has(t) {
			return g.Name
		}
	}
	return DefaultGroup
}

// GroupNames are the groups: the default one, and the others by name.
func (c *Config) GroupNames() []string {
	names := []string{DefaultGroup}
	for _, g := range c.Groups {
		names = append(names, g.Name)
	}
	return names
}

func (g Group) has(t Table) bool {
	return slices.ContainsFunc(g.Tables, func(pattern string) bool { return matches(pattern, t) })
}

// matches reports whether a pattern names the table or its history: one topic
// feeds both.
func matches(pattern string, t Table) bool {
	is, err := path.Match(pattern, t.Core)
	was, _ := path.Match(pattern, t.History)
	return err == nil && (is || was && t.History != "")
}

func (r *reader) groups(v value, sources map[string]Source) []Group {
	tables := map[string]Table{} // by core name
	for _, s := range sources {
		for _, t := range s.Tables {
			if t.Core != "" {
				tables[t.Core] = t
			}
		}
	}
	sourcesHold := len(r.faults) == 0 // else a table may be absent only because of its fault
	var out []Group
	taken := map[string]string{} // core table to group
	for _, e := range r.entries(v) {
		if e.name == DefaultGroup {
			r.fault(e.value, "is the group of the tables that no other group has", "choose another name, and leave tables out to have them in default")
			continue
		}
		if !plainName.MatchString(e.name) {
			r.fault(e.value, fmt.Sprintf("%q cannot name a group", e.name), "write lower-case letters, digits and _, a letter first")
			continue
		}
		g := Group{Name: e.name, Tables: r.texts(e.value)}
		for _, pattern := range g.Tables {
			if _, err := path.Match(pattern, ""); err != nil {
				r.fault(e.value, fmt.Sprintf("%q is no pattern", pattern), "write names of core tables, such as core.events or core.events*")
			} else if sourcesHold && !slices.ContainsFunc(slices.Collect(maps.Values(tables)), func(t Table) bool { return matches(pattern, t) }) {
				r.fault(e.value, fmt.Sprintf("%q matches no core table", pattern), nearTable(pattern, tables))
			}
		}
		for _, core := range slices.Sorted(maps.Keys(tables)) {
			if !g.has(tables[core]) {
				continue
			}
			if other, ok := taken[core]; ok {
				r.fault(e.value, fmt.Sprintf("holds %s, and so does the group %s: a table is loaded by one group", core, other), "narrow the patterns of one of the two")
				continue
			}
			taken[core] = g.Name
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func nearTable(pattern string, tables map[string]Table) string {
	known := slices.Sorted(maps.Keys(tables))
	if near := invalid.Nearest(pattern, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "core tables are " + strings.Join(known[:min(len(known), 20)], ", ")
}
