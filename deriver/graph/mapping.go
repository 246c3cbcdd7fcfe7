package graph

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"millrace/deriver/spec"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// resolve turns what the spec says about inputs into mappings.
func (b *builder) resolve(ctx context.Context, n *Node) {
	for _, in := range n.Inputs {
		if in.Columns = b.columns(in.Table); in.Columns == nil {
			b.unchecked(n.Spec.Name)
		}
	}
	if n.Spec.Scope == spec.ScopeRows {
		b.rows(n)
		return
	}
	// Via needs the mappings of the hop: those that stand for themselves first.
	for _, direct := range []bool{true, false} {
		for _, in := range n.Inputs {
			b.input(ctx, n, in, direct)
		}
	}
	if n.Spec.Scope == spec.ScopeKeys && n.Spec.KeyWidth() == 0 {
		b.fault(n.Spec, "scope", "no input says which keys a change dirties", "write inputs: {core.orders: {key: [customer_id]}}")
	}
}

// input resolves the direct entries of an input, or those through another one.
func (b *builder) input(ctx context.Context, n *Node, in *Input, direct bool) {
	entries := 0
	for _, e := range n.Spec.Inputs {
		if e.Table != in.Table {
			continue
		}
		entries++
		if direct == (e.Via == "") {
			b.entry(ctx, n, in, e)
		}
	}
	if entries > 0 || !direct {
		return
	}
	field := "inputs." + in.Table
	switch n.Spec.Scope {
	case spec.ScopeTable:
		in.Mappings = []Mapping{{Kind: Everything}}
	case spec.ScopeKeys:
		b.fault(n.Spec, field, "does not say which keys a change dirties", "write {key: [column]}, via, dirty, or on_change: rebuild")
	default:
		if c, ok := b.defaultEventTime(in); ok {
			in.Mappings = []Mapping{{Kind: Partitions, EventTime: c}}
		} else {
			b.unmapped[in] = true
			b.fault(n.Spec, field, "has no event time", "write "+in.Table+": its DATE, TIMESTAMP or DATETIME column, via, or on_change: rebuild")
		}
	}
}

func (b *builder) entry(ctx context.Context, n *Node, in *Input, e spec.Input) {
	s := n.Spec
	switch {
	case e.Rebuild:
		in.Mappings = append(in.Mappings, Mapping{Kind: Everything})
	case b.upserts(n, in, e):
	case e.Via != "":
		b.via(n, in, e)
	case len(e.Key) > 0:
		b.scalar(s, e.Field+".key", in.Table, in.Columns, e.Key...)
		in.Mappings = append(in.Mappings, Mapping{Kind: Keys, Key: e.Key, Changes: e.Key})
	case e.Dirty != "":
		b.asked(ctx, n, in, e)
	case s.Scope == spec.ScopeTable:
		in.Mappings = append(in.Mappings, Mapping{Kind: Everything})
	default:
		m := Mapping{Kind: Partitions, Lookback: e.Lookback}
		var ok bool
		if e.EventTime == "" {
			m.EventTime, ok = b.defaultEventTime(in)
			if !ok {
				b.unmapped[in] = true
				b.fault(s, e.Field, "has no event time", "write event_time")
				return
			}
		} else if m.EventTime, ok = b.eventTime(s, e.Field, in, e.EventTime); !ok {
			b.unmapped[in] = true
			return
		}
		in.Mappings = append(in.Mappings, m)
	}
}

// upserts refuses an entry that needs the changes of a table whose loads keep none.
func (b *builder) upserts(n *Node, in *Input, e spec.Input) bool {
	t := b.tables[in.Table]
	if t == nil || !t.Upsert {
		return false
	}
	var field string
	switch {
	case e.Via != "":
		field = ".via"
	case len(e.Key) > 0:
		field = ".key"
	case e.Dirty != "":
		field = ".dirty"
	default:
		return false
	}
	b.unmapped[in] = true
	b.fault(n.Spec, e.Field+field, in.Table+" is of mode upsert, and its loads do not say which rows they changed",
		"capture it without mode: upsert, or write on_change: rebuild, which computes everything with each of its loads")
	return true
}

