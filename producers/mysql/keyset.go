package mysql

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"millrace/schemas"
)

// sqlLiteral is a cell as the server reads it: exact for numbers, and in a type
// that lets it use the column's index and collation.
func sqlLiteral(t schemas.Type, c schemas.Cell) string {
	switch {
	case c.Kind != schemas.Present:
		return "NULL"
	case t.Kind == schemas.Decimal:
		return string(schemas.AppendDecimalText(nil, c.Bytes, t.Scale))
	case t.Kind == schemas.Float:
		return strconv.FormatFloat(c.Float(), 'e', -1, 64)
	case t.Kind == schemas.Date:
		return "'" + time.Unix(c.Int*86400, 0).UTC().Format(time.DateOnly) + "'"
	case t.Kind == schemas.Timestamp || t.Kind == schemas.DateTime:
		return "'" + time.UnixMicro(c.Int).UTC().Format("2006-01-02 15:04:05.000000") + "'"
	case t.Kind == schemas.Bytes:
		return "x'" + hex.EncodeToString(c.Bytes) + "'"
	case t.Kind.InBytes():
		return "_utf8mb4 x'" + hex.EncodeToString(c.Bytes) + "'"
	}
	return strconv.FormatInt(c.Int, 10)
}

// keyColumn is a column of the key as a query compares and orders it.
type keyColumn struct {
	expr string
	typ  schemas.Type
	form form
}

// keyColumns are the columns of the key. An enum or set is ordered by its
// number but compared with text by its text, so both are done by text, at the
// price of the index.
func keyColumns(t *schemas.Table, columns []column) []keyColumn {
	out := make([]keyColumn, len(t.Key))
	for i, ord := range t.Key {
		k := keyColumn{expr: quoteName(t.Columns[ord].Name), typ: t.Columns[ord].Type, form: columns[ord].form}
		if k.form == formEnum || k.form == formSet {
			k.expr = "CONVERT(" + k.expr + " USING utf8mb4) COLLATE utf8mb4_bin"
		}
		out[i] = k
	}
	return out
}

func (k keyColumn) literal(c schemas.Cell) string {
	if k.form == formTime && c.Kind == schemas.Present {
		return timeLiteral(c.Int)
	}
	return sqlLiteral(k.typ, c)
}

func timeLiteral(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	s := micros / 1e6
	two := func(n int64) string {
		if n < 10 {
			return "0" + strconv.FormatInt(n, 10)
		}
		return strconv.FormatInt(n, 10)
	}
	frac := strconv.FormatInt(1e6+micros%1e6, 10)[1:]
	return "'" + sign + two(s/3600) + ":" + two(s/60%60) + ":" + two(s%60) + "." + frac + "'"
}

// above is the condition for keys above after, in an order that is the
// columns' own: k1 >= a AND (k1 > a OR k1 = a AND (k2 > b OR …)). A comparison of
// rows would say the same, and the server would not use the index for it.
func above(keys []keyColumn, after []schemas.Cell) string {
	var b strings.Builder
	for i, k := range keys {
		value := k.literal(after[i])
		if i == len(keys)-1 {
			b.WriteString(k.expr + " > " + value)
			break
		}
		if i == 0 {
			b.WriteString(k.expr + " >= " + value + " AND ")
		}
		b.WriteString("(" + k.expr + " > " + value + " OR " + k.expr + " = " + value + " AND ")
	}
	b.WriteString(strings.Repeat(")", len(keys)-1))
	return b.String()
}

// among is the condition for any of the given keys.
func among(keys []keyColumn, wanted [][]schemas.Cell) string {
	if len(keys) == 1 {
		values := make([]string, len(wanted))
		for i, cells := range wanted {
			values[i] = keys[0].literal(cells[0])
		}
		return keys[0].expr + " IN (" + strings.Join(values, ", ") + ")"
	}
	rows := make([]string, len(wanted))
	for i, cells := range wanted {
		parts := make([]string, len(keys))
		for j, k := range keys {
			parts[j] = k.expr + " = " + k.literal(cells[j])
		}
		rows[i] = "(" + strings.Join(parts, " AND ") + ")"
	}
	return strings.Join(rows, " OR ")
}

// orderBy lists the key's expressions.
func orderBy(keys []keyColumn) string {
	exprs := make([]string, len(keys))
	for i, k := range keys {
		exprs[i] = k.expr
	}
	return strings.Join(exprs, ", ")
}
