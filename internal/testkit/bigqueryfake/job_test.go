package bigqueryfake_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"
	"cloud.google.com/go/bigquery/storage/managedwriter"

	"millrace/internal/testkit/bigqueryfake"
)

func requiredTable() *bigquery.TableMetadata {
	return &bigquery.TableMetadata{Schema: bigquery.Schema{
		{Name: "id", Type: bigquery.IntegerFieldType, Required: true}, {Name: "v", Type: bigquery.StringFieldType},
	}}
}

func (b *bench) start(id, text string) (*bigquery.Job, error) {
	q := b.bq.Query(text)
	q.JobID = id
	return q.Run(b.ctx)
}

func (b *bench) end(j *bigquery.Job, err error) error {
	if err != nil {
		return err
	}
	// Wait would ask again, for ever, where the job's error is one that passes.
	for {
		s, err := j.Status(b.ctx)
		if err != nil || s.Done() {
			return errors.Join(err, s.Err())
		}
		time.Sleep(time.Millisecond)
	}
}

// load is a load in the shape of package sqlgen's script.
func load(n int) string {
	return strings.ReplaceAll(`DECLARE written, inserted INT64 DEFAULT 0;
DECLARE event STRING;
CREATE OR REPLACE TEMP TABLE effect (was BOOL, op STRING);
CREATE TEMP TABLE stage AS
SELECT v0, v1, op, pos FROM core.stage WHERE _batch = 'b';
ASSERT (SELECT COUNT(*) FROM stage) > 0 AS 'lost';
ASSERT NOT EXISTS (SELECT max(pos) FROM stage GROUP BY v0 HAVING count(*) > 1 LIMIT 1) AS 'two rows have one key';
BEGIN TRANSACTION;
UPDATE core.head SET load = load + 1, offsets = PARSE_JSON('{"0":{n}}') WHERE epoch = 2 AND load = {n} - 1;
ASSERT @@row_count = 1 AS 'not this writer\'s';
INSERT INTO effect SELECT t._pos IS NOT NULL, s.op FROM stage AS s LEFT JOIN core.base AS t ON t.id = s.v0 WHERE t._pos IS NULL OR s.pos > t._pos;
SET (written, inserted) = (
SELECT AS STRUCT COUNT(*), COUNTIF(NOT was) FROM effect
);
MERGE INTO core.base AS t USING stage AS s
ON t.id = s.v0
WHEN MATCHED AND s.pos > t._pos THEN UPDATE SET
  v = CASE WHEN s.op = 'd' THEN NULL ELSE s.v1 END,
  _pos = GREATEST(t._pos, s.pos)
WHEN NOT MATCHED AND s.pos >= '' THEN INSERT (id, v, _pos)
VALUES (s.v0, s.v1, s.pos);
ASSERT @@row_count = written AS 'another number';
IF written > 1 THEN
UPDATE core.head SET running = TRUE WHERE TRUE;
END IF;
SET event = CONCAT('{"written":', CAST(written AS STRING), ',"inserted":', CAST(inserted AS STRING), '}');
INSERT INTO core.loads (load, event) VALUES ({n}, PARSE_JSON(event));
COMMIT TRANSACTION;
SELECT event;
`, "{n}", strconv.Itoa(n))
}

func setupLoad(t *testing.T) *bench {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core",
		"CREATE TABLE core.stage (v0 INT64, v1 STRING, op STRING, pos STRING, _batch STRING, _staged_at TIMESTAMP)\nPARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)\nCLUSTER BY _batch\nOPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1)",
		"CREATE TABLE IF NOT EXISTS core.head (epoch INT64, load INT64, offsets JSON, running BOOL)\nAS SELECT 2 AS epoch, 0 AS load, PARSE_JSON('{}') AS offsets, FALSE AS running",
		"CREATE TABLE core.base (id INT64, v STRING, _pos STRING)", "CREATE TABLE core.loads (load INT64, event JSON)",
		"CREATE OR REPLACE VIEW core.read AS SELECT id, v FROM core.base WHERE v IS NOT NULL")
	return b
}

