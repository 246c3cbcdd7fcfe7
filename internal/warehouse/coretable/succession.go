package coretable

import (
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Stay is the definition of a history in its next generation. Its rows stay: a
// column whose type cannot take the new one keeps its values under another name.
// The first columns of the new definition are those of the old, in their order.
func (def Definition) Stay(d *sqlgen.Dialect, s *warehouse.Succession) (Definition, error) {
	next := def
	next.Generation, next.Key = s.Generation, s.Table.Key
	next.Columns = slices.Clone(def.Columns)
	for i := range next.Columns {
		next.Columns[i].Key = false
	}
	for _, col := range s.Table.Columns {
		i := ColumnIndex(next.Columns, col.Name)
		if i < 0 {
			continue
		}
		if _, ok := d.Fit(next.Columns[i].Type, col.Type); !ok {
			next.Columns[i].Name = schemas.GenerationName(col.Name, s.Generation-1)
		}
	}
	next, _, err := next.evolve(d, s.Table)
	if err != nil {
		return def, err
	}
	for i := range next.Columns {
		c := &next.Columns[i]
		if c.Key = slices.Contains(s.Table.Key, c.Name); c.Key {
			c.Unsettable = false
		}
	}
	next.Unsettable = slices.DeleteFunc(slices.Clone(next.Unsettable), func(name string) bool { return slices.Contains(s.Table.Key, name) })
	return next, nil
}

// Stays is the head of a history in its next generation, whose topic it reads
// from the beginning.
func (h Head) Stays(s *warehouse.Succession, unsettable []string) Head {
	next := h
	next.Load, next.Generation, next.Key, next.Unsettable = s.Load, s.Generation, s.Table.Key, unsettable
	next.Topic, next.TopicID = s.Topic, s.TopicID
	next.Offsets, next.Marks = map[int32]int64{}, map[int32]warehouse.Mark{}
	return next
}

// TakesIn is the head of a copy in its next generation: that of the table which
// it takes in, under its own name, epoch and number. Completeness does not go
// back: what the next generation read, it read later.
func (h Head) TakesIn(from Head, s *warehouse.Succession) Head {
	next := from
	next.Name, next.Epoch, next.Load, next.Generation = h.Name, h.Epoch, s.Load, s.Generation
	next.Complete.Pos = schemas.MaxPosition(h.Complete.Pos, from.Complete.Pos)
	next.Complete.Time = later(h.Complete.Time, from.Complete.Time)
	next.Snapshot.Done = h.Snapshot.Done || from.Snapshot.Done
	return next
}
