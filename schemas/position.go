package schemas

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// PositionLen is the length of a position as text.
const PositionLen = 51

// Position says where a change stands in the history of its source. Positions
// of one source are totally ordered, and the order of their text is the same
// (G2). The zero Position stands below every change and is written as ”.
type Position struct {
	Epoch uint32 // rises when the lineage of the source's log breaks; from 1
	Major uint64
	Minor uint64
	Seq   uint32
}

// IsZero reports whether p is the zero Position.
func (p Position) IsZero() bool { return p == Position{} }

// Compare is negative, zero or positive as p stands below, at or above q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Major, q.Major),
		cmp.Compare(p.Minor, q.Minor), cmp.Compare(p.Seq, q.Seq))
}

// Less reports whether p stands below q.
func (p Position) Less(q Position) bool { return p.Compare(q) < 0 }

// MaxPosition returns the greater of p and q.
func MaxPosition(p, q Position) Position {
	if p.Less(q) {
		return q
	}
	return p
}

// AppendText appends the text EEEEEEEE/MMMMMMMMMMMMMMMM/mmmmmmmmmmmmmmmm/SSSSSSSS
// in upper-case hexadecimal, or nothing for the zero Position. Byte order of
// the text is the order of positions, and the text is a valid BigQuery
// _CHANGE_SEQUENCE_NUMBER. It never fails.
func (p Position) AppendText(dst []byte) ([]byte, error) {
	if p.IsZero() {
		return dst, nil
	}
	dst = appendHex(dst, uint64(p.Epoch), 8)
	dst = append(dst, '/')
	dst = appendHex(dst, p.Major, 16)
	dst = append(dst, '/')
	dst = appendHex(dst, p.Minor, 16)
	dst = append(dst, '/')
	return appendHex(dst, uint64(p.Seq), 8), nil
}

// MarshalText is AppendText into a new slice.
func (p Position) MarshalText() ([]byte, error) { return p.AppendText(nil) }

// String is the text of AppendText.
func (p Position) String() string {
	var b [PositionLen]byte
	text, _ := p.AppendText(b[:0])
	return string(text)
}

// UnmarshalText is ParsePosition.
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(text)
	return err
}

// ParsePosition reads the text of AppendText. Nothing else is accepted: lower
// case would sort elsewhere.
func ParsePosition(text []byte) (Position, error) {
	if len(text) == 0 {
		return Position{}, nil
	}
	if len(text) != PositionLen || text[8] != '/' || text[25] != '/' || text[42] != '/' {
		return Position{}, positionError(text)
	}
	epoch, ok1 := parseHex(text[:8])
	major, ok2 := parseHex(text[9:25])
	minor, ok3 := parseHex(text[26:42])
	seq, ok4 := parseHex(text[43:])
	p := Position{Epoch: uint32(epoch), Major: major, Minor: minor, Seq: uint32(seq)}
	if !ok1 || !ok2 || !ok3 || !ok4 || p.IsZero() {
		return Position{}, positionError(text)
	}
	return p, nil
}

func positionError(text []byte) error {
	shown := text
	if len(shown) > 2*PositionLen {
		shown = shown[:2*PositionLen]
	}
	if strings.ContainsFunc(string(shown), func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("parse position: bytes %s", hex.EncodeToString(shown))
	}
	return fmt.Errorf("parse position %q: want EEEEEEEE/MMMMMMMMMMMMMMMM/MMMMMMMMMMMMMMMM/SSSSSSSS in upper-case hexadecimal", shown)
}

func appendHex(dst []byte, v uint64, width int) []byte {
	if width > 8 {
		dst = binary.BigEndian.AppendUint64(dst, hex8(uint32(v>>32)))
	}
	return binary.BigEndian.AppendUint64(dst, hex8(uint32(v))) //nolint:gosec // its lower half
}

// hex8 is eight digits, of which each byte has one.
func hex8(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	letters := (x + 0x0606060606060606) >> 4 & 0x0101010101010101
	return x + '0'*0x0101010101010101 + letters*('A'-'0'-10)
}

// parseHex reads eight digits or sixteen. Another text than that of its digits
// is not theirs, whatever it is.
func parseHex(text []byte) (v uint64, ok bool) {
	ok = true
	for ; len(text) >= 8; text = text[8:] {
		x := binary.BigEndian.Uint64(text)
		n := x&0x0f0f0f0f0f0f0f0f + x>>6&0x0101010101010101*9
		n = (n | n>>4) & 0x00ff00ff00ff00ff
		n = (n | n>>8) & 0x0000ffff0000ffff
		n = (n | n>>16) & 0x00000000ffffffff
		v = v<<32 | n
		ok = ok && hex8(uint32(n)) == x
	}
	return v, ok
}
