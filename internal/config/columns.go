package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"millrace/schemas"
)

// columnName is the form of a column that is filled from a field. A leading
// underscore is the platform's, and doc is the whole document.
var columnName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)

// columns are names with a type, or with a path and a type.
func (r *reader) columns(v value) []Column {
	var out []Column
	seen := map[string]bool{}
	for _, e := range r.entries(v) {
		c := Column{Name: e.name}
		switch lower := strings.ToLower(e.name); {
		case lower == "doc":
			r.fault(e.value, "is the column of the whole document", "choose another name, and say with path: where the value stands")
		case !columnName.MatchString(e.name):
			r.fault(e.value, fmt.Sprintf("%q is no name of a column", e.name), "begin with a letter, write letters, digits and _ alone, and say with path: where the value stands")
		case seen[lower]:
			r.fault(e.value, "is a second column of that name: capitals do not count", "choose another name, and say with path: where the value stands")
		default:
			seen[lower] = true
		}
		typ := e.value
		if isMapping(e.value) {
			mendDecimal(e.node)
			f := r.fields(e.value, "path", "type")
			if at, ok := f["path"]; ok {
				c.Path = r.path(at)
			}
			if typ, ok := f["type"]; ok {
				c.Type = r.columnType(typ)
			} else {
				r.fault(e.child("type", e.line), "is absent", "write one of "+columnTypes)
			}
		} else {
			c.Type = r.columnType(typ)
		}
		out = append(out, c)
	}
	return out
}

var decimalEnd = regexp.MustCompile(`^\d{1,2}\)$`)

// mendDecimal joins what YAML has cut at a comma: between braces, DECIMAL(12,2)
// is a value DECIMAL(12 and another field 2).
func mendDecimal(n *yaml.Node) {
	for i := 3; i < len(n.Content); i += 2 {
		cut, end := n.Content[i-2], n.Content[i-1]
		if n.Content[i].Tag == "!!null" && decimalEnd.MatchString(end.Value) && strings.Contains(cut.Value, "(") && !strings.Contains(cut.Value, ")") {
			cut.Value += "," + end.Value
			n.Content = slices.Delete(n.Content, i-1, i+1)
			return
		}
	}
}

func (r *reader) path(v value) string {
	text := r.text(v)
	for part := range strings.SplitSeq(text, ".") {
		if part == "" && text != "" {
			r.fault(v, "has an empty part", "write the names of fields with one dot between, such as total.amount")
			return ""
		}
	}
	return text
}

const columnTypes = "STRING, INT64, FLOAT64, DECIMAL(12,2), BOOL, DATE, TIMESTAMP, BYTES, JSON"

var (
	decimalType = regexp.MustCompile(`^DECIMAL\((\d{1,2}), ?(\d{1,2})\)$`)
	plainTypes  = map[string]schemas.Kind{
		"STRING": schemas.String, "INT64": schemas.Int, "FLOAT64": schemas.Float, "BOOL": schemas.Bool, "DATE": schemas.Date,
		"TIMESTAMP": schemas.Timestamp, "BYTES": schemas.Bytes, "JSON": schemas.JSON,
	}
)

func (r *reader) columnType(v value) schemas.Type {
	text := strings.ToUpper(r.text(v))
	if text == "" {
		return schemas.Type{}
	}
	if kind, ok := plainTypes[text]; ok {
		return schemas.Type{Kind: kind}
	}
	if m := decimalType.FindStringSubmatch(text); m != nil {
		precision, _ := strconv.Atoi(m[1]) // two digits
		scale, _ := strconv.Atoi(m[2])
		if precision >= 1 && precision <= 38 && scale <= precision {
			return schemas.Type{Kind: schemas.Decimal, Precision: precision, Scale: scale}
		}
		r.fault(v, text+" is no decimal number", "write DECIMAL(digits,behind the point), with at most 38 digits")
		return schemas.Type{}
	}
	r.fault(v, fmt.Sprintf("%q is no type of a column", text), "write one of "+columnTypes)
	return schemas.Type{}
}
