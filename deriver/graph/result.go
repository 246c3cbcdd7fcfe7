package graph

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"millrace/deriver/query"
	"millrace/deriver/spec"
	"millrace/internal/invalid"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

type queryTable = query.Table

// result asks the dialect for the columns of the query's result and checks
// everything that names them. Without the columns of all inputs it does
// nothing: the table is among the unchecked.
func (b *builder) result(ctx context.Context, n *Node) error {
	if slices.ContainsFunc(n.Inputs, func(in *Input) bool { return in.Columns == nil }) {
		return nil
	}
	over := make([]warehouse.Relation, len(n.Inputs))
	for i, in := range n.Inputs {
		over[i] = warehouse.Relation{Name: in.Table, Columns: in.Columns}
	}
	kind := schemas.Date
	if n.Spec.Window != nil && n.Spec.Window.Grid.Size == "hour" {
		kind = schemas.Timestamp
	}
	// The parameters have the type of the window's column, which may in turn be a
	// parameter: twice is enough.
	for range 2 {
		text := b.sample(n, kind)
		columns, err := b.dialect.Columns(ctx, text, over)
		var refused *warehouse.QueryError
		if errors.As(err, &refused) {
			// The sample has the query's lines, and other bytes.
			line := strings.Count(text[:max(refused.Offset, 0)], "\n")
			b.faults.Add(n.Spec.QueryFile, n.Spec.QueryLine+line, "query", refused.Message, columnCure(refused.Message, over))
			return nil
		}
		if err != nil {
			return err
		}
		n.Columns, n.Window = columns, windowColumn(n.Spec, columns)
		if n.Window.Kind == kind || !n.Window.Kind.IsEventTime() || !n.Query.UsesParameters() {
			break
		}
		kind = n.Window.Kind
	}
	b.resultColumns(n)
	b.keyTypes(n)
	b.contract(n)
	return b.askedColumns(ctx, n, over)
}

// askedColumns checks that the dirty queries give what the scope owns: one
// event time, or the owning key.
func (b *builder) askedColumns(ctx context.Context, n *Node, over []warehouse.Relation) error {
	for _, in := range n.Inputs {
		for _, m := range in.Mappings {
			if m.Kind != Asked {
				continue
			}
			columns, err := b.dialect.Columns(ctx, b.askedOver(in, m), over)
			var refused *warehouse.QueryError
			field := "inputs." + in.Table + ".dirty"
			switch want := n.Spec.KeyWidth(); {
			case errors.As(err, &refused):
				b.fault(n.Spec, field, refused.Message, columnCure(refused.Message, over))
			case err != nil:
				return err
			case n.Spec.Scope == spec.ScopeKeys && len(columns) != want:
				b.fault(n.Spec, field, fmt.Sprintf("gives %d columns, and %d own rows", len(columns), want), "give "+strings.Join(n.OwningKey(), ", "))
			case n.Spec.Scope == spec.ScopeWindow && (len(columns) != 1 || !columns[0].Type.Kind.IsEventTime()):
				b.fault(n.Spec, field, "does not give one DATE, TIMESTAMP or DATETIME column", "give the event times whose windows are dirty")
			}
		}
	}
	return nil
}

// askedOver is a dirty query over whole tables.
func (b *builder) askedOver(in *Input, m Mapping) string {
	return m.Dirty.Render(nil, func(t query.Table) string {
		if t.Dataset == "" {
			return b.all(in.Table)
		}
		return b.all(t.ID())
	})
}

func (b *builder) idents(columns []string) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = b.dialect.Ident(c)
	}
	return out
}

// all is the whole of a table.
func (b *builder) all(table string) string {
	dataset, name, _ := strings.Cut(table, ".")
	return "(SELECT * FROM " + b.dialect.Ident(dataset) + "." + b.dialect.Ident(name) + ")"
}

// sample is the query over whole inputs, with parameters of the kind.
func (b *builder) sample(n *Node, kind schemas.Kind) string {
	at := map[schemas.Kind]string{schemas.Date: "2024-01-01", schemas.Timestamp: "2024-01-01T00:00:00Z", schemas.DateTime: "2024-01-01T00:00:00"}[kind]
	params := map[string]string{query.WindowStart: b.dialect.Literal(kind, at), query.WindowEnd: b.dialect.Literal(kind, at)}
	return n.Query.Render(params, func(t query.Table) string {
		if t.Dataset != "" {
			return b.all(t.ID())
		}
		return b.sampleKeys(n)
	})
}

