package bigquery

import (
	"fmt"
	"strconv"
	"time"

	api "google.golang.org/api/bigquery/v2"
)

// values are a row's values: int64, bool, time.Time, and text for what is
// neither; nil is null. The service writes each as text.
func values(schema *api.TableSchema, row *api.TableRow) ([]any, error) {
	if schema == nil || len(schema.Fields) != len(row.F) {
		return nil, fmt.Errorf("a row of %d values does not fit its schema", len(row.F))
	}
	out := make([]any, len(row.F))
	for i, cell := range row.F {
		text, ok := cell.V.(string)
		if !ok {
			if cell.V != nil {
				return nil, fmt.Errorf("value of %s is a %T", schema.Fields[i].Name, cell.V)
			}
			continue
		}
		var err error
		switch schema.Fields[i].Type {
		case "INTEGER", "INT64":
			out[i], err = strconv.ParseInt(text, 10, 64)
		case "BOOLEAN", "BOOL":
			out[i], err = strconv.ParseBool(text)
		case "TIMESTAMP":
			var us int64
			us, err = strconv.ParseInt(text, 10, 64)
			out[i] = time.UnixMicro(us).UTC()
		default:
			out[i] = text
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", schema.Fields[i].Name, err)
		}
	}
	return out, nil
}

// str is a value that is text; a null is none.
func str(v any) string {
	s, _ := v.(string)
	return s
}
