package bigqueryfake

import (
	"fmt"
	"strings"
)

// sameFunctions mean the same in both languages, under the same name.
var sameFunctions = map[string]bool{
	"COUNT": true, "SUM": true, "MIN": true, "MAX": true, "AVG": true, "COALESCE": true, "IFNULL": true, "NULLIF": true, "IF": true,
	"STRPOS": true, "UPPER": true, "LOWER": true, "TRIM": true, "LTRIM": true, "RTRIM": true, "LENGTH": true, "REPLACE": true,
	"STARTS_WITH": true, "ENDS_WITH": true, "SUBSTR": true, "ABS": true, "ROUND": true, "FLOOR": true, "CEIL": true, "MOD": true, "SIGN": true,
	"ROW_NUMBER": true, "RANK": true, "DENSE_RANK": true, "LAG": true, "LEAD": true, "FIRST_VALUE": true, "LAST_VALUE": true,
	"ANY_VALUE": true, "ARRAY_AGG": true, "ARRAY_TO_STRING": true, "REVERSE": true, "LPAD": true, "RPAD": true,
}

// renamed mean the same under another name. Those that begin with bq_ are
// macros of this fake.
var renamed = map[string]string{
	"COUNTIF": "bq_countif", "LOGICAL_OR": "bool_or", "LOGICAL_AND": "bool_and", "GREATEST": "bq_greatest", "LEAST": "bq_least",
	"ARRAY_LENGTH": "len", "DIV": "bq_div", "SAFE_DIVIDE": "bq_safe_divide", "UNIX_DATE": "bq_unix_date", "UNIX_MICROS": "epoch_us",
	"UNIX_MILLIS": "bq_unix_millis", "UNIX_SECONDS": "bq_unix_seconds", "TIMESTAMP_MICROS": "make_timestamptz",
	"TIMESTAMP_MILLIS": "bq_timestamp_millis", "TIMESTAMP_SECONDS": "bq_timestamp_seconds", "DATE_FROM_UNIX_DATE": "bq_date_from_unix_date",
	"TO_JSON_STRING": "bq_to_json_string", "PARSE_JSON": "bq_parse_json", "TIMESTAMP": "bq_timestamp", "DATETIME": "bq_datetime", "DATE": "bq_date",
}

// macros are made in DuckDB at the start. GREATEST and LEAST of GoogleSQL are
// null if one argument is; DuckDB's pass over nulls.
var macros = []string{
	`CREATE MACRO bq_greatest
 (a) AS a,
 (a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE greatest(a, b) END,
 (a, b, c) AS CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL ELSE greatest(a, b, c) END`,
	`CREATE MACRO bq_least
 (a) AS a,
 (a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE least(a, b) END,
 (a, b, c) AS CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL ELSE least(a, b, c) END`,
	// Of no row, it is 0; DuckDB's countif is null then.
	`CREATE MACRO bq_countif(c) AS count(CASE WHEN c THEN 1 END)`,
	// A number's text is the shortest one, whatever its type's scale.
	`CREATE MACRO bq_string(v) AS CASE WHEN typeof(v) LIKE 'DECIMAL(%' AND contains(CAST(v AS VARCHAR), '.')
 THEN regexp_replace(rtrim(rtrim(regexp_replace(CAST(v AS VARCHAR), '^(-?)\.', '\10.'), '0'), '.'), '^-0$', '0') ELSE CAST(v AS VARCHAR) END`,
	`CREATE MACRO bq_div(a, b) AS CASE WHEN b = 0 THEN error('division by zero') ELSE a // b END`,
	`CREATE MACRO bq_safe_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END`,
	`CREATE MACRO bq_unix_date(d) AS CAST(d - DATE '1970-01-01' AS BIGINT)`,
	`CREATE MACRO bq_unix_millis(t) AS CAST(floor(epoch_us(t) / 1000) AS BIGINT)`,
	`CREATE MACRO bq_unix_seconds(t) AS CAST(floor(epoch_us(t) / 1000000) AS BIGINT)`,
	`CREATE MACRO bq_timestamp_millis(n) AS make_timestamptz(n * 1000)`,
	`CREATE MACRO bq_timestamp_seconds(n) AS make_timestamptz(n * 1000000)`,
	`CREATE MACRO bq_date_from_unix_date(n) AS CAST(DATE '1970-01-01' + CAST(n AS INTEGER) AS DATE)`,
	`CREATE MACRO bq_to_json_string(v) AS coalesce(CASE WHEN typeof(v) LIKE 'DECIMAL(%' THEN bq_string(v) ELSE CAST(to_json(v) AS VARCHAR) END, 'null')`,
	`CREATE MACRO bq_parse_json(v) AS CAST(bq_json(v) AS JSON)`,
	`CREATE MACRO bq_timestamp(v) AS CAST(v AS TIMESTAMPTZ)`,
	`CREATE MACRO bq_datetime(v) AS CAST(v AS TIMESTAMP)`,
	`CREATE MACRO bq_date
 (v) AS CAST(v AS DATE),
 (y, m, d) AS make_date(y, m, d)`,
}

