package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of pgoutput messages, protocol version 1.
const (
	msgBegin    = 'B'
	msgCommit   = 'C'
	msgOrigin   = 'O'
	msgRelation = 'R'
	msgType     = 'Y'
	msgInsert   = 'I'
	msgUpdate   = 'U'
	msgDelete   = 'D'
	msgTruncate = 'T'
	msgLogical  = 'M'
)

// The kinds of a tuple's fields.
const (
	fieldNull      = 'n'
	fieldUnchanged = 'u' // a TOASTed value that the update did not touch: not in the log
	fieldText      = 't'
)

// field is one value of a tuple. Its data lies in the message.
type field struct {
	kind byte
	data []byte
}

// message is one decoded message. Which fields hold depends on kind. It is
// filled again and again; its slices are reused and point into the bytes that
// parse was given.
type message struct {
	kind byte

	commitLSN uint64 // B: of the commit to come; C
	endLSN    uint64 // C: behind the transaction
	timeUs    int64  // B, C: microseconds since 2000
	xid       uint32 // B

	relation  uint32   // R, I, U, D: the oid
	relations []uint32 // T
	schema    []byte   // R
	name      []byte   // R
	identity  byte     // R: relreplident
	columns   []wireColumn

	oldKind  byte // U, D: 'K' the identity's columns, 'O' the whole row, 0 none
	old, new []field
}

// wireColumn is a column of a relation message.
type wireColumn struct {
	identity bool // part of the replica identity
	name     []byte
	typeOID  uint32
	typmod   int32
}

var errShort = errors.New("message ends early")

// scanner walks over a message; the first fault sticks.
type scanner struct {
	b   []byte
	err error
}

func (r *scanner) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *scanner) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *scanner) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *scanner) uint16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *scanner) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *scanner) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *scanner) text() []byte {
	end := bytes.IndexByte(r.b, 0)
	if end < 0 {
		r.fail(errShort)
		return nil
	}
	out := r.b[:end:end]
	r.b = r.b[end+1:]
	return out
}

// parse reads one message without allocating once m has grown to its size.
// Foreign bytes give an error, never a panic.
func (m *message) parse(b []byte) error {
	r := scanner{b: b}
	m.kind = r.byte()
	m.oldKind, m.old, m.new = 0, m.old[:0], m.new[:0]
	switch m.kind {
	case msgBegin:
		m.commitLSN, m.timeUs, m.xid = r.uint64(), int64(r.uint64()), r.uint32() //nolint:gosec // two's complement
	case msgCommit:
		r.byte()                                                                    // flags, none defined
		m.commitLSN, m.endLSN, m.timeUs = r.uint64(), r.uint64(), int64(r.uint64()) //nolint:gosec // two's complement
	case msgRelation:
		m.parseRelation(&r)
	case msgInsert:
		m.relation = r.uint32()
		if c := r.byte(); c != 'N' {
			r.fail(fmt.Errorf("tuple kind %q, want N", c))
		}
		m.new = r.tuple(m.new)
	case msgUpdate:
		m.relation = r.uint32()
		c := r.byte()
		if c == 'K' || c == 'O' {
			m.oldKind = c
			m.old = r.tuple(m.old)
			c = r.byte()
		}
		if c != 'N' {
			r.fail(fmt.Errorf("tuple kind %q, want N", c))
		}
		m.new = r.tuple(m.new)
	case msgDelete:
		m.relation = r.uint32()
		if m.oldKind = r.byte(); m.oldKind != 'K' && m.oldKind != 'O' {
			r.fail(fmt.Errorf("tuple kind %q, want K or O", m.oldKind))
		}
		m.old = r.tuple(m.old)
	case msgTruncate:
		n := int(r.uint32())
		r.byte() // CASCADE and RESTART IDENTITY change nothing for rows
		m.relations = m.relations[:0]
		for i := 0; i < n && r.err == nil; i++ {
			m.relations = append(m.relations, r.uint32())
		}
	case msgOrigin, msgType, msgLogical:
		return nil // they say nothing about rows
	default:
		r.fail(fmt.Errorf("unknown kind %q", m.kind))
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes behind the message", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("parse pgoutput message %q of %d bytes: %w", m.kind, len(b), r.err)
	}
	return nil
}

func (m *message) parseRelation(r *scanner) {
	m.relation = r.uint32()
	m.schema, m.name, m.identity = r.text(), r.text(), r.byte()
	m.columns = m.columns[:0]
	for i, n := 0, r.uint16(); i < n && r.err == nil; i++ {
		m.columns = append(m.columns, wireColumn{
			identity: r.byte()&1 != 0, name: r.text(), typeOID: r.uint32(), typmod: int32(r.uint32()), //nolint:gosec // two's complement
		})
	}
	if len(m.schema) == 0 {
		m.schema = []byte("pg_catalog") // how the protocol writes it
	}
}

func (r *scanner) tuple(dst []field) []field {
	for i, n := 0, r.uint16(); i < n && r.err == nil; i++ {
		f := field{kind: r.byte()}
		switch f.kind {
		case fieldNull, fieldUnchanged:
		case fieldText:
			f.data = r.take(int(r.uint32()))
		default:
			r.fail(fmt.Errorf("field kind %q of column %d", f.kind, i+1))
		}
		dst = append(dst, f)
	}
	return dst
}
