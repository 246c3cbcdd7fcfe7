// Package graph joins specs with their queries: it finds the inputs of every
// derived table, checks that they can be followed, and orders the tables.
//
// It does no I/O but through a warehouse.Dialect, which needs no data.
package graph

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/deriver/query"
	"millrace/deriver/spec"
	"millrace/deriver/window"
	"millrace/internal/invalid"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Table is a table that is not derived, as far as the platform knows it.
type Table struct {
	Name       string                   // dataset.table
	Columns    []warehouse.ResultColumn // nil: not known, and not checked
	EventTimes []string                 // whose touched ranges its loads list, the default first
	Key        []string
	Append     bool // rows are only added, and carry _load
	Upsert     bool // the warehouse joins its changes by itself: loads keep no changes, and touch everything
}

// Graph is the derived tables of a platform, each after its inputs.
type Graph struct {
	Nodes []*Node
	// Unchecked names the tables whose columns could not be checked.
	Unchecked []string
}

// Node is a derived table that is fit to run, except for what Unchecked says.
type Node struct {
	Spec    *spec.Spec
	Query   *query.Query
	Inputs  []*Input                 // by name
	Columns []warehouse.ResultColumn // of the result; nil: not known
	// Window is the column over which windows are formed, in scope window.
	Window Column
	Hash   string // of everything that the result depends on but the inputs' rows
}

// Column is a column by which rows are found.
type Column struct {
	Name string
	Kind schemas.Kind
}

// Input is a table that a query reads, with what its loads dirty.
type Input struct {
	Table    string
	Derived  bool
	Columns  []warehouse.ResultColumn // nil: not known
	Mappings []Mapping
	// Driver says that the rows of its loads are what an append table adds.
	Driver bool
}

// Mapping is one way in which a load of an input dirties the table. The kind
// says which of the fields hold.
type Mapping struct {
	Kind      MappingKind
	EventTime Column          // Partitions: the input's; Via: the hop's
	Lookback  window.Lookback // Partitions and Via
	Hop       string          // Via: the table in between
	HopColumn string          // Via: its column that equals On
	On        string          // Via
	Key       []string        // Keys: the input's columns; Via in scope keys: the hop's
	Dirty     *query.Query    // Asked
	Changes   []string        // the columns whose changes must be kept
}

// MappingKind names the ways.
type MappingKind uint8

// The ways in which a load of an input dirties a derived table.
const (
	Partitions MappingKind = iota + 1 // its partitions are windows, alone or read over a wider span
	Via                               // the windows or keys of another input's rows
	Keys                              // the old and new values of columns are keys
	Asked                             // a query of the team's own over its changes
	Everything                        // a change recomputes everything
	Adds                              // its rows are what is added
	Nothing                           // it is only read (G7: append)
)

// Bounded reports whether the query reads the input over a span of each window
// only.
func (in *Input) Bounded() bool {
	return !slices.ContainsFunc(in.Mappings, func(m Mapping) bool { return m.Kind != Partitions })
}

// Input returns the input, or nil.
func (n *Node) Input(table string) *Input {
	for _, in := range n.Inputs {
		if in.Table == table {
			return in
		}
	}
	return nil
}

// OwningKey are the columns of the table by which dirty keys own rows.
func (n *Node) OwningKey() []string { return n.Spec.UniqueKey[:n.Spec.KeyWidth()] }

// builder holds what is known while a graph is built.
type builder struct {
	dialect warehouse.Dialect
	tables  map[string]*Table
	nodes   map[string]*Node
	faults  invalid.Faults
	graph   Graph
	// unmapped are inputs whose mapping has a fault: what goes through them is not
	// to be blamed for it.
	unmapped map[*Input]bool
}

// Build joins specs with the tables that the platform captures. All faults of
// all specs are found at once; the graph holds the tables that have none and
// read none that has. An error is about the dialect, not about the specs.
func Build(ctx context.Context, dialect warehouse.Dialect, specs []*spec.Spec, tables []Table) (*Graph, invalid.Faults, error) {
	return BuildFor(ctx, dialect, specs, tables, func(string) bool { return true })
}

