package scenario

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/loadtest/workload"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

// event is a data record of a topic, decoded.
type event struct {
	record   *kgo.Record
	op       schemas.Op
	pos      schemas.Position
	key      int64
	note     bool   // it carries the note
	sum      uint64 // without the note
	noteSum  uint64
	intended time.Time // zero if it does not say
}

// read hands every data record of the topics to each, up to their ends of now.
func (r *rig) read(ctx context.Context, at where, topics []string, each func(table int, e *event) error) error {
	cluster := at.cluster()
	client, err := kgo.NewClient(append(append(cluster.ClientOpts("account", nil, nil), cluster.ConsumerOpts()...),
		kgo.ConsumeTopics(topics...), kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("read the ends of topics: %w", err)
	}
	left := map[string]map[int32]int64{}
	open := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			if left[o.Topic] == nil {
				left[o.Topic] = map[int32]int64{}
			}
			left[o.Topic][o.Partition] = o.Offset
			open++
		}
	})
	d := &decoder{client: nil, columns: r.file.Workload.Columns(), decoders: map[uint32]*tableDecoder{}}
	if d.client, err = registry.New(at.Registry); err != nil {
		return err
	}
	index := map[string]int{}
	for t, name := range topics {
		index[name] = t
	}
	for open > 0 {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topics: %w", err)
		}
		var failed error
		fetches.EachRecord(func(rec *kgo.Record) {
			end, pending := left[rec.Topic][rec.Partition]
			if failed != nil || !pending {
				return
			}
			if rec.Offset >= end-1 {
				delete(left[rec.Topic], rec.Partition)
				open--
			}
			if rec.Attrs.IsControl() || rec.Key == nil {
				return // a transaction's end; a watermark
			}
			e, err := d.decode(ctx, rec)
			if err == nil {
				err = each(index[rec.Topic], e)
			}
			failed = err
		})
		if failed != nil {
			return fmt.Errorf("read topics: %w", failed)
		}
	}
	return nil
}

// decoder reads events by the schemas that they name.
type decoder struct {
	client   *registry.Client
	columns  []workload.Column
	decoders map[uint32]*tableDecoder
	envelope avro.Envelope
	event    event
}

type tableDecoder struct {
	value   *avro.Decoder
	key     *avro.KeyDecoder
	columns []int // of the workload, by ordinal; -1: none
	cells   []schemas.Cell
}

func (d *decoder) of(ctx context.Context, id uint32, key bool) (*tableDecoder, error) {
	if t := d.decoders[id]; t != nil {
		return t, nil
	}
	schema, err := d.client.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	t := &tableDecoder{}
	if key {
		t.key, err = avro.NewKeyDecoder(schema)
	} else {
		t.value, err = avro.NewDecoder(schema)
	}
	if err != nil {
		return nil, err
	}
	if !key {
		for _, c := range t.value.Columns() {
			at := -1
			for i := range d.columns {
				if d.columns[i].Name == c.Name {
					at = i
				}
			}
			t.columns = append(t.columns, at)
		}
	}
	d.decoders[id] = t
	return t, nil
}

// decode is valid until the next call.
func (d *decoder) decode(ctx context.Context, rec *kgo.Record) (*event, error) {
	id, body, err := avro.SplitHeader(rec.Value)
	if err != nil {
		return nil, err
	}
	t, err := d.of(ctx, id, false)
	if err != nil {
		return nil, err
	}
	if err := t.value.Envelope(body, &d.envelope); err != nil {
		return nil, err
	}
	env := &d.envelope
	d.event = event{record: rec, op: env.Op, pos: env.Pos, note: true}
	if env.After == nil {
		return &d.event, d.key(ctx, rec)
	}
	if t.cells, err = t.value.Cells(t.cells[:0], env.After); err != nil {
		return nil, err
	}
	unset := map[int]bool{}
	for _, at := range env.Unset {
		unset[at] = true
	}
	for i, c := range t.value.Columns() {
		at := t.columns[i]
		if at < 0 {
			continue
		}
		column := d.columns[at]
		switch {
		case column.Name == workload.Note:
			if d.event.note = !unset[i]; d.event.note {
				d.event.noteSum = workload.Term(column, text(c.Type, t.cells[i]))
			}
			continue
		case unset[i]:
			return nil, fmt.Errorf("column %s is not carried", c.Name)
		case column.Name == workload.ID:
			d.event.key = t.cells[i].Int
		case column.Name == workload.Intended:
			d.event.intended = time.UnixMicro(t.cells[i].Int)
		}
		d.event.sum += workload.Term(column, text(c.Type, t.cells[i]))
	}
	return &d.event, nil
}

func (d *decoder) key(ctx context.Context, rec *kgo.Record) error {
	id, body, err := avro.SplitHeader(rec.Key)
	if err != nil {
		return err
	}
	t, err := d.of(ctx, id, true)
	if err != nil {
		return err
	}
	if t.cells, err = t.key.Cells(t.cells[:0], body); err != nil {
		return err
	}
	if d.event.key = t.cells[0].Int; t.key.Columns()[0].Type.Kind == schemas.String { // a document's _id, as text
		d.event.key, err = strconv.ParseInt(string(t.cells[0].Bytes), 10, 64)
	}
	return err
}
