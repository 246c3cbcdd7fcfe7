package verify

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// taken are the texts of an _id that something else than a string has.
var taken = regexp.MustCompile(`^([0-9a-fA-F]{24}|-?[0-9]+(\.[0-9]+)?(E-?[0-9]+)?|-?Infinity|NaN|true|false|null|[{"].*|)$`)

// idText is the text that an _id should be.
func idText(v bson.RawValue) (string, error) {
	switch v.Type {
	case bson.TypeObjectID:
		return v.ObjectID().Hex(), nil
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return numberText(v), nil
	case bson.TypeString, bson.TypeSymbol:
		if text, _ := plainText(v); !taken.MatchString(text) {
			return text, nil
		}
	case bson.TypeBinary:
		if subtype, data := v.Binary(); subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return `{"$uuid":"` + uuidText(data) + `"}`, nil
		}
	}
	even, err := evened(v)
	if err != nil {
		return "", fmt.Errorf("read an _id: %w", err)
	}
	text, err := bson.MarshalExtJSON(bson.D{{Key: "v", Value: even}}, true, false)
	if err != nil {
		return "", fmt.Errorf("read an _id: %w", err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(text), `{"v":`), "}"), nil
}

// evened is a value in which equal values are of one type: of numbers whole ones
// long, if they are that small, and all others the text of a Decimal128; of
// symbols strings.
func evened(v bson.RawValue) (any, error) {
	switch {
	case v.Type == bson.TypeSymbol:
		return v.Symbol(), nil
	case number(v):
		text := numberText(v)
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		return bson.D{{Key: "$numberDecimal", Value: text}}, nil
	case v.Type != bson.TypeEmbeddedDocument && v.Type != bson.TypeArray:
		return v, nil
	}
	elements, err := bson.Raw(v.Value).Elements()
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	doc, array := bson.D{}, bson.A{}
	for _, e := range elements {
		even, err := evened(e.Value())
		if err != nil {
			return nil, err
		}
		doc, array = append(doc, bson.E{Key: e.Key(), Value: even}), append(array, even)
	}
	if v.Type == bson.TypeArray {
		return array, nil
	}
	return doc, nil
}

func uuidText(data []byte) string {
	h := hex.EncodeToString(data)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// numberText is the one text of all numbers of a value: as a rational with at
// most 34 digits.
func numberText(v bson.RawValue) string {
	var text string
	switch v.Type {
	case bson.TypeInt32:
		return strconv.Itoa(int(v.Int32()))
	case bson.TypeInt64:
		return strconv.FormatInt(v.Int64(), 10)
	case bson.TypeDouble:
		f := v.Double()
		if math.IsNaN(f) {
			return "NaN"
		}
		if math.IsInf(f, 0) {
			return strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64), "+") + "inity"
		}
		text = strconv.FormatFloat(f, 'e', 33, 64)
	default:
		if text = v.Decimal128().String(); strings.ContainsAny(text, "Ny") {
			return text
		}
	}
	mantissa, e, _ := strings.Cut(strings.ToUpper(text), "E")
	exp, _ := strconv.Atoi(e) // written by a library
	whole, frac, _ := strings.Cut(mantissa, ".")
	n, _ := new(big.Int).SetString(whole+frac, 10)
	exp -= len(frac)
	if n.Sign() == 0 {
		return "0"
	}
	for ten, rest := big.NewInt(10), new(big.Int); ; exp++ {
		q, _ := new(big.Int).QuoRem(n, ten, rest)
		if rest.Sign() != 0 {
			break
		}
		n = q
	}
	digits, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	switch size := len(digits); {
	case exp >= 0 && size+exp <= 23:
		return sign + digits + strings.Repeat("0", exp)
	case exp < 0 && -exp < size:
		return sign + digits[:size+exp] + "." + digits[size+exp:]
	case exp < 0 && -exp <= 40:
		return sign + "0." + strings.Repeat("0", -exp-size) + digits
	case size == 1:
		return fmt.Sprintf("%s%sE%d", sign, digits, exp)
	default:
		return fmt.Sprintf("%s%s.%sE%d", sign, digits[:1], digits[1:], exp+size-1)
	}
}

