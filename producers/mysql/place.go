package mysql

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"millrace/schemas"
)

// place is a point in the binlog. Offsets have 64 bits, because one huge
// transaction can make a file larger than the 32 bits of an event's header.
type place struct {
	file   string
	number uint64 // of the file
	pos    uint64
}

func parsePlace(file string, pos uint64) (place, error) {
	dot := strings.LastIndexByte(file, '.')
	number, err := strconv.ParseUint(file[dot+1:], 10, 64)
	if dot <= 0 || err != nil {
		return place{}, fmt.Errorf("parse binlog file name %q: no number at its end", file)
	}
	return place{file: file, number: number, pos: pos}, nil
}

// base is the file's name without its number.
func (p place) base() string { return p.file[:strings.LastIndexByte(p.file, '.')] }

func (p place) String() string { return p.file + ":" + strconv.FormatUint(p.pos, 10) }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.number, q.number), cmp.Compare(p.pos, q.pos))
}

// widen moves p to the next offset whose low 32 bits are low. An event is
// smaller than 4 GiB, so at most one wrap lies between two of them.
func (p place) widen(low uint32) place {
	next := p.pos&^math.MaxUint32 | uint64(low)
	if next < p.pos {
		next += 1 << 32
	}
	p.pos = next
	return p
}

// position is the position of the seq-th row of the event that ends at p.
func (p place) position(epoch, seq uint32) schemas.Position {
	return schemas.Position{Epoch: epoch, Major: p.number, Minor: p.pos, Seq: seq}
}

// after is the position above everything that the log holds up to p, and below
// everything else: the read point of a snapshot taken at p.
func (p place) after(epoch uint32) schemas.Position { return p.position(epoch, math.MaxUint32) }

// token is what the source resumes with: where a transaction ended, and what
// proves that the log around that place is still the same log.
type token struct {
	ServerID uint32 `json:"server_id"`
	File     string `json:"file"`
	Pos      uint64 `json:"pos"`
	// ServerUUID is of MySQL alone.
	ServerUUID string `json:"server_uuid,omitempty"`
	// GTIDs is the last GTID of each domain at Pos; of MySQL, all executed ones.
	GTIDs string `json:"gtids"`
	// Created is when the server made the file. It tells the file from one of
	// the same name that a reset of the log made room for.
	Created uint32 `json:"created"`
}

func (t token) encode() schemas.Token {
	b, _ := json.Marshal(t) // strings and numbers: it cannot fail
	return schemas.Token(b)
}

func parseToken(text schemas.Token) (token, place, error) {
	var t token
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return t, place{}, fmt.Errorf("parse resume token: %w", err)
	}
	at, err := parsePlace(t.File, t.Pos)
	if err != nil {
		return t, place{}, fmt.Errorf("parse resume token: %w", err)
	}
	return t, at, nil
}
