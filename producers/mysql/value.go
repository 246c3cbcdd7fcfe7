package mysql

import (
	"bytes"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"time"

	"millrace/schemas"
)

var errZeroDate = errors.New("zero date")

// queried is the cell of one value that a query returned in the binary
// protocol, with the column's own bytes for text.
func (v *converter) queried(col *column, value driver.Value) (schemas.Cell, error) {
	switch value := value.(type) {
	case nil:
		return schemas.NullCell(), nil
	case int64:
		if col.form == formUnsigned64 {
			return v.unsigned(uint64(value)), nil
		}
		return schemas.IntCell(value), nil
	case float32:
		return schemas.FloatCell(float64(value)), nil
	case float64:
		return schemas.FloatCell(value), nil
	case []byte:
		return v.queriedBytes(col, value)
	}
	return schemas.Cell{}, fmt.Errorf("the driver returned a %T", value)
}

func (v *converter) queriedBytes(col *column, raw []byte) (schemas.Cell, error) {
	switch col.form {
	case formUnsigned64: // above the greatest int64 the driver returns digits
		n, err := strconv.ParseUint(string(raw), 10, 64)
		if err != nil {
			return schemas.Cell{}, fmt.Errorf("read an unsigned number: %w", err)
		}
		return v.unsigned(n), nil
	case formBit:
		return v.bit(col, bigEndian(raw)), nil
	case formDecimal:
		return v.decimal(raw, col.typ)
	case formDate, formDateTime, formTimestamp:
		return v.dateText(col.form, raw)
	case formTime:
		micros, err := timeText(raw)
		return schemas.IntCell(micros), err
	case formBytes:
		return schemas.BytesCell(v.keep(raw)), nil
	case formUUID:
		return schemas.BytesCell(v.keep(bytes.ToLower(raw))), nil
	case formInet:
		addr, err := netip.ParseAddr(string(raw))
		if err != nil {
			return schemas.Cell{}, fmt.Errorf("read an address: %w", err)
		}
		return schemas.BytesCell([]byte(addr.String())), nil
	}
	return textCell(col, v.keep(raw))
}

// keep copies what belongs to the driver.
func (v *converter) keep(raw []byte) []byte {
	start := len(v.bytes)
	v.bytes = append(v.bytes, raw...)
	return v.bytes[start:len(v.bytes):len(v.bytes)]
}

// padded gives a BINARY(n) the trailing zero bytes that the binlog left out.
func (v *converter) padded(raw []byte, size int) []byte {
	if len(raw) >= size {
		return raw
	}
	start := len(v.bytes)
	v.bytes = append(v.bytes, raw...)
	for range size - len(raw) {
		v.bytes = append(v.bytes, 0)
	}
	return v.bytes[start:len(v.bytes):len(v.bytes)]
}

func (v *converter) unsigned(n uint64) schemas.Cell {
	start := len(v.bytes)
	if n>>63 != 0 {
		v.bytes = append(v.bytes, 0)
		for shift := 56; shift >= 0; shift -= 8 {
			v.bytes = append(v.bytes, byte(n>>shift))
		}
	} else {
		v.bytes = schemas.AppendTwos(v.bytes, int64(n))
	}
	return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)])
}

func (v *converter) bit(col *column, n uint64) schemas.Cell {
	if col.typ.Kind == schemas.Decimal {
		return v.unsigned(n)
	}
	return schemas.IntCell(int64(n))
}

func (v *converter) decimal(text []byte, t schemas.Type) (schemas.Cell, error) {
	start := len(v.bytes)
	var err error
	if v.bytes, err = schemas.AppendDecimal(v.bytes, text, t); err != nil {
		return schemas.Cell{}, err
	}
	return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)]), nil
}

func textCell(col *column, raw []byte) (schemas.Cell, error) {
	text, err := col.text.utf8Of(raw)
	if err != nil {
		return schemas.Cell{}, err
	}
	if col.form == formJSON && !json.Valid(text) {
		return schemas.Cell{}, fmt.Errorf("bytes %s are not JSON", shown(text))
	}
	return schemas.BytesCell(text), nil
}

func enumLabel(col *column, index uint64) (schemas.Cell, error) {
	switch {
	case index == 0: // what the server keeps for a value that is no label
		return schemas.BytesCell([]byte{}), nil
	case index > uint64(len(col.labels)):
		return schemas.Cell{}, fmt.Errorf("label %d of %d", index, len(col.labels))
	}
	return schemas.BytesCell(col.labels[index-1]), nil
}

