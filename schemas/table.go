package schemas

import (
	"fmt"
	"slices"
	"strconv"
)

// Kind is the kind of a column's values.
type Kind uint8

// The kinds of values, with what a Cell holds for each.
const (
	Bool      Kind = iota + 1 // Int: 0 or 1
	Int                       // Int
	Float                     // Int: the bits of a float64
	Decimal                   // Bytes: the unscaled value, minimal big-endian two's complement
	String                    // Bytes: valid UTF-8
	Bytes                     // Bytes
	Date                      // Int: days since 1970-01-01
	Time                      // Int: microseconds since midnight, below 24 h
	Timestamp                 // Int: microseconds since 1970-01-01T00:00:00Z, an instant
	DateTime                  // Int: microseconds since 1970-01-01T00:00:00, a civil time without a zone
	JSON                      // Bytes: valid UTF-8 JSON text
)

var kindNames = [...]string{
	Bool: "BOOL", Int: "INT64", Float: "FLOAT64", Decimal: "DECIMAL", String: "STRING", Bytes: "BYTES",
	Date: "DATE", Time: "TIME", Timestamp: "TIMESTAMP", DateTime: "DATETIME", JSON: "JSON",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// InBytes reports whether a Cell holds values of the kind in Bytes.
func (k Kind) InBytes() bool {
	return k == Decimal || k == String || k == Bytes || k == JSON
}

// IsEventTime reports whether windows can be formed over values of the kind.
func (k Kind) IsEventTime() bool { return k == Date || k == Timestamp || k == DateTime }

// Type is the type of a column. Precision and Scale belong to Decimal alone:
// at most Precision decimal digits, Scale of them behind the point,
// 0 <= Scale <= Precision.
type Type struct {
	Kind      Kind
	Precision int
	Scale     int
}

func (t Type) String() string {
	if t.Kind == Decimal {
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	}
	return t.Kind.String()
}

// Column is a column of a table. Every column is nullable on its way.
type Column struct {
	Name        string
	Type        Type
	Description string // the source's comment
	// Unsettable says that a change may leave the column's value out (a TOASTed
	// value that an update did not touch): it is then named in unset (G10).
	Unsettable bool
}

// Table is one version of a captured table. A Table is immutable; another
// version is another value.
type Table struct {
	Source  string // the source's name in the configuration
	DB      string // PostgreSQL: the database; MySQL, MariaDB: empty
	Schema  string // PostgreSQL: the schema; MySQL, MariaDB, MongoDB: the database
	Name    string
	Topic   string // the topic of this generation
	Columns []Column
	// Key holds the ordinals of the key's columns, in key order. An empty key
	// makes the table append-only.
	Key         []int
	Generation  int // from 1; rises with a version that does not continue the one before, and the topic with it
	Description string
}

// GenerationName is what holds the rows of a core table's generation above 1.
func GenerationName(table string, generation int) string {
	return table + "__g" + strconv.Itoa(generation)
}

// ID names the table inside its source: schema and name with a dot between.
func (t *Table) ID() string { return t.Schema + "." + t.Name }

// Column returns the ordinal of the named column, or -1.
func (t *Table) Column(name string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

// Continues reports whether t is of the same generation as the version before
// it: the key is the same, and a column that both have has values of one form.
// Decimal digits do not count before the point; behind it they do, because
// their number is in no value.
func (t *Table) Continues(before *Table) bool {
	same := func(a, b Column) bool {
		return a.Name == b.Name && a.Type.Kind == b.Type.Kind && a.Type.Scale == b.Type.Scale
	}
	if !slices.EqualFunc(t.KeyColumns(), before.KeyColumns(), same) {
		return false
	}
	return !slices.ContainsFunc(t.Columns, func(c Column) bool {
		i := before.Column(c.Name)
		return i >= 0 && !same(c, before.Columns[i])
	})
}

// KeyColumns returns the columns of the key, in key order.
func (t *Table) KeyColumns() []Column {
	out := make([]Column, len(t.Key))
	for i, ord := range t.Key {
		out[i] = t.Columns[ord]
	}
	return out
}
