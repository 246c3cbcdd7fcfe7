package avro

import (
	"bytes"
	"encoding/json"

	"millrace/schemas"
)

// The parts of a schema, in the order in which they are written.
type (
	record struct {
		Type      string  `json:"type"`
		Name      string  `json:"name"`
		Namespace string  `json:"namespace,omitempty"`
		Doc       string  `json:"doc,omitempty"`
		Fields    []field `json:"fields"`
	}
	field struct {
		Name       string          `json:"name"`
		Type       any             `json:"type"`
		Default    json.RawMessage `json:"default,omitempty"`
		Doc        string          `json:"doc,omitempty"`
		Column     string          `json:"column,omitempty"`     // the column's name, where Avro does not allow it
		Unsettable bool            `json:"unsettable,omitempty"` // schemas.Column.Unsettable
	}
	array struct {
		Type  string `json:"type"`
		Items string `json:"items"`
	}
	primitive struct {
		Type        string `json:"type"`
		LogicalType string `json:"logicalType,omitempty"`
		Precision   int    `json:"precision,omitempty"`
		Scale       *int   `json:"scale,omitempty"`
		SQLType     string `json:"sqlType,omitempty"`
	}
)

const sqlJSON = "JSON"

// ValueSchema is the schema of the table's change events: the record Envelope.
// It says all that a reader needs to know of the columns; ParseValueSchema
// gives them back.
func ValueSchema(t *schemas.Table) string {
	fields := make([]field, len(t.Columns))
	for i := range t.Columns {
		fields[i] = columnField(&t.Columns[i])
		fields[i].Default = json.RawMessage("null")
	}
	row := record{Type: "record", Name: rowRecord, Doc: t.Description, Fields: fields}
	return marshal(record{
		Type: "record", Name: envelopeRecord, Namespace: namespace(t.Topic),
		Doc: "A change of one row, or a control record, which has neither row.",
		Fields: []field{
			{Name: "op", Type: "string", Doc: "c(reate), u(pdate), d(elete), r(ead by the snapshot), t(runcate), w(atermark), s(napshot done)"},
			{Name: "pos", Type: "string", Doc: "Where the change stands in the history of its source; the greatest wins."},
			{Name: "ts_us", Type: primitive{Type: "long", LogicalType: "timestamp-micros"}, Doc: "Commit time at the source. Of a watermark: the table is complete up to it."},
			{Name: "unset", Type: array{Type: "array", Items: "string"}, Doc: "The columns whose value is not known; null stands for them in after."},
			optional("since", "string", "Beside unset: no value from below this position holds."),
			optional("after", row, ""),
			optional("before", rowRecord, "Columns that the source's log does not carry are null."),
			{Name: "source", Type: record{Type: "record", Name: sourceRecord, Fields: []field{
				{Name: "connector", Type: "string"},
				{Name: "name", Type: "string"},
				{Name: "db", Type: "string"},
				{Name: "schema", Type: "string"},
				{Name: "table", Type: "string"},
				{Name: "snapshot", Type: "string", Doc: "true or false"},
				optional("token", "string", "Where in the source's log the change stands, for people."),
				optional("txid", "string", ""),
			}}},
			optional("transaction", record{Type: "record", Name: transactionRecord, Fields: []field{
				{Name: "id", Type: "string"},
				optional("total_order", "long", "Ordinal of the change in its transaction, from 1."),
				optional("data_collection_order", "long", "Ordinal among the changes of this table in the transaction."),
			}}, ""),
		},
	})
}

// KeySchema is the schema of the table's record keys, or nothing for a table
// without a key. Its fields have no default: another key is another generation
// of the topic, and a registry that checks should refuse it here.
func KeySchema(t *schemas.Table) string {
	if len(t.Key) == 0 {
		return ""
	}
	columns := t.KeyColumns()
	fields := make([]field, len(columns))
	for i := range columns {
		fields[i] = columnField(&columns[i])
	}
	return marshal(record{Type: "record", Name: keyRecord, Namespace: namespace(t.Topic), Fields: fields})
}

func optional(name string, t any, doc string) field {
	return field{Name: name, Type: []any{"null", t}, Default: json.RawMessage("null"), Doc: doc}
}

func columnField(c *schemas.Column) field {
	f := field{Name: fieldName(c.Name), Type: []any{"null", columnType(c.Type)}, Doc: c.Description, Unsettable: c.Unsettable}
	if f.Name != c.Name {
		f.Column = c.Name
	}
	return f
}

// columnType is the Avro type of a column. A kind without one gives a type that
// Check refuses.
func columnType(t schemas.Type) any {
	switch t.Kind {
	case schemas.Bool:
		return "boolean"
	case schemas.Int:
		return "long"
	case schemas.Float:
		return "double"
	case schemas.Decimal:
		scale := t.Scale
		return primitive{Type: "bytes", LogicalType: "decimal", Precision: t.Precision, Scale: &scale}
	case schemas.String:
		return "string"
	case schemas.Bytes:
		return "bytes"
	case schemas.Date:
		return primitive{Type: "int", LogicalType: "date"}
	case schemas.Time:
		return primitive{Type: "long", LogicalType: "time-micros"}
	case schemas.Timestamp:
		return primitive{Type: "long", LogicalType: "timestamp-micros"}
	case schemas.DateTime:
		return primitive{Type: "long", LogicalType: "local-timestamp-micros"}
	case schemas.JSON:
		return primitive{Type: "string", SQLType: sqlJSON}
	}
	return t.Kind.String()
}

func marshal(r record) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // strings and numbers always marshal
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}
