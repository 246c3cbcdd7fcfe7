package verify

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

// Topics is where the change events are.
type Topics struct {
	Cluster kafka.Cluster
	// Schema is the text of the schema with the id.
	Schema func(ctx context.Context, id uint32) (string, error)
}

// History fills the replica's table with the changes on the topics of all
// generations of the table, of which topic is one, as a history holds them: each
// change once, with the row as it was after it, or before it if it was deleted.
// Which load brought a change is not the topics' to say: _load is NULL.
func (t Topics) History(ctx context.Context, into *Replica, topic, table string) error {
	d := &decoder{schema: t.Schema, codecs: make(map[uint32]*codec), at: make(map[string]int), seen: make(map[string]bool)}
	cl, err := kgo.NewClient(t.Cluster.ClientOpts("verify", nil, nil)...)
	if err != nil {
		return fmt.Errorf("read the changes on %s: %w", topic, err)
	}
	defer cl.Close()
	topics, err := generations(ctx, cl, topic)
	if err != nil {
		return fmt.Errorf("list the generations of %s: %w", topic, err)
	}
	for _, topic := range topics {
		_, generation := kafka.Generation(topic)
		if err := t.read(ctx, topic, func(r *kgo.Record) error { return d.add(ctx, r, generation) }); err != nil {
			return fmt.Errorf("read the changes on %s: %w", topic, err)
		}
	}
	rows := make([][]*string, len(d.changes))
	for i, change := range d.changes {
		row := make([]*string, len(d.columns), len(d.columns)+len(change.own))
		copy(row, change.values) // the columns that came later are NULL in it
		rows[i] = append(row, change.own[:]...)
	}
	columns := append(slices.Clone(d.columns), column{opColumn, "VARCHAR"}, column{posColumn, "VARCHAR"},
		column{tsColumn, "TIMESTAMP WITH TIME ZONE"}, column{loadColumn, "BIGINT"}, column{unsetColumn, "VARCHAR"})
	return into.fill(ctx, table, columns, listed(rows))
}

// generations are the topics of the table that has the topic, in their order.
func generations(ctx context.Context, cl *kgo.Client, topic string) ([]string, error) {
	details, err := kadm.NewClient(cl).ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	first, _ := kafka.Generation(topic)
	var out []string
	for _, name := range details.Names() {
		if f, _ := kafka.Generation(name); f == first {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		_, n := kafka.Generation(a)
		_, m := kafka.Generation(b)
		return n - m
	})
	if len(out) == 0 {
		return nil, errors.New("there is no such topic")
	}
	return out, nil
}

// silence is how long a topic may give nothing before its end.
const silence = 20 * time.Second

// read hands every committed record up to the end of now to fn.
func (t Topics) read(ctx context.Context, topic string, fn func(*kgo.Record) error) error {
	cl, err := kgo.NewClient(append(t.Cluster.ClientOpts("verify", nil, nil), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMinBytes(1))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return err
	}
	left := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		wait, cancel := context.WithTimeout(ctx, silence)
		fetches := cl.PollFetches(wait)
		cancel()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("partitions %v stand before their end: %w", slices.Sorted(maps.Keys(left)), err)
		}
		for records := fetches.RecordIter(); !records.Done(); {
			r := records.Next()
			end, open := left[r.Partition]
			if !open {
				continue
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() || r.Offset >= end {
				continue
			}
			if err := fn(r); err != nil {
				return fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
			}
		}
	}
	return nil
}

// decoder turns change events into rows of texts by another Avro library than
// the platform's.
type decoder struct {
	schema  func(ctx context.Context, id uint32) (string, error)
	codecs  map[uint32]*codec
	columns []column       // of all versions
	at      map[string]int // where in columns the source's column is
	changes []change
	seen    map[string]bool // key and position
}

// change is a row of the history.
type change struct {
	values []*string  // of the first of the columns
	own    [5]*string // op, position, time, load, unset
}

// codec is a version of a schema.
type codec struct {
	*goavro.Codec
	fields []fieldSchema // of the record, or of the row in it
}

type fieldSchema struct {
	Name   string          `json:"name"`
	Column string          `json:"column"`
	Type   json.RawMessage `json:"type"`
	column column
	scale  int
}

