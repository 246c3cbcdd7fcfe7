package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/loadtest/measure"
	"millrace/loadtest/workload"
)

// mongodb is MongoDB. A row is a document whose _id is the key; columns are
// fields.
type mongodb struct {
	place  Place
	client *mongo.Client
	db     *mongo.Database
}

// mongoDatabase holds the collections if the DSN names no database.
const mongoDatabase = "loadtest"

func databaseOfMongo(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && len(u.Path) > 1 {
		return u.Path[1:]
	}
	return mongoDatabase
}

func openMongo(p Place) (Database, error) {
	for _, c := range p.Spec.Columns() {
		if c.Type == workload.Date || c.Type == workload.Time && c.Name != workload.Created {
			return nil, fmt.Errorf("open MongoDB: it holds no %s to the microsecond: leave that type out of the workload", c.Type)
		}
	}
	if p.Spec.Mix.Key > 0 {
		return nil, errors.New("open MongoDB: an _id never changes: leave key out of the workload's mix")
	}
	client, err := mongo.Connect(options.Client().ApplyURI(p.DSN))
	if err != nil {
		return nil, errors.New("open MongoDB: its DSN cannot be read") // the error might show a password
	}
	return &mongodb{place: p, client: client, db: client.Database(databaseOfMongo(p.DSN))}, nil
}