func (v *converter) setLabels(col *column, set uint64) (schemas.Cell, error) {
	if bits.Len64(set) > len(col.labels) {
		return schemas.Cell{}, fmt.Errorf("label %d of %d", bits.Len64(set), len(col.labels))
	}
	start := len(v.bytes)
	for i, label := range col.labels {
		if set>>i&1 == 0 {
			continue
		}
		if len(v.bytes) > start {
			v.bytes = append(v.bytes, ',')
		}
		v.bytes = append(v.bytes, label...)
	}
	return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)]), nil
}

func (v *converter) uuid(raw []byte) schemas.Cell {
	start := len(v.bytes)
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		from := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			v.bytes = append(v.bytes, '-')
		}
		v.bytes = hex.AppendEncode(v.bytes, raw[from:end])
	}
	return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)])
}

func (v *converter) inet(raw []byte) (schemas.Cell, error) {
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return schemas.Cell{}, fmt.Errorf("an address of %d bytes", len(raw))
	}
	start := len(v.bytes)
	v.bytes = addr.AppendTo(v.bytes)
	return schemas.BytesCell(v.bytes[start:len(v.bytes):len(v.bytes)]), nil
}

// zeroDate decides over a date that the server keeps though no calendar has
// it: 0000-00-00, a month or day of zero, a 31st of February.
// It is never null in silence (G10, G12): only the configuration makes it so.
func (v *converter) zeroDate(text string) (schemas.Cell, error) {
	if v.zeroNull {
		return schemas.NullCell(), nil
	}
	return schemas.Cell{}, fmt.Errorf("%w %s", errZeroDate, text)
}

func (v *converter) date(year, month, day int) (schemas.Cell, error) {
	midnight := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if month == 0 || midnight.Day() != day { // ALLOW_INVALID_DATES keeps a 31st of February
		return v.zeroDate(fmt.Sprintf("%04d-%02d-%02d", year, month, day))
	}
	return schemas.IntCell(midnight.Unix() / 86400), nil
}

// civil is a date with the microseconds since its midnight.
func (v *converter) civil(year, month, day int, micros int64) (schemas.Cell, error) {
	cell, err := v.date(year, month, day)
	if err == nil && cell.Kind == schemas.Present {
		cell.Int = cell.Int*86400e6 + micros
	}
	return cell, err
}

// dateText reads YYYY-MM-DD, with HH:MM:SS[.ffffff] behind it unless the form
// is a date.
func (v *converter) dateText(f form, text []byte) (schemas.Cell, error) {
	if len(text) < 10 || text[4] != '-' || text[7] != '-' {
		return schemas.Cell{}, fmt.Errorf("%q is not a date", text)
	}
	year, ok1 := number(text[:4])
	month, ok2 := number(text[5:7])
	day, ok3 := number(text[8:10])
	if !ok1 || !ok2 || !ok3 {
		return schemas.Cell{}, fmt.Errorf("%q is not a date", text)
	}
	if f == formDate {
		return v.date(int(year), int(month), int(day))
	}
	micros := int64(0)
	if len(text) > 11 {
		var err error
		if micros, err = timeText(text[11:]); err != nil {
			return schemas.Cell{}, err
		}
	}
	return v.civil(int(year), int(month), int(day), micros)
}

// timeText reads [-]HH:MM:SS[.ffffff], the hours as wide as they are, as
// microseconds.
func timeText(text []byte) (int64, error) {
	rest, negative := bytes.CutPrefix(text, []byte("-"))
	whole, frac, _ := bytes.Cut(rest, []byte("."))
	parts := bytes.Split(whole, []byte(":"))
	if len(parts) != 3 || len(frac) > 6 {
		return 0, fmt.Errorf("%q is not a time", text)
	}
	h, ok1 := number(parts[0])
	m, ok2 := number(parts[1])
	s, ok3 := number(parts[2])
	micros, ok4 := number(frac)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return 0, fmt.Errorf("%q is not a time", text)
	}
	for range 6 - len(frac) {
		micros *= 10
	}
	micros += (h*3600 + m*60 + s) * 1e6
	if negative {
		micros = -micros
	}
	return micros, nil
}

func number(text []byte) (n int64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
