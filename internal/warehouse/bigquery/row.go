package bigquery

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"

	"millrace/schemas"
)

// rowSink writes the values of one row as the wire format of a protobuf
// message, straight behind each other: fields that are null are left out. It is
// a warehouse.Sink. The first fault stays in err.
type rowSink struct {
	cols []rowColumn // by the batch's ordinals
	buf  []byte      // rows one after the other
	row  int         // where the current one begins
	from int         // and its current field
	// more gives an empty buffer with room for so many bytes; nil: a new one.
	more func(room int) []byte
	err  error
	wide big.Int
	// refused are the current row's values that BigQuery does not take. A search
	// for them also looks at what otherwise the service alone looks at.
	refused []refusedValue
	search  bool
	// keys are the current row's key fields in buf: all that a delete keeps.
	keys []span
	// unkeyed says that the current row has a value beside them.
	unkeyed bool
	text    []byte
}

type span struct{ from, to int }

type refusedValue struct {
	col    int // the batch's ordinal
	reason string
}

// rowColumn is a column with its field's tag, ready to be written.
type rowColumn struct {
	name string
	col  int // the batch's ordinal
	key  bool
	// number is that of its field in the messages.
	number int
	t      schemas.Type
	held   schemas.Kind // a decimal that is too wide is held as text
	tag    field

	small int64    // the decimal's limit, if it has 64 bits
	limit *big.Int // and if it has not

	// least and greatest of a key's values, where bounds are kept.
	bounded        bool
	seen           bool
	least, most    int64
	minTxt, maxTxt []byte
}

// field is a field's tag as bytes.
type field struct {
	bytes [3]byte
	n     uint8
}

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

// newField makes the tag. Numbers are at most those of a table with 10,000
// columns, and so fit.
func newField(number, wire int) field {
	var b [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(b[:], uint64(number)<<3|uint64(wire)) //nolint:gosec // positive
	f := field{n: uint8(n)}                                      //nolint:gosec // at most 3
	copy(f.bytes[:], b[:n])
	return f
}

// smallDigits is how many decimal digits always fit 64 bits.
const smallDigits = 18

func newRowColumn(col int, name string, key bool, t schemas.Type, held schemas.Kind, number int) rowColumn {
	c := rowColumn{name: name, col: col, number: number, key: key, t: t, held: held, tag: newField(number, wireOf(held))}
	if t.Kind == schemas.Decimal {
		c.limit = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Precision)), nil)
		if t.Precision <= smallDigits {
			c.small = c.limit.Int64()
		}
	}
	switch held {
	case schemas.Int, schemas.Date, schemas.Timestamp, schemas.String:
		c.bounded = key && t.Kind == held
	}
	return c
}

// wireOf is how values of a kind travel. Decimals, and times without a zone,
// are text: that is the one form that every version of the service reads alike.
func wireOf(k schemas.Kind) int {
	switch k {
	case schemas.Bool, schemas.Int, schemas.Date, schemas.Timestamp:
		return wireVarint
	case schemas.Float:
		return wireFixed64
	}
	return wireBytes
}

// begin starts a row behind those that buf holds.
func (s *rowSink) begin() {
	s.row, s.keys, s.unkeyed, s.err = len(s.buf), s.keys[:0], false, nil
	s.refused = s.refused[:0]
}

// dropValues leaves the key's values alone.
func (s *rowSink) dropValues() {
	s.refused = slices.DeleteFunc(s.refused, func(r refusedValue) bool { return !s.cols[r.col].key })
	if !s.unkeyed {
		return
	}
	at := s.row
	for i, k := range s.keys {
		n := copy(s.buf[at:], s.buf[k.from:k.to])
		s.keys[i] = span{at, at + n}
		at += n
	}
	s.buf = s.buf[:at]
}

func (s *rowSink) fault(c *rowColumn, format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("column %q: %w", c.name, fmt.Errorf(format, args...))
	}
}

// refuse notes a value that BigQuery does not take (G12).
func (s *rowSink) refuse(c *rowColumn, format string, args ...any) {
	s.refused = append(s.refused, refusedValue{c.col, fmt.Sprintf(format, args...)})
}

