package duckdb

import (
	"fmt"
	"math/big"
	"time"
	"unicode/utf8"

	dk "github.com/duckdb/duckdb-go/v2"

	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// maxDecimal is the widest DECIMAL; smallDecimal the widest in 64 bits.
const (
	maxDecimal   = 38
	smallDecimal = 18
)

// vectorType is the type of the vector that takes values of t.
func vectorType(t schemas.Type) (dk.TypeInfo, error) {
	switch t.Kind {
	case schemas.Bool:
		return dk.NewTypeInfo(dk.TYPE_BOOLEAN)
	case schemas.Int:
		return dk.NewTypeInfo(dk.TYPE_BIGINT)
	case schemas.Float:
		return dk.NewTypeInfo(dk.TYPE_DOUBLE)
	case schemas.Decimal:
		if t.Precision <= maxDecimal {
			return dk.NewDecimalInfo(uint8(t.Precision), uint8(t.Scale)) //nolint:gosec // at most 38
		}
	case schemas.Bytes:
		return dk.NewTypeInfo(dk.TYPE_BLOB)
	case schemas.Date:
		return dk.NewTypeInfo(dk.TYPE_DATE)
	case schemas.Time:
		return dk.NewTypeInfo(dk.TYPE_TIME)
	case schemas.Timestamp:
		return dk.NewTypeInfo(dk.TYPE_TIMESTAMP_TZ)
	case schemas.DateTime:
		return dk.NewTypeInfo(dk.TYPE_TIMESTAMP)
	}
	// JSON too: a JSON vector would marshal the text anew, and change it.
	return dk.NewTypeInfo(dk.TYPE_VARCHAR)
}

// chunkSink writes one row's values into the vectors of a chunk. The first
// fault stays in err.
type chunkSink struct {
	chunk dk.DataChunk
	row   int
	cols  []sinkColumn // by the batch's ordinals
	err   error
	wide  big.Int
	buf   []byte
	// nullKeys says that a key column was null in some row.
	nullKeys bool
	refused  []refusal // of the row at hand
}

// refusal is a value of the source that DuckDB has not, or not exactly (G12).
type refusal struct {
	col    int // the batch's ordinal
	reason error
}

type sinkColumn struct {
	name  string
	key   bool
	t     schemas.Type
	chunk int // the vector
	set   int // the row that was set last, counted from 1
	small int64
	limit *big.Int
}

func newSinkColumn(col sqlgen.Column, t schemas.Type, chunk int) sinkColumn {
	c := sinkColumn{name: col.Name, key: col.Key, t: t, chunk: chunk}
	if t.Kind != schemas.Decimal {
		return c
	}
	c.limit = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Precision)), nil)
	if t.Precision <= smallDecimal {
		c.small = c.limit.Int64()
	}
	return c
}

func (s *chunkSink) begin(chunk dk.DataChunk) {
	s.chunk = chunk
	for i := range s.cols {
		s.cols[i].set = 0
	}
}

// fillNulls makes null what was not set.
func (s *chunkSink) fillNulls() {
	for i := range s.cols {
		if s.cols[i].set != s.row+1 {
			s.Null(i)
		}
	}
}

func set[T any](s *chunkSink, vector int, v T) {
	if err := dk.SetChunkValue(s.chunk, vector, s.row, v); err != nil && s.err == nil {
		s.err = err
	}
}

// refuse leaves null where the value was to stand.
func (s *chunkSink) refuse(col int, format string, args ...any) {
	s.refused = append(s.refused, refusal{col, fmt.Errorf(format, args...)})
	s.null(s.cols[col].chunk)
}

func (s *chunkSink) fault(c *sinkColumn, format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("column %q: %w", c.name, fmt.Errorf(format, args...))
	}
}

// Null implements warehouse.Sink.
func (s *chunkSink) Null(col int) {
	c := &s.cols[col]
	c.set = s.row + 1
	s.nullKeys = s.nullKeys || c.key
	s.null(c.chunk)
}

func (s *chunkSink) null(vector int) { set[any](s, vector, nil) }

