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
	if v := lookup(description, "updatedFields"); v.isDoc() {
		e := fields(v.data)
		for e.next() {
			if !strings.Contains(string(e.key), ".") && m.plan.root.children[string(e.key)] == nil {
				m.look(e.key, e.val)
			}
			m.touch(row, string(e.key), e.val, false)
		}
		if e.err != nil {
			return row, e.err
		}
	}
	if v := lookup(description, "removedFields"); v.kind == bson.TypeArray {
		for e := fields(v.data); e.next(); {
			m.touch(row, string(e.val.text()), value{kind: bson.TypeNull}, false)
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

// touch sets the columns at or below a field to what v says of them. With unknown,
// nothing is known of any of them, nor if there is a dot in the path: the server
// does not say whether it stands between two names or in one (G10).
func (m *rowMaker) touch(row schemas.Row, at string, v value, unknown bool) {
	unknown = unknown || strings.Contains(at, ".")
	for i := range m.plan.paths {
		c := &m.plan.paths[i]
		switch {
		case unknown && overlap(c.text, at):
			row[c.ord] = schemas.Cell{}
		case c.text == at:
			m.set(row, c, v)
		case below(c.text, at):
			m.set(row, c, within(v, c.text[len(at)+1:]))
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
