package avro

import (
	"encoding/json"
	"fmt"
	"slices"

	twmb "github.com/twmb/avro"
)

// Level says which older schemas a new one must get along with, and how.
type Level string

// The levels of the Confluent registry. Backward: the new schema reads what the
// last one wrote. Forward: the last one reads what the new one writes. Full:
// both. Transitive: not the last one alone, but every one.
const (
	None               Level = "NONE"
	Backward           Level = "BACKWARD"
	BackwardTransitive Level = "BACKWARD_TRANSITIVE"
	Forward            Level = "FORWARD"
	ForwardTransitive  Level = "FORWARD_TRANSITIVE"
	Full               Level = "FULL"
	FullTransitive     Level = "FULL_TRANSITIVE"
)

// ParseLevel reads the name of a level.
func ParseLevel(name string) (Level, error) {
	all := []Level{None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive}
	if i := slices.Index(all, Level(name)); i >= 0 {
		return all[i], nil
	}
	return "", fmt.Errorf("compatibility level %q: want one of %v", name, all)
}

// IncompatibleError says that one schema cannot read what another has written.
type IncompatibleError struct {
	Level    Level
	Version  int  // of the older schema, from 1
	Backward bool // the new schema does not read the old data; else the reverse
	Err      error
}

func (e *IncompatibleError) Error() string {
	if e.Backward {
		return fmt.Sprintf("%s: the new schema does not read what version %d wrote: %v", e.Level, e.Version, e.Err)
	}
	return fmt.Sprintf("%s: version %d does not read what the new schema writes: %v", e.Level, e.Version, e.Err)
}

func (e *IncompatibleError) Unwrap() error { return e.Err }

// Compatible checks a new schema against the older ones, which stand in the
// order of their versions. The reason against it is an *IncompatibleError.
//
// The precision of a decimal does not count, as in the registries that do not
// look at logical types: with the same scale the bytes are the same, and a
// database widens a column without asking.
func Compatible(level Level, old []string, schema string) error {
	next, err := parseForReading(schema)
	if err != nil {
		return fmt.Errorf("parse new schema: %w", err)
	}
	var backward, forward, transitive bool
	switch level {
	case None:
		return nil
	case Backward, BackwardTransitive:
		backward, transitive = true, level == BackwardTransitive
	case Forward, ForwardTransitive:
		forward, transitive = true, level == ForwardTransitive
	case Full, FullTransitive:
		backward, forward, transitive = true, true, level == FullTransitive
	default:
		_, err := ParseLevel(string(level))
		return err
	}
	for i := len(old) - 1; i >= 0; i-- {
		last, err := parseForReading(old[i])
		if err != nil {
			return fmt.Errorf("parse schema version %d: %w", i+1, err)
		}
		if backward {
			if err := twmb.CheckCompatibility(last, next); err != nil {
				return &IncompatibleError{Level: level, Version: i + 1, Backward: true, Err: err}
			}
		}
		if forward {
			if err := twmb.CheckCompatibility(next, last); err != nil {
				return &IncompatibleError{Level: level, Version: i + 1, Err: err}
			}
		}
		if !transitive {
			return nil
		}
	}
	return nil
}

// parseForReading parses the schema with the same precision for every decimal.
func parseForReading(schema string) (*twmb.Schema, error) {
	s, err := twmb.Parse(schema)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal([]byte(schema), &tree); err != nil {
		return s, nil //nolint:nilerr // a bare name of a type has no decimals
	}
	widenDecimals(tree)
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return twmb.Parse(string(text))
}

// anyPrecision is more than any column has.
const anyPrecision = 1000

func widenDecimals(tree any) {
	switch node := tree.(type) {
	case map[string]any:
		if node["type"] == "bytes" && node["logicalType"] == "decimal" {
			node["precision"] = anyPrecision
		}
		for _, child := range node {
			widenDecimals(child)
		}
	case []any:
		for _, child := range node {
			widenDecimals(child)
		}
	}
}
