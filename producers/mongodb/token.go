package mongodb

import (
	"encoding/json"
	"fmt"
	"math"

	"millrace/schemas"
)

// token is what the source resumes with: the server's own resume token, which
// nobody reads, and the place in the order of changes that belongs to it.
type token struct {
	Set    string `json:"set"`    // the replica set
	Tables string `json:"tables"` // of the stream that gave the token
	Resume []byte `json:"resume"` // BSON
	// UUIDs are the beginnings of those of the captured collections, by name, as far
	// as they are known. They stand here and not with the tables: a table that is
	// halted or left out would keep one whose end the place has passed.
	UUIDs map[string]string `json:"uuids,omitempty"`
	// Everything up to the Seq-th change of Time was sent.
	Time uint64 `json:"time"`
	Seq  uint32 `json:"seq"`
}

func (t token) encode() schemas.Token {
	b, _ := json.Marshal(t) // strings and numbers: it cannot fail
	return schemas.Token(b)
}

func parseToken(text schemas.Token) (token, error) {
	var t token
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return t, fmt.Errorf("parse resume token: %w", err)
	}
	return t, nil
}

// place is a point in the history: after the seq-th change of a cluster time.
type place struct {
	time uint64
	seq  uint32
}

// through is the place after all changes of a cluster time.
func through(time uint64) place { return place{time, math.MaxUint32} }

func (p place) position(epoch uint32) schemas.Position {
	return schemas.Position{Epoch: epoch, Major: p.time, Seq: p.seq}
}

func (p place) less(q place) bool { return p.time < q.time || p.time == q.time && p.seq < q.seq }

func (p place) String() string {
	return fmt.Sprintf("Timestamp(%d, %d)", p.time>>32, p.time&math.MaxUint32)
}
