package bigquery

import (
	"context"
	"fmt"
	"strings"
	"time"

	"millrace/schemas"
)

// keyLiterals are the captured keys as a list for IN, or nothing if there are
// too many, or none.
func (x *run) keyLiterals(ctx context.Context) (string, error) {
	kinds := make([]schemas.Kind, len(x.Owning))
	for i, name := range x.Owning {
		for n, c := range x.Columns {
			if c == name {
				t, _ := x.dialect.ParseType(x.Types[n])
				kinds[i] = t.Kind
			}
		}
	}
	res, err := x.job(ctx, "read_keys", "", x.ReadKeys(maxKeys+1))
	if err != nil || len(res.rows) > maxKeys || len(res.rows) == 0 {
		return "", err
	}
	var b strings.Builder
	b.WriteByte('(')
	for n, row := range res.rows {
		literals := make([]string, len(row))
		for i, v := range row {
			var ok bool
			if literals[i], ok = x.literal(kinds[i], v); !ok {
				return "", nil
			}
		}
		if n > 0 {
			b.WriteString(", ")
		}
		if len(literals) == 1 {
			b.WriteString(literals[0])
		} else {
			b.WriteString("(" + strings.Join(literals, ", ") + ")")
		}
		if b.Len() > maxKeyText {
			return "", nil
		}
	}
	b.WriteByte(')')
	return b.String(), nil
}

// literal writes a value that was read. Types whose values have no short text
// have none.
func (x *run) literal(k schemas.Kind, v any) (string, bool) {
	switch v := v.(type) {
	case int64, bool:
		return strings.ToUpper(fmt.Sprint(v)), true
	case time.Time:
		return "TIMESTAMP '" + v.UTC().Format("2006-01-02 15:04:05.999999") + "+00'", true
	case string:
		switch k {
		case schemas.String:
			return x.dialect.Text(v), true
		case schemas.Date, schemas.DateTime:
			return k.String() + " " + x.dialect.Text(v), true
		}
	}
	return "", false
}
