package mongodb

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// appendID appends the text of an _id: the key of its row. Values that MongoDB
// holds for one key have one text, and no two keys share one.
//
// An ObjectId is its 24 digits, a number its decimal text, a string itself,
// unless it reads like one of the others: then it is a JSON string. A symbol is
// the string that MongoDB holds for equal to it. A UUID is
// {"$uuid":"…"}, because its digits alone are a string's. All else is canonical
// Extended JSON, in which the numbers and symbols of a document too have one text
// for each value.
func appendID(dst []byte, v value) ([]byte, error) {
	switch v.kind {
	case bson.TypeObjectID:
		return hex.AppendEncode(dst, v.data), nil
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return appendNumber(dst, v), nil
	case bson.TypeString, bson.TypeSymbol:
		if text := v.text(); bare(text) && utf8.Valid(text) {
			return append(dst, text...), nil
		}
		return appendQuoted(dst, v.text()) // which refuses what is no text
	case bson.TypeBinary:
		if raw, ok := v.uuid(); ok {
			dst = appendUUID(append(dst, `{"$uuid":"`...), raw)
			return append(dst, `"}`...), nil
		}
	case 0:
		return dst, errors.New("a document has no _id")
	}
	return (&jsonWriter{canonical: true, key: true}).value(dst, v)
}

func appendUUID(dst, raw []byte) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, raw[[...]int{0, 4, 6, 8, 10}[i]:end])
	}
	return dst
}

// bare reports whether a string is its own key: nothing else has that text.
func bare(text []byte) bool {
	if len(text) == 0 || text[0] == '{' || text[0] == '"' || numeric(text) {
		return false
	}
	switch string(text) {
	case "true", "false", "null":
		return false
	}
	return !isObjectID(text)
}

func isObjectID(text []byte) bool {
	if len(text) != 24 {
		return false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// parseID is a value that finds the document whose _id has this text.
func parseID(text []byte) (value, error) {
	switch {
	case len(text) == 0:
		return value{}, errors.New("read an _id: the text is empty")
	case isObjectID(text):
		raw, err := hex.DecodeString(string(text))
		return value{bson.TypeObjectID, raw}, err
	case numeric(text):
		return parseNumber(text)
	case bare(text):
		return stringValue(string(text)), nil
	case text[0] == '"':
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return value{}, fmt.Errorf("read the _id %s: %w", text, err)
		}
		return stringValue(s), nil
	}
	var doc bson.D
	if err := bson.UnmarshalExtJSON([]byte(`{"_id":`+string(text)+`}`), true, &doc); err != nil {
		return value{}, fmt.Errorf("read the _id %s: %w", text, err)
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		return value{}, fmt.Errorf("read the _id %s: %w", text, err)
	}
	return lookup(raw, "_id"), nil
}

func stringValue(s string) value {
	raw := bson.RawValue{}
	raw.Type, raw.Value, _ = bson.MarshalValue(s)
	return value{raw.Type, raw.Value}
}
