package producers

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schemas"
)

func parseRecord(r *kgo.Record) (*record, error) {
	out := new(record)
	if err := json.Unmarshal(r.Value, out); err != nil {
		return nil, fmt.Errorf("parse record of %q: %w", r.Key, err)
	}
	return out, nil
}

// arena holds what a transaction's records point to. Nothing of it is used
// again before the records are flushed.
type arena struct {
	block   []byte
	blocks  [][]byte
	spare   [][]byte
	records [][]kgo.Record
	used    int // records
	headers [][]kgo.RecordHeader
	taken   int // headers
	scratch []byte
	made    time.Time // when its records were made, for their timestamps

	// The last headers of two, and what they say: rows of one read point share them.
	shared struct {
		op      schemas.Op
		pos     schemas.Position
		headers []kgo.RecordHeader
	}
}

const (
	blockSize   = 256 << 10
	recordBlock = 512
	headerBlock = 4 * recordBlock
)

// keep copies b.
func (a *arena) keep(b []byte) []byte {
	if len(b) > blockSize/4 {
		return append([]byte(nil), b...)
	}
	if cap(a.block)-len(a.block) < len(b) {
		if n := len(a.spare); n > 0 {
			a.block, a.spare = a.spare[n-1], a.spare[:n-1]
		} else {
			a.block = make([]byte, 0, blockSize)
		}
		a.blocks = append(a.blocks, a.block)
	}
	from := len(a.block)
	a.block = append(a.block, b...)
	return a.block[from:len(a.block):len(a.block)]
}

func (a *arena) record() *kgo.Record {
	if a.used == recordBlock*len(a.records) {
		a.records = append(a.records, make([]kgo.Record, recordBlock))
	}
	r := &a.records[a.used/recordBlock][a.used%recordBlock]
	a.used++
	return r
}

// at is the record that was the i-th to be made.
func (a *arena) at(i int) *kgo.Record { return &a.records[i/recordBlock][i%recordBlock] }

// size is the bytes of its records' keys and values.
func (a *arena) size() (n int) {
	for i := range a.used {
		r := a.at(i)
		n += len(r.Key) + len(r.Value)
	}
	return n
}

// header returns a slice of n headers.
func (a *arena) header(n int) []kgo.RecordHeader {
	if left := headerBlock - a.taken%headerBlock; left < n {
		a.taken += left
	}
	if a.taken == headerBlock*len(a.headers) {
		a.headers = append(a.headers, make([]kgo.RecordHeader, headerBlock))
	}
	block, at := a.headers[a.taken/headerBlock], a.taken%headerBlock
	a.taken += n
	return block[at : at+n : at+n]
}

// reset makes all of it free again, and gives back what an unusually large
// transaction took.
func (a *arena) reset() {
	const keptBlocks = 64
	for _, b := range a.blocks {
		if len(a.spare) < keptBlocks {
			a.spare = append(a.spare, b[:0])
		}
	}
	clear(a.blocks)
	a.block, a.blocks = nil, a.blocks[:0]
	for i, block := range a.records {
		clear(block[:min(max(a.used-i*recordBlock, 0), recordBlock)])
	}
	for i, block := range a.headers {
		clear(block[:min(max(a.taken-i*headerBlock, 0), headerBlock)])
	}
	if cap(a.scratch) > blockSize {
		a.scratch = nil
	}
	a.records = slices.Delete(a.records, min(len(a.records), keptBlocks), len(a.records))
	a.headers = slices.Delete(a.headers, min(len(a.headers), keptBlocks), len(a.headers))
	a.used, a.taken, a.shared.headers = 0, 0, nil
}