// sampleKeys is a relation like dirty, of whatever rows. The names of a union are
// those of its first part, and the types those that its parts share: a null has
// none of its own.
func (b *builder) sampleKeys(n *Node) string {
	for _, in := range n.Inputs {
		for _, m := range in.Mappings {
			if m.Kind == Asked {
				names := b.idents(n.OwningKey())
				return "(SELECT NULL AS " + strings.Join(names, ", NULL AS ") + " UNION ALL (\n" + b.askedOver(in, m) + "\n))"
			}
			if m.Kind != Keys {
				continue
			}
			cols := make([]string, len(m.Key))
			for i, c := range m.Key {
				cols[i] = b.dialect.Ident(c) + " AS " + b.dialect.Ident(n.Spec.UniqueKey[i])
			}
			dataset, table, _ := strings.Cut(in.Table, ".")
			return "(SELECT " + strings.Join(cols, ", ") + " FROM " + b.dialect.Ident(dataset) + "." + b.dialect.Ident(table) + ")"
		}
	}
	return "(SELECT 1)"
}

// windowColumn is the column that the spec names, or the first that can be one.
func windowColumn(s *spec.Spec, columns []warehouse.ResultColumn) Column {
	if s.Window == nil {
		return Column{}
	}
	for _, c := range columns {
		if name := s.Window.Column; name == c.Name || name == "" && c.Type.Kind.IsEventTime() {
			return Column{c.Name, c.Type.Kind}
		}
	}
	return Column{}
}

func (b *builder) resultColumns(n *Node) {
	s := n.Spec
	seen := make(map[string]string)
	for _, c := range n.Columns {
		lower := strings.ToLower(c.Name)
		switch {
		case strings.HasPrefix(c.Name, "_"):
			b.queryFault(s, 0, fmt.Sprintf("the result's column %s starts with _, which the platform keeps for its own", c.Name), "give it another name with AS")
		case seen[lower] != "":
			b.queryFault(s, 0, fmt.Sprintf("the result has the column %s twice", c.Name), "give one of them another name with AS")
		}
		seen[lower] = c.Name
	}
	named := func(field string, names ...string) {
		for _, name := range names {
			if name != "" {
				b.column(s, field, "the result", n.Columns, name)
			}
		}
	}
	b.scalar(s, "unique_key", "the result", n.Columns, s.UniqueKey...)
	b.scalar(s, "partition_by", "the result", n.Columns, s.PartitionBy)
	b.scalar(s, "cluster_by", "the result", n.Columns, s.ClusterBy...)
	for _, a := range s.Audits {
		named(a.Field, a.Columns...)
	}
	if s.Window == nil {
		return
	}
	partitioned := func(in *Input) bool {
		return slices.ContainsFunc(in.Mappings, func(m Mapping) bool { return m.Kind == Partitions })
	}
	if s.Window.Begin.IsZero() && !slices.ContainsFunc(n.Inputs, partitioned) {
		b.fault(s, "window.begin", "is missing, and no input has an event time that could say it", "write begin: 2024-01-31")
	}
	switch {
	case n.Window.Name == "" && s.Window.Column != "":
		b.column(s, "window.column", "the result", n.Columns, s.Window.Column)
	case n.Window.Name == "":
		b.fault(s, "window", "the result has no DATE, TIMESTAMP or DATETIME column", "add the window's column to the query")
	case !n.Window.Kind.IsEventTime():
		b.fault(s, "window.column", fmt.Sprintf("%s is not a DATE, TIMESTAMP or DATETIME", n.Window.Name), "cast it in the query, or name another column")
	case s.Window.Grid.Size == "hour" && n.Window.Kind == schemas.Date:
		b.fault(s, "window", fmt.Sprintf("the window's column %s is a DATE, which has no hours", n.Window.Name), "use a longer window, or name another column")
	}
}

