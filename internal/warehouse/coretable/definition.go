// Package coretable knows what a core table is, whatever warehouse holds it:
// its definition and how it may change, what a batch brings to it, and how its
// head moves.
//
// It is pure: it reads and writes nothing.
package coretable

import (
	"fmt"
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Definition is a core table as it is in the warehouse.
type Definition struct {
	Mode       schemas.Mode
	Generation int
	Columns    []sqlgen.Column // Staged is not set
	Key        []string        // in the key's order
	Needs      []Need
	Images     []string // the columns of the table of images, nil if there is none
	Unsettable []string
}

// Need is one row of the table of needs.
type Need struct{ Spec, Kind, Column string }

// The kinds of needs.
const (
	NeedEventTime = "event_time"
	NeedChange    = "change"
)

// Needs are the rows of the table of needs that a spec makes, in a fixed order.
func Needs(spec string, k warehouse.Kept) (out []Need) {
	for _, list := range []struct {
		kind    string
		columns []string
	}{{NeedEventTime, k.EventTimes}, {NeedChange, k.Changes}} {
		for _, col := range list.columns {
			if n := (Need{spec, list.kind, col}); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Core is the table for the generator of SQL, with the columns that a batch
// brings marked, and those for which the load speaks.
func (def Definition) Core(d *sqlgen.Dialect, n sqlgen.Name, batch warehouse.CoreTable) (*sqlgen.Core, warehouse.Kept, error) {
	c := def.Defined(d, n)
	c.Columns = slices.Clone(c.Columns)
	for _, want := range batch.Columns {
		i := ColumnIndex(c.Columns, want.Name)
		if i < 0 {
			return nil, warehouse.Kept{}, fmt.Errorf("column %q is not in the table: ensure it before the load", want.Name)
		}
		have := &c.Columns[i]
		if to, ok := d.Fit(have.Type, want.Type); !ok || to != have.Type {
			return nil, warehouse.Kept{}, fmt.Errorf("column %q has type %s and cannot take %s: ensure it before the load", want.Name, have.Type, want.Type)
		}
		have.Staged = true
		have.Unsettable = have.Unsettable || want.Unsettable && !have.Key
	}
	for _, col := range c.Columns {
		if col.Key && !col.Staged {
			return nil, warehouse.Kept{}, fmt.Errorf("key column %q is not in the batch", col.Name)
		}
	}
	return c, def.keep(c, batch.EventTimes), nil
}

// keep marks the columns that the load speaks for and says which they are.
func (def Definition) keep(c *sqlgen.Core, eventTimes []string) (kept warehouse.Kept) {
	add := func(ords *[]int, names *[]string, i int) {
		if !slices.Contains(*names, c.Columns[i].Name) {
			*ords, *names = append(*ords, i), append(*names, c.Columns[i].Name)
		}
	}
	for _, name := range eventTimes {
		if i := ColumnIndex(c.Columns, name); i >= 0 {
			add(&c.EventTimes, &kept.EventTimes, i)
		}
	}
	for _, need := range def.Needs {
		i := ColumnIndex(c.Columns, need.Column)
		if i < 0 {
			continue // it is taken up when the column comes
		}
		switch {
		case need.Kind == NeedEventTime && c.Columns[i].Type.Kind.IsEventTime():
			add(&c.EventTimes, &kept.EventTimes, i)
		case need.Kind == NeedChange && slices.Contains(def.Images, c.Columns[i].Name):
			c.KeepImages = true
			if !c.Columns[i].Key {
				add(&c.Changed, &kept.Changes, i)
			}
		}
	}
	if c.KeepImages {
		var keys []int
		for i, col := range c.Columns {
			if col.Key {
				add(&keys, &kept.Changes, i)
			}
		}
	}
	return kept
}

// Defined is the table for the statements that define it.
func (def Definition) Defined(d *sqlgen.Dialect, n sqlgen.Name) *sqlgen.Core {
	n.Generation = def.Generation
	return &sqlgen.Core{Dialect: d, Name: n, Mode: def.Mode, Columns: def.Columns}
}

// Imaged are the ordinals of the columns whose changes a spec needs: any of
// them say some, changed lists those that are not of the key.
func (def Definition) Imaged() (changed []int, some bool) {
	if def.Mode == schemas.ModeUpsert {
		return nil, false // no load of it knows what it changed
	}
	for _, need := range def.Needs {
		i := ColumnIndex(def.Columns, need.Column)
		if need.Kind != NeedChange || i < 0 {
			continue
		}
		some = true
		if !def.Columns[i].Key && !slices.Contains(changed, i) {
			changed = append(changed, i)
		}
	}
	return changed, some
}

// ColumnIndex finds a column by its exact name.
func ColumnIndex(columns []sqlgen.Column, name string) int {
	return slices.IndexFunc(columns, func(c sqlgen.Column) bool { return c.Name == name })
}
