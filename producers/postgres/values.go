package postgres

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"millrace/schemas"
)

// The reasons why a value's type cannot hold it.
var (
	errNotText = errors.New("is not the text of its type")
	errNotUTF8 = errors.New("is not valid UTF-8")
	errYear    = errors.New("lies outside the years 0001 to 9999")
	errNoTime  = errors.New("is no time of day below 24:00:00")
)

// cell makes a cell of the text of a value. What it needs to keep is copied
// into the arena. The log and COPY print a value by the same function of the
// server under the same settings, and both are read here: so they give the
// same bytes (G3).
func (vt valueType) cell(text []byte, a *arena) (schemas.Cell, error) {
	switch vt.codec {
	case codecBool:
		if len(text) != 1 || text[0] != 't' && text[0] != 'f' {
			return schemas.Cell{}, errNotText
		}
		if text[0] == 't' {
			return schemas.IntCell(1), nil
		}
		return schemas.IntCell(0), nil
	case codecInt:
		v, ok := parseInt(text)
		if !ok {
			return schemas.Cell{}, errNotText
		}
		return schemas.IntCell(v), nil
	case codecFloat4, codecFloat8:
		bits := 64
		if vt.codec == codecFloat4 {
			bits = 32
		}
		v, err := strconv.ParseFloat(string(text), bits)
		if err != nil {
			return schemas.Cell{}, errNotText
		}
		return schemas.FloatCell(v), nil
	case codecDecimal:
		var buf [64]byte
		out, err := schemas.AppendDecimal(buf[:0], text, vt.Type)
		if err != nil {
			return schemas.Cell{}, fmt.Errorf("does not fit %s", vt.Type)
		}
		return schemas.BytesCell(a.copy(out)), nil
	case codecBytea:
		if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
			return schemas.Cell{}, errNotText
		}
		out := a.bytes(hex.DecodedLen(len(text) - 2))
		if _, err := hex.Decode(out, text[2:]); err != nil {
			return schemas.Cell{}, errNotText
		}
		return schemas.BytesCell(out), nil
	case codecDate:
		days, rest, err := parseDate(text)
		if err == nil && len(rest) > 0 {
			err = errNotText
		}
		return schemas.IntCell(days), err
	case codecTime:
		us, rest, err := parseTime(text)
		if err == nil && len(rest) > 0 {
			err = errNotText
		}
		return schemas.IntCell(us), err
	case codecTimestamp, codecTimestamptz:
		us, err := parseTimestamp(text, vt.codec == codecTimestamptz)
		return schemas.IntCell(us), err
	case codecArray:
		out, err := appendArray(nil, text, vt.elem)
		if err != nil {
			return schemas.Cell{}, err
		}
		a.used += len(out)
		return schemas.BytesCell(out), nil
	default: // codecText, codecJSON
		if !utf8.Valid(text) {
			return schemas.Cell{}, errNotUTF8 // a database in SQL_ASCII holds any bytes
		}
		return schemas.BytesCell(a.copy(text)), nil
	}
}

func parseInt(text []byte) (int64, bool) {
	i, neg := 0, false
	if len(text) > 0 && text[0] == '-' {
		neg, i = true, 1
	}
	if i == len(text) || len(text)-i > 19 {
		return 0, false
	}
	var v uint64
	for ; i < len(text); i++ {
		d := text[i] - '0'
		if d > 9 {
			return 0, false
		}
		v = v*10 + uint64(d)
	}
	switch {
	case neg && v <= 1<<63:
		return -int64(v), true //nolint:gosec // -(1<<63) wraps to itself
	case !neg && v < 1<<63:
		return int64(v), true
	}
	return 0, false
}

// number reads exactly n digits.
func number(text []byte, n int) (int, bool) {
	if len(text) < n {
		return 0, false
	}
	v := 0
	for _, c := range text[:n] {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

// parseDate reads YYYY-MM-DD and returns what follows it.
func parseDate(text []byte) (days int64, rest []byte, err error) {
	if len(text) < 10 || text[4] != '-' {
		return 0, nil, errYear // infinity, or a year of five digits
	}
	y, ok1 := number(text, 4)
	m, ok2 := number(text[5:], 2)
	d, ok3 := number(text[8:], 2)
	rest = text[10:]
	switch {
	case len(rest) >= 3 && string(rest[len(rest)-3:]) == " BC":
		return 0, nil, errYear
	case !ok1 || !ok2 || !ok3 || text[7] != '-' || m < 1 || m > 12 || d < 1 || d > 31:
		return 0, nil, errNotText
	}
	return daysFromCivil(y, m, d), rest, nil
}

// daysFromCivil counts days since 1970-01-01 in the proleptic Gregorian
// calendar, for years from 1.
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 { // the year begins in March, so that the leap day is its last
		y, m = y-1, m+12
	}
	yearOfEra := y % 400
	dayOfYear := (153*(m-3)+2)/5 + d - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return int64(y/400*146097 + dayOfEra - 719468)
}

const (
	secondUs = int64(1_000_000)
	dayUs    = 86400 * secondUs
)

// parseTime reads HH:MM:SS[.ffffff] and returns what follows it.
func parseTime(text []byte) (us int64, rest []byte, err error) {
	h, ok1 := number(text, 2)
	if !ok1 || len(text) < 8 || text[2] != ':' || text[5] != ':' {
		return 0, nil, errNotText
	}
	m, ok2 := number(text[3:], 2)
	s, ok3 := number(text[6:], 2)
	if !ok2 || !ok3 || m > 59 || s > 59 {
		return 0, nil, errNotText
	}
	if h > 23 {
		return 0, nil, errNoTime
	}
	us = (int64(h)*3600 + int64(m)*60 + int64(s)) * secondUs
	rest = text[8:]
	if len(rest) == 0 || rest[0] != '.' {
		return us, rest, nil
	}
	rest = rest[1:]
	unit, n := secondUs/10, 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		if unit == 0 {
			return 0, nil, errNotText
		}
		us += int64(rest[n]-'0') * unit
		unit /= 10
		n++
	}
	if n == 0 {
		return 0, nil, errNotText
	}
	return us, rest[n:], nil
}

// parseTimestamp reads YYYY-MM-DD HH:MM:SS[.ffffff], with +00 behind it if the
// type has a zone: the session's is UTC.
func parseTimestamp(text []byte, zone bool) (int64, error) {
	days, rest, err := parseDate(text)
	if err != nil {
		return 0, err
	}
	if len(rest) == 0 || rest[0] != ' ' {
		return 0, errNotText
	}
	us, rest, err := parseTime(rest[1:])
	switch {
	case err != nil:
		return 0, err
	case zone && string(rest) != "+00", !zone && len(rest) > 0:
		return 0, errNotText
	}
	return days*dayUs + us, nil
}
