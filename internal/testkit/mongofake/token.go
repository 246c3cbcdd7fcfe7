package mongofake

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// token is a place in the oplog as clients keep it. To them it is opaque.
type token struct {
	kind     byte
	at       uint64
	op       uint32
	fragment uint32 // of a split event, from 1
}

const (
	tokenEvent      = 1
	tokenInvalidate = 2
	tokenMark       = 3 // all entries up to it have been looked at

	tokenVersion = 0x82
	tokenBytes   = 1 + 1 + 8 + 4 + 4 + 4

	// everyOp is behind all entries of a cluster time.
	everyOp = math.MaxInt32
)

func (w *builder) token(key string, t token) {
	var b [tokenBytes]byte
	b[0], b[1] = tokenVersion, t.kind
	binary.BigEndian.PutUint64(b[2:], t.at)
	binary.BigEndian.PutUint32(b[10:], t.op)
	binary.BigEndian.PutUint32(b[14:], t.fragment)
	binary.BigEndian.PutUint32(b[18:], crc32.ChecksumIEEE(b[:18]))
	w.open(key)
	w.head(bson.TypeString, "_data")
	w.b = binary.LittleEndian.AppendUint32(w.b, 2*tokenBytes+1)
	w.b = append(hex.AppendEncode(w.b, b[:]), 0)
	w.end()
}

func parseToken(doc bson.Raw) (token, error) {
	b, err := hex.DecodeString(text(field(doc, "_data")))
	if err != nil || len(b) == 0 {
		return token{}, &commandError{code: 9, name: "FailedToParse", message: "resume token string was not a valid hex string", labels: []string{labelNotResumable}}
	}
	if len(b) != tokenBytes || b[0] != tokenVersion || crc32.ChecksumIEEE(b[:18]) != binary.BigEndian.Uint32(b[18:]) {
		return token{}, &commandError{code: 260, name: "InvalidResumeToken", message: "the resume token is not one of this server's", labels: []string{labelNotResumable}}
	}
	return token{
		kind: b[1], at: binary.BigEndian.Uint64(b[2:]),
		op: binary.BigEndian.Uint32(b[10:]), fragment: binary.BigEndian.Uint32(b[14:]),
	}, nil
}

// resume sets the stream behind a token.
func (f *Fake) resume(s *stream, doc bson.Raw, after bool) error {
	t, err := parseToken(doc)
	if err != nil {
		return err
	}
	if t.kind == tokenInvalidate && !after {
		return &commandError{
			code: 260, name: "InvalidResumeToken", labels: []string{labelNotResumable},
			message: "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.",
		}
	}
	if t.at < f.oldest {
		return historyLost()
	}
	s.place = f.after(t.at, int(t.op))
	if t.kind == tokenMark && t.at <= f.clock.last {
		return nil
	}
	if at := s.place - 1; at < f.dropped || f.entryAt(at).at != t.at || f.entryAt(at).op != int(t.op) {
		return &commandError{
			code: 280, name: "ChangeStreamFatalError", labels: []string{labelNotResumable},
			message: "cannot resume stream; the resume token was not found",
		}
	}
	if t.fragment > 0 {
		if !s.split {
			return &commandError{
				code: 280, name: "ChangeStreamFatalError", labels: []string{labelNotResumable},
				message: "To resume from a split event, the resumed stream must split events too",
			}
		}
		s.place--
		s.fragment = int(t.fragment)
	}
	return nil
}
