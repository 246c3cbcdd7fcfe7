package mongodb

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// load writes to the collections a and b, and to c, which is not there at first.
type load struct {
	*rig
	n int
}

func newLoad(r *rig) *load {
	l := &load{rig: r, n: 1} // what the first documents hold
	for _, name := range []string{"a", "b", "c"} {
		t := orders()
		t.Name, t.Promote = r.db.name+"."+name, name == "b"
		r.cfg.Tables = append(r.cfg.Tables, t)
		if name != "c" {
			l.create(name)
			l.fill(name, map[string]int{"a": batchCalls + 50, "b": 20}[name])
		}
	}
	return l
}

func (l *load) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("seed %d: %v", l.seed, err)
	}
}

func (l *load) create(name string) {
	opts := options.CreateCollection()
	if l.db.images {
		opts.SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
	}
	l.must(l.db.CreateCollection(context.Background(), name, opts))
}

func (l *load) fill(name string, rows int) {
	var docs []any
	for i := range rows {
		docs = append(docs, order(fmt.Sprint(name, i), "1"))
	}
	_, err := l.db.Collection(name).DeleteMany(context.Background(), bson.D{})
	l.must(err)
	_, err = l.db.Collection(name).InsertMany(context.Background(), docs)
	l.must(err)
}

// within runs f in a transaction.
func (l *load) within(f func(ctx context.Context)) {
	l.must(l.db.client.UseSession(context.Background(), func(ctx context.Context) error {
		session := mongo.SessionFromContext(ctx)
		if err := session.StartTransaction(); err != nil {
			return err
		}
		f(ctx)
		return session.CommitTransaction(ctx)
	}))
}

// updateAll changes every document of a collection in one transaction.
func (l *load) updateAll(name string) {
	l.n++
	l.within(func(ctx context.Context) {
		_, err := l.db.Collection(name).UpdateMany(ctx, bson.D{}, set("total.tax", l.n))
		l.must(err)
	})
}

// write does something to the collections.
func (l *load) write() {
	switch l.rng.IntN(13) {
	case 0:
		l.within(func(ctx context.Context) {
			for range 5 {
				l.one(ctx, []string{"a", "b"}[l.rng.IntN(2)])
			}
		})
	case 1:
		if l.rng.IntN(4) == 0 { // what comes under the name afterwards has no images
			l.must(l.db.Collection("b").Drop(context.Background()))
		}
	case 2:
		l.one(context.Background(), "c")
	case 3:
		if l.rng.IntN(3) == 0 { // without images, more than a batch holds
			l.updateAll("a")
		}
	default:
		l.one(context.Background(), []string{"a", "b"}[l.rng.IntN(2)])
	}
}

func (l *load) one(ctx context.Context, name string) {
	l.n++
	c, id := l.db.Collection(name), fmt.Sprint(name, l.rng.IntN(25))
	at, upsert := bson.D{{Key: "_id", Value: id}}, options.Replace().SetUpsert(true)
	var err error
	switch l.rng.IntN(7) {
	case 0:
		_, err = c.DeleteOne(ctx, at)
	case 1, 2:
		_, err = c.ReplaceOne(ctx, at, order(id, fmt.Sprint(l.n)), upsert)
	case 3:
		_, err = c.UpdateOne(ctx, at, set("total.tax", l.n))
	case 4:
		_, err = c.UpdateOne(ctx, at, set("note", l.n)) // does not fit
	case 5:
		_, err = c.UpdateOne(ctx, at, set(fmt.Sprint("extra", l.rng.IntN(3)), fmt.Sprint(l.n)))
	default:
		_, err = c.UpdateOne(ctx, at, set("total", bson.D{{Key: "amount", Value: l.n}}))
	}
	l.must(err)
}
