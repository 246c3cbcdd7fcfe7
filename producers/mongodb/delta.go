package mongodb

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/schemas"
)

// delta is the row of an update whose document the log does not carry: columns
// that the delta names have their values, what it touches in part or not at all
// stays unset, and so does the document (G10).
func (m *rowMaker) delta(id value, description []byte) (schemas.Row, error) {
	row := m.mem.row(len(m.plan.table.Columns))
	if err := m.id(row, id); err != nil {
		return row, err
	}
	m.conflicts = m.conflicts[:0]
	odd := map[string]bool{} // paths whose dots or digits are in a field's own name
	if v := lookup(description, "disambiguatedPaths"); v.isDoc() {
		for e := fields(v.data); e.next(); {
			odd[string(e.key)] = true
		}
	}
	if v := lookup(description, "updatedFields"); v.isDoc() {
		e := fields(v.data)
		for e.next() {
			if !strings.Contains(string(e.key), ".") && m.plan.root.children[string(e.key)] == nil {
				m.look(e.key, e.val)
			}
			m.touch(row, string(e.key), e.val, odd[string(e.key)])
		}
		if e.err != nil {
			return row, e.err
		}
	}
	if v := lookup(description, "removedFields"); v.kind == bson.TypeArray {
		for e := fields(v.data); e.next(); {
			name := string(e.val.text())
			m.touch(row, name, value{kind: bson.TypeNull}, odd[name])
		}
	}
	if v := lookup(description, "truncatedArrays"); v.kind == bson.TypeArray {
		for e := fields(v.data); e.next(); {
			if e.val.isDoc() {
				m.touch(row, string(lookup(e.val.data, "field").text()), value{}, true)
			}
		}
	}
	return row, nil
}

// touch sets the columns at or below a path to what v says of them, and unsets
// those that it changes in part. With unknown, nothing is known of any of them.
func (m *rowMaker) touch(row schemas.Row, at string, v value, unknown bool) {
	for i := range m.plan.paths {
		c := &m.plan.paths[i]
		switch {
		case unknown && overlap(c.text, at):
			row[c.ord] = schemas.Cell{}
		case c.text == at:
			m.set(row, c, v)
		case below(c.text, at):
			m.set(row, c, within(v, c.text[len(at)+1:]))
		case below(at, c.text):
			row[c.ord] = schemas.Cell{}
		}
	}
}

// below reports whether path stands under at.
func below(path, at string) bool {
	return len(path) > len(at) && path[len(at)] == '.' && strings.HasPrefix(path, at)
}

// overlap reports whether a change at one path can change a value at the other,
// however the dots of at are to be read.
func overlap(path, at string) bool {
	a, _, _ := strings.Cut(path, ".")
	return path == at || strings.HasPrefix(at, a) || below(at, path) || below(path, at)
}

// within is the value at a path inside v.
func within(v value, path string) value {
	for part := range strings.SplitSeq(path, ".") {
		if v.kind != bson.TypeEmbeddedDocument && v.kind != bson.TypeArray {
			return value{kind: bson.TypeNull}
		}
		if v = lookup(v.data, part); v.kind == 0 {
			return value{kind: bson.TypeNull}
		}
	}
	return v
}
