package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/linkedin/goavro/v2"
	twmb "github.com/twmb/avro"
)

// Check reports why a schema must not be registered: it is no Avro schema, or
// goavro, by which others may read the topics, does not accept it.
func Check(schema string) (err error) {
	if err := Valid(schema); err != nil {
		return fmt.Errorf("check schema: %w", err)
	}
	defer func() {
		if r := recover(); r != nil { // a second decimal without a scale makes it panic
			err = fmt.Errorf("check schema with goavro: %v", r)
		}
	}()
	if _, err := goavro.NewCodec(schema); err != nil {
		return fmt.Errorf("check schema with goavro: %w", err)
	}
	return nil
}

// Valid reports why a text is no Avro schema.
func Valid(schema string) error {
	if _, err := twmb.Parse(schema); err != nil {
		return fmt.Errorf("parse schema: %w", err)
	}
	return nil
}

// Normal is a schema's text without the liberties of JSON: two schemas that say
// the same, names, properties and documentation included, have one Normal. It
// does not ask whether the schema is Valid.
func Normal(schema string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(schema))
	dec.UseNumber() // a default may be any long
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("parse schema: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("parse schema: text follows it")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write schema: %w", err)
	}
	return string(text), nil
}
