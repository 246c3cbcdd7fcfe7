// Package strategy writes what a run of a derived table does: the query of each
// part over the spans of its inputs, and the condition on the rows that the
// part owns. It is pure; how the owned part becomes the result is the
// warehouse's.
package strategy

import (
	"fmt"
	"slices"
	"strings"

	"millrace/deriver/graph"
	"millrace/deriver/query"
	"millrace/deriver/spec"
	"millrace/deriver/window"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Strategy is how one derived table is computed in the words of one warehouse.
type Strategy struct {
	node *graph.Node
	warehouse.Spelling
}

// New returns the strategy of a node whose columns are known.
func New(node *graph.Node, spelling warehouse.Spelling) *Strategy {
	return &Strategy{node, spelling}
}

// Table is what the table is to be like.
func (s *Strategy) Table() warehouse.DerivedTable {
	t := warehouse.DerivedTable{
		Name: s.node.Spec.Name, Columns: slices.Clone(s.node.Columns), Key: s.node.Spec.UniqueKey,
		Append:    s.node.Spec.Strategy == schemas.ModeAppend,
		Partition: s.node.Spec.PartitionBy, Cluster: s.node.Spec.ClusterBy,
		Description: s.node.Spec.Description, Labels: s.node.Spec.Labels,
	}
	for i, c := range t.Columns {
		at := slices.IndexFunc(s.node.Spec.Columns, func(said spec.Column) bool { return said.Name == c.Name })
		if at >= 0 {
			t.Columns[i].Description = s.node.Spec.Columns[at].Description
		}
	}
	if s.node.Spec.Scope == spec.ScopeKeys {
		t.Owning = s.node.OwningKey()
	}
	if s.node.Window.Name != "" {
		t.EventTimes, t.Window = []string{s.node.Window.Name}, s.node.Window.Name
	}
	return t
}

// Window is the part that computes one window.
func (s *Strategy) Window(w window.Window) warehouse.Part {
	grid := s.node.Spec.Window.Grid
	column := s.node.Window
	from, to := grid.Span(w, window.Lookback{}, column.Kind)
	start, end := s.Literal(column.Kind, from), s.Literal(column.Kind, to)
	text := s.node.Query.Render(map[string]string{query.WindowStart: start, query.WindowEnd: end}, func(t query.Table) string {
		in := s.node.Input(t.ID())
		if !in.Bounded() {
			return s.whole(in.Table)
		}
		spans := make([]string, len(in.Mappings))
		for i, m := range in.Mappings {
			from, to := grid.Span(w, m.Lookback, m.EventTime.Kind)
			spans[i] = s.span(m.EventTime.Name, s.Literal(m.EventTime.Kind, from), s.Literal(m.EventTime.Kind, to))
		}
		return s.where(in.Table, strings.Join(spans, " OR "))
	})
	return warehouse.Part{Query: text, Owned: s.span(column.Name, start, end), Dirt: warehouse.Dirt{Window: w.Start}}
}

// Keys is the part that computes the dirty keys.
func (s *Strategy) Keys() warehouse.Part {
	keys := s.idents(s.node.OwningKey())
	text := s.node.Query.Render(nil, func(t query.Table) string {
		if t.Dataset == "" {
			return fmt.Sprintf("(SELECT %s FROM %s)", keys, s.DirtyKeys())
		}
		in := s.node.Input(t.ID())
		for _, m := range in.Mappings {
			if m.Kind == graph.Keys && len(in.Mappings) == 1 {
				return s.where(in.Table, fmt.Sprintf("(%s) IN %s", s.idents(m.Key), s.DirtyKeyList(s.node.OwningKey())))
			}
		}
		return s.whole(in.Table)
	})
	if s.asked() && !slices.ContainsFunc(s.node.Query.Tables(), func(t query.Table) bool { return t.Dataset == "" }) {
		text = fmt.Sprintf("SELECT * FROM (\n%s\n) AS q WHERE (%s) IN %s", text, keys, s.DirtyKeyList(s.node.OwningKey()))
	}
	return warehouse.Part{Query: text}
}

// asked reports whether a query of the team's own says which keys are dirty: then
// an input may be read whole, and rows of other keys come with it.
func (s *Strategy) asked() bool {
	return slices.ContainsFunc(s.node.Inputs, func(in *graph.Input) bool {
		return slices.ContainsFunc(in.Mappings, func(m graph.Mapping) bool { return m.Kind == graph.Asked })
	})
}

// Whole is the part that computes the table.
func (s *Strategy) Whole() warehouse.Part {
	text := s.node.Query.Render(nil, func(t query.Table) string { return s.whole(t.ID()) })
	return warehouse.Part{Query: text, Owned: "TRUE"}
}

// Rows is the part that adds the driver's rows of the loads above after, up to
// and including through.
func (s *Strategy) Rows(after, through int64) warehouse.Part {
	text := s.node.Query.Render(nil, func(t query.Table) string {
		if in := s.node.Input(t.ID()); in.Driver {
			load := s.Ident(graph.LoadColumn)
			return s.where(in.Table, fmt.Sprintf("%s > %d AND %s <= %d", load, after, load, through))
		}
		return s.whole(t.ID())
	})
	return warehouse.Part{Query: text}
}

// LeastEventTimes are the queries of the least event time of each input whose
// partitions are windows.
func (s *Strategy) LeastEventTimes() []string {
	var out []string
	for _, in := range s.node.Inputs {
		for _, m := range in.Mappings {
			if m.Kind == graph.Partitions {
				c := s.Ident(m.EventTime.Name)
				out = append(out, fmt.Sprintf("SELECT min(%s) AS %s FROM %s WHERE %s IS NOT NULL HAVING count(*) > 0", c, c, s.Name(in.Table), c))
			}
		}
	}
	return out
}

// AllKeys are the queries of every key that the inputs have or the table has.
func (s *Strategy) AllKeys() []string {
	out := []string{fmt.Sprintf("SELECT %s FROM %s", s.idents(s.node.OwningKey()), s.Name(s.node.Spec.Name))}
	for _, in := range s.node.Inputs {
		for _, m := range in.Mappings {
			switch m.Kind {
			case graph.Keys:
				out = append(out, fmt.Sprintf("SELECT %s FROM %s", s.idents(m.Key), s.Name(in.Table)))
			case graph.Asked: // as if every row had changed
				out = append(out, m.Dirty.Render(nil, func(t query.Table) string {
					if t.Dataset == "" {
						return s.whole(in.Table)
					}
					return s.whole(t.ID())
				}))
			}
		}
	}
	return out
}

// Changed is the query of the windows' event times, or of the keys, that the
// loads of an input above after, up to and including through, have dirtied by
// a mapping over its changes.
func (s *Strategy) Changed(in *graph.Input, m graph.Mapping, after, through int64) string {
	changes := s.Changes(in.Table, after, through)
	switch m.Kind {
	case graph.Keys:
		return fmt.Sprintf("SELECT %s FROM %s AS c", s.idents(m.Key), changes)
	case graph.Via:
		columns := s.idents(m.Key)
		if len(m.Key) == 0 {
			columns = s.Ident(m.EventTime.Name)
		}
		return fmt.Sprintf("SELECT DISTINCT %s FROM %s WHERE %s IN (SELECT %s FROM %s AS c)",
			columns, s.Name(m.Hop), s.Ident(m.HopColumn), s.Ident(m.On), changes)
	default:
		return m.Dirty.Render(nil, func(t query.Table) string {
			if t.Dataset == "" {
				return changes
			}
			return s.whole(t.ID())
		})
	}
}

func (s *Strategy) span(column, from, to string) string {
	c := s.Ident(column)
	return fmt.Sprintf("(%s >= %s AND %s < %s)", c, from, c, to)
}

func (s *Strategy) whole(table string) string { return "(SELECT * FROM " + s.Name(table) + ")" }

func (s *Strategy) where(table, condition string) string {
	return fmt.Sprintf("(SELECT * FROM %s WHERE %s)", s.Name(table), condition)
}

// Name is the table's name, quoted.
func (s *Strategy) Name(table string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return s.Ident(dataset) + "." + s.Ident(name)
}

func (s *Strategy) idents(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = s.Ident(c)
	}
	return strings.Join(quoted, ", ")
}
