package producers

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// form is how rows of one version of a table are written. It does not change, so
// that what is read beside the loop can be written there.
type form struct {
	table      *schemas.Table
	enc        *avro.Encoder
	partitions int32
}

func (t *table) form() form { return form{t.Table, t.enc, t.Partitions} }

// encode makes the record of a change, whose key is that of image.
func (a *arena) encode(f form, c *schemas.Change, image schemas.Row) (*kgo.Record, error) {
	scratch := a.scratch[:0]
	var err error
	var partition int32
	var key, value []byte
	if len(f.table.Key) > 0 {
		if scratch, err = schemas.AppendKey(scratch, f.table, image); err != nil {
			return nil, err
		}
		partition = schemas.Partition(scratch, f.partitions)
		if scratch, err = f.enc.AppendKey(scratch[:0], image); err != nil {
			return nil, err
		}
		key = a.keep(scratch)
	} else {
		scratch, _ = c.Position.AppendText(scratch) // never fails
		partition = schemas.Partition(scratch, f.partitions)
	}
	if scratch, err = f.enc.AppendValue(scratch[:0], c); err != nil {
		return nil, err
	}
	value = a.keep(scratch)
	var headers []kgo.RecordHeader
	if c.OtherKey == nil {
		headers = a.opAndPos(2, c.Op, c.Position)
	} else {
		if scratch, err = f.enc.AppendKey(scratch[:0], c.OtherKey); err != nil {
			return nil, fmt.Errorf("other key: %w", err)
		}
		headers = a.opAndPos(3, c.Op, c.Position)
		headers[2] = kgo.RecordHeader{Key: "oldkey", Value: a.keep(scratch)}
		if c.Op == schemas.Delete {
			headers[2].Key = "newkey"
		}
	}
	a.scratch = scratch
	size := len(key) + len(value)
	for _, h := range headers {
		size += len(h.Key) + len(h.Value)
	}
	if size > kafka.MaxRecordBytes {
		// The client would fail it in every transaction again, for ever.
		return nil, fmt.Errorf("its record has %d bytes, and a topic takes %d", size, kafka.MaxRecordBytes)
	}
	r := a.record()
	r.Topic, r.Partition, r.Key, r.Value, r.Headers, r.Timestamp = f.table.Topic, partition, key, value, headers, a.made
	return r, nil
}

// opAndPos returns n headers, the first two being op and pos. They may be other
// records' too, so whoever adds one copies them; beyond their length there is
// no room.
func (a *arena) opAndPos(n int, op schemas.Op, pos schemas.Position) []kgo.RecordHeader {
	last := &a.shared
	if n == 2 && last.headers != nil && last.op == op && last.pos == pos {
		return last.headers
	}
	h := a.header(n)
	var text [schemas.PositionLen]byte
	at, _ := pos.AppendText(text[:0]) // never fails
	h[0] = kgo.RecordHeader{Key: "op", Value: a.keep([]byte{byte(op)})}
	h[1] = kgo.RecordHeader{Key: "pos", Value: a.keep(at)}
	if n == 2 {
		last.op, last.pos, last.headers = op, pos, h
	}
	return h
}

// unsendable is why a table halts whose change cannot be encoded.
func unsendable(c *schemas.Change, err error) *HaltError {
	return &HaltError{
		Table: c.Table.ID(), Err: fmt.Errorf("change at %v: %w", c.Position, err),
		Hint: "correct the row or the column's type at the source, then restart millrace",
	}
}
