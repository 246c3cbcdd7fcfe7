package bigquery

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/binary"
	"fmt"

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
	out   bytes.Buffer // what is not read yet
	zip   *flate.Writer
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
	// The rows of a snapshot have the batch, and nearly always the position, in
	// common: even the fastest compression halves them.
	if f.zip, err = flate.NewWriter(&f.out, flate.BestSpeed); err != nil {
		return nil, err
	}
	_, _ = rand.Read(f.sync[:]) // it never fails
	f.rows.Reset()
	text := func(dst []byte, s []byte) []byte { return append(binary.AppendVarint(dst, int64(len(s))), s...) }
	head := binary.AppendVarint([]byte("Obj\x01"), 2)
	head = text(text(head, []byte("avro.schema")), e.schema)
	head = text(text(head, []byte("avro.codec")), []byte("deflate"))
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
	// What stands before the compressed rows is known behind them.
	f.out.Reset()
	f.out.Write(make([]byte, blockHead))
	f.zip.Reset(&f.out)
	_, _ = f.zip.Write(f.block) // a buffer takes all
	_ = f.zip.Close()
	head := binary.AppendVarint(nil, count)
	head = binary.AppendVarint(head, int64(f.out.Len()-blockHead))
	f.out.Write(f.sync[:])
	unused := blockHead - len(head)
	copy(f.out.Bytes()[unused:], head)
	f.out.Next(unused)
}

// blockHead is the most that the count and the size of a block take.
const blockHead = 2 * binary.MaxVarintLen64

// unfitError says that the batch is not for a file; the stream then tells why,
// or takes it.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }
