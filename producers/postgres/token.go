package postgres

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pglogrepl"

	"millrace/schemas"
)

// token is where to resume: behind everything below LSN, in the log of one
// server.
type token struct {
	System   string `json:"system"`
	Timeline int32  `json:"timeline"`
	LSN      string `json:"lsn"`
	lsn      uint64
}

func parseToken(text schemas.Token) (token, error) {
	var t token
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return t, fmt.Errorf("read token %q: %w", text, err)
	}
	lsn, err := pglogrepl.ParseLSN(t.LSN)
	if err != nil || lsn == 0 {
		return t, fmt.Errorf("read token %q: no LSN", text)
	}
	t.lsn = uint64(lsn)
	return t, nil
}

func (t token) at(lsn uint64) schemas.Token {
	// Written by hand: a token is made for every transaction.
	return schemas.Token(fmt.Sprintf(`{"system":%q,"timeline":%d,"lsn":"%s"}`, t.System, t.Timeline, pglogrepl.LSN(lsn)))
}