// keyTypes checks that the keys which changes dirty can be compared with those of
// the result.
func (b *builder) keyTypes(n *Node) {
	numeric := []schemas.Kind{schemas.Int, schemas.Float, schemas.Decimal}
	for _, in := range n.Inputs {
		for _, m := range in.Mappings {
			if m.Kind != Keys {
				continue
			}
			for i, name := range m.Key {
				have, ok := find(in.Columns, name)
				want, there := find(n.Columns, n.Spec.UniqueKey[i])
				if !ok || !there || have.SQLType == want.SQLType || have.Type.Kind == want.Type.Kind && have.Type.Kind != 0 ||
					slices.Contains(numeric, have.Type.Kind) && slices.Contains(numeric, want.Type.Kind) {
					continue
				}
				b.fault(n.Spec, "inputs."+in.Table+".key", fmt.Sprintf("%s is a %s, and the key %s that it dirties is a %s", name, have.SQLType, want.Name, want.SQLType),
					"let the query give the key as the input has it, or write dirty: with a query that gives it as the result has it")
			}
		}
	}
}

// contract compares the result with the columns that the spec promises.
func (b *builder) contract(n *Node) {
	s := n.Spec
	for i, want := range s.Columns {
		field := fmt.Sprintf("columns[%d]", i)
		got, ok := find(n.Columns, want.Name)
		switch {
		case !ok:
			b.column(s, field, "the result", n.Columns, want.Name)
		case got.Type != want.Type && (got.Type.Kind != want.Type.Kind || want.Type.Kind == schemas.Decimal) && !unsized(got, want.Type):
			b.fault(s, field, fmt.Sprintf("the result's %s is a %s, not %s", want.Name, got.SQLType, want.Type), "cast it in the query, or change the contract")
		}
	}
	if len(s.Columns) == 0 {
		return
	}
	for _, c := range n.Columns {
		if !slices.ContainsFunc(s.Columns, func(o spec.Column) bool { return o.Name == c.Name }) {
			b.fault(s, "columns", fmt.Sprintf("the result's %s is not in the contract", c.Name), "add it, or leave it out of the query")
		}
	}
}

// unsized reports whether the result is a decimal of which the warehouse does not
// tell the digits, as BigQuery does not of any, and which holds what is wanted.
func unsized(got warehouse.ResultColumn, want schemas.Type) bool {
	if want.Kind != schemas.Decimal {
		return false
	}
	switch whole := want.Precision - want.Scale; got.SQLType {
	case "NUMERIC":
		return whole <= 29 && want.Scale <= 9
	case "BIGNUMERIC":
		return whole <= 38 && want.Scale <= 38
	}
	return false
}

// hash is over everything that decides the table's rows but its inputs' rows,
// so that another hash means that all of it has to be computed again.
func hash(n *Node) string {
	s := n.Spec
	h := sha256.New()
	zone, size := "", ""
	if s.Window != nil {
		zone, size = s.Window.Grid.Zone.String(), string(s.Window.Grid.Size)
	}
	text := n.Query.Render(nil, func(t query.Table) string { return t.ID() })
	// What only describes the table, or says when it runs, is not among them.
	parts := []any{s.Query, text, s.Strategy, s.Scope, s.UniqueKey, n.Window, size, zone, s.Inputs, n.Columns}
	_ = json.NewEncoder(h).Encode(parts) // values of plain types: it cannot fail
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// missingColumn is how the warehouse says that a column is not there.
var missingColumn = regexp.MustCompile(`(?i)column (?:named )?"([^"]+)" (?:not found|does not exist)|does not have a column named "([^"]+)"`)

// columnCure names the column that a missing one probably is, or those that
// there are.
func columnCure(message string, over []warehouse.Relation) string {
	found := missingColumn.FindStringSubmatch(message)
	if found == nil {
		return "mend the SQL"
	}
	var names []string
	for _, r := range over {
		for _, c := range r.Columns {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if near := invalid.Nearest(cmp.Or(found[1], found[2]), names); near != "" {
		return "did you mean " + near + "?"
	}
	const shown = 20
	if len(names) > shown {
		return fmt.Sprintf("there are %s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return "there are " + strings.Join(names, ", ")
}
