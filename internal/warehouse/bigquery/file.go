package bigquery

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/golang/snappy"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// A block is compressed and handed over when it has fileBlock bytes: that and the
// part of the file which the client keeps for another try bound what a file
// holds (G13). A row of more than maxFileRow goes by the stream.
const (
	fileBlock  = 256 << 10
	maxFileRow = 4 << 20
	filePart   = 8 << 20
)

// file is the batch's rows as an Avro object container file, made while it is
// read.
type file struct {
	e     *fileEncoder
	rows  warehouse.Rows
	sync  [16]byte
	block []byte       // records
	pack  []byte       // them compressed
	out   bytes.Buffer // what is not read yet
	err   error

	count int64 // rows in the file so far
	size  int64 // their bytes
}

func newFile(c *sqlgen.Core, b *warehouse.Batch, batch string, stagedAtUs int64) (*file, error) {
	e, err := newFileEncoder(c, b.Table, batch, stagedAtUs)
	if err != nil {
		return nil, err
	}
	f := &file{e: e, rows: b.Rows}
	_, _ = rand.Read(f.sync[:]) // it never fails
	f.rows.Reset()
	text := func(dst, s []byte) []byte { return append(binary.AppendVarint(dst, int64(len(s))), s...) }
	head := binary.AppendVarint([]byte("Obj\x01"), 2)
	head = text(text(head, []byte("avro.schema")), e.schema)
	head = text(text(head, []byte("avro.codec")), []byte("snappy"))
	f.out.Write(append(append(head, 0), f.sync[:]...))
	return f, nil
}

// Read implements io.Reader.
func (f *file) Read(p []byte) (int, error) {
	for f.out.Len() == 0 {
		if f.err != nil {
			return 0, f.err
		}
		f.fill()
	}
	return f.out.Read(p)
}

// fill writes the next block, unless there are no more rows.
func (f *file) fill() {
	count := int64(0)
	for f.block = f.block[:0]; len(f.block) < fileBlock; count++ {
		from := len(f.block)
		f.block, f.err = f.e.append(f.block, f.rows)
		if f.err == nil && len(f.block)-from > maxFileRow {
			f.err = errRefused
		}
		if f.err != nil {
			if !isEnd(f.err) {
				f.err = &unfitError{fmt.Errorf("row %d: %w", f.count+count, f.err)}
				return
			}
			break
		}
	}
	if count == 0 {
		return
	}
	f.count += count
	f.size += int64(len(f.block))
	// The rows have the batch and, in a snapshot, the position in common: what
	// takes a tenth of the time to halve them is worth more than what saves more.
	f.pack = snappy.Encode(f.pack[:cap(f.pack)], f.block)
	head := binary.AppendVarint(nil, count)
	f.out.Write(binary.AppendVarint(head, int64(len(f.pack)+crc32.Size)))
	f.out.Write(f.pack)
	f.out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(f.block)))
	f.out.Write(f.sync[:])
}

// unfitError says that the batch is not for a file; the stream then tells why,
// or takes it.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }
