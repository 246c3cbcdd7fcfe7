package sqlgen

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millrace/schemas"
)

// BigQuery is the dialect of BigQuery. Its parameters are written as @p1 and
// are put in as literals by Bind: a statement of a script is then whole by
// itself.
func BigQuery() *Dialect {
	return &Dialect{
		ident:     func(name string) string { return "`" + bigqueryEscape(name, '`') + "`" },
		text:      func(s string) string { return "'" + bigqueryEscape(s, '\'') + "'" },
		types:     bigqueryType,
		parseType: bigqueryParseType,
		same:      bigquerySame,
		equal: func(t schemas.Type, a, b string) string {
			if t.Kind == schemas.Float {
				return bigquerySameKey(t, a, b)
			}
			return a + " = " + b
		},
		sameKey:  bigquerySameKey,
		null:     func(t schemas.Type) string { return "CAST(NULL AS " + bigqueryType(t) + ")" },
		param:    func(i int) string { return fmt.Sprintf("@p%d", i) },
		jsonText: func(expr string) string { return "TO_JSON_STRING(" + expr + ")" },
		toJSON:   func(text string) string { return "PARSE_JSON(" + text + ")" },
		countIf:  func(cond string) string { return "COUNTIF(" + cond + ")" },
		now:      "CURRENT_TIMESTAMP()",
		instant:  func(us int64) string { return fmt.Sprintf("TIMESTAMP_MICROS(%d)", us) },
		bucket:   bigqueryBucket,
		layout:   bigqueryLayout,
		declareKey: func(columns []string) string {
			if len(columns) == 0 {
				return ""
			}
			return "PRIMARY KEY (" + strings.Join(columns, ", ") + ") NOT ENFORCED"
		},
		remark:   bigqueryRemark,
		rowSet:   true,
		reserved: []string{Schema, Scratch, "information_schema"},
	}
}

// LabelGeneration is the label of a reader's view that says whose rows it shows.
const LabelGeneration = "generation"

const labelKind = "millrace"

// Limits of BigQuery's tables.
const (
	maxCluster = 4
	maxKey     = 16
	maxRemark  = 1024 // bytes of a column's description
	maxLabel   = 63
)

// Bind puts literals into a statement in place of @p1, @p2 and so on.
func Bind(statement string, literals ...string) string {
	var b strings.Builder
	for {
		at := strings.Index(statement, "@p")
		end := at + 2
		for at >= 0 && end < len(statement) && statement[end] >= '0' && statement[end] <= '9' {
			end++
		}
		if at < 0 {
			b.WriteString(statement)
			return b.String()
		}
		b.WriteString(statement[:at])
		if i, err := strconv.Atoi(statement[at+2 : end]); err == nil && i >= 1 && i <= len(literals) {
			b.WriteString(literals[i-1])
		} else {
			b.WriteString(statement[at:end])
		}
		statement = statement[end:]
	}
}

// bigqueryEscape escapes text between quotes: identifiers and strings have the
// same escapes.
func bigqueryEscape(s string, quote byte) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < ' ' || c == 0x7f:
			// \x is a character here, not a byte: right below 0x80.
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Digits of NUMERIC and BIGNUMERIC before and behind the point.
const (
	numericWhole, numericScale = 29, 9
	bigWhole, bigScale         = 38, 38
)

func bigqueryType(t schemas.Type) string {
	switch t.Kind {
	case schemas.Decimal:
		switch whole := t.Precision - t.Scale; {
		case whole <= numericWhole && t.Scale <= numericScale:
			return fmt.Sprintf("NUMERIC(%d, %d)", t.Precision, t.Scale)
		case whole <= bigWhole && t.Scale <= bigScale:
			return fmt.Sprintf("BIGNUMERIC(%d, %d)", t.Precision, t.Scale)
		}
		return "STRING"
	case schemas.Bool, schemas.Int, schemas.Float, schemas.Bytes, schemas.Date, schemas.Time, schemas.Timestamp, schemas.DateTime, schemas.JSON:
		return t.Kind.String()
	default:
		return "STRING"
	}
}

// bigqueryParseType reads a type as INFORMATION_SCHEMA writes it.
func bigqueryParseType(name string) (schemas.Type, bool) {
	for k := schemas.Bool; k <= schemas.JSON; k++ {
		if k != schemas.Decimal && name == k.String() {
			return schemas.Type{Kind: k}, true
		}
	}
	t := schemas.Type{Kind: schemas.Decimal}
	args, ok := strings.CutSuffix(strings.TrimPrefix(strings.TrimPrefix(name, "BIG"), "NUMERIC("), ")")
	precision, scale, two := strings.Cut(args, ",")
	var err error
	if t.Precision, err = strconv.Atoi(precision); err != nil {
		return schemas.Type{}, false
	}
	if two { // one that is declared without a scale has none
		if t.Scale, err = strconv.Atoi(strings.TrimSpace(scale)); err != nil {
			return schemas.Type{}, false
		}
	}
	return t, ok && bigqueryType(t) != "STRING"
}

