package bigqueryfake_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"
	"cloud.google.com/go/bigquery/storage/managedwriter/adapt"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"millrace/internal/testkit/bigqueryfake"
)

// bench is a fake with both clients.
type bench struct {
	*testing.T
	ctx   context.Context
	fake  *bigqueryfake.Fake
	bq    *bigquery.Client
	write *managedwriter.Client
}

func setup(t *testing.T, opts bigqueryfake.Options) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	fake, err := bigqueryfake.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := bigquery.NewClient(ctx, fake.Project(), fake.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	write, err := managedwriter.NewClient(ctx, fake.Project(), fake.WriteOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = write.Close() })
	return &bench{T: t, ctx: ctx, fake: fake, bq: client, write: write}
}

// try runs a query, and returns its rows.
func (b *bench) try(text string, params ...bigquery.QueryParameter) (rows [][]bigquery.Value, err error) {
	q := b.bq.Query(text)
	q.Parameters = params
	it, err := q.Read(b.ctx)
	if err != nil {
		return nil, err
	}
	for {
		var row []bigquery.Value
		switch err := it.Next(&row); {
		case errors.Is(err, iterator.Done):
			return rows, nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, row)
	}
}

// do runs statements that must work.
func (b *bench) do(texts ...string) {
	b.Helper()
	for _, text := range texts {
		if _, err := b.try(text); err != nil {
			b.Fatalf("%s\n%v", text, err)
		}
	}
}

// want runs a query and compares its rows as text.
func (b *bench) want(text string, want ...string) {
	b.Helper()
	rows, err := b.try(text)
	if err != nil {
		b.Fatalf("%s\n%v", text, err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, fmt.Sprint(row))
	}
	if !reflect.DeepEqual(got, want) {
		b.Errorf("%s\ngot  %q\nwant %q", text, got, want)
	}
}

// fails runs a query that must fail with the reason and the words.
func (b *bench) fails(text, reason, words string) {
	b.Helper()
	_, err := b.try(text)
	if !is(err, reason, words) {
		b.Errorf("%s\ngot %v\nwant %s: %s", text, err, reason, words)
	}
}

func is(err error, reason, words string) bool {
	if err == nil || !strings.Contains(err.Error(), words) {
		return false
	}
	var api *googleapi.Error
	if errors.As(err, &api) {
		return len(api.Errors) > 0 && api.Errors[0].Reason == reason
	}
	var job *bigquery.Error
	return errors.As(err, &job) && job.Reason == reason
}

