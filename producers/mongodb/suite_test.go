package mongodb

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/testkit"
	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/producers/sourcetest"
	"millrace/schemas"
)

const columnsOfDocuments = "a document has no columns of its own: what is declared or promoted is tested beside"

// long is of a test that mostly waits.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes longer than a short run has time for")
	}
	t.Parallel()
}

// lacks says why a document database cannot have a case.
func lacks() map[string]string {
	return map[string]string{
		"KeyChangeIsDeleteAndCreate": "an _id never changes",
		"CompositeKey":               "the key of a document is its _id alone",
		"SnapshotAndStreamAgree":     "its columns are of SQL types; TestTypes has those of BSON",
		"AddNullableColumn":          columnsOfDocuments,
		"AddColumnWithDefault":       columnsOfDocuments,
		"RenameColumn":               columnsOfDocuments,
		"DDLWhileDown":               columnsOfDocuments,
		"Unset":                      "updates without images are tested beside, with what their delta names",
	}
}

// TestSource runs the suite on the stand-in, with post-images and without.
func TestSource(t *testing.T) {
	long(t)
	for _, images := range []bool{true, false} {
		t.Run("images="+strconv.FormatBool(images), func(t *testing.T) {
			t.Parallel()
			sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
				f := startFake(t, mongofake.Options{})
				h := newDB(t, f.URI(), images).harness(lacks())
				h.Kill = func(t testing.TB) { f.restart(t) }
				return h
			})
		})
	}
}

// TestSourceOnServer runs it on a real deployment, if one is given.
func TestSourceOnServer(t *testing.T) {
	uri := os.Getenv("MONGODB_URI")
	if uri == "" {
		t.Skip("MONGODB_URI names no replica set")
	}
	for _, images := range []bool{true, false} {
		t.Run("images="+strconv.FormatBool(images), func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
				return newDB(t, uri, images).harness(lacks())
			})
		})
	}
}

// TestSourceOnSecantus is a second opinion on streams and resuming. It has no
// snapshots at a cluster time, and its images are not those of the change.
func TestSourceOnSecantus(t *testing.T) {
	long(t)
	uri := testkit.Secantus(t)
	reasons := lacks()
	for _, name := range []string{"SnapshotsStartSurvivesACrash", "ChunksCoverTheTable", "ChunksEndWhenEmitHasEnough", "ChunksBesideWritesConverge", "ReadKeys", "IdleProgress"} {
		reasons[name] = "it reads the latest, not a snapshot at a cluster time"
	}
	reasons["KilledServer"] = "a kill loses what it acknowledged"
	sourcetest.Run(t, func(t *testing.T) *sourcetest.Harness {
		return newDB(t, uri, false).harness(reasons)
	})
}

// fake is a stand-in that can be killed.
type fake struct {
	*mongofake.Fake
	opts mongofake.Options
}