// fieldText is a value as the text of a column's type. It reports false if the
// value does not fit: the column is null then, and the value stands beside.
func fieldText(v bson.RawValue, typ string) (*string, bool) {
	if v.Type == bson.TypeNull || v.Type == bson.TypeUndefined {
		return nil, true
	}
	text, ok := "", false
	switch {
	case typ == "VARCHAR":
		text, ok = plainText(v)
	case typ == "BIGINT":
		if number(v) {
			text = numberText(v)
			_, err := strconv.ParseInt(text, 10, 64)
			ok = err == nil
		}
	case typ == "DOUBLE":
		text, ok = doubleText(v)
	case typ == "BOOLEAN":
		var b bool
		b, ok = v.BooleanOK()
		text = strconv.FormatBool(b)
	case typ == blob:
		if v.Type == bson.TypeBinary {
			_, data := v.Binary()
			text, ok = hex.EncodeToString(data), true
		}
	case typ == "JSON":
		raw, err := bson.MarshalExtJSON(bson.D{{Key: "v", Value: v}}, false, false)
		text, ok = strings.TrimSuffix(strings.TrimPrefix(string(raw), `{"v":`), "}"), err == nil
	case typ == "DATE" || strings.HasPrefix(typ, "TIMESTAMP"):
		text, ok = timeText(v, typ == "DATE")
	case strings.HasPrefix(typ, "DECIMAL"):
		text, ok = decimalText(v, typ)
	}
	return &text, ok
}

func number(v bson.RawValue) bool {
	return v.Type == bson.TypeInt32 || v.Type == bson.TypeInt64 || v.Type == bson.TypeDouble || v.Type == bson.TypeDecimal128
}

func plainText(v bson.RawValue) (string, bool) {
	switch v.Type {
	case bson.TypeString:
		return v.StringValue(), true
	case bson.TypeSymbol:
		return v.Symbol(), true
	case bson.TypeObjectID:
		return v.ObjectID().Hex(), true
	case bson.TypeDecimal128:
		return v.Decimal128().String(), true
	case bson.TypeBinary:
		subtype, data := v.Binary()
		if subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return uuidText(data), true
		}
	}
	return "", false
}

// doubleText is a number that a double holds exactly.
func doubleText(v bson.RawValue) (string, bool) {
	if !number(v) {
		return "", false
	}
	text := numberText(v)
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "", false
	}
	same := text == numberText(bson.RawValue{Type: bson.TypeDouble, Value: doubleBytes(f)})
	return strconv.FormatFloat(f, 'g', -1, 64), same || v.Type == bson.TypeDouble
}

func doubleBytes(f float64) []byte {
	_, data, _ := bson.MarshalValue(f) // a double always can be
	return data
}

func timeText(v bson.RawValue, day bool) (string, bool) {
	var when time.Time
	switch v.Type {
	case bson.TypeDateTime:
		when = v.Time().UTC()
	case bson.TypeTimestamp:
		t, _ := v.Timestamp()
		when = time.Unix(int64(t), 0).UTC()
	case bson.TypeString:
		form := time.RFC3339Nano
		if day {
			form = time.DateOnly
		}
		var err error
		if when, err = time.Parse(form, v.StringValue()); err != nil {
			return "", false
		}
		when = when.UTC()
	default:
		return "", false
	}
	if when.Year() < 1 || when.Year() > 9999 || when.Nanosecond()%1000 != 0 {
		return "", false
	}
	if day {
		return when.Format(time.DateOnly), when.Equal(when.Truncate(24 * time.Hour))
	}
	return when.Format("2006-01-02 15:04:05.999999+00"), true
}

// decimalText is a number of no more digits than its type has. A double counts
// by its shortest text.
func decimalText(v bson.RawValue, typ string) (string, bool) {
	if !number(v) {
		return "", false
	}
	text := numberText(v)
	if v.Type == bson.TypeDouble {
		text = strconv.FormatFloat(v.Double(), 'f', -1, 64)
	}
	var precision, scale int
	if _, err := fmt.Sscanf(typ, "DECIMAL(%d,%d)", &precision, &scale); err != nil || strings.ContainsAny(text, "ENIy") {
		return "", false
	}
	whole, frac, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	return text, len(frac) <= scale && len(strings.TrimLeft(whole, "0")) <= precision-scale
}