// message builds a message's descriptor from names and kinds.
func message(t testing.TB, fields ...any) (*descriptorpb.DescriptorProto, protoreflect.MessageDescriptor) {
	t.Helper()
	m := &descriptorpb.DescriptorProto{Name: proto.String("Row")}
	for i := 0; i < len(fields); i += 2 {
		kind := fields[i+1].(descriptorpb.FieldDescriptorProto_Type)
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(fields[i].(string)), Number: proto.Int32(int32(i/2 + 1)), Type: &kind,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("row.proto"), Syntax: proto.String("proto2"), MessageType: []*descriptorpb.DescriptorProto{m},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := file.Messages().Get(0)
	normal, err := adapt.NormalizeDescriptor(d)
	if err != nil {
		t.Fatal(err)
	}
	return normal, d
}

// rowsOf serializes rows; nil leaves a field out.
func rowsOf(t testing.TB, d protoreflect.MessageDescriptor, rows ...[]any) [][]byte {
	t.Helper()
	var out [][]byte
	for _, row := range rows {
		m := dynamicpb.NewMessage(d)
		for i, v := range row {
			if v != nil {
				m.Set(d.Fields().Get(i), protoreflect.ValueOf(v))
			}
		}
		text, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

const (
	kindInt    = descriptorpb.FieldDescriptorProto_TYPE_INT64
	kindInt32  = descriptorpb.FieldDescriptorProto_TYPE_INT32
	kindText   = descriptorpb.FieldDescriptorProto_TYPE_STRING
	kindBytes  = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	kindBool   = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	kindDouble = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
)

func parent(b *bench, table string) string {
	return managedwriter.TableParentFromParts(b.fake.Project(), "core", table)
}

// stream opens a stream of the kind; a default one if there is none.
func (b *bench) stream(table string, d *descriptorpb.DescriptorProto, kind managedwriter.StreamType) *managedwriter.ManagedStream {
	b.Helper()
	s, err := b.write.NewManagedStream(b.ctx, managedwriter.WithDestinationTable(parent(b, table)),
		managedwriter.WithType(kind), managedwriter.WithSchemaDescriptor(d))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *bench) append(s *managedwriter.ManagedStream, rows [][]byte, opts ...managedwriter.AppendOption) (int64, error) {
	done, err := s.AppendRows(b.ctx, rows, opts...)
	if err != nil {
		return 0, err
	}
	return done.GetResult(b.ctx)
}

func code(err error) storagepb.StorageError_StorageErrorCode {
	var e *storageDetail
	if errors.As(detail(err), &e) {
		return e.GetCode()
	}
	return storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED
}

func TestDatasetsTablesQueriesAndRows(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.want("SELECT 1", "[1]")
	core := b.bq.Dataset("core")
	if err := core.Create(b.ctx, &bigquery.DatasetMetadata{Location: "US", Labels: map[string]string{"millrace": "core"}}); err != nil {
		t.Fatal(err)
	}
	if err := core.Create(b.ctx, nil); !is(err, "duplicate", "Already Exists: Dataset test-project:core") {
		t.Errorf("a second time: %v", err)
	}
	orders := core.Table("orders")
	meta := &bigquery.TableMetadata{
		Schema: bigquery.Schema{
			{Name: "id", Type: bigquery.IntegerFieldType, Required: true},
			{Name: "note", Type: bigquery.StringFieldType, Description: "free text"},
			{Name: "at", Type: bigquery.TimestampFieldType},
			{Name: "price", Type: bigquery.NumericFieldType, Precision: 10, Scale: 2},
		},
		TimePartitioning: &bigquery.TimePartitioning{Field: "at", Type: bigquery.DayPartitioningType},
		Clustering:       &bigquery.Clustering{Fields: []string{"id"}},
		Description:      "orders",
	}
	if err := orders.Create(b.ctx, meta); err != nil {
		t.Fatal(err)
	}
	d, rows := message(t, "id", kindInt, "note", kindText, "at", kindInt, "price", kindText)
	s := b.stream("orders", d, managedwriter.DefaultStream)
	if _, err := b.append(s, rowsOf(t, rows, []any{int64(1), "", int64(1_700_000_000_000_000), "12.50"}, []any{int64(2), "it's", nil, nil})); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT * FROM `core`.`orders` ORDER BY id", "[1  2023-11-14 22:13:20 +0000 UTC 25/2]", "[2 it's <nil> <nil>]")
	got, err := orders.Metadata(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got.NumRows != 2 || got.Schema[1].Description != "free text" || !got.Schema[0].Required || got.Schema[3].Scale != 2 || got.TimePartitioning.Field != "at" || got.Clustering.Fields[0] != "id" {
		t.Errorf("the table is %+v", got)
	}
	if _, err := core.Table("none").Metadata(b.ctx); !is(err, "notFound", "core.none was not found in location US") {
		t.Errorf("a table that is not there: %v", err)
	}
	if _, err := orders.Update(b.ctx, bigquery.TableMetadataToUpdate{Description: "x"}, `"v77"`); !is(err, "conditionNotMet", "") {
		t.Errorf("an etag that is not the table's: %v", err)
	}
}

func TestEveryTypeIsReadBack(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.every (a BOOL, b INT64, c FLOAT64, d STRING, e BYTES, f DATE, g TIME, h TIMESTAMP, i DATETIME, j JSON, k NUMERIC(38, 9), l BIGNUMERIC(76, 38))")
	d, rows := message(t, "a", kindBool, "b", kindInt, "c", kindDouble, "d", kindText, "e", kindBytes, "f", kindInt32, "g", kindText,
		"h", kindInt, "i", kindText, "j", kindText, "k", kindText, "l", kindText)
	s := b.stream("every", d, managedwriter.DefaultStream)
	_, err := b.append(s, rowsOf(t, rows,
		[]any{
			true, int64(-1 << 63), 1.5, "é\n'",
			[]byte{0, 255},
			int32(-719162), "23:59:59.999999", int64(-62135596800000000), "9999-12-31 23:59:59.999999",
			`{"b": [1, 2.50], "a": "<&>"}`, "-12345678901234567890123456789.123456789", "0.00000000000000000000000000000000000001",
		},
		make([]any, 12)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.try("SELECT * FROM core.every ORDER BY b DESC")
	if err != nil {
		t.Fatal(err)
	}
	want := `[true -9223372036854775808 1.5 é
' [0 255] 0001-01-01 23:59:59.999999000 0001-01-01 00:00:00 +0000 UTC 9999-12-31T23:59:59.999999000 {"a":"<&>","b":[1,2.50]} -12345678901234567890123456789123456789/1000000000 1/100000000000000000000000000000000000000]`
	if len(got) != 2 || fmt.Sprint(got[0]) != want || got[1][0] != nil || got[1][11] != nil {
		t.Errorf("got %v\nwant %s and nulls", got, want)
	}
	for field, text := range map[string]string{"j": "{", "g": "25:00:00", "i": "2024-02-30 00:00:00", "k": "1.0000000001"} {
		d, rows := message(t, field, kindText)
		if _, err := b.append(b.stream("every", d, managedwriter.DefaultStream), rowsOf(t, rows, []any{text})); err == nil {
			t.Errorf("%s took %q", field, text)
		}
	}
}

func TestParameters(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	day := bigquery.QueryParameter{Name: "day", Value: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)}
	rows, err := b.try("SELECT CAST(@day AS DATE), @n + 1, @s IN UNNEST(@list)", day, bigquery.QueryParameter{Name: "n", Value: 41},
		bigquery.QueryParameter{Name: "s", Value: "it's"}, bigquery.QueryParameter{Name: "list", Value: []string{"a", "it's"}})
	if err != nil || fmt.Sprint(rows) != "[[2024-03-01 42 true]]" {
		t.Errorf("got %v, %v", rows, err)
	}
	b.fails("SELECT @none", "invalidQuery", "Query parameter 'none' not found")
}

func TestPortableQueries(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (k INT64, v STRING, d DATE, `at` TIMESTAMP)",
		"INSERT INTO core.t (k, v, d, `at`) VALUES (1, 'a', DATE '2024-03-01', TIMESTAMP '2024-03-01 23:30:00+00'), (2, NULL, DATE '2024-03-02', NULL), (2, 'b', NULL, TIMESTAMP '1969-12-31 23:59:59+00')")
	for query, want := range map[string][]string{
		"WITH x AS (SELECT k, COUNT(*) AS n FROM core.t GROUP BY k) SELECT x.k, n FROM x ORDER BY k":           {"[1 1]", "[2 2]"},
		"SELECT GREATEST(1, NULL), CONCAT('a', NULL), IFNULL(v, 'none') FROM core.t WHERE k = 2 AND v IS NULL": {"[<nil> <nil> none]"},
		"SELECT t.v FROM core.t ORDER BY v":                                                                           {"[<nil>]", "[a]", "[b]"},
		"SELECT COUNTIF(v IS NOT NULL), COUNT(DISTINCT k), SUM(k) FROM core.t":                                        {"[2 2 5]"},
		"SELECT UNIX_DATE(d), UNIX_MICROS(`at`) FROM core.t WHERE k = 1":                                              {"[19783 1709335800000000]"},
		"SELECT TIMESTAMP_TRUNC(`at`, DAY), DATE_ADD(d, INTERVAL 1 DAY) FROM core.t WHERE k = 1":                      {"[2024-03-01 00:00:00 +0000 UTC 2024-03-02]"},
		"SELECT DIV(-7, 2), MOD(-7, 2), SAFE_DIVIDE(1, 0), 7 / 2":                                                     {"[-3 -1 <nil> 3.5]"},
		"SELECT * EXCEPT (d, `at`) FROM core.t WHERE v = \"a\"":                                                       {"[1 a]"},
		"SELECT 'a' UNION DISTINCT SELECT 'a'":                                                                        {"[a]"},
		"SELECT k, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) AS r FROM core.t QUALIFY r = 2":                      {"[2 2]"},
		"SELECT STRING_AGG(v ORDER BY v DESC) FROM core.t":                                                            {"[b,a]"},
		"SELECT TO_JSON_STRING(PARSE_JSON('{\"b\":1, \"a\":[null]}')), TO_JSON_STRING(CAST(NULL AS STRING))":          {`[{"a":[null],"b":1} null]`},
		"SELECT EXTRACT(DAYOFWEEK FROM d), EXTRACT(YEAR FROM d) FROM core.t WHERE k = 1":                              {"[6 2024]"},
		"SELECT n FROM UNNEST([3, 1, 2]) AS n ORDER BY n DESC":                                                        {"[3]", "[2]", "[1]"},
		"SELECT CASE WHEN v IS NOT DISTINCT FROM NULL THEN 'null' ELSE v END FROM core.t WHERE d = DATE '2024-03-02'": {"[null]"},
	} {
		b.want(query, want...)
	}
}

func TestVariablesAreBounded(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	for _, set := range []string{
		"DECLARE a STRING; SET a = (%s); SELECT LENGTH(a)",
		"DECLARE a STRING DEFAULT (%s); SELECT LENGTH(a)",
		"DECLARE a, b STRING; SET (a, b) = (SELECT AS STRUCT (%s), 'b'); SELECT LENGTH(a)",
	} {
		numbers := func(n int) string {
			return fmt.Sprintf(set, fmt.Sprintf("SELECT STRING_AGG(CAST(n AS STRING)) FROM UNNEST(GENERATE_ARRAY(1000001, %d)) AS n", 1_000_000+n))
		}
		b.want(numbers(1<<17), "[1048575]")
		b.fails(numbers(1<<17+1), "invalidQuery", "The value of a variable has 1048583 bytes")
	}
}

// What another language would take, or this one would not, is refused.
func TestRefused(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (k INT64)")
	for _, c := range []struct{ text, reason, words string }{
		{"SELECT 1::STRING", "notImplemented", "is not in its set"},
		{"SELECT regexp_matches('a', 'b')", "notImplemented", "function regexp_matches"},
		{"SELECT * EXCLUDE (k) FROM core.t", "notImplemented", "EXCLUDE"},
		{"SELECT k FROM core.t UNION SELECT 1", "invalidQuery", "Expected keyword ALL or keyword DISTINCT"},
		{"SELECT k FROM t", "invalidQuery", "must be qualified with a dataset"},
		{"SELECT k FROM core.none", "notFound", "core.none"},
		{"SELECT k FROM other.core.t", "accessDenied", "Access Denied"},
		{"UPDATE core.t SET k = 1", "invalidQuery", "UPDATE must have a WHERE clause"},
		{"DELETE FROM core.t", "invalidQuery", "DELETE must have a WHERE clause"},
		{"CREATE TABLE core.t (k INT64)", "duplicate", "core.t"},
		{"CREATE TABLE core.`a\"b` (k INT64)", "invalid", "Invalid table ID"},
		{"CREATE TABLE core.u (`a,b` INT64)", "invalid", "Invalid field name"},
		{"CREATE TABLE core.u (k NUMERIC(40, 2))", "invalidQuery", "P must be between"},
		{"CREATE TABLE core.u (k INT64, K INT64)", "invalid", "Duplicate column name"},
		{"ALTER TABLE core.t ALTER COLUMN k SET DATA TYPE STRING", "invalidQuery", "is assignable to the new type"},
		{"ALTER TABLE core.t ADD COLUMN k INT64", "duplicate", "k"},
		{"CALL x.y()", "notImplemented", "CALL"},
		{"SELECT 'a", "invalidQuery", "unclosed string literal at [1:8]"},
		{"SELECT " + strings.Repeat(" ", 1<<20), "invalid", "The query is too large"},
	} {
		b.fails(c.text, c.reason, c.words)
	}
	b.do("ALTER TABLE core.t ALTER COLUMN k SET DATA TYPE NUMERIC", "ALTER TABLE core.t ADD COLUMN IF NOT EXISTS k INT64")
}
