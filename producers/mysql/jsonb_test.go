package mysql

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

func TestJSONText(t *testing.T) {
	for document, want := range map[string]string{
		"":                                 "null",
		"0400":                             "null",
		"0401":                             "true",
		"05ffff":                           "-1",
		"06ffff":                           "65535",
		"0900000000000000 80":              "-9223372036854775808",
		"0affffffffffffffff":               "18446744073709551615",
		"0c03 610a22":                      `"a\n\""`,
		"02 0000 0400":                     "[]",
		"00 0000 0400":                     "{}",
		"00 0100 0c00 0b00 0100 050700 61": `{"a": 7}`,
		"02 0200 0a00 040200 05feff":       "[false, -2]",
		"0f f6 04 0302 8105":               "1.05",
		"0f fc 02 00ff":                    `"base64:type252:AP8="`,
	} {
		if got, err := appendJSON(nil, unhex(t, document)); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", document, got, err, want)
		}
	}
	shared := "02 0200 0a00 020a00 020a00" // two arrays, and both are the next one
	for _, bad := range []string{"02" + strings.Repeat(shared[3:], 80), "05", "0409", "0c05 61", "00 0100 0c00", "02 0100 0700 02 0000", "ff", "0f", "0f f6 02 0203", "0c01 ff"} {
		if got, err := appendJSON(nil, unhex(t, bad)); err == nil {
			t.Errorf("%s was read as %s", bad, got)
		}
	}
}

// These are the server's own answers.
func TestJSONDoubles(t *testing.T) {
	for f, want := range map[float64]string{
		1: "1.0", -2.5: "-2.5", 1e14: "100000000000000.0", 1e15: "1e15", 1e20: "1e20", 123456789012345678.5: "1.2345678901234568e17",
		1e-4: "0.0001", 1e-7: "0.0000001", 1e-15: "0.000000000000001", 1e-16: "1e-16", 0.30000000000000004: "0.30000000000000004", 0.5: "0.5", 0.05: "0.05", 10: "10.0", 1.5: "1.5",
		math.Copysign(0, -1): "-0.0", math.MaxFloat64: "1.7976931348623157e308", math.SmallestNonzeroFloat64: "5e-324", 12: "12.0", 999999999999999: "999999999999999.0",
	} {
		if got := string(appendJSONDouble(nil, f)); got != want {
			t.Errorf("%g: got %s, want %s", f, got, want)
		}
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	var digits []byte
	for _, c := range []byte(text) {
		if c != ' ' {
			digits = append(digits, c)
		}
	}
	out, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever the bytes of a document are, reading them ends, with text that is
// not much larger or with an error.
func FuzzJSON(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x0c\x00\x0b\x00\x01\x00\x05\x07\x00a"))
	f.Add([]byte("\x02\x02\x00\x0a\x00\x04\x02\x00\x05\xfe\xff"))
	f.Add([]byte("\x0f\xf6\x04\x03\x02\x81\x05"))
	f.Fuzz(func(t *testing.T, document []byte) {
		if len(document) > 1<<12 {
			return
		}
		if text, err := appendJSON(nil, document); err == nil && len(text) == 0 {
			t.Fatal("a document without text")
		}
	})
}
