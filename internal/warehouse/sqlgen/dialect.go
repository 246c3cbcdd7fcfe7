// Package sqlgen writes the SQL of core tables: their definitions, and the
// statements of a load in the order of the design's loop.
//
// It is pure: it returns text and does no I/O. What differs between warehouses
// stands in a Dialect; another warehouse is another Dialect. The row's rules
// are those of package register, and tests compare the two (G2).
package sqlgen

import (
	"fmt"
	"strings"

	"millrace/schemas"
)

// Dialect is how a warehouse spells what the statements need.
type Dialect struct {
	ident     func(name string) string
	text      func(s string) string
	types     func(schemas.Type) string
	parseType func(string) (schemas.Type, bool)
	// same is true for two equal values of the type and for two nulls. equal and
	// sameKey are conditions of a join, which the warehouse must be able to take
	// for equalities: of keys that hold no null, and of those that may.
	same     func(t schemas.Type, a, b string) string
	equal    func(t schemas.Type, a, b string) string
	sameKey  func(t schemas.Type, a, b string) string
	null     func(t schemas.Type) string // a null where its type is not seen
	param    func(i int) string          // a parameter, counted from 1
	jsonText func(expr string) string    // a JSON value as text
	toJSON   func(text string) string    // and back
	countIf  func(cond string) string
	now      string
	instant  func(us int64) string
	bucket   func(kind schemas.Kind, expr string) string
	layout   func(table layout) string // stands behind the columns of CREATE TABLE
	// declareKey stands among them; empty if the warehouse is told of no key.
	declareKey func(columns []string) string
	remark     func(text string) string // stands behind a column's type: what it means
	temp       string                   // the schema of temporary tables, with its dot
	rowSet     bool                     // in SET, the alias of the table is its row and hides a column of that name
	rowID      string                   // the pseudo-column that numbers a table's rows; empty if there is none
	reserved   []string                 // datasets that cannot be made
}

// layout is how a table is kept, for warehouses that ask.
type layout struct {
	partition   string // a column of type partKind; empty: none
	partKind    schemas.Kind
	cluster     []string
	description string
	kind        string // a label: base, head, log
	labels      map[string]string
	generation  int // another, of a view: that of the rows that it shows
}

