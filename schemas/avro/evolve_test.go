package avro

import (
	"errors"
	"strings"
	"testing"

	"millrace/schemas"
)

func TestCompatible(t *testing.T) {
	table := benchTable()
	first := ValueSchema(table)
	table.Columns = append(table.Columns, schemas.Column{Name: "vat", Type: schemas.Type{Kind: schemas.Int}})
	added := ValueSchema(table)
	table.Columns[1].Type.Kind = schemas.String
	retyped := ValueSchema(table)
	record := func(fields string) string { return `{"type":"record","name":"R","fields":[` + fields + `]}` }
	a, ab, abd := record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"},{"name":"b","type":"int"}`),
		record(`{"name":"a","type":"int"},{"name":"b","type":"int","default":0}`)
	wide := record(`{"name":"a","type":"long"}`)
	for _, c := range []struct {
		level   Level
		old     []string
		next    string
		version int // of the one that stands against it; 0: none
	}{
		{Full, []string{first}, added, 0}, // a new nullable column never needs anyone's leave
		{FullTransitive, []string{first, added}, first, 0},
		{Backward, []string{first, added}, retyped, 2},
		{Forward, []string{first}, retyped, 1},
		{None, []string{first}, retyped, 0},
		{Backward, []string{a}, ab, 1},
		{Backward, []string{a}, abd, 0},
		{Forward, []string{a}, ab, 0},
		{Forward, []string{ab}, a, 1},
		{Full, []string{a}, ab, 1},
		{Full, []string{a}, abd, 0},
		{Backward, []string{a}, wide, 0}, // int to long
		{Forward, []string{a}, wide, 1},
		{Backward, []string{a, ab}, ab, 0},
		{BackwardTransitive, []string{a, ab}, ab, 1},
		{Forward, []string{ab, a}, a, 0},
		{ForwardTransitive, []string{ab, a}, a, 1},
		{FullTransitive, []string{a, abd, ab}, ab, 1},
		{Backward, nil, a, 0},
	} {
		err := Compatible(c.level, c.old, c.next)
		var incompatible *IncompatibleError
		if c.version == 0 && err != nil || c.version != 0 && (!errors.As(err, &incompatible) || incompatible.Version != c.version || incompatible.Level != c.level) {
			t.Errorf("%s %v then %s: %v, want against version %d", c.level, c.old, c.next, err, c.version)
		}
	}
	if err := Compatible("SIDEWAYS", nil, a); err == nil || !strings.Contains(err.Error(), "SIDEWAYS") {
		t.Errorf("an unknown level: %v", err)
	}
	if err := Compatible(None, nil, `{"type":"x"}`); err == nil {
		t.Error("nonsense is compatible")
	}
}

// A decimal of another scale has the same canonical form and other meaning.
func TestDecimalScaleIsIncompatible(t *testing.T) {
	table := benchTable()
	old := ValueSchema(table)
	table.Columns[5].Type.Scale = 2
	if err := Compatible(Backward, []string{old}, ValueSchema(table)); err == nil {
		t.Error("a decimal of another scale is compatible")
	}
}