const (
	dayUs = 24 * 3_600_000_000
	// DuckDB's dates, infinities excluded: a value of the source that becomes
	// infinite here would be another value (G12).
	minDay, maxDay = -2147483646, 2147483646
	// The whole years that DuckDB's timestamps hold: its driver takes no others.
	minTime, maxTime = -9223371158400000000, 9223371244799999999
)

// Int implements warehouse.Sink.
func (s *chunkSink) Int(col int, v int64) {
	c := &s.cols[col]
	c.set = s.row + 1
	switch c.t.Kind {
	case schemas.Int:
		set(s, c.chunk, v)
	case schemas.Bool:
		set(s, c.chunk, v != 0)
	case schemas.Timestamp, schemas.DateTime:
		if v < minTime || v > maxTime {
			s.refuse(col, "%d microseconds are outside of DuckDB's timestamps", v)
			return
		}
		set(s, c.chunk, time.UnixMicro(v).UTC())
	case schemas.Date:
		if v < minDay || v > maxDay {
			s.refuse(col, "day %d is outside of DuckDB's dates", v)
			return
		}
		set(s, c.chunk, time.Unix(v*(dayUs/1_000_000), 0).UTC())
	case schemas.Time:
		if v < 0 || v >= dayUs {
			s.refuse(col, "%d microseconds are no time of day", v)
			return
		}
		set(s, c.chunk, time.UnixMicro(v).UTC())
	default:
		s.fault(c, "an integer cannot be %s", c.t)
	}
}

// Float implements warehouse.Sink.
func (s *chunkSink) Float(col int, v float64) {
	c := &s.cols[col]
	c.set = s.row + 1
	if c.t.Kind != schemas.Float {
		s.fault(c, "a float cannot be %s", c.t)
		return
	}
	set(s, c.chunk, v)
}

// Bytes implements warehouse.Sink.
func (s *chunkSink) Bytes(col int, b []byte) {
	c := &s.cols[col]
	c.set = s.row + 1
	switch c.t.Kind {
	case schemas.Bytes:
		set(s, c.chunk, b)
	case schemas.String, schemas.JSON:
		if !utf8.Valid(b) { // DuckDB would store null
			s.refuse(col, "text is not UTF-8")
			return
		}
		set(s, c.chunk, b)
	case schemas.Decimal:
		s.decimal(col, b)
	default:
		s.fault(c, "bytes cannot be %s", c.t)
	}
}

// decimal writes the unscaled value as the vector holds it. Only numbers beyond
// 64 bits cost a big.Int.
func (s *chunkSink) decimal(col int, twos []byte) {
	c := &s.cols[col]
	if c.t.Precision > maxDecimal {
		s.buf = appendPlain(s.buf[:0], twos, c.t.Scale)
		set(s, c.chunk, s.buf)
		return
	}
	if v, ok := small(twos); ok {
		if c.small != 0 && (v <= -c.small || v >= c.small) {
			s.refuse(col, "%w", schemas.ErrDecimalRange)
			return
		}
		set(s, c.chunk, v)
		return
	}
	s.wide.SetBytes(twos)
	if twos[0] >= 0x80 {
		s.wide.Set(schemas.TwosToBig(twos))
	}
	if s.wide.CmpAbs(c.limit) >= 0 {
		s.refuse(col, "%w", schemas.ErrDecimalRange)
		return
	}
	set(s, c.chunk, &s.wide)
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

// appendPlain writes a decimal that is too wide for the warehouse as text,
// without trailing zeros: one number is one text, whatever its column's scale.
func appendPlain(dst, twos []byte, scale int) []byte {
	dst = schemas.AppendDecimalText(dst, twos, scale)
	if scale == 0 {
		return dst
	}
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if dst[len(dst)-1] == '.' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// op, raw, position and instant write the columns behind the values.
func (s *chunkSink) op(vector int, op schemas.Op) {
	s.buf = append(s.buf[:0], byte(op))
	set(s, vector, s.buf)
}

func (s *chunkSink) raw(vector int, v []byte) { set(s, vector, v) }

func (s *chunkSink) position(vector int, p schemas.Position) {
	s.buf, _ = p.AppendText(s.buf[:0])
	set(s, vector, s.buf)
}

func (s *chunkSink) instant(vector int, us int64) { set(s, vector, time.UnixMicro(us).UTC()) }
