package verify

import (
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"millrace/schemas"
)

// Columns that a history has beside those of the source.
const (
	opColumn    = "_op"
	posColumn   = "_pos"
	tsColumn    = "_ts"
	loadColumn  = "_load"
	unsetColumn = "_unset"
)

// place finds the column of the history that holds what the source's column
// has in a generation. If it cannot hold those values beside the earlier ones,
// they keep it under the name of the generation that ended, and it is a new one.
func (d *decoder) place(c column, generation int) int {
	i, known := d.at[c.name]
	if known {
		if typ, ok := widened(d.columns[i].typ, c.typ); ok {
			d.columns[i].typ = typ
			return i
		}
		d.columns[i].name = schemas.GenerationName(c.name, generation-1)
	}
	d.at[c.name] = len(d.columns)
	d.columns = append(d.columns, c)
	return d.at[c.name]
}

// widened is the type that holds the values of both without loss, if there is
// one: numbers with more digits.
func widened(a, b string) (string, bool) {
	if a == b {
		return a, true
	}
	whole, scale, ok := digits(a)
	whole2, scale2, ok2 := digits(b)
	whole, scale = max(whole, whole2), max(scale, scale2)
	return fmt.Sprintf("DECIMAL(%d,%d)", whole+scale, scale), ok && ok2 && whole+scale <= 38
}

// digits is how many digits a number has before and behind the point.
func digits(typ string) (whole, scale int, ok bool) {
	if typ == "BIGINT" {
		return 19, 0, true
	}
	var precision int
	n, err := fmt.Sscanf(typ, "DECIMAL(%d,%d)", &precision, &scale)
	return precision - scale, scale, err == nil && n == 2
}

// settle finds the name and type of the column.
func (f *fieldSchema) settle() {
	f.column = column{f.Name, "VARCHAR"}
	if f.Column != "" {
		f.column.name = f.Column
	}
	var union []json.RawMessage
	if json.Unmarshal(f.Type, &union) != nil || len(union) != 2 {
		return
	}
	var t struct {
		Type, LogicalType, SQLType string
		Precision, Scale           int
	}
	if json.Unmarshal(union[1], &t) != nil {
		_ = json.Unmarshal(union[1], &t.Type) // a name alone
	}
	f.scale = t.Scale
	switch {
	case t.LogicalType == "decimal":
		f.column.typ = decimalType(t.Precision, t.Scale)
	case t.LogicalType == "date":
		f.column.typ = "DATE"
	case t.LogicalType == "time-micros":
		f.column.typ = "TIME"
	case t.LogicalType == "timestamp-micros":
		f.column.typ = "TIMESTAMP WITH TIME ZONE"
	case t.LogicalType == "local-timestamp-micros":
		f.column.typ = "TIMESTAMP"
	case t.SQLType == "JSON":
		f.column.typ = "JSON"
	default:
		if typ, ok := map[string]string{"boolean": "BOOLEAN", "long": "BIGINT", "int": "BIGINT", "double": "DOUBLE", "float": "DOUBLE", "bytes": blob}[t.Type]; ok {
			f.column.typ = typ
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") + "+00" }

// text is a value in a form that DuckDB reads as the column's type.
func (f *fieldSchema) text(v any) (*string, error) {
	if boxed, ok := v.(map[string]any); ok {
		for _, inner := range boxed {
			v = inner
		}
	}
	var text string
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		text = v
	case []byte:
		text = fmt.Sprintf("%x", v)
	case *big.Rat:
		text = v.FloatString(f.scale)
	case time.Duration:
		text = time.Time{}.Add(v).Format("15:04:05.000000")
	case time.Time:
		switch f.column.typ {
		case "DATE":
			text = v.UTC().Format(time.DateOnly)
		case "TIMESTAMP":
			text = v.UTC().Format("2006-01-02 15:04:05.000000")
		default:
			text = stamp(v)
		}
	case int64, int32, float64, float32, bool:
		text = fmt.Sprint(v)
		if f.column.typ == "TIMESTAMP" { // a logical type that the library does not know
			text = time.UnixMicro(v.(int64)).UTC().Format("2006-01-02 15:04:05.000000")
		}
	default:
		return nil, fmt.Errorf("column %s holds a %T", f.column.name, v)
	}
	return &text, nil
}
