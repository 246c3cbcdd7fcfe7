package spec

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"millrace/internal/invalid"
)

// reader turns YAML nodes into values and notes every fault on its way.
type reader struct {
	file   string
	faults invalid.Faults
	lines  map[string]int
}

func (r *reader) fault(line int, field, problem, cure string) {
	r.faults = append(r.faults, invalid.Fault{File: r.file, Line: line, Field: field, Problem: problem, Cure: cure})
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

const unknownField = "is not a known field"

// entries calls visit for every key of a mapping, and notes unknown and
// repeated keys. An empty known takes any key.
func (r *reader) entries(n *yaml.Node, field string, known []string, visit func(key string, at int, value *yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		r.fault(n.Line, field, "is "+describe(n)+", not a mapping", mappingCure(known))
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := join(field, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fault(key.Line, field, "has a key that is "+describe(key), "write a plain name")
		case seen[key.Value]:
			r.fault(key.Line, name, "is given twice", "keep one of them")
		case len(known) > 0 && !slices.Contains(known, key.Value):
			r.fault(key.Line, name, unknownField, nearest(key.Value, known))
		default:
			seen[key.Value] = true
			r.lines[name] = key.Line
			visit(key.Value, key.Line, resolve(value))
		}
	}
}

func mappingCure(known []string) string {
	if len(known) == 0 {
		return "write name: value pairs"
	}
	return "write a mapping with " + strings.Join(known, ", ")
}

func (r *reader) text(n *yaml.Node, field string) string {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.fault(n.Line, field, "is "+describe(n)+", not a text", "write one value")
		return ""
	}
	if strings.TrimSpace(n.Value) == "" {
		r.fault(n.Line, field, "is empty", "write a value or leave the field out")
	}
	return n.Value
}

func (r *reader) boolean(n *yaml.Node, field string) bool {
	var v bool
	if resolve(n).Kind != yaml.ScalarNode || resolve(n).Decode(&v) != nil {
		r.fault(n.Line, field, "is "+describe(resolve(n))+", not true or false", "write true or false")
	}
	return v
}

// texts takes a list of texts, or one text.
func (r *reader) texts(n *yaml.Node, field string) []string {
	n = resolve(n)
	if n.Kind == yaml.ScalarNode {
		if v := r.text(n, field); v != "" {
			return []string{v}
		}
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n.Line, field, "is "+describe(n)+", not a list", "write [a, b]")
		return nil
	}
	var out []string
	for _, item := range n.Content {
		v := r.text(item, field)
		if v != "" && slices.Contains(out, v) {
			r.fault(item.Line, field, fmt.Sprintf("names %q twice", v), "name each once")
			continue
		}
		out = append(out, v)
	}
	if len(n.Content) == 0 {
		r.fault(n.Line, field, "is an empty list", "name at least one, or leave the field out")
	}
	return out
}

// items calls visit for every item of a list.
func (r *reader) items(n *yaml.Node, field string, visit func(i int, item *yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		r.fault(n.Line, field, "is "+describe(n)+", not a list", "write one item per line, each behind a dash")
		return
	}
	for i, item := range n.Content {
		visit(i, resolve(item))
	}
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	}
	return fmt.Sprintf("%q", n.Value)
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func parent(field string) string {
	if i := strings.LastIndexAny(field, ".["); i >= 0 {
		return field[:i]
	}
	return ""
}

// nearest names the known word that a mistyped one probably meant.
func nearest(word string, known []string) string {
	if near := invalid.Nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(known, ", ")
}
