package up

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// open makes the topic of load-complete events and the client that reads and
// writes it. Reading begins at its end: the warehouse's logs have what came
// before.
func (d *derivers) open(ctx context.Context) (err error) {
	if d.loads, err = d.names.Loads(); err != nil {
		return err
	}
	if d.loadsID, err = d.registry.Register(ctx, d.loads+"-value", avro.LoadCompleteSchema); err != nil {
		return err
	}
	begin, err := d.ends(ctx)
	if err != nil {
		return err
	}
	opts := append(d.cluster.ClientOpts("deriver", d.Log, nil), d.cluster.ConsumerOpts()...)
	opts = append(opts, d.cluster.PlainProducerOpts()...)
	opts = append(opts, kgo.ConsumePartitions(begin), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if d.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	return nil
}

// ends is where the topic ends now. A client that is told to begin at the end asks
// for it some time later, and passes over what a deriver has looked for in vain in
// between.
func (d *derivers) ends(ctx context.Context) (map[string]map[int32]kgo.Offset, error) {
	client, err := kgo.NewClient(d.cluster.ClientOpts("deriver.setup", d.Log, nil)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	defer client.Close()
	if err := kafka.EnsureTopics(ctx, client, d.cluster.Loads(d.loads)); err != nil {
		return nil, err
	}
	listed, err := kadm.NewClient(client).ListCommittedOffsets(ctx, d.loads)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read the ends of topic %s: %w", d.loads, err)
	}
	return listed.KOffsets(), nil
}

// listen wakes the derivers. What it misses they find by themselves.
func (d *derivers) listen(ctx context.Context) error {
	for {
		fetches := d.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		for _, e := range fetches.Errors() {
			d.Log.Warn("poll load-complete events", "topic", e.Topic, "err", e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			event, err := d.decodeLoad(ctx, r.Value)
			if err != nil {
				d.Log.Warn("load-complete event cannot be read", "partition", r.Partition, "offset", r.Offset, "err", err)
				return
			}
			d.noteSchema(&event)
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, table := range d.running {
				table.Notify(event)
			}
		})
	}
}

// noteSchema has the graph built again when a table's loads have columns that
// the ones before them had not, or the table may be in its next generation. In
// ModeUpsert, each load of rows says that all may have changed: that is neither.
// Of tables that nothing here reads, the loads are none of its concern.
func (d *derivers) noteSchema(e *schemas.LoadComplete) {
	if d.reads != nil && !d.reads[e.Table] {
		return
	}
	all := e.All && (e.Mode != schemas.ModeUpsert || len(e.Ranges) == 0) // a step reads nothing
	if !all && (e.SchemaVersion == 0 || d.versions[e.Table] == e.SchemaVersion) {
		return
	}
	d.versions[e.Table] = e.SchemaVersion
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// decodeLoad reads an event by its writer's schema: while versions change, pods of
// both are there.
func (d *derivers) decodeLoad(ctx context.Context, value []byte) (schemas.LoadComplete, error) {
	id, body, err := avro.SplitHeader(value)
	if err != nil {
		return schemas.LoadComplete{}, err
	}
	if id == d.loadsID {
		return avro.DecodeLoadComplete(body)
	}
	decoder := d.decoders[id]
	if decoder == nil {
		text, err := d.registry.Schema(ctx, id)
		if err != nil {
			return schemas.LoadComplete{}, err
		}
		if decoder, err = avro.NewLoadDecoder(text); err != nil {
			return schemas.LoadComplete{}, err
		}
		d.decoders[id] = decoder
	}
	return decoder.Decode(body)
}

// announce returns when Kafka has acknowledged the event.
func (d *derivers) announce(ctx context.Context, e schemas.LoadComplete) error {
	value, err := avro.AppendLoadComplete(avro.AppendHeader(nil, d.loadsID), &e)
	if err != nil {
		return fmt.Errorf("encode run %d of %s: %w", e.Load, e.Table, err)
	}
	if err := d.client.ProduceSync(ctx, &kgo.Record{Topic: d.loads, Key: []byte(e.Table), Value: value}).FirstErr(); err != nil {
		return fmt.Errorf("announce run %d of %s: %w", e.Load, e.Table, err)
	}
	return nil
}
