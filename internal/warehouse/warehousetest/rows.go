package warehousetest

import (
	"io"
	"testing"

	"millrace/internal/register"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

// pos is the nth position of the source.
func pos(n int) schemas.Position {
	if n == 0 {
		return schemas.Position{}
	}
	return schemas.Position{Epoch: 1, Major: uint64(n)} //nolint:gosec // small
}

// change is one change of one row.
func change(op schemas.Op, n int, row schemas.Row) schemas.Change {
	c := schemas.Change{Op: op, Position: pos(n), After: row, TsUs: int64(n) * 1_000_000}
	return c
}

// fold folds changes by key, in any order, as a consumer does, and says how
// many were folded away.
func fold(t *testing.T, table warehouse.CoreTable, changes []schemas.Change) (folds []register.Change, folded int64) {
	t.Helper()
	at := map[string]int{}
	for i := range changes {
		c := fromChange(table, &changes[i])
		k := keyOf(table, c.V)
		j, ok := at[k]
		if !ok {
			at[k] = len(folds)
			folds = append(folds, c)
			continue
		}
		key := folds[j].V
		folds[j] = register.Fold(folds[j], c)
		restoreKey(table, folds[j].V, key)
		folded++
	}
	return folds, folded
}

// fromChange keeps the key's cells, also of a delete.
func fromChange(table warehouse.CoreTable, c *schemas.Change) register.Change {
	out := register.FromChange(c, len(table.Columns))
	restoreKey(table, out.V, c.After)
	if c.Op == schemas.Delete {
		for i := range out.At {
			out.At[i] = schemas.Position{}
		}
	}
	return out
}

func restoreKey(table warehouse.CoreTable, v, key schemas.Row) {
	for _, i := range keyOrds(table) {
		v[i] = key[i]
	}
}

func keyOrds(table warehouse.CoreTable) (ords []int) {
	for _, k := range table.Key {
		for i, c := range table.Columns {
			if c.Name == k {
				ords = append(ords, i)
			}
		}
	}
	return ords
}

func keyOf(table warehouse.CoreTable, row schemas.Row) string {
	var types []schemas.Type
	var cells []schemas.Cell
	for _, i := range keyOrds(table) {
		types, cells = append(types, table.Columns[i].Type), append(cells, row[i])
	}
	return string(schemas.AppendKeyValues(nil, types, cells))
}

// staged hands folds to a loader.
type staged struct {
	table warehouse.CoreTable
	folds []register.Change
	ts    []int64
	next  int
	out   warehouse.Folded
}

func (s *staged) Reset() { s.next = 0 }

func (s *staged) Next(sink warehouse.Sink) (*warehouse.Folded, error) {
	if s.next == len(s.folds) {
		return nil, io.EOF
	}
	f := &s.folds[s.next]
	s.out = warehouse.Folded{Op: f.Op, Pos: f.Pos, Born: f.Born, At: f.At}
	if s.ts != nil {
		s.out.TsUs = s.ts[s.next]
	}
	if allCarried(s.table, f) {
		s.out.At = nil // the two ways to say it must mean the same
	}
	s.next++
	for i, cell := range f.V {
		write(sink, i, s.table.Columns[i].Type.Kind, cell)
	}
	return &s.out, nil
}

func allCarried(table warehouse.CoreTable, f *register.Change) bool {
	isKey := map[int]bool{}
	for _, i := range keyOrds(table) {
		isKey[i] = true
	}
	for i, at := range f.At {
		if f.Op != schemas.Delete && at != f.Pos || f.Op == schemas.Delete && !isKey[i] && !at.IsZero() {
			return false
		}
	}
	return true
}

func write(sink warehouse.Sink, i int, kind schemas.Kind, c schemas.Cell) {
	switch {
	case c.Kind == schemas.Unset: // not set is null
	case c.Kind == schemas.Null:
		sink.Null(i)
	case kind == schemas.Float:
		sink.Float(i, c.Float())
	case kind.InBytes():
		sink.Bytes(i, c.Bytes)
	default:
		sink.Int(i, c.Int)
	}
}
