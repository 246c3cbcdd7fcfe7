package bigqueryfake_test

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"cloud.google.com/go/bigquery/storage/managedwriter"

	"millrace/internal/testkit/bigqueryfake"
)

func (b *bench) into(id, text, table string, how bigquery.TableWriteDisposition) error {
	q := b.bq.Query(text)
	q.JobID, q.Dst, q.WriteDisposition = id, b.bq.Dataset("core").Table(table), how
	return b.end(q.Run(b.ctx))
}

func TestDestinations(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.d (day DATE, n INT64) PARTITION BY day",
		"INSERT INTO core.d VALUES (DATE '2024-03-01', 1), (DATE '2024-03-02', 2)")
	if err := b.into("a", "SELECT DATE '2024-03-01' AS day, 10 AS n", "d$20240301", bigquery.WriteTruncate); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT * FROM core.d ORDER BY day", "[2024-03-01 10]", "[2024-03-02 2]")
	if err := b.into("b", "SELECT DATE '2024-03-02' AS day, 10 AS n", "d$20240301", bigquery.WriteTruncate); !is(err, "invalid", "different partitions") {
		t.Errorf("rows of another partition: %v", err)
	}
	if err := b.into("c", "SELECT DATE '2024-03-02' AS day, 10 AS n", "d", bigquery.WriteEmpty); !is(err, "duplicate", "core.d") {
		t.Errorf("a table that is not empty: %v", err)
	}
	if err := b.into("d", "SELECT n, COUNT(*) AS m FROM core.d GROUP BY n", "new", bigquery.WriteTruncate); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT n, m FROM core.new ORDER BY n", "[2 1]", "[10 1]")
}

// A job beside a transaction is not fenced by it: it overwrites what the owner
// of the table holds.
func TestDestinationEscapesTheFence(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.d (n INT64)", "INSERT INTO core.d VALUES (1)", "CREATE TABLE core.head (epoch INT64)", "INSERT INTO core.head VALUES (1)")
	release := make(chan struct{})
	b.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
	owner, err := b.start("owner", "BEGIN TRANSACTION; UPDATE core.head SET epoch = 2 WHERE epoch = 1; INSERT INTO core.d VALUES (2); COMMIT TRANSACTION")
	if err != nil {
		t.Fatal(err)
	}
	for b.fake.Calls()["statement COMMIT"] == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := b.into("zombie", "SELECT 9 AS n", "d", bigquery.WriteTruncate); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := b.end(owner, nil); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT n FROM core.d ORDER BY n", "[2]", "[9]")
}

// avro writes an Avro file of the schema's one block.
func avro(schema string, count int64, records []byte) []byte {
	text := func(out []byte, s string) []byte { return append(binary.AppendVarint(out, int64(len(s))), s...) }
	out := []byte("Obj\x01")
	out = binary.AppendVarint(out, 1)
	out = text(text(out, "avro.schema"), schema)
	out = append(out, 0)
	sync := strings.Repeat("s", 16)
	out = append(out, sync...)
	out = binary.AppendVarint(out, count)
	return append(text(out, string(records)), sync...)
}

func TestLoadJobs(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (id INT64 NOT NULL, v STRING, at TIMESTAMP, price NUMERIC(5, 2))", "INSERT INTO core.t (id) VALUES (9)")
	const schema = `{"type":"record","name":"r","fields":[{"name":"id","type":"long"},{"name":"v","type":["null","string"]},
{"name":"at","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},{"name":"price","type":["null",{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}]}]}`
	records := binary.AppendVarint(nil, 1)
	records = append(records, 2, 4, 'h', 'i', 2)
	records = binary.AppendVarint(records, 1_700_000_000_000_000)
	records = append(records, 2, 2, 0xfb) // -5 hundredths
	records = append(binary.AppendVarint(records, 2), 0, 0, 0)
	load := func(id string, file []byte, how bigquery.TableWriteDisposition) error {
		source := bigquery.NewReaderSource(bytes.NewReader(file))
		source.SourceFormat, source.AvroOptions = bigquery.Avro, &bigquery.AvroOptions{UseAvroLogicalTypes: true}
		l := b.bq.Dataset("core").Table("t").LoaderFrom(source)
		l.JobID, l.WriteDisposition = id, how
		return b.end(l.Run(b.ctx))
	}
	if err := load("one", avro(schema, 2, records), bigquery.WriteTruncate); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT * FROM core.t ORDER BY id", "[1 hi 2023-11-14 22:13:20 +0000 UTC -1/20]", "[2 <nil> <nil> <nil>]")
	if err := load("one", avro(schema, 2, records), bigquery.WriteAppend); !is(err, "duplicate", "Job test-project:US.one") {
		t.Errorf("the id again: %v", err)
	}
	if err := load("two", avro(schema, 3, records), bigquery.WriteAppend); !is(err, "invalid", "ends inside a value") {
		t.Errorf("a file that is cut: %v", err)
	}
	if err := load("three", avro(strings.Replace(schema, `"v"`, `"w"`, 1), 2, records), bigquery.WriteAppend); !is(err, "invalid", "Cannot add fields (field: w)") {
		t.Errorf("a field that the table has not: %v", err)
	}
	b.fake.On("job", 1, bigqueryfake.FailJobLate("internalError", "Lost"))
	if err := load("four", avro(schema, 2, records), bigquery.WriteAppend); !is(err, "internalError", "Lost") {
		t.Errorf("a job that fails late: %v", err)
	}
	b.want("SELECT COUNT(*) FROM core.t", "[4]")
}