// via resolves an entry through another input, once for every way in which
// that one maps itself.
func (b *builder) via(n *Node, in *Input, e spec.Input) {
	parts := strings.Split(e.Via, ".")
	hop := n.Input(parts[0] + "." + parts[1])
	field := e.Field + ".via"
	if hop == nil || hop == in {
		b.fault(n.Spec, field, fmt.Sprintf("%s.%s is not another input of the query", parts[0], parts[1]), "name the column of an input that this one joins")
		return
	}
	b.scalar(n.Spec, field, hop.Table, hop.Columns, parts[2])
	on := e.On
	if on == "" {
		key := b.key(in.Table)
		if len(key) == 0 && in.Columns == nil {
			return // the key is not known either
		}
		if len(key) != 1 {
			b.fault(n.Spec, field, fmt.Sprintf("the key of %s is not one column", in.Table), "say with on: which column joins")
			return
		}
		on = key[0]
	}
	b.scalar(n.Spec, e.Field+".on", in.Table, in.Columns, on)
	found := 0
	for _, m := range hop.Mappings {
		if m.Kind == Partitions || m.Kind == Keys {
			found++
			in.Mappings = append(in.Mappings, Mapping{
				Kind: Via, Hop: hop.Table, HopColumn: parts[2], On: on, Changes: []string{on},
				EventTime: m.EventTime, Lookback: m.Lookback, Key: m.Key,
			})
		}
	}
	if found == 0 && !b.unmapped[hop] {
		b.fault(n.Spec, field, hop.Table+" does not map by its own changes; chains of via are not supported yet", "go through an input with an event time or key, or write dirty:")
	}
}

// asked parses a dirty query.
func (b *builder) asked(ctx context.Context, n *Node, in *Input, e spec.Input) {
	field := e.Field + ".dirty"
	q, problems, err := b.parse(ctx, e.Dirty, nil, []string{ChangesRelation})
	if err != nil {
		b.fault(n.Spec, field, err.Error(), "mend the SQL")
		return
	}
	for _, p := range problems {
		b.fault(n.Spec, field, p.Problem, p.Cure)
	}
	if q == nil || len(problems) > 0 {
		return
	}
	for _, id := range q.IDs() {
		if n.Input(id) == nil {
			b.fault(n.Spec, field, fmt.Sprintf("reads %s, which the query does not", id), "read inputs of the query and changes only")
		}
	}
	if !slices.ContainsFunc(q.Tables(), func(t queryTable) bool { return t.ID() == ChangesRelation }) {
		b.fault(n.Spec, field, "does not read changes", "join changes, the old and new rows of "+in.Table)
	}
	changes := columnNames(in.Columns)
	in.Mappings = append(in.Mappings, Mapping{Kind: Asked, Dirty: q, Changes: changes})
}

// rows finds the one append-only input of an append table.
func (b *builder) rows(n *Node) {
	var drivers []string
	for _, in := range n.Inputs {
		in.Mappings = []Mapping{{Kind: Nothing}}
		if b.appendOnly(in.Table) {
			drivers = append(drivers, in.Table)
			in.Driver = true
			in.Mappings = []Mapping{{Kind: Adds}}
		}
	}
	if len(drivers) == 1 {
		return
	}
	found, cure := "none", "read one history (history: in the table's configuration) or append table"
	if len(drivers) > 1 {
		found = strings.Join(drivers, " and ")
	}
	for _, in := range n.Inputs {
		if t := b.tables[in.Table]; t != nil && t.Upsert && len(drivers) == 0 {
			cure = in.Table + " is of mode upsert: write history: beside it in the table's configuration, and read that"
		}
	}
	b.queryFault(n.Spec, 0, "append adds the rows of one append-only input, and the query reads "+found, cure)
}