func (b *bench) stage(rows ...[]any) {
	b.Helper()
	d, m := message(b.T, "v0", kindInt, "v1", kindText, "op", kindText, "pos", kindText, "_batch", kindText, "_staged_at", kindInt)
	now := b.fake.Now().UnixMicro()
	for i := range rows {
		rows[i] = append(rows[i], "b", now)
	}
	if _, err := b.append(b.stream("stage", d, managedwriter.DefaultStream), rowsOf(b.T, m, rows...)); err != nil {
		b.Fatal(err)
	}
}

func TestLoadScript(t *testing.T) {
	b := setupLoad(t)
	b.do("INSERT INTO core.base VALUES (1, 'old', '01')")
	b.stage([]any{int64(1), "new", "u", "02"}, []any{int64(2), "two", "c", "01"})
	rows, err := b.try(load(1))
	if err != nil || len(rows) != 1 || rows[0][0] != `{"written":2,"inserted":1}` {
		t.Fatalf("got %v, %v", rows, err)
	}
	b.want("SELECT id, v FROM core.read ORDER BY id", "[1 new]", "[2 two]")
	b.want("SELECT load, running, TO_JSON_STRING(offsets) FROM core.head", `[1 true {"0":1}]`)
	b.want("SELECT load, TO_JSON_STRING(event) FROM core.loads", `[1 {"inserted":1,"written":2}]`)
	// A writer that is not the owner writes nothing.
	b.fails(load(1), "invalidQuery", "Assertion failed: not this writer's")
	b.want("SELECT COUNT(*) FROM core.loads", "[1]")
	b.stage([]any{int64(2), "again", "u", "03"})
	b.fails(load(2), "invalidQuery", "two rows have one key")
	b.want("SELECT load FROM core.head", "[1]")
}

func TestMergeRefusesTwoSourceRows(t *testing.T) {
	b := setupLoad(t)
	b.do("INSERT INTO core.base VALUES (1, 'old', '01')")
	merge := "MERGE INTO core.base AS t USING (SELECT 1 AS id, 'a' AS v UNION ALL SELECT 1, 'b') AS s ON t.id = s.id WHEN MATCHED AND %s THEN UPDATE SET v = s.v"
	b.fails(strings.Replace(merge, "%s", "TRUE", 1), "invalidQuery", "must match at most one source row")
	b.do(strings.Replace(merge, "%s", "s.v = 'b'", 1)) // one of them alone changes the row
	b.want("SELECT v FROM core.base", "[b]")
}

func TestUpdateFrom(t *testing.T) {
	b := setupLoad(t)
	b.do("INSERT INTO core.base VALUES (1, 'old', '01'), (2, 'two', '01')",
		"UPDATE core.base AS t SET v = s.v, _pos = '02' FROM (SELECT 1 AS id, 'new' AS v) AS s WHERE t.id = s.id")
	b.want("SELECT id, v, _pos FROM core.base ORDER BY id", "[1 new 02]", "[2 two 01]")
	b.fails("UPDATE core.base AS t SET v = s.v FROM (SELECT 1 AS id, 'a' AS v UNION ALL SELECT 1, 'b') AS s WHERE t.id = s.id",
		"invalidQuery", "must match at most one source row")
}

func TestFaultsThatCannotHappen(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	for name, fault := range map[string]bigqueryfake.Fault{
		"job": bigqueryfake.Cut(), "statement MERGE": bigqueryfake.LoseReply(), "jobs.insert": bigqueryfake.StreamGone(), "AppendRows": bigqueryfake.FailJob("", ""),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes it", name)
				}
			}()
			b.fake.On(name, 1, fault)
		}()
	}
}