// bigquerySame compares. JSON has no equality, but its text has: members are
// written in one order.
func bigquerySame(t schemas.Type, a, b string) string {
	if t.Kind == schemas.JSON {
		return fmt.Sprintf("(TO_JSON_STRING(%s) = TO_JSON_STRING(%s) AND (%s IS NULL) = (%s IS NULL))", a, b, a, b)
	}
	return a + " IS NOT DISTINCT FROM " + b
}

// bigquerySameKey is an equality also of two nulls, and of two NaN, which = takes
// to differ. Adding zero makes one of the two zeros.
func bigquerySameKey(t schemas.Type, a, b string) string {
	switch t.Kind {
	case schemas.Float:
		a, b = a+" + 0.0", b+" + 0.0"
	case schemas.Decimal: // its text is the shortest one, whatever the scale; JSON's may be of a float64
		return fmt.Sprintf("COALESCE(CAST(%s AS STRING), '') = COALESCE(CAST(%s AS STRING), '')", a, b)
	}
	return fmt.Sprintf("TO_JSON_STRING(%s) = TO_JSON_STRING(%s)", a, b)
}

// bigqueryBucket numbers the hours, or for a DATE the days, since 1970. DIV
// truncates toward zero.
func bigqueryBucket(kind schemas.Kind, expr string) string {
	if kind == schemas.Date {
		return "UNIX_DATE(" + expr + ")"
	}
	if kind == schemas.DateTime {
		expr = "TIMESTAMP(" + expr + ")"
	}
	us := "UNIX_MICROS(" + expr + ")"
	return fmt.Sprintf("(DIV(%s, %d) - CASE WHEN MOD(%s, %d) < 0 THEN 1 ELSE 0 END)", us, hourUs, us, hourUs)
}

// clusters reports whether a table can be clustered by values of the kind, and
// have them in its key.
func clusters(k schemas.Kind) bool {
	switch k {
	case schemas.Float, schemas.Bytes, schemas.Time, schemas.JSON:
		return false
	}
	return true
}

func bigqueryLayout(l layout) string {
	var b strings.Builder
	if l.partition != "" {
		by := l.partition
		switch l.partKind {
		case schemas.Timestamp:
			by = "TIMESTAMP_TRUNC(" + by + ", DAY)"
		case schemas.DateTime:
			by = "DATETIME_TRUNC(" + by + ", DAY)"
		}
		b.WriteString("\nPARTITION BY " + by)
	}
	if len(l.cluster) > 0 {
		b.WriteString("\nCLUSTER BY " + strings.Join(l.cluster, ", "))
	}
	labels := fmt.Sprintf("('%s', '%s')", labelKind, l.kind)
	if l.generation > 0 {
		labels += fmt.Sprintf(", ('%s', '%d')", LabelGeneration, l.generation)
	}
	others := Labels(l.labels)
	for _, name := range slices.Sorted(maps.Keys(others)) {
		labels += fmt.Sprintf(", ('%s', '%s')", name, others[name])
	}
	options := []string{"labels = [" + labels + "]"}
	if l.description != "" {
		options = append(options, "description = '"+bigqueryEscape(l.description, '\'')+"'")
	}
	return b.String() + "\nOPTIONS (" + strings.Join(options, ", ") + ")"
}

// Labels are the labels of a spec as BigQuery takes them: names begin with a
// letter, and the platform's own are its own.
func Labels(said map[string]string) map[string]string {
	out := make(map[string]string, len(said))
	for _, name := range slices.Sorted(maps.Keys(said)) {
		key := Label(name)
		if key == "" || key[0] < 'a' || key[0] > 'z' {
			key = Label("label_" + key)
		}
		if key != labelKind && key != LabelGeneration {
			out[key] = Label(said[name])
		}
	}
	return out
}

// Label is the text as a label of BigQuery may be.
func Label(text string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, text)
	return out[:min(len(out), maxLabel)]
}

func bigqueryRemark(text string) string {
	if text == "" {
		return ""
	}
	return " OPTIONS (description = '" + bigqueryEscape(Remark(text), '\'') + "')"
}

// Remark is as much of a text as fits a column's description.
func Remark(text string) string {
	if len(text) > maxRemark {
		text = strings.ToValidUTF8(text[:maxRemark], "")
	}
	return text
}

var typeParameters = regexp.MustCompile(`\([^)]*\)`)

// BareType is a type without its parameters, which a query's result has not.
func BareType(sqlType string) string { return typeParameters.ReplaceAllString(sqlType, "") }