// parts are the units of time that both languages have, as DuckDB names them.
var parts = map[string]string{
	"MICROSECOND": "microsecond", "MILLISECOND": "millisecond", "SECOND": "second", "MINUTE": "minute", "HOUR": "hour", "DAY": "day",
	"ISOWEEK": "week", "MONTH": "month", "QUARTER": "quarter", "YEAR": "year",
}

func part(list []node) (string, error) {
	if len(list) == 1 && list[0].kind == tokenWord {
		if p := parts[strings.ToUpper(list[0].text)]; p != "" {
			return p, nil
		}
		return "", refused("the part of time %s is not in its set", list[0].text)
	}
	return "", invalidQuery("A valid date part name is required")
}

// call translates the call of a function.
func (t *translator) call(name string, inner []node) (string, error) {
	upper := strings.ToUpper(name)
	switch upper {
	case "CAST", "SAFE_CAST":
		return t.cast(upper, inner)
	case "COUNT", "SUM", "AVG", "MIN", "MAX", "ARRAY_AGG", "STRING_AGG":
		return t.aggregate(upper, inner)
	case "EXTRACT":
		return t.extract(inner)
	}
	args := split(inner)
	if done, err := t.special(upper, args); done != "" || err != nil {
		return done, err
	}
	texts, err := t.each(args)
	if err != nil {
		return "", err
	}
	list := strings.Join(texts, ", ")
	switch {
	case sameFunctions[upper]:
		return strings.ToLower(upper) + "(" + list + ")", nil
	case renamed[upper] != "":
		return renamed[upper] + "(" + list + ")", nil
	}
	return "", refused("function %s is not in its set", name)
}

// special translates the calls whose arguments are not a list of expressions,
// or that become no call. It returns nothing for others.
func (t *translator) special(upper string, args [][]node) (string, error) {
	switch upper {
	case "CURRENT_TIMESTAMP":
		return t.now("TIMESTAMP WITH TIME ZONE"), nil
	case "CURRENT_DATE":
		return t.now("DATE"), nil
	case "CURRENT_DATETIME":
		return t.now("TIMESTAMP"), nil
	case "CONCAT": // null if one argument is
		texts, err := t.each(args)
		return "((" + strings.Join(texts, ") || (") + "))", err
	case "TIMESTAMP_TRUNC", "DATETIME_TRUNC", "DATE_TRUNC":
		if len(args) != 2 {
			return "", refused("%s with a time zone is not in its set", upper)
		}
		return t.truncate(upper, args)
	case "DATE_ADD", "DATE_SUB", "TIMESTAMP_ADD", "TIMESTAMP_SUB", "DATETIME_ADD", "DATETIME_SUB":
		return t.shift(upper, args)
	case "DATE_DIFF", "TIMESTAMP_DIFF", "DATETIME_DIFF":
		return t.difference(upper, args)
	case "JSON_VALUE":
		texts, err := t.each(args)
		return "json_extract_string(" + strings.Join(texts, ", ") + ")", err
	case "GENERATE_DATE_ARRAY":
		texts, err := t.each(args)
		if err == nil && len(texts) == 2 {
			texts = append(texts, "INTERVAL 1 DAY")
		}
		return "CAST(generate_series(" + strings.Join(texts, ", ") + ") AS DATE[])", err
	case "GENERATE_ARRAY":
		texts, err := t.each(args)
		return "generate_series(" + strings.Join(texts, ", ") + ")", err
	}
	return "", nil
}

func (t *translator) now(duck string) string {
	return fmt.Sprintf("CAST(make_timestamptz(%d) AS %s)", t.nowUs, duck)
}