func TestJobIDs(t *testing.T) {
	b := setupLoad(t)
	b.stage([]any{int64(1), "one", "c", "01"})
	b.fake.On("jobs.insert", 1, bigqueryfake.Cut())
	if _, err := b.start("load-1", load(1)); err == nil {
		t.Error("the connection was cut, and it worked")
	}
	if _, err := b.bq.JobFromID(b.ctx, "load-1"); !is(err, "notFound", "load-1") {
		t.Errorf("the request had an effect: %v", err)
	}
	b.fake.On("jobs.insert", 1, bigqueryfake.LoseReply())
	if _, err := b.start("load-1", load(1)); err == nil {
		t.Error("the reply was lost, and it came")
	}
	if err := b.end(b.bq.JobFromID(b.ctx, "load-1")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.start("load-1", load(1)); !is(err, "duplicate", "Already Exists: Job test-project:US.load-1") {
		t.Errorf("the id again: %v", err)
	}
	b.want("SELECT load FROM core.head", "[1]")
	if _, err := b.bq.JobFromID(b.ctx, "none"); !is(err, "notFound", "Job test-project:none") {
		t.Errorf("a job that is not there: %v", err)
	}
	if _, err := b.bq.JobFromIDLocation(b.ctx, "load-1", "EU"); !is(err, "notFound", "load-1") {
		t.Errorf("a job elsewhere: %v", err)
	}
}

func TestJobFaults(t *testing.T) {
	b := setupLoad(t)
	b.fake.On("job", 1, bigqueryfake.FailJob("backendError", "Try again"))
	if err := b.end(b.start("a", "INSERT INTO core.loads (load) VALUES (1)")); !is(err, "backendError", "Try again") {
		t.Errorf("a job that fails: %v", err)
	}
	b.want("SELECT COUNT(*) FROM core.loads", "[0]")
	b.fake.On("job", 1, bigqueryfake.FailJobLate("internalError", "Lost"))
	if err := b.end(b.start("b", "INSERT INTO core.loads (load) VALUES (1)")); !is(err, "internalError", "Lost") {
		t.Errorf("a job that fails late: %v", err)
	}
	b.want("SELECT COUNT(*) FROM core.loads", "[1]")

	// A job that never ends runs until it is canceled, and has done nothing then.
	b.fake.On("statement COMMIT", 1, bigqueryfake.Hang(nil))
	j, err := b.start("c", "BEGIN TRANSACTION; INSERT INTO core.loads (load) VALUES (2); COMMIT TRANSACTION;")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := j.Status(b.ctx); err != nil || s.Done() {
		t.Fatalf("it has ended: %v, %v", s, err)
	}
	if err := j.Cancel(b.ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.end(j, nil); !is(err, "stopped", "cancelled") {
		t.Errorf("canceled: %v", err)
	}
	b.want("SELECT COUNT(*) FROM core.loads", "[1]")

	b.fake.On("jobs.insert", 1, bigqueryfake.Quota("Quota exceeded: Your project exceeded quota for concurrent queries."))
	if _, err := b.start("d", "SELECT 1"); !is(err, "quotaExceeded", "Quota exceeded") {
		t.Errorf("the quota is spent: %v", err)
	}
	b.fake.On("statement MERGE", 1, bigqueryfake.Refuse(400, "resourcesExceeded", "Too much"))
	b.stage([]any{int64(1), "one", "c", "01"})
	b.fails(load(1), "resourcesExceeded", "Too much")
	b.want("SELECT load FROM core.head", "[0]")
}

func TestTransactionsOfOneTableConflict(t *testing.T) {
	b := setupLoad(t)
	b.do("INSERT INTO core.base VALUES (1, 'a', '1'), (2, 'b', '1')")
	release := make(chan struct{})
	b.fake.On("statement COMMIT", 1, bigqueryfake.Hang(release))
	first, err := b.start("first", "BEGIN TRANSACTION; UPDATE core.base SET v = 'first' WHERE id = 1; COMMIT TRANSACTION;")
	if err != nil {
		t.Fatal(err)
	}
	for b.fake.Calls()["statement COMMIT"] == 0 {
		time.Sleep(time.Millisecond)
	}
	// Another row, and yet the same table.
	b.fails("BEGIN TRANSACTION; UPDATE core.base SET v = 'second' WHERE id = 2; COMMIT TRANSACTION;", "invalidQuery", "aborted due to concurrent update against table test-project:core.base")
	b.do("INSERT INTO core.base VALUES (3, 'c', '1')") // conflicts with nothing
	b.want("SELECT v FROM core.base ORDER BY id", "[a]", "[b]", "[c]")

	// A statement by itself waits; no more than 20 do.
	var waiting []*bigquery.Job
	for range 20 {
		j, err := b.start("", "UPDATE core.base SET v = CONCAT(v, '+') WHERE id = 1")
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, j)
	}
	for b.fake.Calls()["statement UPDATE"] < 22 {
		time.Sleep(time.Millisecond)
	}
	var refused bool
	for range 100 { // the last may still be on its way to the table
		extra, err := b.start("", "UPDATE core.base SET v = 'over' WHERE FALSE")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		s, err := extra.Status(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if refused = s.Done() && is(s.Err(), "resourcesExceeded", "Too many DML statements outstanding"); refused {
			break
		}
	}
	if !refused {
		t.Error("more than 20 statements wait")
	}
	close(release)
	if err := b.end(first, nil); err != nil {
		t.Fatal(err)
	}
	for _, j := range waiting {
		if err := b.end(j, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.want("SELECT v FROM core.base WHERE id = 1", "[first"+strings.Repeat("+", 20)+"]")
}

func TestDefinitionsInATransaction(t *testing.T) {
	b := setupLoad(t)
	b.fails("BEGIN TRANSACTION; CREATE TABLE core.x (a INT64); COMMIT TRANSACTION;", "invalidQuery", "DDL statements on permanent entities")
	b.fails("BEGIN TRANSACTION; SELECT 1;", "invalidQuery", "ended with an active transaction")
	b.fails("COMMIT TRANSACTION", "invalidQuery", "no active transaction")
	// Rows of the write path are recent for half an hour.
	b.stage([]any{int64(1), "one", "c", "01"})
	const remove = "BEGIN TRANSACTION; DELETE FROM core.stage WHERE TRUE; COMMIT TRANSACTION;"
	b.fails(remove, "invalidQuery", "streaming buffer")
	b.fake.Skew(time.Hour)
	b.do(remove)
}

func TestPartitionsAndTablesExpire(t *testing.T) {
	b := setupLoad(t)
	b.stage([]any{int64(1), "one", "c", "01"})
	b.do("CREATE TABLE core.short (a INT64)")
	short := b.bq.Dataset("core").Table("short")
	if _, err := short.Update(b.ctx, bigquery.TableMetadataToUpdate{ExpirationTime: b.fake.Now().Add(time.Hour)}, ""); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT COUNT(*) FROM core.stage", "[1]")
	b.fake.Skew(26 * time.Hour)
	b.want("SELECT COUNT(*) FROM core.stage", "[0]")
	b.fails("SELECT * FROM core.short", "notFound", "core.short")
	b.want("SELECT CURRENT_TIMESTAMP() > TIMESTAMP_MICROS("+time.Now().Add(25*time.Hour).Format("20060102")+")", "[true]")
}

func TestDryRunAndCap(t *testing.T) {
	b := setupLoad(t)
	b.do("INSERT INTO core.base VALUES (1, 'a', '1')")
	q := b.bq.Query("SELECT id, v FROM core.read")
	q.DryRun = true
	j, err := q.Run(b.ctx)
	if err != nil {
		t.Fatal(err)
	}
	stats := j.LastStatus().Statistics.Details.(*bigquery.QueryStatistics)
	if len(stats.Schema) != 2 || len(stats.ReferencedTables) == 0 || stats.TotalBytesProcessed == 0 || stats.StatementType != "SELECT" {
		t.Errorf("the dry run says %+v", stats)
	}
	q = b.bq.Query("SELECT id FROM core.base")
	q.MaxBytesBilled = 1000
	q.JobID = "capped"
	if err := b.end(q.Run(b.ctx)); !is(err, "bytesBilledLimitExceeded", "10485760 or higher required") {
		t.Errorf("a cap below what is billed: %v", err)
	}
	// A script's statements are billed together, and what they did is undone.
	q = b.bq.Query("CREATE TEMP TABLE seen (id INT64);\nBEGIN TRANSACTION;\nINSERT INTO seen SELECT id FROM core.base;\nDELETE FROM core.base WHERE TRUE;\nCOMMIT TRANSACTION")
	q.MaxBytesBilled = 1000
	q.JobID = "capped_script"
	if err := b.end(q.Run(b.ctx)); !is(err, "bytesBilledLimitExceeded", "or higher required") {
		t.Errorf("a cap below what a script is billed for: %v", err)
	}
	q = b.bq.Query("SELECT id FROM core.base")
	if rows, err := b.try(q.Q); err != nil || len(rows) != 1 {
		t.Errorf("after the script: %v, %v", rows, err)
	}
}