func (d *decoder) add(ctx context.Context, r *kgo.Record, generation int) error {
	value, _, err := d.decode(ctx, r.Value)
	if err != nil {
		return err
	}
	op, _ := value["op"].(string)
	if !strings.Contains("crud", op) {
		return nil // t, w and s say something of all rows
	}
	row, fields, err := d.row(ctx, r, value, op)
	if err != nil {
		return err
	}
	pos, _ := value["pos"].(string)
	id := string(r.Key) + pos
	if d.seen[id] {
		return nil
	}
	d.seen[id] = true
	c := change{own: [5]*string{0: &op, 1: &pos}}
	if at, ok := value["ts_us"].(time.Time); ok {
		text := stamp(at)
		c.own[2] = &text
	}
	if op != "d" { // a NULL of a row that is gone may mean either, and the history says so of all
		c.own[4] = leftOut(value["unset"])
	}
	for _, f := range fields {
		i := d.place(f.column, generation)
		c.values = append(c.values, make([]*string, max(0, i+1-len(c.values)))...)
		if c.values[i], err = f.text(row[f.Name]); err != nil {
			return err
		}
	}
	d.changes = append(d.changes, c)
	return nil
}

// leftOut names columns as a history does, in the order of their names.
func leftOut(unset any) *string {
	list, _ := unset.([]any)
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = strings.NewReplacer("%", "%25", ",", "%2C").Replace(fmt.Sprint(name)) + ","
	}
	slices.Sort(names)
	text := strings.Join(names, "")
	if text != "" {
		text = "," + text
	}
	return &text
}

// row is the change's row: after it, or before it if it is gone. The log may
// tell of that one no more than its key.
func (d *decoder) row(ctx context.Context, r *kgo.Record, value map[string]any, op string) (map[string]any, []fieldSchema, error) {
	image := "after"
	if op == "d" {
		image = "before"
	}
	if boxed, ok := value[image].(map[string]any); ok {
		for _, row := range boxed { // a union is a map of one
			row, _ := row.(map[string]any)
			return row, d.codecs[binary.BigEndian.Uint32(r.Value[1:])].fields, nil
		}
	}
	return d.decodeKey(ctx, r.Key)
}

func (d *decoder) decodeKey(ctx context.Context, key []byte) (map[string]any, []fieldSchema, error) {
	row, c, err := d.decode(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	return row, c.fields, nil
}

func (d *decoder) decode(ctx context.Context, b []byte) (map[string]any, *codec, error) {
	if len(b) < 5 || b[0] != 0 {
		return nil, nil, errors.New("the bytes have no schema id")
	}
	id := binary.BigEndian.Uint32(b[1:])
	c := d.codecs[id]
	if c == nil {
		var err error
		if c, err = d.fetch(ctx, id); err != nil {
			return nil, nil, fmt.Errorf("schema %d: %w", id, err)
		}
		d.codecs[id] = c
	}
	native, rest, err := c.NativeFromBinary(b[5:])
	if err != nil {
		return nil, nil, err
	}
	record, ok := native.(map[string]any)
	if !ok || len(rest) > 0 {
		return nil, nil, fmt.Errorf("schema %d: the bytes are no record, or more than one", id)
	}
	return record, c, nil
}

func (d *decoder) fetch(ctx context.Context, id uint32) (*codec, error) {
	text, err := d.schema(ctx, id)
	if err != nil {
		return nil, err
	}
	return newCodec(text)
}

func newCodec(schema string) (*codec, error) {
	avro, err := goavro.NewCodec(schema)
	if err != nil {
		return nil, err
	}
	c := &codec{Codec: avro}
	var record struct{ Fields []fieldSchema }
	if err := json.Unmarshal([]byte(schema), &record); err != nil {
		return nil, err
	}
	c.fields = record.Fields
	for _, f := range record.Fields {
		if f.Name != "after" {
			continue
		}
		var union []json.RawMessage
		var row struct{ Fields []fieldSchema }
		if err := errors.Join(json.Unmarshal(f.Type, &union), json.Unmarshal(union[len(union)-1], &row)); err != nil {
			return nil, err
		}
		c.fields = row.Fields
	}
	for i := range c.fields {
		c.fields[i].settle()
	}
	return c, nil
}
