package coretable

import (
	"fmt"
	"slices"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// Step is a change of a table's column.
type Step struct {
	Column int
	Add    bool // else its type changes
}

// New is the definition of a table that is not there yet.
func New(d *sqlgen.Dialect, want warehouse.CoreTable) Definition {
	def := Definition{Mode: want.Mode, Generation: 1, Key: want.Key}
	for _, col := range want.Columns {
		key := slices.Contains(want.Key, col.Name)
		def.Columns = append(def.Columns, sqlgen.Column{
			Name: col.Name, Type: d.Held(col.Type), Key: key, Unsettable: col.Unsettable && !key, Description: col.Description,
		})
		if col.Unsettable && !key {
			def.Unsettable = append(def.Unsettable, col.Name)
		}
	}
	return def
}

// Evolve is the definition that takes what the table is wanted to be, and the
// steps to it. No column goes, and none is renamed.
func (def Definition) Evolve(d *sqlgen.Dialect, want warehouse.CoreTable) (Definition, []Step, error) {
	if want.Mode != def.Mode {
		return def, nil, fmt.Errorf("its mode is %s and cannot become %s: load the topic into another table, with as: in the configuration", def.Mode, want.Mode)
	}
	if err := sameKey(want.Key, def.Columns); err != nil {
		return def, nil, err
	}
	return def.evolve(d, want)
}

func (def Definition) evolve(d *sqlgen.Dialect, want warehouse.CoreTable) (Definition, []Step, error) {
	next := def
	next.Columns, next.Unsettable = slices.Clone(def.Columns), slices.Clone(def.Unsettable)
	var steps []Step
	for _, col := range want.Columns {
		i := ColumnIndex(next.Columns, col.Name)
		if i < 0 {
			i = len(next.Columns)
			next.Columns = append(next.Columns, sqlgen.Column{Name: col.Name, Type: d.Held(col.Type), Description: col.Description})
			steps = append(steps, Step{Column: i, Add: true})
		} else {
			to, ok := d.Fit(next.Columns[i].Type, col.Type)
			if !ok {
				return def, nil, fmt.Errorf("column %q has type %s, which cannot take %s without loss", col.Name, next.Columns[i].Type, col.Type)
			}
			if to != next.Columns[i].Type {
				next.Columns[i].Type = to
				steps = append(steps, Step{Column: i})
			}
		}
		// Once a row may lack a column it stays so, whatever a later version of
		// the source's table promises.
		if have := &next.Columns[i]; col.Unsettable && !have.Key && !have.Unsettable {
			have.Unsettable = true
			next.Unsettable = append(next.Unsettable, col.Name)
		}
	}
	return next, steps, checkNames(names(next.Columns))
}

func names(columns []sqlgen.Column) []schemas.Column {
	out := make([]schemas.Column, len(columns))
	for i, c := range columns {
		out[i].Name = c.Name
	}
	return out
}

func sameKey(want []string, columns []sqlgen.Column) error {
	var have []string
	for _, c := range columns {
		if c.Key {
			have = append(have, c.Name)
		}
	}
	a, b := slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(have))
	if !slices.Equal(a, b) {
		return fmt.Errorf("its key is %q and cannot become %q: a changed key is a new generation", have, want)
	}
	return nil
}
