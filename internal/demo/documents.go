package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// documents is a database of a MongoDB, under a name that nobody else has: the
// server may be somebody's.
type documents struct {
	client *mongo.Client
	db     *mongo.Database
	server string // what it says that it is
}

func openDocuments(ctx context.Context, uri string) (*documents, error) {
	client, err := mongo.Connect(options.Client().SetServerSelectionTimeout(10 * time.Second).ApplyURI(uri))
	if err != nil {
		return nil, fmt.Errorf("open the MongoDB that MONGODB_URI names: %w", err)
	}
	d := &documents{client: client, db: client.Database("shop_" + strings.ToLower(rand.Text()[:8]))}
	var info struct {
		Version    string `bson:"version"`
		GitVersion string `bson:"gitVersion"`
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info); err != nil {
		return nil, errors.Join(fmt.Errorf("ask the MongoDB that MONGODB_URI names what it is: %w", err), d.disconnect())
	}
	if d.server = "MongoDB " + info.Version; info.GitVersion == "mongofake" {
		d.server = "MongoDB's stand-in"
	}
	return d, nil
}

func (d *documents) name() string { return d.db.Name() }

// close drops the database and disconnects.
func (d *documents) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := d.db.Drop(ctx)
	if err != nil {
		err = fmt.Errorf("drop the shop's database %s: %w", d.name(), err)
	}
	return errors.Join(err, d.disconnect())
}

func (d *documents) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.client.Disconnect(ctx); err != nil {
		return fmt.Errorf("leave the MongoDB: %w", err)
	}
	return nil
}

// orderDocuments are orders in MongoDB.
type orderDocuments struct{ *documents }

const ordersCollection = "orders"

func (d orderDocuments) orders() *mongo.Collection { return d.db.Collection(ordersCollection) }

// fault says what could not be written, if anything.
func fault(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s the shop's orders: %w", what, err)
	}
	return nil
}

// create makes the collection with images: updates and deletes then carry the
// whole document.
func (d orderDocuments) create(ctx context.Context) error {
	images := bson.D{{Key: "enabled", Value: true}}
	return fault("make", d.db.CreateCollection(ctx, ordersCollection, options.CreateCollection().SetChangeStreamPreAndPostImages(images)))
}

func (d orderDocuments) insert(ctx context.Context, o newOrder) (int, error) {
	total, err := bson.ParseDecimal128(o.total)
	if err != nil {
		return 0, fault("write to", err)
	}
	doc := bson.D{
		{Key: "_id", Value: o.id},
		{Key: "customer", Value: bson.D{{Key: "id", Value: int64(o.customer)}}},
		{Key: "item", Value: bson.D{{Key: "id", Value: int64(o.item)}, {Key: "quantity", Value: int32(o.quantity)}}},
		{Key: "total", Value: total},
		{Key: "status", Value: "open"},
		{Key: "note", Value: o.note},
		{Key: "created_at", Value: o.at},
	}
	if o.channel != "" {
		doc = append(doc, bson.E{Key: "channel", Value: o.channel})
	}
	if _, err := d.orders().InsertOne(ctx, doc); err != nil {
		return 0, fault("write to", err)
	}
	return 1, nil
}

func (d orderDocuments) set(ctx context.Context, id int64, fields bson.D) (int, error) {
	result, err := d.orders().UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: fields}})
	if err != nil {
		return 0, fault("write to", err)
	}
	return int(result.ModifiedCount), nil
}

func (d orderDocuments) assign(ctx context.Context, id int64, customer int) (int, error) {
	return d.set(ctx, id, bson.D{{Key: "customer.id", Value: int64(customer)}})
}

func (d orderDocuments) change(ctx context.Context, id int64, item, quantity int, total string) (int, error) {
	exact, err := bson.ParseDecimal128(total)
	if err != nil {
		return 0, fault("write to", err)
	}
	return d.set(ctx, id, bson.D{
		{Key: "item.id", Value: int64(item)},
		{Key: "item.quantity", Value: int32(quantity)},
		{Key: "total", Value: exact},
		{Key: "status", Value: "changed"},
	})
}

func (d orderDocuments) settle(ctx context.Context, id int64, status string) (int, error) {
	return d.set(ctx, id, bson.D{{Key: "status", Value: status}})
}

// move gives an order another _id. No document can change its own, so it is
// another document; one transaction has both.
func (d orderDocuments) move(ctx context.Context, from, to int64) (int, error) {
	session, err := d.client.StartSession()
	if err != nil {
		return 0, fault("write to", err)
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	n, err := session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		var doc bson.D
		err := d.orders().FindOneAndDelete(ctx, bson.D{{Key: "_id", Value: from}}).Decode(&doc)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		for i := range doc {
			if doc[i].Key == "_id" {
				doc[i].Value = to
			}
		}
		_, err = d.orders().InsertOne(ctx, doc)
		return 2, err
	})
	if err != nil {
		return 0, fault("write to", err)
	}
	return n.(int), nil
}

func (d orderDocuments) remove(ctx context.Context, id int64) (int, error) {
	result, err := d.orders().DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	if err != nil {
		return 0, fault("write to", err)
	}
	return int(result.DeletedCount), nil
}

func (d orderDocuments) removeOf(ctx context.Context, customer int) (int, error) {
	result, err := d.orders().DeleteMany(ctx, bson.D{{Key: "customer.id", Value: int64(customer)}})
	if err != nil {
		return 0, fault("write to", err)
	}
	return int(result.DeletedCount), nil
}

// images says whether updates and deletes carry the whole document. Without, an
// update carries what it changed, and a delete the _id.
func (d orderDocuments) images(ctx context.Context, whole bool) error {
	return fault("change", d.db.RunCommand(ctx, bson.D{
		{Key: "collMod", Value: ordersCollection},
		{Key: "changeStreamPreAndPostImages", Value: bson.D{{Key: "enabled", Value: whole}}},
	}).Err())
}
