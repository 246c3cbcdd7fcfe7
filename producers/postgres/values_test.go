package postgres

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/schemas"
)

func TestValuesThatTheirTypeCannotHold(t *testing.T) {
	for _, c := range []struct {
		oid   uint32
		mod   int32
		text  string
		cause error
	}{
		{oidDate, -1, "infinity", errYear},
		{oidDate, -1, "-infinity", errYear},
		{oidDate, -1, "0044-03-15 BC", errYear},
		{oidDate, -1, "10000-01-01", errYear},
		{oidDate, -1, "5874897-12-31", errYear},
		{oidDate, -1, "2026-13-01", errNotText},
		{oidDate, -1, "2026-01-01x", errNotText},
		{oidTimestamp, -1, "infinity", errYear},
		{oidTimestamp, -1, "294276-12-31 23:59:59.999999", errYear},
		{oidTimestamp, -1, "4713-11-24 00:00:00 BC", errYear},
		{oidTimestamp, -1, "2026-01-01 00:00:00+00", errNotText},
		{oidTimestamptz, -1, "-infinity", errYear},
		{oidTimestamptz, -1, "2026-01-01 00:00:00+01", errNotText},
		{oidTime, -1, "24:00:00", errNoTime},
		{oidTime, -1, "23:59", errNotText},
		{oidTime, -1, "23:59:59.1234567", errNotText},
		{oidInt8, -1, "9223372036854775808", errNotText},
		{oidInt8, -1, "-9223372036854775809", errNotText},
		{oidInt8, -1, "", errNotText},
		{oidInt8, -1, "-", errNotText},
		{oidInt8, -1, "1x", errNotText},
		{oidBool, -1, "true", errNotText},
		{oidBytea, -1, `\x1`, errNotText},
		{oidBytea, -1, `\xzz`, errNotText},
		{oidNumeric, 5<<16 + 2 + 4, "NaN", nil},
		{oidNumeric, 5<<16 + 2 + 4, "-Infinity", nil},
		{25, -1, "\xff", errNotUTF8},
	} {
		cell, err := builtin(c.oid, c.mod).cell([]byte(c.text), new(arena))
		if err == nil || c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("type %d, %q: %v, %v; want %v", c.oid, c.text, cell, err, c.cause)
		}
	}
}

func TestDatesAreThoseOfTheCalendar(t *testing.T) {
	first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for d := first; !d.After(last); d = d.AddDate(0, 0, 1) {
		if got := daysFromCivil(d.Year(), int(d.Month()), d.Day()); got != d.Unix()/86400 {
			t.Fatalf("%s is day %d, got %d", d.Format(time.DateOnly), d.Unix()/86400, got)
		}
	}
}

// What a key's literal says is read back as the same cell: chunks go on where
// they ended.
func TestLiteralsOfKeys(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 10_000 {
		seconds := rng.Int64N(315_537_897_600) - 62_135_596_800 // 0001 to 9999
		stamp := time.Unix(seconds, rng.Int64N(1e6)*1000).UTC()
		for _, c := range []struct {
			oid  uint32
			mod  int32
			text string
		}{
			{oidInt8, -1, strconv.FormatInt(rng.Int64()-rng.Int64(), 10)},
			{oidDate, -1, stamp.Format("2006-01-02")},
			{oidTime, -1, stamp.Format("15:04:05.999999")},
			{oidTimestamp, -1, stamp.Format("2006-01-02 15:04:05.999999")},
			{oidTimestamptz, -1, stamp.Format("2006-01-02 15:04:05.999999+00")},
			{oidFloat8, -1, strconv.FormatFloat(rng.NormFloat64()*1e10, 'g', -1, 64)},
			{oidNumeric, 20<<16 + 4 + 4, strconv.FormatInt(rng.Int64N(1e15), 10) + ".25"},
			{oidBytea, -1, `\x00ff`},
			{25, -1, "it's"},
		} {
			vt := builtin(c.oid, c.mod)
			cell, err := vt.cell([]byte(c.text), new(arena))
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, c.text, err)
			}
			text, err := literal(vt.Type, cell)
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text[1:len(text)-1], "''", "'")
			again, err := vt.cell([]byte(text), new(arena))
			if err != nil || again.Int != cell.Int || string(again.Bytes) != string(cell.Bytes) {
				t.Fatalf("seed %d: %s became %s: %v, %v; want %v", seed, c.text, text, again, err, cell)
			}
		}
	}
}

func TestNumericTypes(t *testing.T) {
	mod := func(p, s int32) int32 { return p<<16 | s&0x7ff + 4 }
	for _, c := range []struct {
		p, s             int32
		precision, scale int
	}{{10, 2, 10, 2}, {38, 38, 38, 38}, {1000, 0, 1000, 0}, {5, -2, 7, 0}, {3, 5, 5, 5}, {1, -1000, 1001, 0}, {1, 1000, 1000, 1000}} {
		if vt := numeric(mod(c.p, c.s)); vt.Kind != schemas.Decimal || vt.Precision != c.precision || vt.Scale != c.scale {
			t.Errorf("NUMERIC(%d,%d) is %v", c.p, c.s, vt.Type)
		}
	}
	if vt := numeric(-1); vt != textType {
		t.Errorf("NUMERIC is %v", vt.Type)
	}
}

// FuzzArray: whatever array is taken becomes JSON.
func FuzzArray(f *testing.F) {
	for _, s := range []string{`{}`, `{1,2}`, `{{1,2},{3,NULL}}`, `{"a\"b",c}`, `[0:1]={1,2}`, `{`, `{"`, `{"\`, `{""}`, `{,}`, `{{{{{{{1}}}}}}}`} {
		f.Add(s, uint8(codecText))
		f.Add(s, uint8(codecBool))
	}
	f.Fuzz(func(t *testing.T, s string, elem uint8) {
		out, err := appendArray(nil, []byte(s), codec(elem))
		if err != nil || codec(elem) == codecJSON || codec(elem) == codecInt || codec(elem) >= codecFloat4 && codec(elem) <= codecDecimal {
			return // elements that the server vouches for
		}
		if !json.Valid(out) {
			t.Fatalf("%q became %s", s, out)
		}
	})
}

// FuzzCopy: rows are the same however the copy is cut, and foreign bytes never
// panic.
func FuzzCopy(f *testing.F) {
	f.Add([]byte("1\ta\\tb\\\\\t\\N\n2\t\\N\t\\\\N\n"), 3)
	f.Add([]byte("\\"), 1)
	f.Add([]byte("\n\n\t\n"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		read := func(parts ...[]byte) string {
			var out strings.Builder
			c := &copyRows{row: func(fields []field) error { out.WriteString(showFields(fields) + "\n"); return nil }}
			for _, p := range parts {
				if _, err := c.Write(p); err != nil {
					return "error"
				}
			}
			return out.String() + string(c.rest)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		if a, b := read(b), read(b[:cut], b[cut:]); a != b {
			t.Fatalf("whole:\n%s\ncut at %d:\n%s", a, cut, b)
		}
	})
}