// wrote notes the field of the column that begins at from.
func (s *rowSink) wrote(c *rowColumn) {
	if c.key {
		s.keys = append(s.keys, span{s.from, len(s.buf)})
	} else {
		s.unkeyed = true
	}
}

// Null implements warehouse.Sink: what is not there is null.
func (s *rowSink) Null(int) {}

// What BigQuery's dates and times can hold: the years 1 to 9999.
const (
	dayUs            = 24 * 3_600_000_000
	minDay, maxDay   = -719162, 2932896
	minTime, maxTime = minDay * dayUs, (maxDay+1)*dayUs - 1
)

// Int implements warehouse.Sink.
func (s *rowSink) Int(col int, v int64) {
	c := &s.cols[col]
	s.from = len(s.buf)
	switch c.held {
	case schemas.Int, schemas.Bool:
	case schemas.Timestamp:
		if v < minTime || v > maxTime {
			s.refuse(c, "%d microseconds are outside of BigQuery's timestamps", v)
			return
		}
	case schemas.Date:
		if v < minDay || v > maxDay {
			s.refuse(c, "day %d is outside of BigQuery's dates", v)
			return
		}
	case schemas.DateTime:
		if v < minTime || v > maxTime {
			s.refuse(c, "%d microseconds are outside of BigQuery's times", v)
			return
		}
		s.text = appendDateTime(s.text[:0], v)
		s.raw(&c.tag, s.text)
		s.wrote(c)
		return
	case schemas.Time:
		if v < 0 || v >= dayUs {
			s.refuse(c, "%d microseconds are no time of day", v)
			return
		}
		s.text = appendClock(s.text[:0], v)
		s.raw(&c.tag, s.text)
		s.wrote(c)
		return
	case schemas.Decimal: // an integer into a column that was widened
		s.text = appendInt(s.text[:0], v)
		s.raw(&c.tag, s.text)
		s.wrote(c)
		return
	default:
		s.fault(c, "an integer cannot be %s", c.t)
		return
	}
	if c.bounded {
		c.bound(v)
	}
	s.varint(&c.tag, uint64(v)) //nolint:gosec // its bits
	s.wrote(c)
}

// Float implements warehouse.Sink.
func (s *rowSink) Float(col int, v float64) {
	c := &s.cols[col]
	if c.held != schemas.Float {
		s.fault(c, "a float cannot be %s", c.t)
		return
	}
	s.from = len(s.buf)
	s.fixed(&c.tag, math.Float64bits(v))
	s.wrote(c)
}

// Bytes implements warehouse.Sink.
func (s *rowSink) Bytes(col int, b []byte) {
	c := &s.cols[col]
	s.from = len(s.buf)
	switch c.t.Kind {
	case schemas.Bytes:
	case schemas.String, schemas.JSON:
		if !utf8.Valid(b) {
			s.refuse(c, "text is not UTF-8")
			return
		}
		if s.search && c.t.Kind == schemas.JSON && !json.Valid(b) {
			s.refuse(c, "text is not JSON")
			return
		}
		if c.bounded {
			c.boundText(b)
		}
	case schemas.Decimal:
		if !s.decimal(c, b) {
			return
		}
		b = s.text
	default:
		s.fault(c, "bytes cannot be %s", c.t)
		return
	}
	s.raw(&c.tag, b)
	s.wrote(c)
}

// decimal writes the number into text, if it fits the column's type: the service
// would round what has too many digits behind the point (G12).
func (s *rowSink) decimal(c *rowColumn, twos []byte) bool {
	fits := true
	if v, ok := small(twos); ok && c.small != 0 {
		if fits = -c.small < v && v < c.small; fits && c.held != schemas.String {
			s.text = decimalText(s.text[:0], v, c.t.Scale)
			return true
		}
	} else if c.held != schemas.String {
		s.wide.SetBytes(twos)
		if len(twos) > 0 && twos[0] >= 0x80 {
			s.wide.Set(schemas.TwosToBig(twos))
		}
		fits = s.wide.CmpAbs(c.limit) < 0
	}
	if !fits {
		s.refuse(c, "%s", schemas.ErrDecimalRange)
		return false
	}
	s.text = schemas.AppendDecimalText(s.text[:0], twos, c.t.Scale)
	if c.held == schemas.String && c.t.Scale > 0 {
		s.text = trimZeros(s.text)
	}
	return true
}

