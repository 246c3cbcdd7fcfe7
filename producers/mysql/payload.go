package mysql

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

var errPayload = errors.New("a compressed transaction ends early")

// The fields at the head of a compressed transaction of MySQL.
const (
	payloadEnd       = 0
	payloadAlgorithm = 2
	payloadZstd      = 0
	payloadWindow    = 8 << 20 // the greatest that the server's levels use
)

// eachInner hands over the events of a compressed transaction one by one, so
// that no more than one of them is in memory (G13). They are as if they stood
// in the log: each ends where the transaction does, and has room for a checksum
// if the log has them.
func eachInner(outer *replication.BinlogEvent, checksum int, give func(raw []byte) error) error {
	body := outer.RawData[replication.EventHeaderSize:]
	body, err := payloadOf(body[:len(body)-checksum])
	if err != nil {
		return err
	}
	inflated, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(payloadWindow))
	if err != nil {
		return fmt.Errorf("inflate a transaction: %w", err)
	}
	defer inflated.Close()
	for {
		var head [replication.EventHeaderSize]byte
		if _, err := io.ReadFull(inflated, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("inflate a transaction: %w", err)
		}
		const sizeAt, endAt = 9, 13
		size := binary.LittleEndian.Uint32(head[sizeAt:])
		if size < uint32(len(head)) {
			return errPayload
		}
		raw := bytes.NewBuffer(head[:])
		if _, err := io.CopyN(raw, inflated, int64(size)-int64(len(head))); err != nil {
			return fmt.Errorf("inflate a transaction: %w", err)
		}
		event := append(raw.Bytes(), make([]byte, checksum)...)
		binary.LittleEndian.PutUint32(event[sizeAt:], size+uint32(checksum))
		binary.LittleEndian.PutUint32(event[endAt:], outer.Header.LogPos)
		if err := give(event); err != nil {
			return err
		}
	}
}

// payloadOf cuts off the fields before the compressed events.
func payloadOf(body []byte) ([]byte, error) {
	next := func() (uint64, error) {
		n, used, err := lengthEncoded(body)
		body = body[used:]
		return n, err
	}
	for {
		field, err := next()
		if err != nil {
			return nil, err
		}
		if field == payloadEnd {
			return body, nil
		}
		size, err := next()
		if err != nil || size > uint64(len(body)) {
			return nil, errPayload
		}
		value, _, err := lengthEncoded(body[:size])
		if field == payloadAlgorithm && (err != nil || value != payloadZstd) {
			return nil, fmt.Errorf("a transaction is compressed by algorithm %d, which is not known", value)
		}
		body = body[size:]
	}
}

// lengthEncoded reads an integer whose first byte tells its width.
func lengthEncoded(b []byte) (n uint64, used int, err error) {
	if len(b) == 0 {
		return 0, 0, errPayload
	}
	width := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[b[0]]
	switch {
	case width == 0:
		return uint64(b[0]), 1, nil
	case len(b) <= width:
		return 0, 0, errPayload
	}
	return littleEndian(b[1 : 1+width]), 1 + width, nil
}