// mongoColumns declares every field.
func mongoColumns(s workload.Spec) string {
	types := map[workload.Type]string{
		workload.Int: "INT64", workload.Text: "STRING", workload.Long: "STRING", workload.Decimal: "'DECIMAL(18,4)'",
		workload.Bool: "BOOL", workload.Double: "FLOAT64", workload.Time: "TIMESTAMP",
	}
	var out []string
	for _, c := range s.Columns() {
		out = append(out, c.Name+": "+types[c.Type])
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// Create makes collections that keep images, so that updates carry whole
// documents.
func (m *mongodb) Create(ctx context.Context) error {
	for t := range m.place.Spec.Tables {
		name := m.place.Table(t)
		if err := m.db.Collection(name).Drop(ctx); err != nil {
			return fmt.Errorf("drop %s: %w", name, err)
		}
		opts := options.CreateCollection().SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
		if err := m.db.CreateCollection(ctx, name, opts); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

func (m *mongodb) Drop(ctx context.Context) error {
	var errs []error
	for t := range m.place.Spec.Tables {
		errs = append(errs, m.db.Collection(m.place.Table(t)).Drop(ctx))
	}
	return errors.Join(errs...)
}

// field is a value of the workload in BSON.
func field(t workload.Type, v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		return bson.NewDateTimeFromTime(v), nil
	case string:
		if t == workload.Decimal {
			return bson.ParseDecimal128(v)
		}
	}
	return v, nil
}

// fields are those of a document; without a note of its own, the note is left out.
func (m *mongodb) fields(o workload.Op) (bson.D, error) {
	var out bson.D
	for _, c := range m.place.Spec.Columns() {
		if c.Type == workload.Long && !o.WritesNote() {
			continue
		}
		v, err := field(c.Type, m.place.Spec.Value(c, o))
		if err != nil {
			return nil, err
		}
		out = append(out, bson.E{Key: c.Name, Value: v})
	}
	return out, nil
}

func (m *mongodb) model(o workload.Op) (mongo.WriteModel, error) {
	which := bson.D{{Key: "_id", Value: o.Key}}
	if o.Kind == workload.Delete {
		return mongo.NewDeleteOneModel().SetFilter(which), nil
	}
	fields, err := m.fields(o)
	if err != nil {
		return nil, err
	}
	if o.Kind == workload.Insert {
		return mongo.NewInsertOneModel().SetDocument(append(which, fields...)), nil
	}
	return mongo.NewUpdateOneModel().SetFilter(which).SetUpdate(bson.D{{Key: "$set", Value: fields}}), nil
}

func (m *mongodb) Write(ctx context.Context, txs ...workload.Tx) error {
	session, err := m.client.StartSession()
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer session.EndSession(ctx)
	for _, tx := range txs {
		models := map[int][]mongo.WriteModel{}
		for _, o := range tx {
			model, err := m.model(o)
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			models[o.Table] = append(models[o.Table], model)
		}
		_, err := session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			for t, list := range models {
				if _, err := m.db.Collection(m.place.Table(t)).BulkWrite(ctx, list); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func (m *mongodb) Rows(ctx context.Context, table int) (measure.Rows, error) {
	name := m.place.Table(table)
	cursor, err := m.db.Collection(name).Find(ctx, bson.D{})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = cursor.Close(ctx) }() // it was read to its end
	out, columns := measure.Rows{}, m.place.Spec.Columns()
	row := make([]*string, len(columns))
	for cursor.Next(ctx) {
		for i, c := range columns {
			row[i] = fieldText(cursor.Current.Lookup(c.Name))
		}
		key, ok := cursor.Current.Lookup("_id").AsInt64OK()
		if !ok {
			return nil, fmt.Errorf("read %s: an _id is no number", name)
		}
		out[key] = workload.Sum(columns, row)
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

// fieldText is a value in the spelling of workload.Sum.
func fieldText(v bson.RawValue) *string {
	var text string
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64:
		text = strconv.FormatInt(v.AsInt64(), 10)
	case bson.TypeDouble:
		text = strconv.FormatFloat(v.Double(), 'g', -1, 64)
	case bson.TypeBoolean:
		text = strconv.FormatBool(v.Boolean())
	case bson.TypeDateTime:
		text = strconv.FormatInt(v.DateTime()*1000, 10)
	case bson.TypeDecimal128:
		text = v.Decimal128().String()
	case bson.TypeString:
		text = v.StringValue()
	default:
		return nil
	}
	return &text
}

// Mark is the cluster time of now: a stream from there on has what follows.
func (m *mongodb) Mark(ctx context.Context) (json.RawMessage, error) {
	var reply struct {
		OperationTime bson.Timestamp `bson:"operationTime"`
	}
	if err := m.db.RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Decode(&reply); err != nil {
		return nil, fmt.Errorf("read the cluster time: %w", err)
	}
	return json.Marshal(reply.OperationTime)
}

func (*mongodb) Release(context.Context) error { return nil }

func (m *mongodb) Version(ctx context.Context) (string, error) {
	var reply struct {
		Version string `bson:"version"`
	}
	err := m.db.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&reply)
	return "MongoDB " + reply.Version, err
}

func (m *mongodb) Close() error { return m.client.Disconnect(context.Background()) }

// drainChangeStream reads the stream with the images that the product asks for.
func drainChangeStream(ctx context.Context, d Drain) error {
	var at bson.Timestamp
	if err := json.Unmarshal(d.Mark, &at); err != nil {
		return fmt.Errorf("read the mark: %w", err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(d.Place.DSN))
	if err != nil {
		return errors.New("drain the change stream: the DSN cannot be read")
	}
	defer func() { _ = client.Disconnect(ctx) }() // everything was read
	at.I++                                        // behind what had happened then
	stream, err := client.Database(databaseOfMongo(d.Place.DSN)).Watch(ctx, mongo.Pipeline{}, options.ChangeStream().
		SetStartAtOperationTime(&at).SetFullDocument(options.WhenAvailable).SetFullDocumentBeforeChange(options.WhenAvailable))
	if err != nil {
		return fmt.Errorf("drain the change stream: %w", err)
	}
	defer func() { _ = stream.Close(ctx) }() // everything was read
	for left := d.Changes; left > 0; left-- {
		if !stream.Next(ctx) {
			return fmt.Errorf("drain the change stream: it ended, %d changes early: %w", left, stream.Err())
		}
	}
	return nil
}

// drainCollections finds every document and throws it away.
func drainCollections(ctx context.Context, d Drain) error {
	client, err := mongo.Connect(options.Client().ApplyURI(d.Place.DSN))
	if err != nil {
		return errors.New("drain the collections: the DSN cannot be read")
	}
	defer func() { _ = client.Disconnect(ctx) }() // everything was read
	for t := range d.Place.Spec.Tables {
		cursor, err := client.Database(databaseOfMongo(d.Place.DSN)).Collection(d.Place.Table(t)).Find(ctx, bson.D{})
		if err != nil {
			return fmt.Errorf("drain %s: %w", d.Place.Table(t), err)
		}
		for cursor.Next(ctx) {
		}
		if err := cursor.Err(); err != nil {
			return fmt.Errorf("drain %s: %w", d.Place.Table(t), err)
		}
	}
	return nil
}
