package avro

import (
	"fmt"

	twmb "github.com/twmb/avro"

	"millrace/schemas"
)

// maxPrecision bounds what a schema may claim, as no database goes beyond it.
const maxPrecision = 1000

// ParseValueSchema returns the columns of a table from the schema of its change
// events, as ValueSchema was given them.
func ParseValueSchema(schema string) ([]schemas.Column, error) {
	e, err := parseEnvelope(schema)
	if err != nil {
		return nil, err
	}
	return e.columns, nil
}

// ParseKeySchema returns the key's columns, in key order, from the schema of a
// table's record keys.
func ParseKeySchema(schema string) ([]schemas.Column, error) {
	root, err := parseRoot(schema)
	if err != nil {
		return nil, err
	}
	columns, err := rowColumns(root)
	if err != nil {
		return nil, fmt.Errorf("read key schema: %w", err)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("read key schema: record %s has no fields", root.Name)
	}
	return columns, nil
}

// envelope is what a decoder needs to know of a value schema.
type envelope struct {
	description string
	columns     []schemas.Column
	source      []plain
	transaction []plain
}

// plain is a field of Source or Transaction.
type plain struct {
	name     string
	text     bool // string, else long
	nullable bool
}

// parseEnvelope reads a schema that has the shape of ValueSchema: the same
// fields in the same order, because the loader stops in the middle. The records
// Source and Transaction may have more fields than this version knows.
func parseEnvelope(schema string) (*envelope, error) {
	root, err := parseRoot(schema)
	if err != nil {
		return nil, err
	}
	e, err := readEnvelope(root)
	if err != nil {
		return nil, fmt.Errorf("read value schema: %w", err)
	}
	return e, nil
}

func readEnvelope(root *twmb.SchemaNode) (*envelope, error) {
	want := []string{"op", "pos", "ts_us", "unset", "since", "after", "before", "source", "transaction"}
	if root.Type != "record" || len(root.Fields) != len(want) {
		return nil, fmt.Errorf("not a record of the fields %q: it is no change event of Millrace", want)
	}
	for i, name := range want {
		if root.Fields[i].Name != name {
			return nil, fmt.Errorf("field %d is %q, want %q: it is no change event of Millrace", i, root.Fields[i].Name, name)
		}
	}
	types := make([]*twmb.SchemaNode, len(want))
	for i := range types {
		types[i] = &root.Fields[i].Type
	}
	if types[0].Type != "string" || types[1].Type != "string" || types[2].Type != "long" {
		return nil, fmt.Errorf("op, pos and ts_us are %s, %s and %s, want string, string and long", types[0].Type, types[1].Type, types[2].Type)
	}
	if types[3].Type != "array" || types[3].Items.Type != "string" {
		return nil, fmt.Errorf("unset is no array of strings")
	}
	if since := nullable(types[4]); since == nil || since.Type != "string" {
		return nil, fmt.Errorf(`since is not ["null", "string"]`)
	}
	after, before := nullable(types[5]), nullable(types[6])
	if after == nil || before == nil || after.Type != "record" {
		return nil, fmt.Errorf("after and before are not nullable records")
	}
	if before.Type != after.Name && before.Type != after.Namespace+"."+after.Name {
		return nil, fmt.Errorf("before is %s, want the record of after, %s", before.Type, after.Name)
	}
	e := new(envelope)
	var err error
	if e.columns, err = rowColumns(after); err != nil {
		return nil, err
	}
	e.description = after.Doc
	if e.source, err = plainFields(types[7]); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	transaction := nullable(types[8])
	if transaction == nil {
		return nil, fmt.Errorf("transaction is not nullable")
	}
	if e.transaction, err = plainFields(transaction); err != nil {
		return nil, fmt.Errorf("transaction: %w", err)
	}
	return e, nil
}

func parseRoot(schema string) (*twmb.SchemaNode, error) {
	parsed, err := twmb.Parse(schema)
	if err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	return parsed.Root(), nil
}

// nullable returns T of ["null", T], or nil.
func nullable(n *twmb.SchemaNode) *twmb.SchemaNode {
	if n.Type != "union" || len(n.Branches) != 2 || n.Branches[0].Type != "null" {
		return nil
	}
	return &n.Branches[1]
}

func rowColumns(row *twmb.SchemaNode) ([]schemas.Column, error) {
	if row.Type != "record" {
		return nil, fmt.Errorf("%s is no record", row.Type)
	}
	columns := make([]schemas.Column, len(row.Fields))
	seen := make(map[string]bool, len(row.Fields))
	for i := range row.Fields {
		f := &row.Fields[i]
		t, err := typeOf(nullable(&f.Type))
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.Name, row.Name, err)
		}
		c := schemas.Column{Name: f.Name, Type: t, Description: f.Doc}
		if name, ok := f.Props["column"].(string); ok {
			c.Name = name
		}
		c.Unsettable, _ = f.Props["unsettable"].(bool)
		if seen[c.Name] {
			return nil, fmt.Errorf("field %s of %s: a second column %q", f.Name, row.Name, c.Name)
		}
		seen[c.Name] = true
		columns[i] = c
	}
	return columns, nil
}

// typeOf is the reverse of columnType.
func typeOf(n *twmb.SchemaNode) (schemas.Type, error) {
	if n == nil {
		return schemas.Type{}, fmt.Errorf(`the type is not ["null", T]`)
	}
	var t schemas.Type
	switch n.Type + ":" + n.LogicalType {
	case "boolean:":
		t.Kind = schemas.Bool
	case "long:":
		t.Kind = schemas.Int
	case "double:":
		t.Kind = schemas.Float
	case "bytes:decimal":
		t = schemas.Type{Kind: schemas.Decimal, Precision: n.Precision, Scale: n.Scale}
		return t, checkDecimalType(t)
	case "string:":
		t.Kind = schemas.String
		if n.Props["sqlType"] == sqlJSON {
			t.Kind = schemas.JSON
		}
	case "bytes:":
		t.Kind = schemas.Bytes
	case "int:date":
		t.Kind = schemas.Date
	case "long:time-micros":
		t.Kind = schemas.Time
	case "long:timestamp-micros":
		t.Kind = schemas.Timestamp
	case "long:local-timestamp-micros":
		t.Kind = schemas.DateTime
	default:
		if n.LogicalType != "" {
			return t, fmt.Errorf("no column has the type %s with logicalType %s", n.Type, n.LogicalType)
		}
		return t, fmt.Errorf("no column has the type %s", n.Type)
	}
	return t, nil
}

func checkDecimalType(t schemas.Type) error {
	if t.Precision < 1 || t.Precision > maxPrecision || t.Scale < 0 || t.Scale > t.Precision {
		return fmt.Errorf("%s: want a precision from 1 to %d and a scale from 0 to the precision", t, maxPrecision)
	}
	return nil
}

func plainFields(n *twmb.SchemaNode) ([]plain, error) {
	if n.Type != "record" {
		return nil, fmt.Errorf("%s is no record", n.Type)
	}
	out := make([]plain, len(n.Fields))
	for i := range n.Fields {
		f := &n.Fields[i]
		out[i].name = f.Name
		t := &f.Type
		if t.Type == "union" {
			if t = nullable(t); t == nil {
				return nil, fmt.Errorf("field %s is a union other than [\"null\", T]", f.Name)
			}
			out[i].nullable = true
		}
		switch t.Type {
		case "string":
			out[i].text = true
		case "long":
		default:
			return nil, fmt.Errorf("field %s has the type %s, want string or long", f.Name, t.Type)
		}
	}
	return out, nil
}
