package bigqueryfake

import (
	"fmt"
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	tokens, err := scan("SELECT `a\\`b`, 'it\\'s\\n\\x41', b'\\xff', 1.5e-3, @p, @@row_count -- c\n/* d */ <> x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tok := range tokens {
		got = append(got, fmt.Sprintf("%d:%q", tok.kind, tok.text))
	}
	// Kinds are numbered in the order of their declaration.
	const want = `0:"SELECT" 1:"a` + "`" + `b" 7:"," 2:"it's\nA" 7:"," 3:"\xff" 7:"," 4:"1.5e-3" 7:"," 5:"p" 7:"," 6:"row_count" 7:"<>" 0:"x"`
	if text := strings.Join(got, " "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if last := tokens[len(tokens)-1]; last.line != 2 {
		t.Errorf("x stands in line %d", last.line)
	}
	for _, text := range []string{"'a", "`a", "'''a'''", `'\q'`, `'\u00'`, "r'a'", "$1", "a;é"} {
		if _, err := scan(text); err == nil {
			t.Errorf("%s was scanned", text)
		}
	}
}

func TestParseScript(t *testing.T) {
	steps, err := parseScript("DECLARE a INT64; IF CASE WHEN a = 1 THEN TRUE ELSE FALSE END THEN SELECT 1; IF TRUE THEN SELECT 2; END IF; ELSE SELECT 3; SELECT 4; END IF; SELECT 5;")
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 3 || len(steps[1].then) != 2 || len(steps[1].then[1].then) != 1 || len(steps[1].els) != 2 {
		t.Errorf("got %+v", steps)
	}
	for _, text := range []string{"", ";", "IF TRUE SELECT 1; END IF", "IF TRUE THEN SELECT 1;", "SELECT (1", "SELECT 1)", "SELECT [1)"} {
		if _, err := parseScript(text); err == nil {
			t.Errorf("%q was parsed", text)
		}
	}
}

func TestConvertDecimal(t *testing.T) {
	five := columnType{name: "NUMERIC", precision: 5, scale: 2}
	for text, want := range map[string]string{
		"1": "1", "+01.50": "1.5", "-0.00": "0", "-.5": "-0.5", "999.99": "999.99",
		"1000": "", "0.001": "", "": "", "-": "", "1e2": "", "NaN": "", "1.2.3": "",
	} {
		got, err := convertDecimal(five, text)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
	if _, err := convertDecimal(columnType{name: "NUMERIC"}, strings.Repeat("9", 29)+"."+strings.Repeat("9", 9)); err != nil {
		t.Error(err)
	}
	if _, err := convertDecimal(columnType{name: "NUMERIC"}, strings.Repeat("9", 30)); err == nil {
		t.Error("NUMERIC took 30 digits before the point")
	}
}

func TestSequencesAreComparedAsNumbers(t *testing.T) {
	order := []string{"0", "1", "F", "10", "10/0", "10/1", "10/A/1", "10/A/1/FFFFFFFFFFFFFFFF", "11"}
	for i := range order[1:] {
		a, errA := sequenceOf(order[i])
		b, errB := sequenceOf(order[i+1])
		if errA != nil || errB != nil || a >= b {
			t.Errorf("%s is not below %s: %v, %v", order[i], order[i+1], errA, errB)
		}
	}
	for _, text := range []string{"", "G", "1//2", "1/2/3/4/5", "00000000000000001"} {
		if _, err := sequenceOf(text); err == nil {
			t.Errorf("%q is a sequence number", text)
		}
	}
}

func TestWidening(t *testing.T) {
	of := func(name string, digits ...int64) columnType {
		c := columnType{name: name}
		if len(digits) == 2 {
			c.precision, c.scale = digits[0], digits[1]
		}
		return c
	}
	for _, c := range []struct {
		from, to columnType
		want     bool
	}{
		{of("INT64"), of("NUMERIC"), true},
		{of("INT64"), of("NUMERIC", 18, 0), false},
		{of("NUMERIC", 10, 2), of("NUMERIC", 11, 3), true},
		{of("NUMERIC", 10, 2), of("NUMERIC", 10, 3), false},
		{of("NUMERIC"), of("BIGNUMERIC"), true},
		{of("BIGNUMERIC"), of("NUMERIC"), false},
		{of("STRING"), of("STRING"), true},
		{of("STRING"), of("INT64"), false},
		{of("NUMERIC"), of("FLOAT64"), true},
	} {
		if got := widens(c.from, c.to); got != c.want {
			t.Errorf("%s to %s: %t", c.from, c.to, got)
		}
	}
}

func TestDecimalText(t *testing.T) {
	for want, b := range map[string][]byte{"0.00": {0}, "-0.05": {0xfb}, "1.28": {0, 0x80}, "-1.28": {0x80}, "655.35": {0, 0xff, 0xff}} {
		if got := decimalText(b, 2); got != want {
			t.Errorf("%x: %s, want %s", b, got, want)
		}
	}
}
