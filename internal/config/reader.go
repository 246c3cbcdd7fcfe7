package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"millrace/internal/invalid"
)

// reader turns YAML nodes into values and notes every fault on the way. A
// method that finds one returns the zero value, so that reading goes on.
type reader struct {
	file   string
	env    func(string) (string, bool)
	opens  func(source string) bool // whose DSNs are read
	faults invalid.Faults
	lines  map[string]int // of everything that has a name, by path
}

// value is a node and its place.
type value struct {
	node *yaml.Node // nil: the file is empty or not YAML
	path string
	line int // of the key, or of the value where there is none
}

// entry is a value with the key it stands under.
type entry struct {
	name string
	value
}

func (v value) child(name string, line int) value {
	if v.path != "" {
		name = v.path + "." + name
	}
	return value{path: name, line: line}
}

func (r *reader) fault(v value, problem, cure string) {
	r.faults.Add(r.file, v.line, v.path, problem, cure)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (r *reader) syntax(err error) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line := 0
	if m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	cure := "correct the line or the one above it"
	if strings.HasPrefix(text, "unknown anchor") { // the text names it, and it may be a password
		text, cure = "a value begins with *, and there is no anchor of that name", "put the value in quotes"
	}
	if strings.HasSuffix(text, "expected ',' or '}'") {
		cure += `; between braces a variable stands in quotes, as "${NAME}"`
	}
	r.faults.Add(r.file, line, "", "is not YAML: "+text, cure)
}

func isMapping(v value) bool { return v.node != nil && v.node.Kind == yaml.MappingNode }

func isNull(v value) bool {
	return v.node != nil && v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null"
}

func isEmptyList(v value) bool {
	return v.node != nil && v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0
}

// entries are the keys and values of a mapping, in the file's order, each key
// once.
func (r *reader) entries(v value) []entry {
	if v.node == nil {
		return nil
	}
	if !isMapping(v) {
		r.fault(v, "is "+describe(v.node), "write fields below it, each as name: value")
		return nil
	}
	var out []entry
	lines := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		child := v.child(key.Value, key.Line)
		child.node = node
		switch first, repeated := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			r.fault(v, fmt.Sprintf("has a field in line %d whose name is no text", key.Line), "write name: value")
		case repeated && isCut(v, child):
			r.cut(v)
		case repeated:
			r.fault(child, fmt.Sprintf("stands here again, after line %d", first), "keep one of the two")
		default:
			lines[key.Value], r.lines[child.path] = key.Line, key.Line
			out = append(out, entry{name: key.Value, value: child})
		}
	}
	return out
}

// isCut reports whether a field between braces may be the rest of a value with a
// comma in it. It is not to be repeated then: it may be the rest of a password.
func isCut(around, field value) bool {
	return around.node.Style&yaml.FlowStyle != 0 && isNull(field) && field.node.Value == ""
}

func (r *reader) cut(around value) {
	r.fault(around, "holds a field without a value, or a comma cuts a value in two", "put a value with a comma in it in quotes")
}

// fields are the values of a mapping whose keys are known.
func (r *reader) fields(v value, known ...string) map[string]value {
	out := map[string]value{}
	for _, e := range r.entries(v) {
		if slices.Contains(known, e.name) {
			out[e.name] = e.value
			continue
		}
		if isCut(v, e.value) {
			r.cut(v)
			continue
		}
		cure := "known here are " + strings.Join(known, ", ")
		if near := invalid.Nearest(e.name, known); near != "" {
			cure = "did you mean " + near + "?"
		}
		r.fault(e.value, "is unknown", cure)
	}
	return out
}

// text is a text that is not empty, with its variables.
func (r *reader) text(v value) string {
	if v.node.Kind != yaml.ScalarNode || v.node.Tag != "!!str" {
		cure := "write a text"
		if v.node.Kind == yaml.ScalarNode && v.node.Tag != "!!null" {
			cure = "write it in quotes"
		}
		r.fault(v, "is "+describe(v.node), cure)
		return ""
	}
	if v.node.Value == "" {
		r.fault(v, "is empty", "write a text, or leave the field out")
		return ""
	}
	return r.expand(v, v.node.Value)
}

// texts is one text or a list of them, none twice.
func (r *reader) texts(v value) []string {
	nodes := []*yaml.Node{v.node}
	if v.node.Kind == yaml.SequenceNode {
		nodes = v.node.Content
		if len(nodes) == 0 {
			r.fault(v, "is an empty list", "write at least one, or leave the field out")
		}
	}
	var out []string
	for _, n := range nodes {
		item := v
		if n != v.node {
			item = value{node: n, path: v.path, line: n.Line}
			if n.Kind == yaml.AliasNode {
				item.node = n.Alias
			}
		}
		text := r.text(item)
		if text != "" && slices.Contains(out, text) {
			r.fault(item, fmt.Sprintf("holds %q twice", text), "keep one")
			continue
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

// choice is one of a few words.
func (r *reader) choice(v value, words ...string) string {
	text := r.text(v)
	if text == "" || slices.Contains(words, text) {
		return text
	}
	cure := "write " + strings.Join(words, " or ")
	r.fault(v, fmt.Sprintf("%q is unknown", text), cure)
	return ""
}

var variable = regexp.MustCompile(`\$\$|\$\{[^}]*\}?`)

var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand replaces ${NAME} by the environment's value, as it is: a dollar sign
// or a quote in a password stays one.
func (r *reader) expand(v value, text string) string {
	ok := true
	out := variable.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		m := variableName.FindStringSubmatch(found)
		if m == nil {
			// Not what stands there: it may be the rest of a password.
			r.fault(v, "holds a ${ that begins no variable", "write ${NAME}, or $$ for a dollar sign")
			ok = false
			return ""
		}
		got, set := r.env(m[1])
		if !set || got == "" {
			r.fault(v, fmt.Sprintf("needs the environment variable %s, which is not set", m[1]), "set it, or write the value here")
			ok = false
		}
		return got
	})
	if !ok {
		return ""
	}
	return out
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a group of fields"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!timestamp":
		return "a date"
	}
	return "a text"
}
