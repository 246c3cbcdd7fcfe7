package mongodb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/schemas"
)

// plan says how documents become rows of one version of a table. It is not
// changed once it is made, and serves the stream and the snapshot at once.
type plan struct {
	table    *schemas.Table
	paths    []path // of the columns that are filled from a field
	root     node
	nodes    int // below the root
	promotes bool
	taken    map[string]bool // names of columns in lower case
	widens   map[string]bool // promoted columns of integers
}

// path is a column and where its value stands.
type path struct {
	ord  int
	text string // the parts with a dot between
	typ  schemas.Type
}

// node is a step on the way to the values of columns.
type node struct {
	number   int   // in the plan; the root has none
	columns  []int // in paths: their value stands here
	children map[string]*node
}

// The ordinals of the columns that each table has; the third only if there are
// columns of its own.
const (
	idOrd = iota
	docOrd
	conflictOrd
)

func newPlan(t *schemas.Table, columns []Column, promotes bool, widens []string) *plan {
	p := &plan{table: t, promotes: promotes, taken: map[string]bool{}, widens: map[string]bool{}}
	for _, c := range t.Columns {
		p.taken[strings.ToLower(c.Name)] = true
	}
	for _, name := range widens {
		p.widens[name] = true
	}
	for _, c := range columns {
		ord := t.Column(c.Name)
		n := &p.root
		for part := range strings.SplitSeq(c.path(), ".") {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			if n.children[part] == nil {
				n.children[part] = &node{number: p.nodes}
				p.nodes++
			}
			n = n.children[part]
		}
		n.columns = append(n.columns, len(p.paths))
		p.paths = append(p.paths, path{ord: ord, text: c.path(), typ: t.Columns[ord].Type})
	}
	return p
}

// finding is a field that asks for another version of the table.
type finding struct {
	name string
	typ  schemas.Type
}

// rowMaker makes rows by a plan.
type rowMaker struct {
	plan      *plan
	mem       *arena
	found     []finding
	conflicts []byte // of the row that is made
	conflict  error
}

// full is the row of a whole document.
func (m *rowMaker) full(doc []byte) (schemas.Row, error) {
	row := m.mem.row(len(m.plan.table.Columns))
	if err := m.id(row, lookup(doc, idColumn)); err != nil {
		return row, err
	}
	start := len(m.mem.bytes)
	var err error
	if m.mem.bytes, err = new(jsonWriter).document(m.mem.bytes, doc); err != nil {
		return row, err
	}
	row[docOrd] = m.mem.since(start)
	for i := docOrd + 1; i < len(row); i++ {
		row[i] = schemas.NullCell()
	}
	m.conflicts = m.conflicts[:0]
	m.mem.look(m.plan.nodes)
	e := fields(doc)
	for e.next() {
		m.field(row, e.key, e.val)
	}
	if e.err != nil {
		return row, e.err
	}
	if len(row) > conflictOrd && len(m.conflicts) > 0 {
		start := len(m.mem.bytes)
		m.mem.bytes = append(append(m.mem.bytes, m.conflicts...), '}')
		row[conflictOrd] = m.mem.since(start)
	}
	return row, nil
}

// id sets the key of a row.
func (m *rowMaker) id(row schemas.Row, v value) (err error) {
	start := len(m.mem.bytes)
	if m.mem.bytes, err = appendID(m.mem.bytes, v); err != nil {
		return err
	}
	row[idOrd] = m.mem.since(start)
	return nil
}

// field sets what a field of the top level says.
func (m *rowMaker) field(row schemas.Row, key []byte, v value) {
	n := m.plan.root.children[string(key)]
	if n == nil {
		m.look(key, v)
		return
	}
	m.fill(row, n, v)
}

// look notes a field that is to become a column.
func (m *rowMaker) look(key []byte, v value) {
	p := m.plan
	if !p.promotes || !columnName.Match(key) {
		return
	}
	typ, ok := promoted(v)
	if !ok || p.taken[strings.ToLower(string(key))] || len(p.paths)+len(m.found) >= MaxColumns {
		return
	}
	for i, f := range m.found {
		if f.name == string(key) && f.typ.Kind == schemas.Int && typ.Kind == schemas.Float {
			m.found[i].typ = typ
		}
		if strings.EqualFold(f.name, string(key)) {
			return
		}
	}
	m.found = append(m.found, finding{string(key), typ})
}

// fill sets the columns at and below a node. Of fields with one name the first
// counts, as it does for the server's own queries: a node is filled only once.
func (m *rowMaker) fill(row schemas.Row, n *node, v value) {
	if !m.mem.first(n.number) {
		return
	}
	for _, i := range n.columns {
		m.set(row, &m.plan.paths[i], v)
	}
	if len(n.children) == 0 || v.kind != bson.TypeEmbeddedDocument && v.kind != bson.TypeArray {
		return
	}
	for e := fields(v.data); e.next(); {
		if child := n.children[string(e.key)]; child != nil {
			m.fill(row, child, e.val)
		}
	}
}

// set fills a column. What does not fit it stands in the conflicts.
func (m *rowMaker) set(row schemas.Row, c *path, v value) {
	cell, ok := m.mem.cell(v, c.typ)
	row[c.ord] = cell
	if ok {
		return
	}
	row[c.ord] = schemas.NullCell()
	name := m.plan.table.Columns[c.ord].Name
	if v.kind == bson.TypeDouble && m.plan.widens[name] && !slices.ContainsFunc(m.found, func(f finding) bool { return f.name == name }) {
		m.found = append(m.found, finding{name, schemas.Type{Kind: schemas.Float}})
	}
	before := len(m.conflicts)
	sep := byte(',')
	if before == 0 {
		sep = '{'
	}
	m.conflicts = strconv.AppendQuote(append(m.conflicts, sep), name) // letters, digits and _
	var err error
	if m.conflicts, err = new(jsonWriter).value(append(m.conflicts, ':'), v); err != nil {
		m.conflict = fmt.Errorf("column %q: %w", name, err)
		m.conflicts = m.conflicts[:before]
	}
}