func startFake(t testing.TB, opts mongofake.Options) *fake {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.Noop == 0 { // a source that has read all says so only once that has gone on
		opts.Noop = tick
	}
	f := &fake{opts: opts}
	f.start(t)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func (f *fake) start(t testing.TB) {
	t.Helper()
	var err error
	for range 50 { // the port may be held a little longer
		if f.Fake, err = mongofake.Start(context.Background(), f.opts); err == nil {
			f.opts.Port = f.Port()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(err)
}

// restart ends the stand-in as a kill does, and starts it on the same folder.
func (f *fake) restart(t testing.TB) {
	t.Helper()
	_ = f.Close()
	f.start(t)
}

// database is one of a test's own.
type database struct {
	uri    string
	name   string
	images bool
	client *mongo.Client
	*mongo.Database
	session *mongo.Session // of the open transaction
}

var databases atomic.Int64

func newDB(t testing.TB, uri string, images bool) *database {
	t.Helper()
	d := &database{uri: uri, name: fmt.Sprintf("st%d_%d", os.Getpid(), databases.Add(1)), images: images}
	d.connect(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if os.Getenv("MONGODB_URI") != "" {
			_ = d.Drop(ctx)
		}
		_ = d.client.Disconnect(ctx)
	})
	return d
}

// connect forgets every connection to a server that was started again.
func (d *database) connect(t testing.TB) {
	t.Helper()
	if d.client != nil {
		_ = d.client.Disconnect(context.Background())
	}
	client, err := mongo.Connect(options.Client().ApplyURI(d.uri).SetServerSelectionTimeout(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	d.client, d.Database = client, client.Database(d.name)
}

func (d *database) harness(lacks map[string]string) *sourcetest.Harness {
	return &sourcetest.Harness{
		Write: func(t testing.TB, stmts ...sourcetest.Statement) {
			t.Helper()
			for _, s := range stmts {
				if err := d.do(context.Background(), s); err != nil {
					t.Fatalf("%s: %v", s.SQL(), err)
				}
			}
		},
		Writer: func(testing.TB) func(sourcetest.Statement) error {
			other := &database{name: d.name, client: d.client, Database: d.Database, images: d.images}
			return func(s sourcetest.Statement) error { return other.do(context.Background(), s) }
		},
		Rows: func(t testing.TB, table string, columns ...string) []string { return d.rows(t, table, columns) },
		ID:   func(table string) string { return d.name + "." + table },
		Config: func(tables ...string) producers.Config {
			cfg := &Config{DSN: d.uri, tick: tick}
			for _, name := range tables {
				cfg.Tables = append(cfg.Tables, Table{Name: d.name + "." + name, Columns: declared(name)})
			}
			return cfg
		},
		Lacks: lacks, Savepoints: "a transaction has none",
		Partial: !d.images,
		Hidden:  []string{docColumn, conflictColumn},
		Key:     func(n int64) schemas.Cell { return schemas.BytesCell(strconv.AppendInt(nil, n, 10)) },
	}
}

func declared(table string) []Column {
	name := Column{Name: "name", Type: schemas.Type{Kind: schemas.String}}
	switch table {
	case "items":
		return []Column{name, {Name: "amount", Path: "total.amount", Type: schemas.Type{Kind: schemas.Decimal, Precision: 12, Scale: 2}}}
	case "other", "wide":
		return []Column{name}
	case "fence":
		return []Column{{Name: "v", Type: schemas.Type{Kind: schemas.Int}}}
	}
	return nil
}

// fieldOf is where the suite's column stands in a document.
func fieldOf(column string) string {
	switch column {
	case "id":
		return "_id"
	case "amount":
		return "total.amount"
	}
	return column
}

func valueFor(column string, v any) any {
	if column == "amount" && v != nil {
		d, _ := bson.ParseDecimal128(fmt.Sprint(v))
		return d
	}
	return v
}

func (d *database) do(ctx context.Context, s sourcetest.Statement) error {
	if d.session != nil {
		ctx = mongo.NewSessionContext(ctx, d.session)
	}
	c := d.Collection(s.Table.Name)
	switch s.Verb {
	case sourcetest.Create:
		opts := options.CreateCollection()
		if d.images {
			opts.SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
		}
		return d.CreateCollection(ctx, s.Table.Name, opts)
	case sourcetest.Insert:
		var docs []any
		for _, row := range s.Rows {
			doc := bson.D{}
			for i, v := range row {
				switch name := s.Table.Names[i]; name {
				case "amount":
					doc = append(doc, bson.E{Key: "total", Value: bson.D{{Key: "amount", Value: valueFor(name, v)}, {Key: "of", Value: "x"}}})
				default:
					doc = append(doc, bson.E{Key: fieldOf(name), Value: v})
				}
			}
			docs = append(docs, doc)
		}
		_, err := c.InsertMany(ctx, docs)
		return err
	case sourcetest.Update:
		set := bson.D{}
		for _, f := range s.Set {
			if f.Name == "amount" { // whole, so that a delta names it
				set = append(set, bson.E{Key: "total", Value: bson.D{{Key: "amount", Value: valueFor(f.Name, f.Value)}, {Key: "of", Value: "x"}}})
				continue
			}
			set = append(set, bson.E{Key: fieldOf(f.Name), Value: valueFor(f.Name, f.Value)})
		}
		_, err := c.UpdateOne(ctx, bson.D{{Key: "_id", Value: s.ID}}, bson.D{{Key: "$set", Value: set}})
		return err
	case sourcetest.Delete:
		_, err := c.DeleteOne(ctx, bson.D{{Key: "_id", Value: s.ID}})
		return err
	case sourcetest.Truncate:
		return c.Drop(ctx)
	case sourcetest.Begin:
		session, err := d.client.StartSession()
		if err != nil {
			return err
		}
		d.session = session
		return session.StartTransaction()
	}
	session := d.session
	d.session = nil
	defer session.EndSession(ctx)
	if s.Verb == sourcetest.Rollback {
		return session.AbortTransaction(ctx)
	}
	return session.CommitTransaction(ctx)
}

// rows reads a collection with the driver, and spells its values by the driver.
func (d *database) rows(t testing.TB, table string, columns []string) []string {
	t.Helper()
	cursor, err := d.Collection(table).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	var docs []bson.Raw
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, doc := range docs {
		var row []string
		for _, column := range columns {
			row = append(row, spell(doc.Lookup(strings.Split(fieldOf(column), ".")...)))
		}
		out = append(out, strings.Join(row, "|"))
	}
	return out
}

func spell(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeString:
		return v.StringValue()
	case bson.TypeInt32:
		return strconv.Itoa(int(v.Int32()))
	case bson.TypeInt64:
		return strconv.FormatInt(v.Int64(), 10)
	case bson.TypeDecimal128:
		text := v.Decimal128().String()
		whole, frac, _ := strings.Cut(text, ".")
		return whole + "." + (frac + "00")[:2]
	}
	return "NULL"
}
