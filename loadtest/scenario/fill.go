package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/loadtest/workload"
	"millrace/schemas"
	"millrace/schemas/avro"
	"millrace/schemas/registry"
)

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
