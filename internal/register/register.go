// Package register is the algebra of a core table's row: how changes join into
// a fold, and a fold with a stored row (G2).
//
// One rule joins them all: per column, the value that was carried at the
// greatest position wins, unless that position lies below Born. A stored row
// keeps no position per column; what it knows, it knows as of its own. Fold is
// associative, commutative and idempotent; Apply gives the same row for any
// order and any repetition of folds.
//
// The functions are pure and the reference: the MERGE of package sqlgen and the
// fold of consumers/batch are tested against them.
package register

import "millrace/schemas"

// Change is one change of one key, or the fold of several.
type Change struct {
	Op  schemas.Op
	Pos schemas.Position
	// Born is the position below which no value holds: of a create or delete its
	// own, of an update its since, of a snapshot's row zero.
	Born schemas.Position
	V    schemas.Row
	At   []schemas.Position // per column, where it was carried; zero if it was not
}

// Row is a stored row. A column whose cell is Unset is not known.
type Row struct {
	Pos     schemas.Position
	Born    schemas.Position
	Deleted bool
	V       schemas.Row
}

// FromChange is the Change that a single change event makes.
func FromChange(c *schemas.Change, columns int) Change {
	out := Change{Op: c.Op, Pos: c.Position, V: make(schemas.Row, columns), At: make([]schemas.Position, columns)}
	switch c.Op {
	case schemas.Create, schemas.Delete:
		out.Born = c.Position
	case schemas.Update:
		out.Born = c.Since
	}
	for i := range min(columns, len(c.After)) {
		if c.After[i].Kind != schemas.Unset {
			out.V[i], out.At[i] = c.After[i], c.Position
		}
	}
	return out
}

// Fold joins two changes of one key into one that has the effect of both.
func Fold(x, y Change) Change {
	out := Change{
		Op: x.Op, Pos: x.Pos, Born: schemas.MaxPosition(x.Born, y.Born),
		V: make(schemas.Row, len(x.V)), At: make([]schemas.Position, len(x.At)),
	}
	if x.Pos.Less(y.Pos) {
		out.Op, out.Pos = y.Op, y.Pos
	}
	for i := range out.At {
		v, at := x.V[i], x.At[i]
		if at.Less(y.At[i]) {
			v, at = y.V[i], y.At[i]
		}
		if !at.Less(out.Born) && out.Op != schemas.Delete {
			out.V[i], out.At[i] = v, at
		}
	}
	return out
}

// Apply joins a change with the stored row of its key, or with the horizon if
// there is none. It reports whether anything was written; if not, the change is
// stale.
func Apply(row Row, found bool, horizon schemas.Position, c Change) (Row, bool) {
	if !found {
		if c.Pos.Less(horizon) {
			return row, false
		}
		row = Row{Pos: horizon, Born: horizon, Deleted: true, V: make(schemas.Row, len(c.V))}
	}
	above := !found || row.Pos.Less(c.Pos)
	next := Row{Pos: row.Pos, Deleted: row.Deleted, Born: schemas.MaxPosition(row.Born, c.Born), V: make(schemas.Row, len(row.V))}
	if above {
		next.Pos, next.Deleted = c.Pos, c.Op == schemas.Delete
	}
	filled := false
	for i := range next.V {
		var known schemas.Position
		v := row.V[i]
		if v.Kind != schemas.Unset {
			known = row.Pos
		}
		if known.Less(c.At[i]) {
			known, v = c.At[i], c.V[i]
		}
		if !known.IsZero() && !known.Less(next.Born) && !next.Deleted {
			next.V[i] = v
			filled = filled || row.V[i].Kind == schemas.Unset
		}
	}
	if !above && !filled {
		return row, false
	}
	return next, true
}
