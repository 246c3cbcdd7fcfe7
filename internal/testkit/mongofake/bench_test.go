package mongofake_test

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit/mongofake"
)

// BenchmarkDrain is the limit that capture is measured against: a backlog of
// small inserts, read through the driver and thrown away.
func BenchmarkDrain(b *testing.B) {
	const events = 200_000
	ctx := b.Context()
	c := connect(b, start(b, mongofake.Options{})).Database("shop").Collection("orders")
	before := must(c.Watch(ctx, []bson.D{}))(b)
	token := before.ResumeToken()
	check(b, before.Close(ctx))
	docs := make([]any, 0, 1000)
	began := time.Now()
	for i := range events {
		docs = append(docs, bson.D{
			{Key: "_id", Value: int64(i)},
			{Key: "customer", Value: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
			{Key: "name", Value: fmt.Sprint("Customer number ", i)},
			{Key: "amount", Value: 1.5},
			{Key: "n", Value: i % 7},
		})
		if len(docs) == cap(docs) {
			must(c.InsertMany(ctx, docs))(b)
			docs = docs[:0]
		}
	}
	inserted := time.Since(began)
	read := 0
	b.ResetTimer()
	for b.Loop() {
		s := must(c.Watch(ctx, []bson.D{}, options.ChangeStream().SetResumeAfter(token).SetBatchSize(5000)))(b)
		for range events {
			if !s.Next(ctx) {
				b.Fatal(s.Err())
			}
			read++
		}
		check(b, s.Close(ctx))
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(events/inserted.Seconds(), "inserts/s")
}
