package mongodb

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/register"
	"millrace/producers"
	"millrace/schemas"
	"millrace/schemas/avro"
)

// schemaIDs is a registry that remembers.
type schemaIDs struct {
	mu   sync.Mutex
	ids  map[string]uint32
	text map[uint32]string
}

func (s *schemaIDs) Register(_ context.Context, _, schema string) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ids[schema]; !ok {
		id := uint32(len(s.ids) + 1)
		s.ids[schema], s.text[id] = id, schema
	}
	return s.ids[schema], nil
}

// sentEvent is a record of a table's topic.
type sentEvent struct {
	schemas.Change
	key       string
	partition int32
	again     bool // a row that was read for its key alone
}

// reads is how many rows a table's snapshots have sent.
func (r *rig) reads(name string) (n int) {
	for _, e := range r.events("p.s." + r.db.name + "." + name) {
		if e.Op == schemas.Read && !e.again {
			n++
		}
	}
	return n
}

// events are the committed records of a topic.
func (r *rig) events(topic string) (out []sentEvent) {
	r.t.Helper()
	c := r.cluster()
	c.Embedded = true // fetches that do not wait for more
	cl, err := kgo.NewClient(append(append(c.ClientOpts("check", nil, nil), c.ConsumerOpts()...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords())...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	versions := map[uint32]*avro.Decoder{}
	tables := map[uint32]*schemas.Table{}
	for len(left) > 0 {
		fetched := cl.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			r.t.Fatalf("seed %d: read %s: %v", r.seed, topic, err)
		}
		fetched.EachRecord(func(rec *kgo.Record) {
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
			if rec.Attrs.IsControl() {
				return
			}
			e, err := r.decode(rec, versions, tables)
			if err != nil {
				r.t.Fatalf("seed %d: %s/%d@%d: %v", r.seed, topic, rec.Partition, rec.Offset, err)
			}
			out = append(out, e)
		})
	}
	return out
}

func (r *rig) decode(rec *kgo.Record, versions map[uint32]*avro.Decoder, tables map[uint32]*schemas.Table) (sentEvent, error) {
	out := sentEvent{partition: rec.Partition, again: slices.ContainsFunc(rec.Headers, func(h kgo.RecordHeader) bool { return h.Key == "reread" })}
	id, body, err := avro.SplitHeader(rec.Value)
	if err != nil {
		return out, err
	}
	if versions[id] == nil {
		if versions[id], err = avro.NewDecoder(r.ids.text[id]); err != nil {
			return out, err
		}
		tables[id] = &schemas.Table{Columns: versions[id].Columns(), Key: []int{idOrd}}
	}
	var e avro.Envelope
	if err := versions[id].Envelope(body, &e); err != nil {
		return out, err
	}
	out.Change = schemas.Change{Table: tables[id], Op: e.Op, Position: e.Pos, Since: e.Since}
	if e.After != nil {
		if out.After, err = versions[id].Cells(nil, e.After); err != nil {
			return out, err
		}
		for _, ord := range e.Unset {
			out.After[ord] = schemas.Cell{}
		}
	}
	if rec.Key == nil {
		return out, nil
	}
	keyID, keyBody, err := avro.SplitHeader(rec.Key)
	if err != nil {
		return out, err
	}
	keys, err := avro.NewKeyDecoder(r.ids.text[keyID])
	if err != nil {
		return out, err
	}
	cells, err := keys.Cells(nil, keyBody)
	if err == nil {
		out.key = string(cells[0].Bytes)
	}
	return out, err
}

// check compares what was sent with the server's own log, and with what the
// collections hold.
func (r *rig) check(st producers.Status) {
	r.t.Helper()
	sent := map[schemas.Position]schemas.Op{}
	for i, t := range st.Tables {
		events := r.events(t.Topic)
		newest := events[0].Table
		last := map[string]schemas.Position{}
		for _, e := range events {
			if len(e.Table.Columns) > len(newest.Columns) {
				newest = e.Table
			}
			switch e.Op {
			case schemas.Create, schemas.Update, schemas.Delete:
			case schemas.Truncate:
				sent[e.Position] = e.Op
				continue
			default:
				continue
			}
			if sent[e.Position] != 0 {
				r.t.Fatalf("seed %d: %s: the change at %v was sent twice", r.seed, t.ID, e.Position)
			}
			if sent[e.Position] = e.Op; e.Position.Less(last[e.key]) {
				r.t.Fatalf("seed %d: %s: %s at %v came after %v", r.seed, t.ID, e.key, e.Position, last[e.key])
			}
			last[e.key] = e.Position
		}
		got, want := r.held(newest, events), r.source(r.cfg.Tables[i], newest)
		if maps.Equal(got, want) {
			continue
		}
		for key := range want {
			if got[key] != want[key] {
				r.t.Errorf("seed %d: %s: %s is\n%s\nwant\n%s", r.seed, t.ID, key, got[key], want[key])
			}
		}
		r.t.Fatalf("seed %d: %s: %d rows, want %d", r.seed, t.ID, len(got), len(want))
	}
	r.checkLog(sent)
}

// checkLog reads the server's log by the plain driver: every change from the
// first that was sent is there at its place, and no other.
func (r *rig) checkLog(sent map[schemas.Position]schemas.Op) {
	r.t.Helper()
	first := slices.MinFunc(slices.Collect(maps.Keys(sent)), schemas.Position.Compare).Major
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	at := bson.Timestamp{T: uint32(first >> 32), I: uint32(first)}
	log, err := r.db.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetStartAtOperationTime(&at))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close(ctx) }()
	if _, err := r.db.Collection("end").InsertOne(ctx, doc("end")); err != nil {
		r.t.Fatal(err)
	}
	ops := map[string]schemas.Op{"insert": 'c', "update": 'u', "replace": 'u', "delete": 'd', "drop": 't'}
	var now schemas.Position
	for found := 0; ; found++ {
		if !log.Next(ctx) {
			r.t.Fatalf("seed %d: read the log: %v", r.seed, log.Err())
		}
		var e struct {
			Kind string         `bson:"operationType"`
			At   bson.Timestamp `bson:"clusterTime"`
			NS   struct {
				Coll string `bson:"coll"`
			} `bson:"ns"`
		}
		if err := log.Decode(&e); err != nil {
			r.t.Fatal(err)
		}
		if e.NS.Coll == "end" {
			if found != len(sent) {
				r.t.Fatalf("seed %d: %d changes were sent, the log has %d", r.seed, len(sent), found)
			}
			return
		}
		if time := uint64(e.At.T)<<32 | uint64(e.At.I); time != now.Major {
			now = schemas.Position{Epoch: 1, Major: time}
		}
		now.Seq++
		if sent[now] != ops[e.Kind] {
			r.t.Fatalf("seed %d: the log has an event %q of %s at %v, and sent was %q", r.seed, e.Kind, e.NS.Coll, now, sent[now])
		}
	}
}

