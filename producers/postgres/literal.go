package postgres

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/schemas"
)

// literal writes a key's cell as a literal without a type, which takes the
// type of the column that it is compared with.
func literal(t schemas.Type, c schemas.Cell) (string, error) {
	if c.Kind != schemas.Present {
		return "", fmt.Errorf("a key value is missing")
	}
	switch t.Kind {
	case schemas.Bool:
		return quoteText(strconv.FormatBool(c.Int != 0)), nil
	case schemas.Int:
		return quoteText(strconv.FormatInt(c.Int, 10)), nil
	case schemas.Float:
		return quoteText(strconv.FormatFloat(c.Float(), 'g', -1, 64)), nil
	case schemas.Decimal:
		return quoteText(string(schemas.AppendDecimalText(nil, c.Bytes, t.Scale))), nil
	case schemas.Bytes:
		return quoteText(`\x` + hex.EncodeToString(c.Bytes)), nil
	case schemas.Date:
		return quoteText(time.Unix(c.Int*86400, 0).UTC().Format("2006-01-02")), nil
	case schemas.Time:
		return quoteText(time.UnixMicro(c.Int).UTC().Format("15:04:05.000000")), nil
	case schemas.Timestamp:
		return quoteText(time.UnixMicro(c.Int).UTC().Format("2006-01-02 15:04:05.000000+00")), nil
	case schemas.DateTime:
		return quoteText(time.UnixMicro(c.Int).UTC().Format("2006-01-02 15:04:05.000000")), nil
	default: // String, JSON
		return quoteText(string(c.Bytes)), nil
	}
}

// keyTuple writes the columns of a key, or a value of it, as a row.
func keyTuple(items []string) string {
	if len(items) == 1 {
		return items[0]
	}
	return "(" + strings.Join(items, ", ") + ")"
}

func keyLiterals(t *schemas.Table, cells []schemas.Cell) (string, error) {
	if len(cells) != len(t.Key) {
		return "", fmt.Errorf("a key of %s has %d values, not %d", t.ID(), len(cells), len(t.Key))
	}
	items := make([]string, len(cells))
	for i, c := range cells {
		text, err := literal(t.Columns[t.Key[i]].Type, c)
		if err != nil {
			return "", err
		}
		items[i] = text
	}
	return keyTuple(items), nil
}

// selectSQL reads the columns of t, and only them: what the log carries.
func selectSQL(t *schemas.Table, plain bool) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = quote(c.Name)
	}
	only := ""
	if plain {
		only = "ONLY " // tables that inherit from it are tables of their own
	}
	return "SELECT " + strings.Join(names, ", ") + " FROM " + only + quoteName(t.Schema, t.Name)
}

// chunkSQL is the part of a SELECT behind the table: at most limit rows above
// after, in the order of the key's own index.
func chunkSQL(t *schemas.Table, after []schemas.Cell, limit int) (string, error) {
	if len(t.Key) == 0 {
		return "", nil
	}
	names := make([]string, len(t.Key))
	for i, c := range t.KeyColumns() {
		names[i] = quote(c.Name)
	}
	where := ""
	if after != nil {
		value, err := keyLiterals(t, after)
		if err != nil {
			return "", err
		}
		where = " WHERE " + keyTuple(names) + " > " + value
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", where, strings.Join(names, ", "), limit), nil
}

// keysSQL is the part of a SELECT behind the table: the rows of the keys.
func keysSQL(t *schemas.Table, keys [][]schemas.Cell) (string, error) {
	names := make([]string, len(t.Key))
	for i, c := range t.KeyColumns() {
		names[i] = quote(c.Name)
	}
	values := make([]string, len(keys))
	for i, k := range keys {
		v, err := keyLiterals(t, k)
		if err != nil {
			return "", err
		}
		values[i] = v
	}
	return " WHERE " + keyTuple(names) + " IN (" + strings.Join(values, ", ") + ")", nil
}