// BuildFor is Build for some of the derived tables: the graph holds these and what
// they read. Of the others the queries are parsed, and nothing is asked.
func BuildFor(ctx context.Context, dialect warehouse.Dialect, specs []*spec.Spec, tables []Table, chosen func(table string) bool) (*Graph, invalid.Faults, error) {
	b := &builder{dialect: dialect, tables: make(map[string]*Table), nodes: make(map[string]*Node), unmapped: make(map[*Input]bool)}
	for i := range tables {
		b.tables[tables[i].Name] = &tables[i]
	}
	sound := make(map[*Node]bool)
	for _, s := range slices.SortedFunc(slices.Values(specs), func(x, y *spec.Spec) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.File, y.File)) }) {
		if s.Name == "" {
			continue // which is a fault that the file has
		}
		if other := b.nodes[s.Name]; other != nil {
			b.fault(s, "name", fmt.Sprintf("%s is also written by %s", s.Name, other.Spec.File), "rename one of them: a table has one writer")
			continue
		}
		n := &Node{Spec: s}
		b.nodes[s.Name] = n
		ok, err := b.compile(ctx, n)
		if err != nil {
			return nil, nil, err
		}
		sound[n] = ok && !s.Faulty
	}
	for _, n := range b.sorted() {
		sound[n] = b.tablesOf(n) && sound[n]
	}
	for _, n := range b.order(chosen) {
		unsound := func(in *Input) bool { return in.Derived && !sound[b.nodes[in.Table]] }
		if !sound[n] || slices.ContainsFunc(n.Inputs, unsound) {
			sound[n] = false
			continue
		}
		before := len(b.faults)
		if b.resolve(ctx, n); len(b.faults) == before {
			if err := b.result(ctx, n); err != nil {
				return nil, nil, err
			}
		}
		if len(b.faults) > before {
			sound[n] = false
			continue
		}
		n.Hash = hash(n)
		b.graph.Nodes = append(b.graph.Nodes, n)
	}
	return &b.graph, b.faults, nil
}

func (b *builder) fault(s *spec.Spec, field, problem, cure string) {
	b.faults.Add(s.File, s.Line(field), field, problem, cure)
}

// queryFault is a fault at an offset of the query, or at its start.
func (b *builder) queryFault(s *spec.Spec, at int, problem, cure string) {
	line := s.QueryLine
	if at > 0 && at <= len(s.Query) {
		line += strings.Count(s.Query[:at], "\n")
	}
	b.faults.Add(s.QueryFile, line, "query", problem, cure)
}

func (b *builder) sorted() []*Node {
	var out []*Node
	for _, n := range b.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(x, y *Node) int { return cmp.Compare(x.Spec.Name, y.Spec.Name) })
	return out
}

// compile parses the query of n.
func (b *builder) compile(ctx context.Context, n *Node) (ok bool, err error) {
	s := n.Spec
	if s.Faulty && s.Query == "" {
		return false, nil
	}
	var params, relations []string
	switch {
	case s.Faulty: // whatever its scope was to be
		params, relations = []string{query.WindowStart, query.WindowEnd}, []string{DirtyRelation}
	case s.Scope == spec.ScopeWindow:
		params = []string{query.WindowStart, query.WindowEnd}
	case s.Scope == spec.ScopeKeys:
		relations = []string{DirtyRelation}
	}
	q, problems, err := b.parse(ctx, s.Query, params, relations)
	if err != nil {
		return false, err
	}
	for _, p := range problems {
		b.queryFault(s, p.Offset, p.Problem, p.Cure)
	}
	n.Query = q
	return len(problems) == 0, nil
}

// The relations without a dataset: the keys that a run owns, and the changes of
// an input in its dirty query.
const (
	DirtyRelation   = "dirty"
	ChangesRelation = "changes"
)

