// Package audit says what a run's result must fulfil before it is published.
// It is pure. That the result lies inside the owned part is the warehouse's own
// check, and needs no audit.
package audit

import (
	"fmt"
	"slices"
	"strings"

	"millrace/deriver/graph"
	"millrace/deriver/spec"
	"millrace/internal/warehouse"
)

// Checks are the checks of the node's results: those that its spec names, those
// that its contract means, and those without which its key is none.
func Checks(node *graph.Node, spelling warehouse.Spelling) []warehouse.Check {
	var out []warehouse.Check
	add := func(kind spec.AuditKind, columns []string) {
		c := warehouse.Check{Name: fmt.Sprintf("%s(%s)", kind, strings.Join(columns, ", "))}
		if slices.ContainsFunc(out, func(o warehouse.Check) bool { return o.Name == c.Name }) {
			return
		}
		if kind == spec.Unique {
			c.Unique = columns
		} else {
			nulls := make([]string, len(columns))
			for i, name := range columns {
				nulls[i] = spelling.Ident(name) + " IS NULL"
			}
			c.Violated = strings.Join(nulls, " OR ")
		}
		out = append(out, c)
	}
	s := node.Spec
	if len(s.UniqueKey) > 0 {
		add(spec.NotNull, s.UniqueKey)
		add(spec.Unique, s.UniqueKey)
	}
	for _, c := range s.Columns {
		if c.Required {
			add(spec.NotNull, []string{c.Name})
		}
	}
	for _, a := range s.Audits {
		add(a.Kind, a.Columns)
	}
	return out
}
