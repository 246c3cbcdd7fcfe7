package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

const partitions = 4 // as the product makes topics

// topic is the topic of a table of the workload.
func (r *rig) topic(t int) (string, error) {
	schema, table, _ := strings.Cut(r.tableID(t), ".")
	return kafka.Names{Prefix: r.prefix}.Table(kafka.TopicName{Source: "src", Schema: schema, Table: table, Generation: 1})
}

func (r *rig) topics() ([]string, error) {
	var out []string
	for t := range r.file.Workload.Tables {
		name, err := r.topic(t)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// kinds are the vocabulary's words for types.
var kinds = map[workload.Type]schemas.Type{
	workload.Int: {Kind: schemas.Int}, workload.Text: {Kind: schemas.String}, workload.Long: {Kind: schemas.String},
	workload.Decimal: {Kind: schemas.Decimal, Precision: 18, Scale: 4}, workload.Bool: {Kind: schemas.Bool},
	workload.Double: {Kind: schemas.Float}, workload.Time: {Kind: schemas.Timestamp}, workload.Date: {Kind: schemas.Date},
}

// cell is a value of the workload as an event carries it.
func cell(t workload.Type, v any) (schemas.Cell, error) {
	switch v := v.(type) {
	case nil:
		return schemas.NullCell(), nil
	case int64:
		return schemas.IntCell(v), nil
	case bool:
		if v {
			return schemas.IntCell(1), nil
		}
		return schemas.IntCell(0), nil
	case float64:
		return schemas.FloatCell(v), nil
	case time.Time:
		return schemas.IntCell(v.UnixMicro()), nil
	case string:
		switch t {
		case workload.Decimal:
			n, err := strconv.ParseInt(strings.Replace(v, ".", "", 1), 10, 64)
			return schemas.BytesCell(schemas.AppendTwos(nil, n)), err
		case workload.Date:
			d, err := time.Parse(time.DateOnly, v)
			return schemas.IntCell(d.Unix() / 86_400), err
		}
		return schemas.BytesCell([]byte(v)), nil
	}
	return schemas.Cell{}, fmt.Errorf("a value is %T", v)
}

// text is a cell in the spelling of workload.Sum; nil for null.
func text(t schemas.Type, c schemas.Cell) *string {
	if c.Kind != schemas.Present {
		return nil
	}
	var out string
	switch t.Kind {
	case schemas.Float:
		out = strconv.FormatFloat(c.Float(), 'g', -1, 64)
	case schemas.Date:
		out = time.Unix(c.Int*86_400, 0).UTC().Format(time.DateOnly)
	case schemas.Decimal:
		out = new(big.Rat).SetFrac(twos(c.Bytes), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)).FloatString(t.Scale)
	case schemas.String, schemas.Bytes, schemas.JSON:
		out = string(c.Bytes)
	default:
		out = strconv.FormatInt(c.Int, 10)
	}
	return &out
}

// twos reads a number in two's complement.
func twos(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// filler writes change events as a producer would, without a source.
type filler struct {
	rig      *rig
	client   *kgo.Client
	tables   []*schemas.Table
	encoders []*avro.Encoder
	failed   kgo.FirstErrPromise
	n        uint64
	last     map[int64]workload.Op // by key: updates carry both images
}

// fill writes so many events of the workload into topics and returns their
// bytes and the generator, which knows what rows they leave.
func (r *rig) fill(ctx context.Context, events int, progress func(int64)) (*workload.Generator, int64, error) {
	cluster := r.at.cluster()
	client, err := kgo.NewClient(append(cluster.ClientOpts("fill", nil, nil), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, 0, fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	f := &filler{rig: r, client: client, last: map[int64]workload.Op{}}
	if err := f.open(ctx); err != nil {
		return nil, 0, fmt.Errorf("fill topics: %w", err)
	}
	g, bytes, done := workload.New(r.file.Workload), int64(0), 0
	begin := time.UnixMicro(1_767_225_600_000_000)
	for done < events {
		for _, o := range g.Next(events-done, begin.Add(time.Duration(done)*time.Millisecond)) {
			n, err := f.write(ctx, o)
			if err != nil {
				return nil, 0, fmt.Errorf("fill topics: %w", err)
			}
			bytes += n
			done++
		}
		progress(int64(done))
	}
	if err := client.Flush(ctx); err != nil {
		return nil, 0, fmt.Errorf("fill topics: %w", err)
	}
	if err := f.failed.Err(); err != nil {
		return nil, 0, fmt.Errorf("fill topics: %w", err)
	}
	return g, bytes, nil
}

func (f *filler) open(ctx context.Context) error {
	reg, err := registry.New(f.rig.at.Registry)
	if err != nil {
		return err
	}
	for t := range f.rig.file.Workload.Tables {
		schema, name, _ := strings.Cut(f.rig.tableID(t), ".")
		table := &schemas.Table{Source: "src", DB: "src", Schema: schema, Name: name, Generation: 1, Key: []int{0}}
		if table.Topic, err = f.rig.topic(t); err != nil {
			return err
		}
		for _, c := range f.rig.file.Workload.Columns() {
			table.Columns = append(table.Columns, schemas.Column{Name: c.Name, Type: kinds[c.Type]})
		}
		if err := kafka.EnsureTopics(ctx, f.client, f.rig.at.cluster().Data(table.Topic, partitions, 0)); err != nil {
			return err
		}
		keyID, err := reg.Register(ctx, table.Topic+"-key", avro.KeySchema(table))
		if err != nil {
			return err
		}
		valueID, err := reg.Register(ctx, table.Topic+"-value", avro.ValueSchema(table))
		if err != nil {
			return err
		}
		enc, err := avro.NewEncoder(table, "postgres", keyID, valueID)
		if err != nil {
			return err
		}
		f.tables, f.encoders = append(f.tables, table), append(f.encoders, enc)
	}
	return nil
}

func (f *filler) row(o workload.Op) (schemas.Row, error) {
	columns := f.rig.file.Workload.Columns()
	row := make(schemas.Row, len(columns))
	for i, c := range columns {
		var err error
		if row[i], err = cell(c.Type, f.rig.file.Workload.Value(c, o)); err != nil {
			return nil, err
		}
	}
	return row, nil
}

func (f *filler) write(ctx context.Context, o workload.Op) (int64, error) {
	f.n++
	c := &schemas.Change{
		Table: f.tables[o.Table], TsUs: o.IntendedUs, TxID: strconv.FormatUint(f.n/10, 10), TxOrder: int64(f.n%10) + 1, //nolint:gosec // small
		Position: schemas.Position{Epoch: 1, Major: 1<<32 + f.n/10, Minor: 1<<32 + f.n, Seq: 1},
	}
	row, err := f.row(o)
	if err != nil {
		return 0, err
	}
	switch o.Kind {
	case workload.Insert:
		c.Op, c.After = schemas.Create, row
	case workload.Update:
		c.Op, c.After = schemas.Update, row
		if c.Before, err = f.row(f.last[o.Key]); err != nil {
			return 0, err
		}
	case workload.Delete:
		c.Op, c.Before = schemas.Delete, row
	default:
		return 0, errors.New("a load takes no key changes: leave key out of the mix")
	}
	f.last[o.Key] = o
	enc, rec := f.encoders[o.Table], &kgo.Record{Topic: c.Table.Topic}
	if rec.Key, err = enc.AppendKey(nil, row); err != nil {
		return 0, err
	}
	if rec.Value, err = enc.AppendValue(nil, c); err != nil {
		return 0, err
	}
	canonical, err := schemas.AppendKey(nil, c.Table, row)
	if err != nil {
		return 0, err
	}
	rec.Partition = schemas.Partition(canonical, partitions)
	f.client.Produce(ctx, rec, f.failed.Promise())
	return int64(len(rec.Key) + len(rec.Value)), nil
}

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

// folded is what a topic's events leave of a row.
type folded struct {
	pos           schemas.Position
	sum, noteSum  uint64
	live, changed bool // changed: by a change, not by a snapshot alone
}

// fold is the rows that events leave, for one table: the greatest position wins.
type fold struct {
	rows    map[int64]folded
	changes int64 // that were not seen before
	account *measure.Account
	table   string
}

func (f *fold) add(e *event) {
	row, known := f.rows[e.key]
	stream := e.op != schemas.Read
	switch {
	case known && stream && row.changed && row.pos.Compare(e.pos) >= 0:
		f.account.Note(&f.account.Duplicated, "%s: the change of key %d at %s comes again", f.table, e.key, e.pos)
		return
	case known && row.pos.Compare(e.pos) > 0:
		return // a snapshot's row, read before the change that is known
	}
	if stream {
		f.changes++
	}
	next := folded{pos: e.pos, sum: e.sum, noteSum: e.noteSum, live: e.op != schemas.Delete, changed: stream || row.changed}
	if !e.note {
		next.noteSum = row.noteSum
	}
	f.rows[e.key] = next
}

// target is the rows as they are to be compared.
func (f *fold) target() *measure.Target {
	t := measure.NewTarget(f.table, f.account)
	for key, row := range f.rows {
		if row.live {
			t.Add(key, row.sum+row.noteSum)
		}
	}
	return t
}

// accountTopics compares what the topics hold with the source: the rows that
// the events leave, and, if it is known, how many changes there were.
func (r *rig) accountTopics(ctx context.Context, changes int64) (*measure.Account, error) {
	a := &measure.Account{}
	topics, err := r.topics()
	if err != nil {
		return nil, err
	}
	folds := make([]*fold, len(topics))
	for t := range folds {
		folds[t] = &fold{rows: map[int64]folded{}, account: a, table: r.place.Table(t)}
	}
	err = r.read(ctx, r.at, topics, func(table int, e *event) error {
		folds[table].add(e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var seen int64
	for t, f := range folds {
		want, err := r.db.Rows(ctx, t)
		if err != nil {
			return nil, err
		}
		f.target().Compare(want)
		seen += f.changes
	}
	for ; seen < changes; seen++ {
		a.Note(&a.Lost, "%d changes were made, %d are in the topics", changes, seen)
	}
	if seen > changes {
		a.Note(&a.Wrong, "%d changes were made, %d are in the topics", changes, seen)
	}
	return a, nil
}
