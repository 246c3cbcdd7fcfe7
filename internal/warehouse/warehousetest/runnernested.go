package warehousetest

import (
	"fmt"
	"strings"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

// Nested is how a warehouse writes lists and structs.
type Nested struct {
	List   func(element string) string      // the type
	Struct func(fields ...[2]string) string // the type, of names and types
	Value  func(fields ...[2]string) string // a struct, of names and values
	JSON   func(expr string) string         // a value as the text of a JSON
}

// Fields writes fields, each by the format, with commas between them.
func Fields(format string, fields [][2]string) string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = fmt.Sprintf(format, f[0], f[1])
	}
	return strings.Join(out, ", ")
}

// nested is a table with a list, a struct, and a list of structs.
type nested struct {
	*owner
	number, tags, info, lines string // types
}

func (h *RunnerHarness) nested(t *testing.T, table warehouse.DerivedTable) *nested {
	t.Helper()
	text, number := h.SQLType(schemas.Type{Kind: schemas.String}), h.SQLType(schemas.Type{Kind: schemas.Int})
	n := &nested{number: number, tags: h.Nested.List(text), info: h.Nested.Struct([2]string{"item", text}, [2]string{"n", number})}
	n.lines = h.Nested.List(n.info)
	table.Columns = append(h.columns("id int"),
		warehouse.ResultColumn{Name: "tags", SQLType: n.tags}, warehouse.ResultColumn{Name: "info", SQLType: n.info}, warehouse.ResultColumn{Name: "lines", SQLType: n.lines})
	n.owner = h.own(t, table)
	return n
}

// row is a row as a query.
func (n *nested) row(id int, tag, item string, count int) string {
	value := n.h.Nested.Value([2]string{"item", "'" + item + "'"}, [2]string{"n", fmt.Sprintf("CAST(%d AS %s)", count, n.number)})
	return fmt.Sprintf("SELECT CAST(%d AS %s) AS id, CAST(['a', '%s'] AS %s) AS tags, CAST(%s AS %s) AS info, CAST([%s, %s] AS %s) AS lines",
		id, n.number, tag, n.tags, value, n.info, value, value, n.lines)
}

// none is a row without values.
func (n *nested) none(id int) string {
	return fmt.Sprintf("SELECT CAST(%d AS %s) AS id, CAST(NULL AS %s) AS tags, CAST(NULL AS %s) AS info, CAST(NULL AS %s) AS lines", id, n.number, n.tags, n.info, n.lines)
}

// keys is the step that computes the ids from the rows.
func (n *nested) keys(mode schemas.Mode, ids []string, rows ...string) *warehouse.Step {
	id := n.h.Spelling.Ident("id")
	s := n.step(warehouse.Part{Query: fmt.Sprintf("SELECT * FROM (\n%s\n) AS q WHERE (%s) IN %s", strings.Join(rows, " UNION ALL "), id, n.h.Spelling.DirtyKeyList([]string{"id"}))})
	for _, v := range ids {
		s.MarkKeys = append(s.MarkKeys, fmt.Sprintf("SELECT CAST(%s AS %s) AS of_id", v, n.number))
	}
	s.ByKeys, s.KeyMark, s.Mode = true, 1, mode
	return s
}

// shown compares the table as text.
func (n *nested) shown(t *testing.T, where string, want ...string) {
	t.Helper()
	json := n.h.Nested.JSON
	o := n.h.own(t, warehouse.DerivedTable{Name: "analytics.shown", Columns: n.h.columns("id int, n int, tags text, info text, lines text")})
	o.commit(t, o.step(warehouse.Part{Owned: "TRUE", Query: fmt.Sprintf("SELECT q.id AS id, q.info.n AS n, %s AS tags, %s AS info, %s AS lines FROM %s AS q WHERE %s",
		json("q.tags"), json("q.info"), json("q.lines"), n.table.Name, where)}))
	o.want(t, want...)
}