func (b *builder) appendOnly(table string) bool {
	if n := b.nodes[table]; n != nil {
		return n.Spec.Strategy == schemas.ModeAppend
	}
	return b.tables[table].Append
}

func (b *builder) key(table string) []string {
	if n := b.nodes[table]; n != nil {
		return n.Spec.UniqueKey
	}
	return b.tables[table].Key
}

// columns of a table; those of an append table include _load.
func (b *builder) columns(table string) []warehouse.ResultColumn {
	n := b.nodes[table]
	if n == nil {
		return b.tables[table].Columns
	}
	if n.Columns != nil && n.Spec.Strategy == schemas.ModeAppend {
		number := schemas.Type{Kind: schemas.Int}
		return append(slices.Clip(n.Columns), warehouse.ResultColumn{Name: LoadColumn, SQLType: b.dialect.Type(number), Type: number})
	}
	return n.Columns
}

// LoadColumn is the column of append tables that names the load of a row.
const LoadColumn = "_load"

// defaultEventTime is the first event time that the loads of the input list.
func (b *builder) defaultEventTime(in *Input) (Column, bool) {
	if n := b.nodes[in.Table]; n != nil {
		return n.Window, n.Window.Name != ""
	}
	for _, name := range b.tables[in.Table].EventTimes {
		if in.Columns == nil {
			return Column{Name: name}, true
		}
		if c, ok := find(in.Columns, name); ok && c.Type.Kind.IsEventTime() {
			return Column{name, c.Type.Kind}, true
		}
	}
	return Column{}, false
}

func (b *builder) eventTime(s *spec.Spec, field string, in *Input, name string) (Column, bool) {
	if in.Columns == nil {
		return Column{Name: name}, true
	}
	if !b.column(s, field, in.Table, in.Columns, name) {
		return Column{}, false
	}
	c, _ := find(in.Columns, name)
	if !c.Type.Kind.IsEventTime() {
		b.fault(s, field, fmt.Sprintf("the column %s of %s is a %s, not an event time", name, in.Table, c.SQLType), "name a DATE, TIMESTAMP or DATETIME column")
		return Column{}, false
	}
	if s.Window != nil && s.Window.Grid.Size == "hour" && c.Type.Kind == schemas.Date {
		b.fault(s, field, fmt.Sprintf("the column %s of %s is a DATE, which has no hours", name, in.Table), "use a longer window, or another column")
		return Column{}, false
	}
	return Column{name, c.Type.Kind}, true
}

// column checks that a table has a column, if its columns are known.
func (b *builder) column(s *spec.Spec, field, table string, columns []warehouse.ResultColumn, name string) bool {
	if _, ok := find(columns, name); ok || columns == nil {
		return true
	}
	b.fault(s, field, fmt.Sprintf("%s has no column %s", table, name), "it has "+strings.Join(columnNames(columns), ", "))
	return false
}

// scalar checks that a table has columns by which rows can be found: lists and
// structs are compared by no warehouse as keys have to be, nor is JSON.
func (b *builder) scalar(s *spec.Spec, field, table string, columns []warehouse.ResultColumn, names ...string) {
	for _, name := range names {
		if name == "" || !b.column(s, field, table, columns, name) {
			continue
		}
		if c, _ := find(columns, name); c.Nested() || c.Type.Kind == schemas.JSON {
			b.fault(s, field, fmt.Sprintf("the column %s of %s is a %s, and rows are not found by such", name, table, c.SQLType), "name columns of single values: text, numbers or times")
		}
	}
}

func (b *builder) unchecked(name string) {
	if !slices.Contains(b.graph.Unchecked, name) {
		b.graph.Unchecked = append(b.graph.Unchecked, name)
	}
}

func find(columns []warehouse.ResultColumn, name string) (warehouse.ResultColumn, bool) {
	for _, c := range columns {
		if c.Name == name {
			return c, true
		}
	}
	return warehouse.ResultColumn{}, false
}

func columnNames(columns []warehouse.ResultColumn) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}
