package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/internal/page"
)

// Field is a column that a core table has of a field of its documents.
type Field struct {
	Name string
	Path string // of the field, with dots
	Type string // in DuckDB's words
}

// documents is a MongoDB, read with its plain driver.
type documents struct {
	client *mongo.Client
}

func openDocuments(dsn string) (*documents, error) {
	opts := options.Client().ApplyURI(dsn).SetServerSelectionTimeout(10 * time.Second)
	if opts.Validate() != nil {
		return nil, errors.New("open the source: its DSN is not one of MongoDB") // the error would show a password
	}
	client, err := mongo.Connect(opts)
	if err != nil {
		return nil, fmt.Errorf("open the source: %w", err)
	}
	return &documents{client}, nil
}

func (d *documents) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return d.client.Disconnect(ctx)
}

// mark is the cluster time of the last write.
func (d *documents) mark(ctx context.Context) (Mark, error) {
	hello, err := d.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Raw()
	if err != nil {
		return Mark{}, err
	}
	t, i, ok := hello.Lookup("operationTime").TimestampOK()
	if !ok {
		return Mark{}, errors.New("the server tells no cluster time: is it a replica set?")
	}
	return Mark{Major: uint64(t)<<32 | uint64(i)}, nil
}

// copy copies a collection as of one cluster time.
func (d *documents) copy(ctx context.Context, into *Replica, table Table, core string) (Copied, error) {
	low, err := d.mark(ctx)
	if err != nil {
		return Copied{}, err
	}
	session, err := d.client.StartSession(options.Session().SetSnapshot(true))
	if err != nil {
		return Copied{}, err
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	db, name, _ := strings.Cut(table.Name, ".")
	cursor, err := d.client.Database(db).Collection(name).Find(mongo.NewSessionContext(ctx, session), bson.D{})
	if err != nil {
		return Copied{}, err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }() // what was read is read
	columns := []column{{"_id", "VARCHAR"}, {"doc", "JSON"}}
	if len(table.Fields) > 0 || table.Promote {
		columns = append(columns, column{"_conflicts", "JSON"})
	}
	for _, f := range table.Fields {
		columns = append(columns, column{f.Name, f.Type})
	}
	err = into.fill(ctx, core, columns, func() ([]*string, error) {
		if cursor.Next(mongo.NewSessionContext(ctx, session)) {
			return documentRow(cursor.Current, len(columns), table.Fields)
		}
		if err := cursor.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	})
	if err != nil {
		return Copied{}, err
	}
	high, err := d.mark(ctx)
	return Copied{Key: []string{"_id"}, Low: low, High: high}, err
}

// documentRow is the row that a document should be.
func documentRow(doc bson.Raw, columns int, fields []Field) ([]*string, error) {
	row := make([]*string, 0, columns)
	id, err := idText(doc.Lookup("_id"))
	if err != nil {
		return nil, err
	}
	text, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil {
		return nil, err
	}
	whole := string(text)
	row = append(row, &id, &whole)
	if columns == 2 {
		return row, nil
	}
	row = append(row, nil)
	conflicts := bson.D{}
	for _, f := range fields {
		v := valueAt(doc, f.Path)
		text, ok := fieldText(v, f.Type)
		if !ok {
			conflicts = append(conflicts, bson.E{Key: f.Name, Value: v})
			text = nil
		}
		row = append(row, text)
	}
	if len(conflicts) > 0 {
		text, err := bson.MarshalExtJSON(conflicts, false, false)
		if err != nil {
			return nil, err
		}
		all := string(text)
		row[2] = &all
	}
	return row, nil
}

// valueAt is the value at a path; one that is not there is null.
func valueAt(doc bson.Raw, path string) bson.RawValue {
	v, err := doc.LookupErr(strings.Split(path, ".")...)
	if err != nil {
		return bson.RawValue{Type: bson.TypeNull}
	}
	return v
}

// withPromoted are the fields of the table, and those that the platform has made
// columns of by itself.
func withPromoted(ctx context.Context, p On, table Table, core string) (Table, error) {
	if !table.Promote {
		return table, nil
	}
	there, err := p.Query(ctx, "SELECT * FROM "+p.quoted(core)+" WHERE FALSE")
	if err != nil {
		return table, fmt.Errorf("read the columns of %s: %w", core, err)
	}
	known := []string{"_id", "doc", "_conflicts"}
	for _, f := range table.Fields {
		known = append(known, f.Name)
	}
	table.Fields = slices.Clip(table.Fields)
	for i, name := range there.Columns {
		typ := there.Types[i]
		if p.BigQuery {
			typ = promotedTypes[typ]
		}
		if !slices.Contains(known, name) && !strings.Contains(name, "__g") {
			table.Fields = append(table.Fields, Field{Name: name, Path: name, Type: typ})
		}
	}
	return table, nil
}

// promotedTypes are the types of promoted columns, by BigQuery's names.
var promotedTypes = map[string]string{
	"STRING": "VARCHAR", "INT64": "BIGINT", "INTEGER": "BIGINT", "FLOAT64": "DOUBLE", "FLOAT": "DOUBLE",
	"BOOL": "BOOLEAN", "BOOLEAN": "BOOLEAN", "BYTES": blob, "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}

// spelledAlike gives the JSON of both tables one spelling: a double is written
// in more than one way.
func spelledAlike(t *page.Table) *page.Table {
	out := &page.Table{Columns: t.Columns, Types: t.Types, Rows: make([][]*string, len(t.Rows))}
	for i, row := range t.Rows {
		out.Rows[i] = slices.Clone(row)
		for j, typ := range t.Types {
			if typ != "JSON" || row[j] == nil {
				continue
			}
			if text, ok := oneJSON(*row[j]); ok {
				out.Rows[i][j] = &text
			}
		}
	}
	return out
}
