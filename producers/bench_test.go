package producers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/internal/kafka"
	"millrace/schemas"
)

// benchSource is a log of n changes in transactions of a hundred, made beforehand.
type benchSource struct {
	table   *schemas.Table
	changes []schemas.Change
	n, at   int
}

func (s *benchSource) Validate() error { return nil }

func (s *benchSource) Open(_ context.Context, _ Start, env Env) (Source, error) {
	s.table.Topic = env.Topic(s.table.Schema, s.table.Name, 1)
	return s, nil
}

func (s *benchSource) Next(ctx context.Context) (Batch, error) {
	switch {
	case s.at == 0:
		s.at++
		return Batch{Tables: []TableVersion{{Table: s.table}}, Resume: "0"}, nil
	case s.at > s.n:
		select {
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	default:
		for i := range s.changes {
			s.changes[i].Position = schemas.Position{Epoch: 1, Major: uint64(s.at), Minor: uint64(i), Seq: 1}
		}
		s.at += len(s.changes)
		return Batch{Changes: s.changes, Resume: schemas.Token(fmt.Sprint(s.at)), Complete: schemas.Progress{Pos: s.end()}}, nil
	}
	return Batch{Resume: schemas.Token(fmt.Sprint(s.at)), Complete: schemas.Progress{Pos: s.end(), Time: time.Now()}}, nil
}

func (s *benchSource) end() schemas.Position {
	return schemas.Position{Epoch: 1, Major: uint64(s.at), Minor: 1 << 40}
}

func (s *benchSource) Ack(context.Context, schemas.Token) error { return nil }

func (s *benchSource) Close() error { return nil }

func (s *benchSource) ReadChunk(context.Context, *schemas.Table, []schemas.Cell, int, func([]schemas.Change) error) (Chunk, error) {
	return Chunk{ReadPoint: schemas.Position{Epoch: 1, Major: 1}, End: true}, nil
}

func (s *benchSource) ReadKeys(context.Context, *schemas.Table, [][]schemas.Cell, func([]schemas.Change) error) (Chunk, error) {
	return Chunk{ReadPoint: schemas.Position{Epoch: 1, Major: 1}, End: true}, nil
}

// BenchmarkProducer is the loop, from a source's batch to the committed
// transaction, with the broker in the same process: ns per change.
func BenchmarkProducer(b *testing.B) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	src := &benchSource{n: b.N, table: &schemas.Table{Schema: "public", Name: "t", Generation: 1, Key: []int{0}}}
	var row schemas.Row
	for i := range 12 {
		src.table.Columns = append(src.table.Columns, schemas.Column{Name: fmt.Sprint("c", i), Type: schemas.Type{Kind: schemas.Int}})
		row = append(row, schemas.IntCell(int64(i)<<20))
	}
	for i := range 100 {
		c := schemas.Change{Table: src.table, Op: schemas.Create, After: append(schemas.Row(nil), row...)}
		c.After[0].Int = int64(i)
		src.changes = append(src.changes, c)
	}
	p, err := New(Options{
		Prefix: "p", Source: "s", Connector: "mem", Config: src, Kafka: kafka.Cluster{Brokers: cluster.ListenAddrs(), Embedded: true},
		Registry: &memRegistry{ids: map[string]uint32{}, byID: map[uint32]string{}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b.ResetTimer()
	b.ReportAllocs()
	go func() { done <- p.Run(ctx) }()
	for p.Status().Position.Major+100 < uint64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// What the loop asks in each of its turns must not grow with tables that are quiet.
func BenchmarkScheduleOfQuietTables(b *testing.B) {
	s := &session{tables: map[string]*table{}}
	for i := range 5000 {
		id := fmt.Sprint("public.t", i)
		s.tables[id] = &table{id: id}
	}
	for b.Loop() {
		s.schedule()
	}
}
