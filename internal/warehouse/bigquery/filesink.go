package bigquery

import (
	"encoding/binary"
	"math"
	"math/big"
	"unicode/utf8"

	"millrace/schemas"
)

// fileSink takes the values of one row as Avro writes them. It is a
// warehouse.Sink. What stands in a file in another order than it came in is
// found by its span.
//
// It says no more of a value that BigQuery does not take than that there is one:
// the batch then goes by the stream, which says which.
type fileSink struct {
	cols  []fileColumn // by the batch's ordinals
	buf   []byte       // the current row's values, each behind its union's branch
	at    []fileSpan   // by the batch's ordinals; empty: null
	unfit bool
	wide  big.Int
	text  []byte
}

type fileSpan struct{ from, to int }

// fileColumn is what the file has beside what any row has of a column.
type fileColumn struct {
	*rowColumn
	scale int      // of the column in the table, if it is a decimal there
	raise *big.Int // by this a number of the batch becomes one of that scale; nil: it is one
}

func newFileColumn(c *rowColumn, have schemas.Type) fileColumn {
	f := fileColumn{rowColumn: c, scale: have.Scale}
	more := have.Scale
	if c.t.Kind == schemas.Decimal {
		more -= c.t.Scale
	}
	if c.held == schemas.Decimal && more > 0 {
		f.raise = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(more)), nil)
	}
	return f
}

func (s *fileSink) begin() {
	s.buf, s.unfit = s.buf[:0], false
	clear(s.at)
}

// Null implements warehouse.Sink: what is not there is null.
func (s *fileSink) Null(int) {}

// Int implements warehouse.Sink.
func (s *fileSink) Int(col int, v int64) {
	c := &s.cols[col]
	from := len(s.buf)
	switch c.held {
	case schemas.Int:
	case schemas.Bool:
		s.buf = append(s.buf, avroValue, byte(v&1))
		s.at[col] = fileSpan{from, len(s.buf)}
		s.unfit = s.unfit || v>>1 != 0
		return
	case schemas.Timestamp, schemas.DateTime:
		s.unfit = s.unfit || v < minTime || v > maxTime
	case schemas.Date:
		s.unfit = s.unfit || v < minDay || v > maxDay
	case schemas.Time:
		s.unfit = s.unfit || v < 0 || v >= dayUs
	case schemas.Decimal: // an integer into a column that was widened
		s.wide.SetInt64(v)
		s.decimal(c)
		s.at[col] = fileSpan{from, len(s.buf)}
		return
	default:
		s.unfit = true
		return
	}
	if c.bounded {
		c.bound(v)
	}
	s.buf = binary.AppendVarint(append(s.buf, avroValue), v)
	s.at[col] = fileSpan{from, len(s.buf)}
}

// Float implements warehouse.Sink.
func (s *fileSink) Float(col int, v float64) {
	from := len(s.buf)
	s.unfit = s.unfit || s.cols[col].held != schemas.Float
	s.buf = binary.LittleEndian.AppendUint64(append(s.buf, avroValue), math.Float64bits(v))
	s.at[col] = fileSpan{from, len(s.buf)}
}

// Bytes implements warehouse.Sink.
func (s *fileSink) Bytes(col int, b []byte) {
	c := &s.cols[col]
	from := len(s.buf)
	switch c.t.Kind {
	case schemas.Bytes:
		s.raw(b)
	case schemas.String, schemas.JSON:
		s.unfit = s.unfit || !utf8.Valid(b)
		if c.bounded {
			c.boundText(b)
		}
		s.raw(b)
	case schemas.Decimal:
		s.number(c, b)
	default:
		s.unfit = true
		return
	}
	s.at[col] = fileSpan{from, len(s.buf)}
}

// number writes a decimal as its column has it.
func (s *fileSink) number(c *fileColumn, twos []byte) {
	v, fits := small(twos)
	switch {
	case c.held == schemas.String:
		if fits && c.small != 0 {
			s.unfit = s.unfit || v <= -c.small || v >= c.small
		}
		s.text = schemas.AppendDecimalText(s.text[:0], twos, c.t.Scale)
		if c.t.Scale > 0 {
			s.text = trimZeros(s.text)
		}
		s.raw(s.text)
	case fits && c.small != 0 && c.raise == nil:
		s.unfit = s.unfit || v <= -c.small || v >= c.small
		if len(twos) == 0 {
			twos = zeroTwos
		}
		s.raw(twos)
	default:
		s.wide.SetBytes(twos)
		if len(twos) > 0 && twos[0] >= 0x80 {
			s.wide.Set(schemas.TwosToBig(twos))
		}
		s.unfit = s.unfit || s.wide.CmpAbs(c.limit) >= 0
		s.decimal(c)
	}
}

var zeroTwos = []byte{0}

// decimal writes the number in wide.
func (s *fileSink) decimal(c *fileColumn) {
	if c.raise != nil {
		s.wide.Mul(&s.wide, c.raise)
	}
	s.text = schemas.AppendBigTwos(s.text[:0], &s.wide)
	s.raw(s.text)
}

// avroValue is the branch of every union that is not null.
const avroValue = 2

func (s *fileSink) raw(b []byte) { s.buf = appendAvroText(s.buf, b) }

func appendAvroText[T []byte | string](dst []byte, text T) []byte {
	dst = binary.AppendVarint(append(dst, avroValue), int64(len(text)))
	return append(dst, text...)
}
