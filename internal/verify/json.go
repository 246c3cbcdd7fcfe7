package verify

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// oneJSON is a JSON text in the form that all texts of its value share where
// members have no order, the first of a name wins, and a number that is no whole
// one of 64 bits is a float64.
func oneJSON(text string) (string, bool) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var b strings.Builder
	if err := writeJSON(&b, dec); err != nil {
		return "", false
	}
	_, err := dec.Token()
	return b.String(), errors.Is(err, io.EOF)
}

func writeJSON(b *strings.Builder, dec *json.Decoder) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		b.WriteByte('[')
		for n := 0; dec.More(); n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, dec); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		_, err = dec.Token()
		return err
	case json.Delim('{'):
		return writeMembers(b, dec)
	}
	if number, ok := token.(json.Number); ok {
		b.WriteString(oneNumber(string(number)))
		return nil
	}
	value, err := json.Marshal(token)
	b.Write(value)
	return err
}

func writeMembers(b *strings.Builder, dec *json.Decoder) error {
	members := make(map[string]string)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		var value strings.Builder
		if err := writeJSON(&value, dec); err != nil {
			return err
		}
		name, _ := token.(string)
		if _, known := members[name]; !known {
			members[name] = value.String()
		}
	}
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(name) + ":" + members[name])
	}
	b.WriteByte('}')
	_, err := dec.Token()
	return err
}

// oneNumber is one spelling of a number.
func oneNumber(text string) string {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return text
	}
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		return text
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return text
}
