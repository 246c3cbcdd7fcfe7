package up

import (
	"fmt"
	"slices"
	"strings"

	"millrace/deriver/graph"
	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/schemas"
)

// upsertable tells whether a table of the source can be captured in mode upsert,
// if it is to be: it needs a key, and whole rows with every change.
func upsertable(conf *config.Config, source string, t *schemas.Table) (note string, faults invalid.Faults) {
	id := t.Schema + "." + t.Name
	if !conf.Sources[source].Tables[id].Upsert {
		return "", nil
	}
	if len(t.Key) == 0 {
		return "", invalid.Faults{conf.Fault("sources."+source+".tables."+id+".mode", "is upsert, and the table has no key", "leave it out, or name the columns of a unique key with key:")}
	}
	var lacks []string
	for _, c := range t.Columns {
		if c.Unsettable {
			lacks = append(lacks, c.Name)
		}
	}
	if len(lacks) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s of %s is captured in mode upsert, which takes whole rows, and a change that leaves a long value of %s as it was does not carry it: such changes go to the dead letters until you ALTER TABLE %s REPLICA IDENTITY FULL",
		id, source, strings.Join(lacks, ", "), id), nil
}

// wholesale notes where every load of an input in mode upsert makes every window
// be computed again.
func wholesale(g *graph.Graph, tables []graph.Table) (notes []string) {
	upserts := func(name string) bool {
		return slices.ContainsFunc(tables, func(t graph.Table) bool { return t.Name == name && t.Upsert })
	}
	for _, n := range g.Nodes {
		for _, in := range n.Inputs {
			if upserts(in.Table) && slices.ContainsFunc(in.Mappings, func(m graph.Mapping) bool { return m.Kind == graph.Partitions }) {
				notes = append(notes, fmt.Sprintf("%s computes every window again with each load of %s, which is of mode upsert: set freshness: to what that may cost, or capture %s without mode: upsert", n.Spec.Name, in.Table, in.Table))
			}
		}
	}
	return notes
}
