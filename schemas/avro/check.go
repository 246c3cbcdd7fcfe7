package avro

import (
	"encoding/json"
	"fmt"

	"github.com/linkedin/goavro/v2"
	twmb "github.com/twmb/avro"
)

// Check reports why a schema must not be registered: it is no Avro schema, or
// goavro, by which others may read the topics, does not accept it.
func Check(schema string) (err error) {
	if _, err := twmb.Parse(schema); err != nil {
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

// Normal is a schema's text without the liberties of JSON: two schemas that say
// the same, names, properties and documentation included, have one Normal.
func Normal(schema string) (string, error) {
	if _, err := twmb.Parse(schema); err != nil {
		return "", fmt.Errorf("parse schema: %w", err)
	}
	var v any
	if err := json.Unmarshal([]byte(schema), &v); err != nil {
		return "", fmt.Errorf("parse schema: %w", err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write schema: %w", err)
	}
	return string(text), nil
}