func TestVariableWithTheNameOfAColumn(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (n INT64)")
	b.fails("DECLARE n INT64 DEFAULT 1; SELECT n FROM core.t", "notImplemented", "variable n has the name of a column of t")
	b.do("DECLARE n INT64 DEFAULT 1; INSERT INTO core.t (n) VALUES (n)")
	b.want("SELECT n FROM core.t", "[1]")
	b.want("DECLARE n INT64; SET n = (SELECT COUNTIF(TRUE) FROM core.t WHERE FALSE); SELECT n", "[0]")
}

func TestNewTableIsUnknownToTheWritePath(t *testing.T) {
	b := setup(t, bigqueryfake.Options{TableDelay: time.Hour})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (id INT64)")
	d, m := message(t, "id", kindInt)
	open := func() error {
		s, err := b.write.NewManagedStream(b.ctx, managedwriter.WithDestinationTable(parent(b, "t")), managedwriter.WithSchemaDescriptor(d))
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }() // the answer counts
		_, err = b.append(s, rowsOf(t, m, []any{int64(1)}))
		return err
	}
	if err := open(); code(err) != storagepb.StorageError_TABLE_NOT_FOUND {
		t.Errorf("before the delay: %v", err)
	}
	b.fake.Skew(2 * time.Hour)
	if err := open(); err != nil {
		t.Errorf("behind it: %v", err)
	}
}

func TestLimitsOfDefinitionsAndNames(t *testing.T) {
	b := setup(t, bigqueryfake.Options{TableUpdates: 2})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.t (id INT64)", "ALTER TABLE core.t ADD COLUMN a INT64", "ALTER TABLE core.t ADD COLUMN b INT64")
	const third = "ALTER TABLE core.t ADD COLUMN c INT64"
	if err := b.end(b.start("third", third)); !is(err, "rateLimitExceeded", "too many table update operations") {
		t.Errorf("a third change: %v", err)
	}
	b.fake.Skew(11 * time.Second)
	b.do(third)
	if _, err := b.start("no:colons", "SELECT 1"); !is(err, "invalid", "Invalid job ID") {
		t.Errorf("a job's id: %v", err)
	}
	q := b.bq.Query("SELECT 1")
	q.Labels, q.JobID = map[string]string{"table": "core.Orders"}, "labeled"
	if _, err := q.Run(b.ctx); !is(err, "invalid", "Label") {
		t.Errorf("a label: %v", err)
	}
	q = b.bq.Query("SELECT 1")
	q.JobTimeout, q.JobID = time.Millisecond, "slow"
	b.fake.On("job", 1, bigqueryfake.Hang(nil))
	if err := b.end(q.Run(b.ctx)); !is(err, "timeout", "timed out") {
		t.Errorf("a job that takes too long: %v", err)
	}
}

// The clients try again by themselves where a request can be repeated.
func TestRefusalsOfTheService(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{})
	table := b.bq.Dataset("core").Table("t")
	b.fake.On("tables.get", 1, bigqueryfake.Refuse(http.StatusServiceUnavailable, "backendError", "Visibility check was unavailable"))
	if _, err := table.Metadata(b.ctx); err != nil || b.fake.Calls()["tables.get"] != 2 {
		t.Errorf("after 503: %v, calls %v", err, b.fake.Calls())
	}
	for status, reason := range map[int]string{http.StatusUnauthorized: "authError", http.StatusForbidden: "accessDenied"} {
		b.fake.On("tables.get", 1, bigqueryfake.Refuse(status, reason, "no"))
		if _, err := table.Metadata(b.ctx); !is(err, reason, "no") {
			t.Errorf("after %d: %v", status, err)
		}
	}
	other, err := bigquery.NewClient(b.ctx, "other-project", b.fake.ClientOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	if _, err := other.Dataset("core").Metadata(b.ctx); !is(err, "notFound", "Project other-project") {
		t.Errorf("another project: %v", err)
	}
	q := b.bq.Query("SELECT * FROM core.t")
	q.Location, q.JobID = "EU", "elsewhere"
	if err := b.end(q.Run(b.ctx)); !is(err, "notFound", "not found in location EU") {
		t.Errorf("another location: %v", err)
	}
}

func TestDiscardCountsAndKeepsNothing(t *testing.T) {
	b := setupTable(t, bigqueryfake.Options{Discard: true})
	d, m := message(t, "id", kindInt)
	s := b.stream("t", d, managedwriter.CommittedStream)
	for i := range int64(3) {
		if at, err := b.append(s, rowsOf(t, m, []any{i}), managedwriter.WithOffset(i)); err != nil || at != i {
			t.Fatalf("at %d: %d, %v", i, at, err)
		}
	}
	b.want("ASSERT (SELECT COUNT(*) FROM core.t) = 3 AS 'lost'; SELECT COUNT(*) FROM core.t", "[0]")
}

// A table is not replaced by one that is kept otherwise, and those of a dataset
// that says so expire.
func TestKeptAsItWasAndExpired(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA kept OPTIONS (default_table_expiration_days = 1)",
		"CREATE TABLE kept.t (day DATE, id INT64) PARTITION BY day CLUSTER BY id",
		"CREATE OR REPLACE TABLE kept.t (day DATE, id INT64, more INT64) PARTITION BY day CLUSTER BY id AS SELECT day, id, 7 AS more FROM kept.t")
	b.fails("CREATE OR REPLACE TABLE kept.t (day DATE, id INT64) CLUSTER BY id", "invalidQuery", "different partitioning or clustering spec")
	b.fails("CREATE OR REPLACE TABLE kept.t (day DATE, id INT64) PARTITION BY day", "invalidQuery", "different partitioning or clustering spec")
	b.want("SELECT COUNT(more) AS n FROM kept.t", "[0]")
	b.fake.Skew(25 * time.Hour)
	b.fails("SELECT 1 FROM kept.t", "notFound", "kept.t")
}
