package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// HeaderLen is the length of the Confluent wire header.
const HeaderLen = 5

// AppendHeader appends the Confluent wire header: a zero byte and the schema's
// id in the registry.
func AppendHeader(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), id)
}

// SplitHeader takes the Confluent wire header off.
func SplitHeader(b []byte) (id uint32, body []byte, err error) {
	if len(b) < HeaderLen || b[0] != 0 {
		return 0, nil, fmt.Errorf("read wire header of %d bytes: want a zero byte and a schema id", len(b))
	}
	return binary.BigEndian.Uint32(b[1:]), b[HeaderLen:], nil
}

// What can be wrong with bytes.
var (
	errShort    = errors.New("bytes end inside the value")
	errVarint   = errors.New("number is too long")
	errUnion    = errors.New("union has no such branch")
	errTrailing = errors.New("bytes follow the value")
	errLength   = errors.New("length lies beyond the bytes")
	errUTF8     = errors.New("text is not UTF-8")
	errBool     = errors.New("boolean is neither 0 nor 1")
	errRange    = errors.New("value lies outside its type")
	errDecimal  = errors.New("decimal has no bytes")
)

// long reads the zigzag varint at b[i:]. A number in more bytes than it needs
// is refused, so that one value has one form. On failure next is negative; its
// reason is in longError.
func long(b []byte, i int) (v int64, next int) {
	if i >= 0 && i <= len(b)-8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if stop := ^x & 0x8080808080808080; stop != 0 {
			n := bits.TrailingZeros64(stop) // 7, 15 … 63: the top bit of the last byte
			if n > 7 && x>>(n-7)&0x7f == 0 {
				return 0, badVarint
			}
			// Drop what follows, then close the gaps that the top bits leave:
			// pairs, fours and eights of 7-bit groups.
			x &= ^uint64(0) >> (63 - n) & 0x7f7f7f7f7f7f7f7f
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
			return unzigzag(x), i + (n+1)>>3
		}
	}
	return longSlow(b, i)
}

const (
	shortVarint = -1
	badVarint   = -2
)

func longSlow(b []byte, i int) (int64, int) {
	if i < 0 || i >= len(b) {
		return 0, shortVarint
	}
	u, n := binary.Uvarint(b[i:])
	switch {
	case n == 0:
		return 0, shortVarint
	case n < 0, n > 1 && b[i+n-1] == 0:
		return 0, badVarint
	}
	return unzigzag(u), i + n
}

func longError(next int) error {
	if next == shortVarint {
		return errShort
	}
	return errVarint
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) } //nolint:gosec // zigzag

// span reads the length at b[i:] and returns where the bytes that it counts
// begin and end. On failure begin is negative, as next of long, or the length
// lies beyond b and end is negative.
func span(b []byte, i int) (begin, end int) {
	var n int64
	if uint(i) < uint(len(b)) && b[i] < 0x80 { //nolint:gosec // a negative i is beyond
		n, begin = unzigzag(uint64(b[i])), i+1
	} else if n, begin = longSlow(b, i); begin < 0 {
		return begin, begin
	}
	if n < 0 || n > int64(len(b)-begin) {
		return begin, -1
	}
	return begin, begin + int(n)
}

func spanError(begin int) error {
	if begin < 0 {
		return longError(begin)
	}
	return errLength
}

// appendLong appends v as a zigzag varint.
func appendLong(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63) //nolint:gosec // zigzag
	if u < 0x80 {
		return append(dst, byte(u))
	}
	if u >= 1<<56 {
		return binary.AppendUvarint(dst, u)
	}
	// One store of eight bytes, of which n stay: the reverse of long.
	n := (bits.Len64(u) + 6) / 7
	u = u&0x000000000fffffff | u&0x00fffffff0000000<<4
	u = u&0x00003fff00003fff | u&0x0fffc0000fffc000<<2
	u = u&0x007f007f007f007f | u&0x3f803f803f803f80<<1
	u |= 0x8080808080808080 & (1<<(8*n-1) - 1)
	return binary.LittleEndian.AppendUint64(dst, u)[:len(dst)+n]
}

func appendBytes(dst, b []byte) []byte {
	return append(appendLong(dst, int64(len(b))), b...)
}

func appendString(dst []byte, s string) []byte {
	return append(appendLong(dst, int64(len(s))), s...)
}

// The branches of ["null", T].
const (
	branchNull  = 0
	branchValue = 2 // zigzag of 1
)

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, branchNull)
	}
	return appendString(append(dst, branchValue), s)
}