// held are the rows that a core table holds after the events.
func (r *rig) held(table *schemas.Table, events []sentEvent) map[string]string {
	rows := map[int32]map[string]register.Row{}
	horizon := map[int32]schemas.Position{}
	for _, e := range events {
		p := e.partition
		if rows[p] == nil {
			rows[p] = map[string]register.Row{}
		}
		switch e.Op {
		case schemas.Watermark:
		case schemas.Truncate, schemas.SnapshotDone:
			horizon[p] = schemas.MaxPosition(horizon[p], e.Position)
			maps.DeleteFunc(rows[p], func(_ string, row register.Row) bool { return row.Pos.Less(horizon[p]) })
		default:
			ch := widened(table, e.Change)
			before, found := rows[p][e.key]
			if next, wrote := register.Apply(before, found, horizon[p], register.FromChange(&ch, len(table.Columns))); wrote {
				rows[p][e.key] = next
			}
		}
	}
	out := map[string]string{}
	for _, part := range rows {
		for key, row := range part {
			if !row.Deleted {
				out[key] = shown(schemas.Change{Table: table, Op: schemas.Read, After: row.V})
			}
		}
	}
	return out
}

// source are the rows of the documents that a collection holds.
func (r *rig) source(cfg Table, table *schemas.Table) map[string]string {
	r.t.Helper()
	columns := slices.Clone(cfg.Columns)
	for _, c := range table.Columns[conflictOrd+1+len(columns):] {
		columns = append(columns, Column{Name: c.Name, Type: c.Type})
	}
	var mem arena
	m := rowMaker{plan: newPlan(table, columns, false, nil), mem: &mem}
	_, collection, _ := cfg.split()
	cursor, err := r.db.Collection(collection).Find(context.Background(), bson.D{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = cursor.Close(context.Background()) }()
	out := map[string]string{}
	for cursor.Next(context.Background()) {
		row, err := m.full(slices.Clone(cursor.Current))
		if err != nil {
			r.t.Fatal(err)
		}
		out[string(row[idOrd].Bytes)] = shown(schemas.Change{Table: table, Op: schemas.Read, After: row})
	}
	if err := cursor.Err(); err != nil {
		r.t.Fatal(err)
	}
	return out
}
