package avro

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"

	"millrace/schemas"
)

const dayMicros = 24 * 60 * 60 * 1_000_000

// program is a Row or Key record, compiled: one step per field, each
// ["null", T].
type program []step

type step struct {
	kind       schemas.Kind
	unsettable bool
	wide       bool  // Decimal: more than 18 digits
	limit      int64 // Decimal that is not wide: the greatest magnitude
	name       string
	most       []byte // wide Decimal: the greatest value and the least, two's complement
	least      []byte
}

func compile(columns []schemas.Column) (program, error) {
	p := make(program, len(columns))
	for i, c := range columns {
		s := step{kind: c.Type.Kind, name: c.Name, unsettable: c.Unsettable}
		switch c.Type.Kind {
		case schemas.Decimal:
			if err := checkDecimalType(c.Type); err != nil {
				return nil, fmt.Errorf("column %q: %w", c.Name, err)
			}
			most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Type.Precision)), nil)
			most.Sub(most, big.NewInt(1))
			if s.wide = c.Type.Precision > 18; s.wide {
				s.most = schemas.AppendBigTwos(nil, most)
				s.least = schemas.AppendBigTwos(nil, most.Neg(most))
			} else {
				s.limit = most.Int64()
			}
		case schemas.Bool, schemas.Int, schemas.Float, schemas.String, schemas.Bytes, schemas.Date,
			schemas.Time, schemas.Timestamp, schemas.DateTime, schemas.JSON:
		default:
			return nil, fmt.Errorf("column %q: %s has no Avro type", c.Name, c.Type)
		}
		p[i] = s
	}
	return p, nil
}

// fits reports whether a minimal two's complement lies within the precision.
func (s *step) fits(twos []byte) bool {
	switch {
	case len(twos) <= 8:
		return s.wide || inLimit(loadTwos(twos), s.limit)
	case !s.wide || len(twos) > len(s.most):
		return false
	case len(twos) < len(s.most):
		return true
	case twos[0] >= 0x80:
		return bytes.Compare(twos, s.least) >= 0
	}
	return bytes.Compare(twos, s.most) <= 0
}

func inLimit(v, limit int64) bool { return -limit <= v && v <= limit }

// loadTwos is the number in at most eight bytes.
func loadTwos(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	v := int64(int8(b[0])) //nolint:gosec // the sign
	for _, c := range b[1:] {
		v = v<<8 | int64(c)
	}
	return v
}

// errAt says which column is wrong.
func (s *step) errAt(err error) error { return fmt.Errorf("column %q: %w", s.name, err) }

// check walks over one record at b[i:] and returns where it ends. Every value
// in it is a value of its column, and those of the columns in unset are null.
func (p program) check(b []byte, i int, unset []int) (int, error) {
	for k := range p {
		s := &p[k]
		if uint(i) >= uint(len(b)) { //nolint:gosec // never negative here
			return 0, s.errAt(errShort)
		}
		branch := b[i]
		i++
		if branch == branchNull {
			continue
		}
		if branch != branchValue {
			return 0, s.errAt(errUnion)
		}
		if len(unset) > 0 && slices.Contains(unset, k) {
			return 0, fmt.Errorf("column %q: is in unset and has a value", s.name)
		}
		switch s.kind {
		case schemas.Int, schemas.Timestamp, schemas.DateTime:
			if _, i = long(b, i); i < 0 {
				return 0, s.errAt(longError(i))
			}
		case schemas.Date, schemas.Time:
			var v int64
			if v, i = long(b, i); i < 0 {
				return 0, s.errAt(longError(i))
			}
			if !s.inRange(v) {
				return 0, s.errAt(errRange)
			}
		case schemas.Bool:
			if i >= len(b) {
				return 0, s.errAt(errShort)
			}
			if b[i] > 1 {
				return 0, s.errAt(errBool)
			}
			i++
		case schemas.Float:
			if i += 8; i > len(b) {
				return 0, s.errAt(errShort)
			}
		case schemas.Decimal:
			begin, end := span(b, i)
			if end < 0 {
				return 0, s.errAt(spanError(begin))
			}
			if err := s.checkDecimal(b, begin, end); err != nil {
				return 0, s.errAt(err)
			}
			i = end
		default:
			begin, end := span(b, i)
			if end < 0 {
				return 0, s.errAt(spanError(begin))
			}
			if s.kind != schemas.Bytes && !utf8.Valid(b[begin:end]) {
				return 0, s.errAt(errUTF8)
			}
			i = end
		}
	}
	return i, nil
}

// inRange reports whether a Date or Time is one.
func (s *step) inRange(v int64) bool {
	if s.kind == schemas.Date {
		return math.MinInt32 <= v && v <= math.MaxInt32
	}
	return 0 <= v && v < dayMicros
}

// checkDecimal looks at the number in b[begin:end]. Up to eight bytes are one
// load where b goes on far enough.
func (s *step) checkDecimal(b []byte, begin, end int) error {
	n := end - begin
	switch {
	case n == 0:
		return errDecimal
	case n <= 8 && begin+8 <= len(b):
		v := int64(binary.BigEndian.Uint64(b[begin:])) >> (64 - 8*n) //nolint:gosec // two's complement
		if s.wide || inLimit(v, s.limit) {
			return nil
		}
	case s.fits(schemas.MinimalTwos(b[begin:end])):
		return nil
	}
	return errRange
}