// trimZeros makes one number one text, whatever its column's scale.
func trimZeros(b []byte) []byte {
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	if b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	return b
}

func small(twos []byte) (v int64, ok bool) {
	if len(twos) > 8 || len(twos) == 0 {
		return 0, len(twos) == 0
	}
	v = int64(int8(twos[0])) //nolint:gosec // the sign
	for _, b := range twos[1:] {
		v = v<<8 | int64(b)
	}
	return v, true
}

// room is space for n more bytes behind buf.
func (s *rowSink) room(n int) []byte {
	if cap(s.buf)-len(s.buf) < n {
		s.turn(n)
	}
	return s.buf[len(s.buf) : len(s.buf)+n]
}

// turn goes on in another buffer, which has room for n more bytes. The rows
// before stay where they are; the current one moves.
func (s *rowSink) turn(n int) {
	row := s.buf[s.row:]
	need := len(row) + n
	if s.more != nil {
		s.buf = append(s.more(need), row...)
	} else {
		s.buf = append(make([]byte, 0, 2*need), row...)
	}
	for i := range s.keys {
		s.keys[i].from -= s.row
		s.keys[i].to -= s.row
	}
	s.row, s.from = 0, s.from-s.row
}

// put writes the tag at the start of b, which has room for the longest.
func (f *field) put(b []byte) int {
	b[0], b[1], b[2] = f.bytes[0], f.bytes[1], f.bytes[2]
	return int(f.n)
}

func (s *rowSink) varint(f *field, v uint64) {
	b := s.room(len(f.bytes) + binary.MaxVarintLen64)
	n := f.put(b)
	for ; v >= 0x80; n++ {
		b[n] = byte(v) | 0x80
		v >>= 7
	}
	b[n] = byte(v)
	s.buf = s.buf[:len(s.buf)+n+1]
}

func (s *rowSink) fixed(f *field, v uint64) {
	b := s.room(len(f.bytes) + 8)
	n := f.put(b)
	binary.LittleEndian.PutUint64(b[n:], v)
	s.buf = s.buf[:len(s.buf)+n+8]
}

func (s *rowSink) raw(f *field, v []byte) {
	b := s.room(len(f.bytes) + binary.MaxVarintLen64 + len(v))
	n := f.put(b)
	n += binary.PutUvarint(b[n:], uint64(len(v)))
	n += copy(b[n:], v)
	s.buf = s.buf[:len(s.buf)+n]
}

// tail appends fields that are ready.
func (s *rowSink) tail(fields []byte) {
	n := copy(s.room(len(fields)), fields)
	s.buf = s.buf[:len(s.buf)+n]
}

func (s *rowSink) position(f *field, p schemas.Position) {
	b := s.room(len(f.bytes) + 1 + schemas.PositionLen)
	n := f.put(b)
	text, _ := p.AppendText(b[n+1 : n+1])
	b[n] = byte(len(text)) // at most 51: one byte as a varint
	s.buf = s.buf[:len(s.buf)+n+1+len(text)]
}

// decimalText appends a decimal that has 64 bits.
func decimalText(dst []byte, v int64, scale int) []byte {
	if v < 0 {
		dst = append(dst, '-')
		v = -v
	}
	at := len(dst)
	dst = strconv.AppendInt(dst, v, 10)
	if scale == 0 {
		return dst
	}
	for len(dst)-at <= scale { // a digit before the point
		dst = append(dst, '0')
		copy(dst[at+1:], dst[at:])
		dst[at] = '0'
	}
	dst = append(dst, 0)
	point := len(dst) - 1 - scale
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}
