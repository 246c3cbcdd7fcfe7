package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/consumers/batch"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// reader is what reads the bytes that were written with a schema.
type reader[R any] struct {
	id    uint32
	by    R
	known bool
}

// collectAll takes the records of one poll and partition up. A batch that is full waits for the
// one before to be loaded.
func (t *topic) collectAll(ctx context.Context, records []*kgo.Record) error {
	now := time.Now()
	next := t.next(records[0].Partition)
	for _, r := range records {
		if r.Offset < next {
			continue // loaded by all tables that the topic feeds
		}
		if err := t.collect(ctx, r, now); err != nil {
			return err
		}
		if t.batch.Full() {
			if err := t.flush(ctx); err != nil {
				return err
			}
			now = time.Now() // a load may have been waited for
		}
	}
	t.change = batch.Change{Envelope: avro.Envelope{Unset: t.change.Envelope.Unset}} // refers to no record
	t.taken += size(records)
	t.collected += work(records)
	t.settle()
	return nil
}

const (
	rereadHeader = "reread" // a row that its producer read again for its key's sake
	nextHeader   = "next"   // the partition's last record: the table goes on in the topic that it names
)

func hasHeader(r *kgo.Record, key string) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == key })
}

// next is the first offset that one of the tables lacks.
func (t *topic) next(partition int32) int64 {
	n := t.targets[0].head.Offsets[partition]
	for _, g := range t.targets[1:] {
		n = min(n, g.head.Offsets[partition])
	}
	return n
}

// collect takes one record up.
func (t *topic) collect(ctx context.Context, r *kgo.Record, now time.Time) error {
	// What was compressed lies in a buffer of its own batch, of this topic alone;
	// else in the whole reply of the broker.
	compressed := r.Attrs.CompressionType() != 0
	c := &t.change
	c.Record = t.batch.Keep(batch.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value}, compressed)
	c.Schema, c.Keys, c.Canonical, c.Before, c.Reread = nil, nil, nil, nil, false
	t.batch.Saw(r.Partition, r.Offset, now)
	schema, body, err := t.schemaOf(ctx, c.Value)
	if err != nil {
		return t.quarantine(ctx, c, err)
	}
	if err := schema.Decoder.Envelope(body, &c.Envelope); err != nil {
		return t.quarantine(ctx, c, err)
	}
	op := c.Envelope.Op
	if op.IsControl() {
		t.batch.Mark(r.Partition, &c.Envelope, hasHeader(r, nextHeader))
		return nil
	}
	c.Schema, c.Reread = schema, op == schemas.Read && hasHeader(r, rereadHeader)
	if err := t.readKey(ctx, c); err != nil {
		return err
	}
	if t.letters.Blocks(c.Canonical, c.Offset) {
		return t.quarantine(ctx, c, errBehind)
	}
	if keyless := len(c.Canonical) == 0; keyless && (op == schemas.Update || op == schemas.Delete) {
		return t.quarantine(ctx, c, fmt.Errorf("op %s on a table without a key", op))
	}
	if op == schemas.Delete && t.keepsAll() {
		if c.Before, err = schema.Decoder.Before(&c.Envelope); err != nil {
			return t.quarantine(ctx, c, err)
		}
	}
	t.batch.Add(c)
	return nil
}

// readKey reads the record's key. A key that cannot be read blocks the whole
// topic: nobody knows which later changes must wait for it.
func (t *topic) readKey(ctx context.Context, c *batch.Change) error {
	if c.Key == nil {
		if err := t.learnKey(ctx); err != nil {
			return err
		}
		if len(t.targets[0].table.Key) > 0 {
			return t.unreadableKey(c, errors.New("the record has no key"))
		}
		return nil
	}
	id, body, err := avro.SplitHeader(c.Key)
	if err != nil {
		return t.unreadableKey(c, err)
	}
	if t.readKeys.id != id || !t.readKeys.known {
		dec, err := t.keyDecoder(ctx, c, id)
		if err != nil {
			return err
		}
		t.readKeys = reader[*avro.KeyDecoder]{id, dec, true}
	}
	dec := t.readKeys.by
	if t.cells, err = dec.Cells(t.cells[:0], body); err != nil {
		return t.unreadableKey(c, err)
	}
	t.canonical = schemas.AppendKeyValues(t.canonical[:0], dec.Types(), t.cells)
	c.Canonical, c.Keys = t.canonical, dec
	return nil
}

func (t *topic) keyDecoder(ctx context.Context, c *batch.Change, id uint32) (*avro.KeyDecoder, error) {
	if dec := t.keys[id]; dec != nil {
		return dec, nil
	}
	text, err := t.schemaText(ctx, id)
	var dec *avro.KeyDecoder
	if err == nil {
		dec, err = avro.NewKeyDecoder(text)
	}
	if err != nil {
		return nil, t.unreadableKey(c, fmt.Errorf("read key schema %d: %w", id, err))
	}
	t.keys[id] = dec
	return dec, t.setKey(dec.Columns())
}

func (t *topic) unreadableKey(c *batch.Change, err error) error {
	return halt(fmt.Errorf("read the key of record %d of partition %d of %s: %w", c.Offset, c.Partition, t.conf.Topic, err),
		"remove the record from the topic or register its schema, then restart millrace")
}

// schemaOf is the schema that the value was written with, bound into the
// tables' columns.
func (t *topic) schemaOf(ctx context.Context, value []byte) (*batch.Schema, []byte, error) {
	id, body, err := avro.SplitHeader(value)
	if err != nil {
		return nil, nil, err
	}
	if t.read.id == id && t.read.known {
		return t.read.by, body, nil
	}
	s := t.schemas[id]
	if s == nil {
		if s, err = t.takeUp(ctx, id); err != nil {
			return nil, nil, err
		}
	}
	t.read = reader[*batch.Schema]{id, s, true}
	return s, body, nil
}

// takeUp binds a schema that was not seen before.
func (t *topic) takeUp(ctx context.Context, id uint32) (*batch.Schema, error) {
	text, err := t.schemaText(ctx, id)
	if err != nil {
		return nil, err
	}
	dec, err := avro.NewDecoder(text)
	if err != nil {
		return nil, err
	}
	s := &batch.Schema{ID: id, Decoder: dec, Columns: dec.Columns()}
	for _, g := range t.targets {
		columns, err := batch.Union(g.table.Columns, s)
		if err != nil {
			return nil, halt(fmt.Errorf("take up schema %d of %s for %s: %w", id, t.conf.Topic, g.table.Name, err),
				"rename the column at the source, or load the topic into another table with as:")
		}
		if !slices.Equal(columns, g.table.Columns) {
			g.table.Columns, g.ensured = columns, false
		}
		if said := dec.Description(); said != "" && said != g.table.Description && int(id) > t.schemaVersion() {
			g.table.Description, g.ensured = said, false
		}
	}
	t.schemas[id] = s
	return s, nil
}
