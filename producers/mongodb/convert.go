package mongodb

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/schemas"
)

// The microseconds of the years 1 to 9999, which a warehouse has.
const (
	minMicros = -62135596800000000
	maxMicros = 253402300800000000 - 1
)

// arena holds the cells and bytes that a batch lends. What was handed out keeps
// its memory when a slab is full.
type arena struct {
	cells []schemas.Cell
	bytes []byte
	// The document at which each node of a plan was last seen, and the number of
	// the present one.
	seen  []uint64
	round uint64
}

func (a *arena) reset() { a.cells, a.bytes = a.cells[:0], a.bytes[:0] }

// look begins another document, for a plan of n nodes.
func (a *arena) look(n int) {
	a.round++
	for len(a.seen) < n {
		a.seen = append(a.seen, 0)
	}
}

// first reports whether a node is seen for the first time in the document.
func (a *arena) first(node int) bool {
	if a.seen[node] == a.round {
		return false
	}
	a.seen[node] = a.round
	return true
}

// row returns n cells that are not carried yet.
func (a *arena) row(n int) schemas.Row {
	if cap(a.cells)-len(a.cells) < n {
		a.cells = make([]schemas.Cell, 0, max(2*cap(a.cells), 64*n))
	}
	start := len(a.cells)
	a.cells = a.cells[:start+n]
	out := a.cells[start : start+n : start+n]
	clear(out)
	return out
}

// since returns the bytes that were appended after start as a cell.
func (a *arena) since(start int) schemas.Cell {
	return schemas.BytesCell(a.bytes[start:len(a.bytes):len(a.bytes)])
}

// cell is v as a value of type t. It reports false if v does not fit: nothing is
// rounded, cut off or guessed. Null and a missing field are null.
func (a *arena) cell(v value, t schemas.Type) (schemas.Cell, bool) {
	if !v.present() {
		return schemas.NullCell(), true
	}
	start := len(a.bytes)
	var ok bool
	switch t.Kind {
	case schemas.Bool:
		if v.kind != bson.TypeBoolean {
			return schemas.NullCell(), false
		}
		return schemas.IntCell(int64(min(v.data[0], 1))), true
	case schemas.Int:
		n, ok := asInteger(v)
		return schemas.IntCell(n), ok
	case schemas.Float:
		f, ok := asDouble(v)
		return schemas.FloatCell(f), ok
	case schemas.Date, schemas.Timestamp:
		n, ok := asTime(v, t.Kind)
		return schemas.IntCell(n), ok
	case schemas.Decimal:
		ok = a.decimal(v, t)
	case schemas.String:
		if v.kind == bson.TypeString { // lent by the server's answer, which lives as long
			return schemas.BytesCell(v.text()), utf8.Valid(v.text())
		}
		ok = a.string(v)
	case schemas.Bytes:
		if ok = v.kind == bson.TypeBinary; ok {
			data, _ := v.binary()
			a.bytes = append(a.bytes, data...)
		}
	case schemas.JSON:
		var err error
		a.bytes, err = new(jsonWriter).value(a.bytes, v)
		ok = err == nil
	}
	if !ok {
		a.bytes = a.bytes[:start]
		return schemas.NullCell(), false
	}
	return a.since(start), true
}

func asInteger(v value) (int64, bool) {
	switch v.kind {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return v.integer()
	case bson.TypeDecimal128:
		return whole(v.decimal())
	}
	return 0, false
}

func asDouble(v value) (float64, bool) {
	switch v.kind {
	case bson.TypeDouble:
		return v.double(), true
	case bson.TypeInt32, bson.TypeInt64:
		n, _ := v.integer()
		f := float64(n)
		return f, f < 1<<63 && int64(f) == n
	case bson.TypeDecimal128:
		d := v.decimal()
		if d.IsNaN() {
			return math.NaN(), true
		}
		if inf := d.IsInf(); inf != 0 {
			return math.Inf(inf), true
		}
		f, err := strconv.ParseFloat(d.String(), 64)
		// Exact, or the double is not this number.
		return f, err == nil && string(appendNumber(nil, doubleValue(f))) == string(appendNumber(nil, v))
	}
	return 0, false
}

// asTime is a date in microseconds, or in days if that is exact. Text counts if
// it is written as RFC 3339 has it.
func asTime(v value, kind schemas.Kind) (int64, bool) {
	var us int64
	switch v.kind {
	case bson.TypeDateTime:
		ms, _ := v.integer()
		if ms < minMicros/1000 || ms > maxMicros/1000 {
			return 0, false
		}
		us = ms * 1000
	case bson.TypeTimestamp:
		us = int64(v.uint64()>>32) * 1e6 //nolint:gosec // 32 bits
	case bson.TypeString:
		form := time.RFC3339Nano
		if kind == schemas.Date {
			form = time.DateOnly
		}
		at, err := time.Parse(form, string(v.text()))
		if err != nil || at.Nanosecond()%1000 != 0 || at.UTC().Year() < 1 || at.UTC().Year() > 9999 {
			return 0, false
		}
		us = at.UnixMicro()
	default:
		return 0, false
	}
	if kind == schemas.Timestamp {
		return us, true
	}
	const day = 86400e6
	return us / day, us%day == 0
}

// decimal appends a number in a column's form. A double counts by its shortest
// text: 19.99 is 19.99.
func (a *arena) decimal(v value, t schemas.Type) bool {
	var text []byte
	switch v.kind {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDecimal128:
		text = appendNumber(nil, v)
	case bson.TypeDouble:
		text = strconv.AppendFloat(nil, v.double(), 'f', -1, 64)
	default:
		return false
	}
	var err error
	a.bytes, err = schemas.AppendDecimal(a.bytes, text, t)
	return err == nil
}

// string appends what has a text of its own: the one that it has as an _id.
func (a *arena) string(v value) bool {
	switch v.kind {
	case bson.TypeString, bson.TypeSymbol:
		a.bytes = append(a.bytes, v.text()...)
		return utf8.Valid(v.text())
	case bson.TypeObjectID:
		a.bytes = hex.AppendEncode(a.bytes, v.data)
		return true
	case bson.TypeDecimal128:
		a.bytes = append(a.bytes, v.decimal().String()...)
		return true
	}
	raw, ok := v.uuid()
	if ok {
		a.bytes = appendUUID(a.bytes, raw)
	}
	return ok
}

// promoted is the type of the column that a field becomes, if it becomes one.
func promoted(v value) (schemas.Type, bool) {
	kind := schemas.Kind(0)
	switch v.kind {
	case bson.TypeBoolean:
		kind = schemas.Bool
	case bson.TypeInt32, bson.TypeInt64:
		kind = schemas.Int
	case bson.TypeDouble:
		kind = schemas.Float
	case bson.TypeString, bson.TypeSymbol, bson.TypeObjectID, bson.TypeDecimal128:
		kind = schemas.String
	case bson.TypeDateTime:
		kind = schemas.Timestamp
	case bson.TypeBinary:
		if kind = schemas.Bytes; v.isUUID() {
			kind = schemas.String
		}
	}
	return schemas.Type{Kind: kind}, kind != 0
}

func (v value) isUUID() bool {
	_, ok := v.uuid()
	return ok
}