// Lists and structs are values like others, but in keys: rows are told apart by
// them, written, kept as images and read again.
func runnerNested(t *testing.T, h *RunnerHarness) {
	n := h.nested(t, warehouse.DerivedTable{Name: "analytics.nested", Key: []string{"id"}, Owning: []string{"id"}})
	must(t, h.Runner().SetNeeds(t.Context(), n.table.Name, "analytics.reader", warehouse.Kept{Changes: []string{"tags", "lines"}}))
	for _, mode := range []schemas.Mode{schemas.ModeMerge, schemas.ModeReplace} {
		before := n.head.Load
		all := []string{"1", "2", "3"}
		done := n.commit(t, n.keys(mode, all, n.row(1, "b", "x", 1), n.row(2, "c", "y", 2), n.none(3)))
		if done.Rows.Inserted != 3 || done.Rows.Deleted != 0 || len(done.Covers.Changes) != 3 {
			t.Fatalf("event %+v", done)
		}
		if done = n.commit(t, n.keys(mode, all, n.none(3), n.row(2, "c", "y", 2), n.row(1, "b", "x", 1))); done.Load != 0 {
			t.Fatalf("a run that changes nothing: %+v", done)
		}
		// A change inside; and a row of keys that are not owned.
		done = n.commit(t, n.keys(mode, []string{"1"}, n.row(1, "b", "x", 7), n.row(2, "z", "z", 9)))
		if done.Rows.Inserted != 1 || done.Rows.Deleted != 1 {
			t.Fatalf("event %+v", done)
		}
		n.shown(t, "q.id < 3", `1 7 ["a","b"] {"item":"x","n":7} [{"item":"x","n":7},{"item":"x","n":7}]`, `2 2 ["a","c"] {"item":"y","n":2} [{"item":"y","n":2},{"item":"y","n":2}]`)
		images := h.own(t, warehouse.DerivedTable{Name: "analytics.images", Columns: h.columns("id int, tags text")})
		images.commit(t, images.step(warehouse.Part{Owned: "TRUE", Query: fmt.Sprintf("SELECT c.id AS id, %s AS tags FROM %s AS c", h.Nested.JSON("c.tags"), h.Spelling.Changes(n.table.Name, before+1, before+2))}))
		images.want(t, `1 ["a","b"]`, `1 ["a","b"]`)
		if done = n.commit(t, n.keys(mode, all, n.none(4))); done.Rows.Deleted != 3 || done.Rows.Inserted != 0 {
			t.Fatalf("event %+v", done)
		}
	}
	s := n.keys(schemas.ModeMerge, []string{"1", "2"}, n.row(1, "b", "x", 1), n.row(2, "b", "y", 2))
	s.Checks = []warehouse.Check{{Name: "both", Unique: []string{"id", "tags"}}, {Name: "tags", Unique: []string{"tags"}}}
	n.failing(t, s, violates("tags", 0, 1))
	s.Checks = s.Checks[:1]
	n.commit(t, s)
	// A list of another type, a struct in the place of a list, and one fewer.
	n.tags, n.table.Columns[1].SQLType = n.info, n.info
	n.table.Columns = n.table.Columns[:3]
	n.acquire(t)
	n.acquire(t) // again it is as it is to be
	s = n.step()
	s.Forget = true
	if done := n.commit(t, s); !done.All { // images that some reader may not have seen are gone
		t.Fatalf("event %+v", done)
	}
	value := h.Nested.Value([2]string{"item", "'t'"}, [2]string{"n", "CAST(5 AS " + n.number + ")"})
	s = n.keys(schemas.ModeMerge, []string{"1"}, fmt.Sprintf("SELECT CAST(1 AS %s) AS id, CAST(%s AS %s) AS tags, CAST(%s AS %s) AS info", n.number, value, n.info, value, n.info))
	if done := n.commit(t, s); done.Rows.Inserted != 1 || done.Rows.Deleted != 1 {
		t.Fatalf("event %+v", done)
	}
	added := h.nested(t, warehouse.DerivedTable{Name: "analytics.added", Append: true})
	for range 2 {
		if done := added.commit(t, added.step(warehouse.Part{Query: added.row(1, "b", "x", 1)})); done.Rows.Inserted != 1 {
			t.Fatalf("event %+v", done)
		}
	}
}
