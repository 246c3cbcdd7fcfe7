package bigqueryfake

import (
	"fmt"
	"strconv"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// columnType is a type of GoogleSQL.
type columnType struct {
	name             string // INT64, NUMERIC, …
	precision, scale int64  // of NUMERIC and BIGNUMERIC; zero precision: not given
	inner            string // of ARRAY and STRUCT, what stands between their brackets
}

// typeNames are GoogleSQL's names with the names that the REST API gives them
// and their types in DuckDB.
var typeNames = []struct{ sql, rest, duck string }{
	{"INT64", "INTEGER", "BIGINT"},
	{"FLOAT64", "FLOAT", "DOUBLE"},
	{"BOOL", "BOOLEAN", "BOOLEAN"},
	{"STRING", "STRING", "VARCHAR"},
	{"BYTES", "BYTES", "BLOB"},
	{"DATE", "DATE", "DATE"},
	{"TIME", "TIME", "TIME"},
	{"TIMESTAMP", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"},
	{"DATETIME", "DATETIME", "TIMESTAMP"},
	{"JSON", "JSON", "JSON"},
	{"NUMERIC", "NUMERIC", ""},
	{"BIGNUMERIC", "BIGNUMERIC", ""},
}

// typeAliases are further names of types.
var typeAliases = map[string]string{
	"INT": "INT64", "INTEGER": "INT64", "BIGINT": "INT64", "SMALLINT": "INT64", "TINYINT": "INT64", "BYTEINT": "INT64",
	"FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC",
}

// duckDigits is how many digits DuckDB's decimals have at most.
const duckDigits = 38

func typeNamed(name string) (columnType, bool) {
	name = strings.ToUpper(name)
	if full, ok := typeAliases[name]; ok {
		name = full
	}
	for _, t := range typeNames {
		if t.sql == name {
			return columnType{name: name}, true
		}
	}
	return columnType{}, false
}

// bounds are the digits of a decimal type, as declared or by default, and
// whether values of it are held as text because DuckDB has no such decimal.
func (t columnType) bounds() (precision, scale int64, asText bool) {
	precision, scale = t.precision, t.scale
	if precision == 0 {
		precision, scale = 38, 9
		if t.name == "BIGNUMERIC" {
			precision, scale = 76, 38
		}
	}
	return precision, scale, precision > duckDigits
}

// decimal reports whether the type is NUMERIC or BIGNUMERIC.
func (t columnType) decimal() bool { return t.name == "NUMERIC" || t.name == "BIGNUMERIC" }

// duck is the type of DuckDB that holds the values.
func (t columnType) duck() string {
	if t.nested() {
		return t.duckNested()
	}
	if t.decimal() {
		precision, scale, asText := t.bounds()
		if asText {
			return "VARCHAR"
		}
		return fmt.Sprintf("DECIMAL(%d,%d)", precision, scale)
	}
	for _, n := range typeNames {
		if n.sql == t.name {
			return n.duck
		}
	}
	return ""
}

// String is the type as INFORMATION_SCHEMA writes it.
func (t columnType) String() string {
	switch {
	case t.nested():
		return t.name + "<" + t.inner + ">"
	case t.precision == 0:
		return t.name
	case t.scale == 0:
		return fmt.Sprintf("%s(%d)", t.name, t.precision)
	}
	return fmt.Sprintf("%s(%d, %d)", t.name, t.precision, t.scale)
}

// check says what is wrong with declared digits.
func (t columnType) check() error {
	if t.precision == 0 {
		return nil
	}
	whole, most := int64(29), int64(9)
	if t.name == "BIGNUMERIC" {
		whole, most = 38, 38
	}
	if t.scale < 0 || t.scale > most || t.precision < max(1, t.scale) || t.precision-t.scale > whole {
		return fmt.Errorf("in %s(P, S), P must be between max(S,1) and %d+S, S between 0 and %d; got %s", t.name, whole, most, t)
	}
	return nil
}

// column is a column of a table.
type column struct {
	name        string
	typ         columnType
	required    bool
	description string
}

// field is the column as the REST API has it.
func (c column) field() *bq.TableFieldSchema {
	f := &bq.TableFieldSchema{Name: c.name, Mode: "NULLABLE", Description: c.description, Precision: c.typ.precision, Scale: c.typ.scale}
	if c.required {
		f.Mode = "REQUIRED"
	}
	if c.typ.nested() {
		c.typ.nestedField(f)
	}
	for _, n := range typeNames {
		if n.sql == c.typ.name {
			f.Type = n.rest
		}
	}
	return f
}

// columnOf reads a column of the REST API.
func columnOf(f *bq.TableFieldSchema) (column, error) {
	name := strings.ToUpper(f.Type)
	if f.Mode == "REPEATED" || name == "RECORD" || name == "STRUCT" {
		typ, err := nestedOf(f)
		return column{name: f.Name, typ: typ, required: f.Mode == "REQUIRED", description: f.Description}, err
	}
	for _, n := range typeNames {
		if n.rest == name {
			name = n.sql
		}
	}
	typ, ok := typeNamed(name)
	if !ok {
		return column{}, fmt.Errorf("field %s: type %s %s is not in the set of this fake", f.Name, f.Mode, f.Type)
	}
	typ.precision, typ.scale = f.Precision, f.Scale
	c := column{name: f.Name, typ: typ, required: f.Mode == "REQUIRED", description: f.Description}
	return c, typ.check()
}

func columnsOf(s *bq.TableSchema) ([]column, error) {
	if s == nil {
		return nil, nil
	}
	var out []column
	for _, f := range s.Fields {
		c, err := columnOf(f)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func schemaOf(columns []column) *bq.TableSchema {
	s := &bq.TableSchema{Fields: []*bq.TableFieldSchema{}}
	for _, c := range columns {
		s.Fields = append(s.Fields, c.field())
	}
	return s
}

// typeOfDuck is the type of a result's column, from what DuckDB calls it.
func typeOfDuck(duck string) (columnType, error) {
	switch duck {
	case "HUGEINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER":
		return columnType{name: "INT64"}, nil
	case "FLOAT":
		return columnType{name: "FLOAT64"}, nil
	case `"NULL"`, "NULL":
		return columnType{name: "INT64"}, nil
	}
	for _, n := range typeNames {
		if n.duck == duck {
			return columnType{name: n.sql}, nil
		}
	}
	if typ, ok, err := nestedOfDuck(duck); ok {
		return typ, err
	}
	if digits, ok := strings.CutPrefix(duck, "DECIMAL("); ok {
		p, s, _ := strings.Cut(strings.TrimSuffix(digits, ")"), ",")
		precision, err1 := strconv.ParseInt(p, 10, 64)
		scale, err2 := strconv.ParseInt(s, 10, 64)
		if err1 == nil && err2 == nil {
			// The sum of any decimals is one of 38 digits in DuckDB, and of the
			// summands' own type in the service.
			if scale <= 9 && (precision-scale <= 29 || precision == duckDigits) {
				return columnType{name: "NUMERIC"}, nil
			}
			return columnType{name: "BIGNUMERIC"}, nil
		}
	}
	return columnType{}, fmt.Errorf("results of DuckDB's type %s are not in the set of this fake", duck)
}
