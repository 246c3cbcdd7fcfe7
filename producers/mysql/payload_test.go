package mysql

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

// innerEvent is an event without a checksum.
func innerEvent(body string) []byte {
	raw := append(make([]byte, replication.EventHeaderSize), body...)
	binary.LittleEndian.PutUint32(raw[9:], uint32(len(raw)))
	return raw
}

func payloadEvent(fields string, events ...[]byte) *replication.BinlogEvent {
	enc, _ := zstd.NewWriter(nil)
	raw := append(make([]byte, replication.EventHeaderSize), fields...)
	raw = enc.EncodeAll(bytes.Join(events, nil), raw)
	return &replication.BinlogEvent{Header: &replication.EventHeader{LogPos: 777}, RawData: append(raw, "sum!"...)}
}

func TestInnerEventsEndWhereTheTransactionDoes(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	e := payloadEvent("\x02\x01\x00\x03\x03\xfc\x10\x00\x00", innerEvent("one"), innerEvent(long))
	var bodies []string
	err := eachInner(e, 4, func(raw []byte) error {
		if size := binary.LittleEndian.Uint32(raw[9:]); int(size) != len(raw) {
			t.Errorf("size %d of %d bytes", size, len(raw))
		}
		if end := binary.LittleEndian.Uint32(raw[13:]); end != 777 {
			t.Errorf("it ends at %d", end)
		}
		bodies = append(bodies, string(raw[replication.EventHeaderSize:len(raw)-4]))
		return nil
	})
	if err != nil || len(bodies) != 2 || bodies[0] != "one" || bodies[1] != long {
		t.Fatalf("%d events, %v", len(bodies), err)
	}
}

func TestPayloadsThatCannotBeRead(t *testing.T) {
	give := func([]byte) error { return nil }
	for what, e := range map[string]*replication.BinlogEvent{
		"no end":            payloadEvent("\x02\x01"),
		"another algorithm": payloadEvent("\x02\x01\x07\x00", innerEvent("x")),
		"a cut event":       payloadEvent("\x00", innerEvent("four")[:21]),
		"a size of nothing": payloadEvent("\x00", make([]byte, 30)),
		"no zstd":           {Header: &replication.EventHeader{}, RawData: append(make([]byte, replication.EventHeaderSize), "\x00 not zstd"...)},
	} {
		if err := eachInner(e, 4, give); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