func (b *builder) parse(ctx context.Context, sql string, params, relations []string) (*query.Query, []query.Problem, error) {
	prepared, problems := query.Prepare(b.dialect, sql, params)
	parsed, err := b.dialect.Parse(ctx, prepared)
	var refused *warehouse.QueryError
	if errors.As(err, &refused) {
		return nil, append(problems, query.Problem{Offset: refused.Offset, Problem: refused.Message, Cure: "mend the SQL"}), nil
	}
	if err != nil {
		return nil, nil, err
	}
	q, more := query.Compile(b.dialect, prepared, parsed, relations...)
	return q, append(problems, more...), nil
}

// tablesOf finds the inputs of n.
func (b *builder) tablesOf(n *Node) bool {
	if n.Query == nil {
		return false
	}
	before := len(b.faults)
	seen := make(map[string]bool)
	var missing []string
	for _, t := range n.Query.Tables() {
		if t.Dataset == "" || seen[t.ID()] {
			continue
		}
		seen[t.ID()] = true
		switch {
		case t.ID() == n.Spec.Name:
			b.queryFault(n.Spec, t.Offset, "the table reads itself, which is not supported yet", "compute from its inputs")
		case b.tables[t.ID()] != nil || b.nodes[t.ID()] != nil:
			n.Inputs = append(n.Inputs, &Input{Table: t.ID(), Derived: b.nodes[t.ID()] != nil})
		default:
			missing = append(missing, t.ID())
			b.queryFault(n.Spec, t.Offset, fmt.Sprintf("there is no table %s", t.ID()), b.suggest(n, t.ID()))
		}
	}
	if len(seen) == 0 {
		b.queryFault(n.Spec, 0, "reads no table", "a derived table is computed from core or derived tables")
	}
	slices.SortFunc(n.Inputs, func(x, y *Input) int { return cmp.Compare(x.Table, y.Table) })
	for _, in := range n.Spec.Inputs {
		mistyped := invalid.Nearest(in.Table, missing) != ""
		if n.Input(in.Table) == nil && !seen[in.Table] && !mistyped {
			cure := "leave it out, or read it"
			if near := invalid.Nearest(in.Table, slices.Sorted(maps.Keys(seen))); near != "" {
				cure = "did you mean " + near + "?"
			}
			b.fault(n.Spec, in.Field, "is not read by the query", cure)
		}
	}
	return len(b.faults) == before
}

// suggest names tables that the node may have meant: captured ones first.
func (b *builder) suggest(n *Node, id string) string {
	known := slices.Sorted(maps.Keys(b.tables))
	for _, name := range slices.Sorted(maps.Keys(b.nodes)) {
		if name != n.Spec.Name {
			known = append(known, name)
		}
	}
	for _, name := range known {
		if strings.EqualFold(name, id) {
			return "write " + name
		}
	}
	_, table, _ := strings.Cut(id, ".")
	for _, name := range known {
		if strings.HasSuffix(name, "."+table) {
			return "did you mean " + name + "?"
		}
	}
	if near := invalid.Nearest(id, known); near != "" {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 {
		return "configure a source that captures it"
	}
	return "known are " + strings.Join(known[:min(len(known), 20)], ", ")
}

// order returns the chosen nodes and what they read, with every table after its
// inputs; those on a cycle, and what reads them, are left out.
func (b *builder) order(chosen func(table string) bool) []*Node {
	const (
		visiting = iota + 1
		good
		bad
	)
	state := make(map[*Node]int)
	var out []*Node
	var path []string
	var visit func(n *Node) int
	visit = func(n *Node) int {
		switch state[n] {
		case visiting:
			start := slices.Index(path, n.Spec.Name)
			b.queryFault(n.Spec, 0, "reads itself through "+strings.Join(append(path[start:len(path):len(path)], n.Spec.Name), " -> "), "break the cycle")
			return bad
		case 0:
			state[n] = visiting
			path = append(path, n.Spec.Name)
			result := good
			for _, in := range n.Inputs {
				if other := b.nodes[in.Table]; other != nil && visit(other) == bad {
					result = bad
				}
			}
			path = path[:len(path)-1]
			state[n] = result
			if result == good {
				out = append(out, n)
			}
		}
		return state[n]
	}
	for _, n := range b.sorted() {
		if chosen(n.Spec.Name) {
			visit(n)
		}
	}
	return out
}
