package verify

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topics is where the change events are.
type Topics struct {
	Brokers  []string
	Registry string // the URL of the schema registry
}

// Columns that a history has beside those of the source.
const (
	opColumn    = "_op"
	posColumn   = "_pos"
	tsColumn    = "_ts"
	loadColumn  = "_load"
	unsetColumn = "_unset"
)

// History fills the replica's table with the changes on the topic, as a
// history holds them: each change once, with the row as it was after it, or
// before it if it was deleted. Which load brought a change is not the topic's
// to say: _load is NULL.
func (t Topics) History(ctx context.Context, into *Replica, topic, table string) error {
	d := &decoder{registry: t.Registry, codecs: make(map[uint32]*codec), seen: make(map[string]bool)}
	if err := t.read(ctx, topic, func(r *kgo.Record) error { return d.add(ctx, r) }); err != nil {
		return fmt.Errorf("read the changes on %s: %w", topic, err)
	}
	columns := append(slices.Clone(d.columns), column{opColumn, "VARCHAR"}, column{posColumn, "VARCHAR"},
		column{tsColumn, "TIMESTAMP WITH TIME ZONE"}, column{loadColumn, "BIGINT"}, column{unsetColumn, "VARCHAR"})
	rows := make([][]*string, len(d.changes))
	for i, change := range d.changes {
		for _, c := range columns {
			rows[i] = append(rows[i], change[c.name])
		}
	}
	return into.fill(ctx, table, columns, listed(rows))
}

// CompareHistory compares a history with what History made of its topic.
func CompareHistory(ctx context.Context, p Platform, into *Replica, table string) (Report, error) {
	want, err := into.Query(ctx, "SELECT * FROM "+quoted(table))
	if err != nil {
		return Report{}, err
	}
	got, err := p.Query(ctx, "SELECT * FROM "+quoted(table))
	if err != nil {
		return Report{}, fmt.Errorf("read %s: %w", table, err)
	}
	return Compare(table, without(want, loadColumn, unsetColumn), without(got, loadColumn, unsetColumn), []string{posColumn, opColumn}), nil
}

// silence is how long a topic may give nothing before its end.
const silence = 20 * time.Second

// read hands every committed record up to the end of now to fn.
func (t Topics) read(ctx context.Context, topic string, fn func(*kgo.Record) error) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.Brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMinBytes(1))
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
	registry string
	codecs   map[uint32]*codec
	columns  []column // of all versions
	changes  []map[string]*string
	seen     map[string]bool // key and position
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

func (d *decoder) add(ctx context.Context, r *kgo.Record) error {
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
	change := map[string]*string{opColumn: &op, posColumn: &pos}
	if at, ok := value["ts_us"].(time.Time); ok {
		text := stamp(at)
		change[tsColumn] = &text
	}
	var unset strings.Builder
	names, _ := value["unset"].([]any)
	for _, name := range names {
		fmt.Fprintf(&unset, ",%v", name)
	}
	text := unset.String()
	change[unsetColumn] = &text
	for _, f := range fields {
		if change[f.column.name], err = f.text(row[f.Name]); err != nil {
			return err
		}
		if !slices.ContainsFunc(d.columns, func(c column) bool { return c.name == f.column.name }) {
			d.columns = append(d.columns, f.column)
		}
	}
	d.changes = append(d.changes, change)
	return nil
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/schemas/ids/%d", strings.TrimRight(d.registry, "/"), id), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Schema string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the registry answers %s", resp.Status), err)
	}
	return newCodec(answer.Schema)
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

// settle finds the name and type of the column.
func (f *fieldSchema) settle() {
	f.column = column{f.Name, "VARCHAR"}
	if f.Column != "" {
		f.column.name = f.Column
	}
	var union []json.RawMessage
	if json.Unmarshal(f.Type, &union) != nil || len(union) != 2 {
		return
	}
	var t struct {
		Type, LogicalType, SQLType string
		Precision, Scale           int
	}
	if json.Unmarshal(union[1], &t) != nil {
		_ = json.Unmarshal(union[1], &t.Type) // a name alone
	}
	f.scale = t.Scale
	switch {
	case t.LogicalType == "decimal":
		f.column.typ = decimalType(t.Precision, t.Scale)
	case t.LogicalType == "date":
		f.column.typ = "DATE"
	case t.LogicalType == "time-micros":
		f.column.typ = "TIME"
	case t.LogicalType == "timestamp-micros":
		f.column.typ = "TIMESTAMP WITH TIME ZONE"
	case t.LogicalType == "local-timestamp-micros":
		f.column.typ = "TIMESTAMP"
	case t.SQLType == "JSON":
		f.column.typ = "JSON"
	default:
		if typ, ok := map[string]string{"boolean": "BOOLEAN", "long": "BIGINT", "int": "BIGINT", "double": "DOUBLE", "float": "DOUBLE", "bytes": blob}[t.Type]; ok {
			f.column.typ = typ
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") + "+00" }

// text is a value in a form that DuckDB reads as the column's type.
func (f *fieldSchema) text(v any) (*string, error) {
	if boxed, ok := v.(map[string]any); ok {
		for _, inner := range boxed {
			v = inner
		}
	}
	var text string
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		text = v
	case []byte:
		text = fmt.Sprintf("%x", v)
	case *big.Rat:
		text = v.FloatString(f.scale)
	case time.Duration:
		text = time.Time{}.Add(v).Format("15:04:05.000000")
	case time.Time:
		switch f.column.typ {
		case "DATE":
			text = v.UTC().Format(time.DateOnly)
		case "TIMESTAMP":
			text = v.UTC().Format("2006-01-02 15:04:05.000000")
		default:
			text = stamp(v)
		}
	case int64, int32, float64, float32, bool:
		text = fmt.Sprint(v)
		if f.column.typ == "TIMESTAMP" { // a logical type that the library does not know
			text = time.UnixMicro(v.(int64)).UTC().Format("2006-01-02 15:04:05.000000")
		}
	default:
		return nil, fmt.Errorf("column %s holds a %T", f.column.name, v)
	}
	return &text, nil
}
