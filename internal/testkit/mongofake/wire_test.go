package mongofake_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
)

func message(op uint32, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	out = append(out, make([]byte, 8)...)
	return append(binary.LittleEndian.AppendUint32(out, op), body...)
}

// Whatever comes over the wire, the fake lives on: it closes what it cannot read.
func TestMalformedMessages(t *testing.T) {
	f := start(t, mongofake.Options{})
	doc := must(bson.Marshal(bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "admin"}}))(t)
	short := append([]byte(nil), doc...)
	short[0] += 9
	broken := append([]byte(nil), doc...)
	broken[4] = 0x77 // no such type
	none := make([]byte, 4)
	for name, data := range map[string][]byte{
		"no message":        []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"another opcode":    message(2001, doc),
		"too short":         message(2013, none),
		"no body":           message(2013, none, []byte{0}),
		"a long document":   message(2013, none, []byte{0}, short),
		"no document":       message(2013, none, []byte{0}, broken),
		"another section":   message(2013, none, []byte{7}, doc),
		"a broken sequence": message(2013, none, []byte{1}, doc),
		"a query":           message(2004, none, []byte("admin")),
		"flags alone":       message(2013, []byte{1, 0, 0, 0, 0}),
	} {
		c := must(net.Dial("tcp", f.Addr()))(t)
		check(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		must(c.Write(data))(t)
		if got, err := io.ReadAll(c); len(got) > 0 || isTimeout(err) {
			t.Errorf("%s: answered %q, %v", name, got, err)
		}
		check(t, c.Close())
	}
	check(t, connect(t, f).Ping(t.Context(), nil))
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // what a connection returns is not wrapped
	return ok && e.Timeout()
}