// DuckDB is the dialect of DuckDB.
func DuckDB() *Dialect {
	return &Dialect{
		ident:      func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` },
		text:       func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" },
		types:      duckType,
		parseType:  duckParseType,
		same:       func(_ schemas.Type, a, b string) string { return a + " IS NOT DISTINCT FROM " + b },
		equal:      func(_ schemas.Type, a, b string) string { return a + " = " + b },
		sameKey:    func(_ schemas.Type, a, b string) string { return a + " IS NOT DISTINCT FROM " + b },
		null:       func(schemas.Type) string { return "NULL" },
		param:      func(i int) string { return fmt.Sprintf("$%d", i) },
		jsonText:   func(expr string) string { return "CAST(" + expr + " AS VARCHAR)" },
		toJSON:     func(text string) string { return "CAST(" + text + " AS VARCHAR)" },
		countIf:    func(cond string) string { return "count(*) FILTER (" + cond + ")" },
		now:        "now()",
		instant:    func(us int64) string { return fmt.Sprintf("make_timestamptz(%d)", us) },
		bucket:     duckBucket,
		layout:     func(layout) string { return "" },
		declareKey: func([]string) string { return "" },
		remark:     func(string) string { return "" },
		temp:       "temp.",
		rowID:      "rowid",
		// A schema named like the file is ambiguous; the others are DuckDB's own.
		reserved: []string{"warehouse", Schema, "main", "temp", "system", "pg_catalog", "information_schema"},
	}
}

// Ident quotes an identifier: names may be any text.
func (d *Dialect) Ident(name string) string { return d.ident(name) }

// target is the alias of the table that a MERGE changes.
const target = "t"

// assigned is a column where SET of a MERGE names it.
func (d *Dialect) assigned(column string) string {
	if d.rowSet && strings.EqualFold(column, target) {
		return target + "." + d.ident(column)
	}
	return d.ident(column)
}

// Type is the column type that holds values of t.
func (d *Dialect) Type(t schemas.Type) string { return d.types(t) }

// Held is the type that a column made for values of t really holds: a decimal
// that is too wide for the warehouse is held as text.
func (d *Dialect) Held(t schemas.Type) schemas.Type {
	held, _ := d.parseType(d.types(t))
	return held
}

// ParseType is the type behind a column type's name in the warehouse's catalog,
// and whether it is one that Type gives.
func (d *Dialect) ParseType(name string) (schemas.Type, bool) { return d.parseType(name) }

// Fit says what it takes for a column of type have to take values of type want
// without loss: nothing, a change of the column's type to the one returned, or,
// with ok false, that it cannot.
func (d *Dialect) Fit(have, want schemas.Type) (to schemas.Type, ok bool) {
	want = d.Held(want)
	switch {
	case have == want:
		return have, true
	case have.Kind == schemas.Decimal && want.Kind == schemas.Int:
		want = schemas.Type{Kind: schemas.Decimal, Precision: intDigits}
	case have.Kind == schemas.Int && want.Kind == schemas.Decimal:
		have = schemas.Type{Kind: schemas.Decimal, Precision: intDigits}
	}
	if have.Kind != schemas.Decimal || want.Kind != schemas.Decimal {
		return have, false
	}
	to = schemas.Type{Kind: schemas.Decimal, Scale: max(have.Scale, want.Scale)}
	to.Precision = to.Scale + max(have.Precision-have.Scale, want.Precision-want.Scale)
	if d.Held(to) != to {
		return have, false
	}
	return to, true
}

// intDigits is how many decimal digits an INT64 may have.
const intDigits = 19

// Text is a string literal.
func (d *Dialect) Text(s string) string { return d.text(s) }

// kind is the column type of a kind that has no parameters.
func (d *Dialect) kind(k schemas.Kind) string { return d.types(schemas.Type{Kind: k}) }

const maxDuckDecimal = 38

func duckType(t schemas.Type) string {
	switch t.Kind {
	case schemas.Bool:
		return "BOOLEAN"
	case schemas.Int:
		return "BIGINT"
	case schemas.Float:
		return "DOUBLE"
	case schemas.Decimal:
		if t.Precision > maxDuckDecimal {
			return "VARCHAR"
		}
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case schemas.Bytes:
		return "BLOB"
	case schemas.Date:
		return "DATE"
	case schemas.Time:
		return "TIME"
	case schemas.Timestamp:
		return "TIMESTAMP WITH TIME ZONE"
	case schemas.DateTime:
		return "TIMESTAMP"
	case schemas.JSON:
		return "JSON"
	default:
		return "VARCHAR"
	}
}

func duckParseType(name string) (schemas.Type, bool) {
	switch name {
	case "BOOLEAN":
		return schemas.Type{Kind: schemas.Bool}, true
	case "BIGINT":
		return schemas.Type{Kind: schemas.Int}, true
	case "DOUBLE":
		return schemas.Type{Kind: schemas.Float}, true
	case "VARCHAR":
		return schemas.Type{Kind: schemas.String}, true
	case "BLOB":
		return schemas.Type{Kind: schemas.Bytes}, true
	case "DATE":
		return schemas.Type{Kind: schemas.Date}, true
	case "TIME":
		return schemas.Type{Kind: schemas.Time}, true
	case "TIMESTAMP WITH TIME ZONE":
		return schemas.Type{Kind: schemas.Timestamp}, true
	case "TIMESTAMP":
		return schemas.Type{Kind: schemas.DateTime}, true
	case "JSON":
		return schemas.Type{Kind: schemas.JSON}, true
	}
	t := schemas.Type{Kind: schemas.Decimal}
	if n, err := fmt.Sscanf(name, "DECIMAL(%d,%d)", &t.Precision, &t.Scale); n != 2 || err != nil {
		return schemas.Type{}, false
	}
	return t, true
}

// duckBucket numbers the hours, or for a DATE the days, since 1970. Division
// truncates toward zero in DuckDB, so times before 1970 are floored by hand.
func duckBucket(kind schemas.Kind, expr string) string {
	switch kind {
	case schemas.Date:
		return fmt.Sprintf("CAST(%s - DATE '1970-01-01' AS BIGINT)", expr)
	default:
		us := "epoch_us(" + expr + ")"
		return fmt.Sprintf("(%s // %d - CASE WHEN %s %% %d < 0 THEN 1 ELSE 0 END)", us, hourUs, us, hourUs)
	}
}

const hourUs = 3_600_000_000
