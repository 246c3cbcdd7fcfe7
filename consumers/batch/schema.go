package batch

import (
	"fmt"

	"millrace/schemas"
	"millrace/schemas/avro"
)

// Schema is one version of a topic's values, as a batch needs it.
type Schema struct {
	ID      uint32
	Decoder *avro.Decoder
	Columns []schemas.Column // as the writer has them
}

// Union adds to the core table's columns those of s that it lacks, by name, and
// widens where both know the column with another size. It is an error if one
// column cannot hold both.
func Union(core []schemas.Column, s *Schema) ([]schemas.Column, error) {
	out := append([]schemas.Column(nil), core...)
	at := make(map[string]int, len(out))
	for i, c := range out {
		at[c.Name] = i
	}
	for _, c := range s.Columns {
		i, ok := at[c.Name]
		if !ok {
			out = append(out, c)
			continue
		}
		t, err := widen(out[i].Type, c.Type)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		out[i].Type = t
		out[i].Unsettable = out[i].Unsettable || c.Unsettable
		if c.Description != "" {
			out[i].Description = c.Description
		}
	}
	return out, nil
}

// intDigits is how many decimal digits an Int can have.
const intDigits = 19

// widen is the type that holds the values of both without loss.
func widen(x, y schemas.Type) (schemas.Type, error) {
	if x == y {
		return x, nil
	}
	if x.Kind == schemas.Int && y.Kind == schemas.Decimal {
		x = schemas.Type{Kind: schemas.Decimal, Precision: intDigits}
	}
	if y.Kind == schemas.Int && x.Kind == schemas.Decimal {
		y = schemas.Type{Kind: schemas.Decimal, Precision: intDigits}
	}
	if x.Kind == schemas.Decimal && y.Kind == schemas.Decimal {
		scale := max(x.Scale, y.Scale)
		return schemas.Type{Kind: schemas.Decimal, Scale: scale, Precision: max(x.Precision-x.Scale, y.Precision-y.Scale) + scale}, nil
	}
	return schemas.Type{}, fmt.Errorf("the topic has %s, the table has %s, and no type holds both", y, x)
}

// binding says where the columns of one writer's schema go.
type binding struct {
	to      []int // writer's ordinal to core ordinal
	key     []int // place in the key to core ordinal
	convert []conversion
}

type conversion struct {
	fromInt bool
	scale   int // digits to append
}

func bind(core []schemas.Column, key []string, s *Schema) (*binding, bool, error) {
	at := make(map[string]int, len(core))
	for i, c := range core {
		at[c.Name] = i
	}
	b := &binding{to: make([]int, len(s.Columns)), convert: make([]conversion, len(core))}
	converts := false
	for i, c := range s.Columns {
		to, ok := at[c.Name]
		if !ok {
			return nil, false, fmt.Errorf("bind schema %d: the table has no column %q", s.ID, c.Name)
		}
		b.to[i] = to
		want := core[to].Type
		switch {
		case want == c.Type:
		case want.Kind == schemas.Decimal && c.Type.Kind == schemas.Int:
			b.convert[to], converts = conversion{fromInt: true, scale: want.Scale}, true
		case want.Kind == schemas.Decimal && c.Type.Kind == schemas.Decimal:
			if want.Scale != c.Type.Scale {
				b.convert[to], converts = conversion{scale: want.Scale - c.Type.Scale}, true
			}
		default:
			return nil, false, fmt.Errorf("bind schema %d: column %q is %s in the topic and %s in the table", s.ID, c.Name, c.Type, want)
		}
	}
	for _, name := range key {
		to, ok := at[name]
		if !ok {
			return nil, false, fmt.Errorf("bind schema %d: the table has no key column %q", s.ID, name)
		}
		b.key = append(b.key, to)
	}
	return b, converts, nil
}
