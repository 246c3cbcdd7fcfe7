package avro

import (
	"encoding/binary"
	"math"

	"millrace/schemas"
)

// Sink takes the values of one row: what a warehouse wants written. Bytes are
// copied before a method returns.
type Sink interface {
	Null(col int)
	Int(col int, v int64) // Bool, Int, Date, Time, Timestamp, DateTime
	Float(col int, v float64)
	Bytes(col int, b []byte) // Decimal (unscaled, minimal two's complement), String, Bytes, JSON
}

// row writes one record to sink: column k as cols[k], or not at all if that is
// negative. It checks what it needs to stay inside b, and leaves to check what
// the values are.
func (p program) row(b []byte, cols []int, sink Sink) (int, error) {
	i := 0
	for k := range p {
		s, col := &p[k], cols[k]
		if uint(i) >= uint(len(b)) { //nolint:gosec // never negative here
			return 0, s.errAt(errShort)
		}
		branch := b[i]
		i++
		if branch == branchNull {
			if col >= 0 {
				sink.Null(col)
			}
			continue
		}
		if branch != branchValue {
			return 0, s.errAt(errUnion)
		}
		switch s.kind {
		case schemas.Int, schemas.Timestamp, schemas.DateTime, schemas.Date, schemas.Time:
			var v int64
			if v, i = long(b, i); i < 0 {
				return 0, s.errAt(longError(i))
			}
			if col >= 0 {
				sink.Int(col, v)
			}
		case schemas.Bool:
			if i >= len(b) {
				return 0, s.errAt(errShort)
			}
			if col >= 0 {
				sink.Int(col, int64(b[i]&1))
			}
			i++
		case schemas.Float:
			if i+8 > len(b) {
				return 0, s.errAt(errShort)
			}
			if col >= 0 {
				sink.Float(col, math.Float64frombits(binary.LittleEndian.Uint64(b[i:])))
			}
			i += 8
		default:
			begin, end := span(b, i)
			if end < 0 {
				return 0, s.errAt(spanError(begin))
			}
			if col >= 0 {
				if s.kind == schemas.Decimal {
					sink.Bytes(col, schemas.MinimalTwos(b[begin:end]))
				} else {
					sink.Bytes(col, b[begin:end])
				}
			}
			i = end
		}
	}
	return i, nil
}

// cells appends the values of a record that check has accepted.
func (p program) cells(dst []schemas.Cell, b []byte) []schemas.Cell {
	i := 0
	for k := range p {
		branch := b[i]
		i++
		if branch == branchNull {
			dst = append(dst, schemas.NullCell())
			continue
		}
		c := schemas.Cell{Kind: schemas.Present}
		switch p[k].kind {
		case schemas.Int, schemas.Timestamp, schemas.DateTime, schemas.Date, schemas.Time:
			c.Int, i = long(b, i)
		case schemas.Bool:
			c.Int = int64(b[i])
			i++
		case schemas.Float:
			c.Int = int64(binary.LittleEndian.Uint64(b[i:])) //nolint:gosec // bits
			i += 8
		default:
			begin, end := span(b, i)
			if c.Bytes = b[begin:end]; p[k].kind == schemas.Decimal {
				c.Bytes = schemas.MinimalTwos(c.Bytes)
			}
			i = end
		}
		dst = append(dst, c)
	}
	return dst
}