func (t *translator) truncate(upper string, args [][]node) (string, error) {
	p, err := part(args[1])
	if err != nil {
		return "", err
	}
	v, err := t.expr(args[0])
	if upper == "DATE_TRUNC" {
		return fmt.Sprintf("CAST(date_trunc('%s', %s) AS DATE)", p, v), err
	}
	return fmt.Sprintf("date_trunc('%s', %s)", p, v), err
}

// shift translates DATE_ADD(x, INTERVAL n DAY) and its kin.
func (t *translator) shift(upper string, args [][]node) (string, error) {
	if len(args) != 2 || len(args[1]) < 3 || !args[1][0].word("INTERVAL") {
		return "", invalidQuery("No matching signature for function %s", upper)
	}
	last := len(args[1]) - 1
	p, err := part(args[1][last:])
	if err != nil {
		return "", err
	}
	v, err := t.expr(args[0])
	if err != nil {
		return "", err
	}
	n, err := t.expr(args[1][1:last])
	sign := "+"
	if strings.HasSuffix(upper, "SUB") {
		sign = "-"
	}
	text := fmt.Sprintf("((%s) %s to_%ss(CAST(%s AS INTEGER)))", v, sign, p, n)
	if p == "hour" || p == "minute" || p == "microsecond" {
		text = fmt.Sprintf("((%s) %s to_%ss(CAST(%s AS BIGINT)))", v, sign, p, n)
	}
	if strings.HasPrefix(upper, "DATE_") {
		text = "CAST(" + text + " AS DATE)"
	}
	return text, err
}

func (t *translator) difference(upper string, args [][]node) (string, error) {
	if len(args) != 3 {
		return "", invalidQuery("No matching signature for function %s", upper)
	}
	p, err := part(args[2])
	if err != nil {
		return "", err
	}
	texts, err := t.each(args[:2])
	if err != nil {
		return "", err
	}
	name := "date_diff"
	if upper == "TIMESTAMP_DIFF" { // whole units, not boundaries
		name = "date_sub"
	}
	return fmt.Sprintf("%s('%s', %s, %s)", name, p, texts[1], texts[0]), nil
}

func (t *translator) cast(upper string, inner []node) (string, error) {
	as := find(inner, "AS")
	if as < 0 {
		return "", invalidQuery("Syntax error: Expected keyword AS in CAST")
	}
	typ, rest, err := parseType(inner[as+1:])
	if err == nil && len(rest) > 0 {
		err = refused("CAST with FORMAT is not in its set")
	}
	if err != nil {
		return "", err
	}
	v, err := t.expr(inner[:as])
	name := "CAST"
	if upper == "SAFE_CAST" {
		name = "TRY_CAST"
	}
	if upper == "CAST" && typ.duck() == "VARCHAR" {
		return "bq_string(" + v + ")", err
	}
	return fmt.Sprintf("%s(%s AS %s)", name, v, typ.duck()), err
}

// aggregate translates an aggregate, whose argument may have DISTINCT before
// and ORDER BY behind it.
func (t *translator) aggregate(upper string, inner []node) (string, error) {
	distinct := ""
	if skipWords(&inner, "DISTINCT") {
		distinct = "DISTINCT "
	}
	if find(inner, "IGNORE", "RESPECT", "LIMIT") >= 0 {
		return "", refused("%s with nulls told apart or a limit is not in its set", upper)
	}
	if len(inner) == 1 && inner[0].word("*") {
		return strings.ToLower(upper) + "(*)", nil
	}
	order := ""
	if i := find(inner, "ORDER"); i >= 0 {
		text, err := t.expr(inner[i:])
		if err != nil {
			return "", err
		}
		order, inner = " "+text, inner[:i]
	}
	args, err := t.each(split(inner))
	if upper == "STRING_AGG" && len(args) == 1 {
		args = append(args, "','")
	}
	return strings.ToLower(upper) + "(" + distinct + strings.Join(args, ", ") + order + ")", err
}

func (t *translator) extract(inner []node) (string, error) {
	from := find(inner, "FROM")
	if from < 0 {
		return "", invalidQuery("Syntax error: Expected keyword FROM in EXTRACT")
	}
	v, err := t.expr(inner[from+1:])
	if err != nil {
		return "", err
	}
	if from == 1 && inner[0].word("DAYOFWEEK") { // Sunday is 1
		return "(date_part('dow', " + v + ") + 1)", nil
	}
	p, err := part(inner[:from])
	return "date_part('" + p + "', " + v + ")", err
}
