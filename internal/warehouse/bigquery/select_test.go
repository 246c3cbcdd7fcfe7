package bigquery

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
	"millrace/schemas"
)

// spelled are the answer's rows; a null is told from every text.
func spelled(a *warehouse.Answer) []string {
	var out []string
	for _, row := range a.Rows {
		texts := make([]string, len(row))
		for i, v := range row {
			if texts[i] = "∅"; v != nil {
				texts[i] = *v
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	return out
}

func TestSelectSpellsValues(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	const columns = "n INT64, yes BOOL, ratio FLOAT64, price NUMERIC, wide BIGNUMERIC, note STRING, raw BYTES, day DATE, clock TIME, at TIMESTAMP, civil DATETIME, doc JSON"
	err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core", Table: "t"},
		"CREATE SCHEMA core", "CREATE TABLE core.t ("+columns+")",
		"INSERT INTO core.t (n, note) VALUES (1, ''), (2, NULL)",
		`INSERT INTO core.t (n, yes, ratio, price, wide, note, raw, day, clock, at, civil, doc) VALUES
(-9223372036854775808, TRUE, 0.5, NUMERIC '12.30', BIGNUMERIC '-7.5', 'NULL', b'hi', DATE '2024-02-29', TIME '23:59:59', TIMESTAMP '1969-12-31 23:59:59.999999+00', DATETIME '2024-02-29 01:02:03', PARSE_JSON('{"a":1}'))`)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := p.w.Select(t.Context(), "SELECT * FROM core.t ORDER BY n", 3) // as many as there are
	if err != nil {
		t.Fatal(err)
	}
	var names, types []string
	for _, c := range strings.Split(columns, ", ") {
		name, typ, _ := strings.Cut(c, " ")
		names, types = append(names, name), append(types, typ)
	}
	if !slices.Equal(answer.Columns, names) || !slices.Equal(answer.Types, types) {
		t.Errorf("columns %q\ntypes %q, want %q", answer.Columns, answer.Types, types)
	}
	nothing := strings.Repeat("|∅", 6) // from raw on
	want := []string{
		`-9223372036854775808|true|0.5|12.3|-7.5|NULL|aGk=|2024-02-29|23:59:59|1969-12-31 23:59:59.999999+00|2024-02-29T01:02:03|{"a":1}`,
		"1|∅|∅|∅|∅|" + nothing, "2|∅|∅|∅|∅|∅" + nothing,
	}
	if got := spelled(answer); !slices.Equal(got, want) {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	if _, err := p.w.Select(t.Context(), "SELECT n FROM core.t", 2); !errors.Is(err, warehouse.ErrTooManyRows) {
		t.Errorf("one row too many: %v", err)
	}
	answer, err = p.w.Select(t.Context(), "SELECT n FROM core.t WHERE n = 3;", 2)
	if err != nil || answer.Rows == nil || len(answer.Rows) != 0 || !slices.Equal(answer.Types, []string{"INT64"}) {
		t.Errorf("no rows: %+v %v", answer, err)
	}
}

// The API wraps what lists and structs hold.
func TestSelectSpellsListsAndStructs(t *testing.T) {
	var schema api.TableSchema
	var row api.TableRow
	for text, into := range map[string]any{
		`{"fields":[{"name":"l","type":"TIMESTAMP","mode":"REPEATED"},{"name":"e","type":"STRING","mode":"REPEATED"},
{"name":"s","type":"RECORD","mode":"NULLABLE","fields":[{"name":"n","type":"INTEGER"},{"name":"t","type":"TIMESTAMP"},{"name":"x","type":"STRING"}]},
{"name":"r","type":"RECORD","mode":"REPEATED","fields":[{"name":"n","type":"INTEGER"}]}, {"name":"z","type":"RECORD"}]}`: &schema,
		`{"f":[{"v":[{"v":"0"},{"v":"1500000"}]},{"v":[]},{"v":{"f":[{"v":"7"},{"v":"0"},{"v":null}]}},{"v":[{"v":{"f":[{"v":"1"}]}},{"v":{"f":[{"v":"2"}]}}]},{"v":null}]}`: &row,
	} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	got := spelled(&warehouse.Answer{Rows: [][]*string{texts(&schema, &row)}})[0]
	if want := "[1970-01-01 00:00:00+00, 1970-01-01 00:00:01.5+00]|[]|(7, 1970-01-01 00:00:00+00, NULL)|[(1), (2)]|∅"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The fake's page ends behind 10 MiB. A page that is refused once does no harm.
func TestSelectReadsEveryPage(t *testing.T) {
	slow(t)
	t.Parallel()
	p := newProjectWith(t, bigqueryfake.Options{PageBytes: 1000})
	const query = "SELECT n, LPAD('x', 600, 'x') AS filler FROM UNNEST([1, 2, 3, 4, 5]) AS n ORDER BY n"
	p.fake.On("jobs.getQueryResults", 2, bigqueryfake.Refuse(503, "backendError", "try again"))
	answer, err := p.w.Select(t.Context(), query, 5)
	if err != nil {
		t.Fatal(err)
	}
	if calls := p.fake.Calls()["jobs.getQueryResults"]; calls != 4 || len(p.fake.Fired()) != 1 { // of three pages, one twice
		t.Errorf("%d calls, fired %v", calls, p.fake.Fired())
	}
	var got []string
	for _, row := range answer.Rows {
		got = append(got, fmt.Sprintf("%s:%d", *row[0], len(*row[1])))
	}
	if want := []string{"1:600", "2:600", "3:600", "4:600", "5:600"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	// The bound holds across pages, and what is beyond it is not fetched.
	before := p.fake.Calls()["jobs.getQueryResults"]
	if _, err := p.w.Select(t.Context(), query, 2); !errors.Is(err, warehouse.ErrTooManyRows) {
		t.Errorf("too many rows on the second page: %v", err)
	}
	if calls := p.fake.Calls()["jobs.getQueryResults"] - before; calls != 2 {
		t.Errorf("%d pages were read for 2 rows", calls)
	}
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	if err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core", Table: "t"}, "CREATE SCHEMA core", "CREATE TABLE core.t AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	made := p.fake.Calls()["jobs.insert"]
	for _, query := range []string{
		"", ";", "DELETE FROM core.t WHERE TRUE", "SELECT n FROM core.t; DELETE FROM core.t WHERE TRUE", "/* SELECT */ DROP TABLE core.t", "SELECT 1; SELECT 2",
		"BEGIN DELETE FROM core.t WHERE TRUE; END", "CREATE TABLE core.u AS SELECT 1 AS n",
	} {
		if _, err := p.w.Select(t.Context(), query, 1); err == nil || !strings.Contains(err.Error(), "only a single SELECT") {
			t.Errorf("%q: %v", query, err)
		}
	}
	var at *warehouse.QueryError
	if _, err := p.w.Select(t.Context(), "SELECT (1", 1); !errors.As(err, &at) {
		t.Errorf("a parenthesis that is open: %v", err)
	}
	if calls := p.fake.Calls()["jobs.insert"]; calls != made {
		t.Errorf("%d jobs were made of what was refused", calls-made)
	}
	answer, err := p.w.Select(t.Context(), "WITH x AS (SELECT n FROM core.t) SELECT * FROM x", 1)
	if err != nil || !slices.Equal(spelled(answer), []string{"1"}) {
		t.Errorf("the table is as it was: %+v %v", answer, err)
	}
	for query, say := range map[string]string{
		"SELECT * FROM core.nothing": "core.nothing was not found", "SELECT * FROM nowhere.t": "nowhere", "SELECT m FROM core.t": "m",
	} {
		if _, err := p.w.Select(t.Context(), query, 1); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", query, err)
		}
	}
}

// What tells of jobs and of tables is asked of the service like any other query, and
// who may not see it, or has mistyped a name, is told what a reader needs.
func TestSelectTellsReadersWhatTheyNeed(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	denied := "Access Denied: Table p:%[1]s: User does not have permission to query table p:%[1]s, or perhaps it does not exist."
	for _, c := range []struct{ from, reason, message, hint string }{
		{"`region-eu`.INFORMATION_SCHEMA.JOBS_BY_PROJECT", "accessDenied", fmt.Sprintf(denied, "region-eu.INFORMATION_SCHEMA.JOBS_BY_PROJECT"), hintViewJobs},
		{"p.`region-eu`.INFORMATION_SCHEMA.JOBS_TIMELINE", "accessDenied", fmt.Sprintf(denied, "region-eu.INFORMATION_SCHEMA.JOBS_TIMELINE"), hintViewJobs},
		{jobsQuery(t), "accessDenied", fmt.Sprintf(denied, "region-eu.INFORMATION_SCHEMA.JOBS_BY_PROJECT"), hintViewJobs},
		{"core.INFORMATION_SCHEMA.COLUMNS", "accessDenied", fmt.Sprintf(denied, "core.INFORMATION_SCHEMA.COLUMNS"), hintRead},
		{"core.INFORMATION_SCHEMA.TABLES AS t", "accessDenied", fmt.Sprintf(denied, "core.INFORMATION_SCHEMA.TABLES"), hintRead},
		{"core.orders", "accessDenied", fmt.Sprintf(denied, "core.orders"), hintRead},
		{"core.ordres", "notFound", "Not found: Table p:core.ordres was not found in location EU", hintNames},
		{"cor.orders", "notFound", "Not found: Dataset p:cor was not found in location EU", hintNames},
		{"core.orders", "invalidQuery", "Unrecognized name: pirce at [1:8]", ""},
		{"core.orders", "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1. 2 or higher required.", hintReadCap},
		{"core.orders", "accessDenied", "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p.", hintJobUser},
	} {
		before := p.fake.Calls()["jobs.insert"]
		p.fake.On("jobs.insert", 1, bigqueryfake.Refuse(403, c.reason, c.message))
		_, err := p.w.Select(t.Context(), "SELECT * FROM "+c.from, 1)
		if p.fake.Calls()["jobs.insert"] != before+1 {
			t.Errorf("%s: the service was not asked: %v", c.from, err)
			continue
		}
		if want := strings.TrimSuffix(": "+c.hint, ": "); err == nil || !strings.Contains(err.Error(), c.message) || !strings.HasSuffix(err.Error(), want) || want == "" && errors.As(err, new(*curedError)) {
			t.Errorf("%s: %v\nwant the end to be %q", c.from, err, want)
		}
	}
	// An error of a job that has ended says the same.
	p.fake.On("job", 1, bigqueryfake.FailJob("accessDenied", fmt.Sprintf(denied, "region-eu.INFORMATION_SCHEMA.JOBS")))
	if _, err := p.w.Select(t.Context(), "SELECT 1 AS n", 1); err == nil || !strings.HasSuffix(err.Error(), ": "+hintViewJobs) {
		t.Errorf("an error of the job: %v", err)
	}
}

// jobsQuery is what docs/bigquery.md has people ask for the costs.
func jobsQuery(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "bigquery.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sql\nSELECT (SELECT value FROM UNNEST(labels)")
	query, _, found := strings.Cut(rest, "\n```")
	if !found || !strings.Contains(query, "INFORMATION_SCHEMA") {
		t.Fatal("docs/bigquery.md has no query for the costs")
	}
	return "(SELECT (SELECT value FROM UNNEST(labels)" + query + ")"
}

func TestCount(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	count := func(want int64) {
		t.Helper()
		n, err := p.w.Count(t.Context(), c.table.Name)
		for errors.Is(err, errCounting) { // the machine is busy
			n, err = p.w.Count(t.Context(), c.table.Name)
		}
		if err != nil || n != want {
			t.Errorf("%d rows, want %d: %v", n, want, err)
		}
	}
	known := func() *counted { return p.w.counts[c.table.Name] }
	count(perLoad)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	calls := p.fake.Calls()["tables.get"]
	known().at = time.Now().Add(time.Hour) // whatever the machine's pace
	count(perLoad)                         // it is believed for a while
	if p.fake.Calls()["tables.get"] != calls {
		t.Error("a count that is known was read again")
	}
	known().at = time.Now().Add(-countAgain)
	count(2 * perLoad)

	// A delete marker is no row that readers see. It is counted by a job, and that
	// not often.
	if err := c.remove(t, 100, 101); err != nil {
		t.Fatal(err)
	}
	jobs := p.fake.Calls()["jobs.insert"]
	known().at = time.Now().Add(-countAgain)
	count(2 * perLoad)
	known().at, known().countedAt = time.Now().Add(-countAgain), time.Now().Add(-2*markersAgain)
	count(2 * perLoad) // it is not waited for
	p.w.counting.Wait()
	known().at = time.Now().Add(-countAgain)
	count(2*perLoad - 2)
	known().at, known().countedAt = time.Now().Add(-countAgain), time.Now().Add(-2*markersAgain)
	count(2*perLoad - 2) // nothing has changed
	p.w.counting.Wait()
	if got := p.fake.Calls()["jobs.insert"] - jobs; got != 1 {
		t.Errorf("%d jobs counted markers", got)
	}

	if err := p.w.ddl(t.Context(), sqlgen.Name{Dataset: "core", Table: "plain"}, "CREATE TABLE core.plain AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	if n, err := p.w.Count(t.Context(), "core.plain"); err != nil || n != 1 {
		t.Errorf("a table without a view: %d %v", n, err)
	}
	for _, name := range []string{"core.nothing", "nowhere.t"} {
		if _, err := p.w.Count(t.Context(), name); !errors.Is(err, warehouse.ErrNoTable) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who closes waits for every count that has begun: none begins behind that.
func TestNoCountBeginsBehindClose(t *testing.T) {
	w, err := Open(t.Context(), fakeOptions(newProject(t).fake))
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock() // as whoever is about to begin a count
	done := make(chan error, 1)
	go func() { done <- w.Close() }()
	select {
	case <-w.life.Done():
		t.Error("it was closed between the look whether it is and the count's begin")
	case <-time.After(50 * time.Millisecond): // a fault shows at once
	}
	began, counted := make(chan struct{}), false
	w.counting.Go(func() {
		<-began
		counted = true
	})
	w.mu.Unlock()
	<-w.life.Done()
	close(began)
	if err := <-done; err != nil || !counted {
		t.Errorf("closed before the count had ended: %v", err)
	}
}

// A process that knows the two addresses alone, as of a configuration, loads and
// reads; what it has loaded tells the topic.
func TestEndpointsAndLoaded(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	other, err := Open(t.Context(), Options{
		Project: p.fake.Project(), Location: "US", Endpoints: Endpoints{Jobs: p.fake.URL(), Writes: p.fake.GRPCAddr()}, RetryWait: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.w.Close(); err != nil {
		t.Fatal(err)
	}
	p.w = other
	loaded := func(wantTable, wantTopic string) {
		t.Helper()
		if table, topic, err := p.w.Loaded(t.Context()); err != nil || table != wantTable || topic != wantTopic {
			t.Errorf("loaded %q from %q, want %q from %q: %v", table, topic, wantTable, wantTopic, err)
		}
	}
	loaded("", "") // there is not even a dataset

	waiting := warehouse.CoreTable{Name: "core.aaa", Mode: schemas.ModeMerge, Key: []string{"id"}, Columns: []schemas.Column{{Name: "id", Type: schemas.Type{Kind: schemas.Int}}}}
	if err := p.w.Ensure(t.Context(), waiting); err != nil {
		t.Fatal(err)
	}
	loaded("", "") // a table that nobody has taken over has no topic

	c := newConsumer(t, p)
	if err := c.load(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	if p.fake.Calls()["AppendRows"] == 0 {
		t.Error("the rows did not take the write path")
	}
	p.w.listed = 1 // what is looked for is on a later page
	p.fake.On("tables.list", 2, bigqueryfake.Refuse(503, "backendError", "no"))
	loaded("core.all", "topic")
	answer, err := p.w.Select(t.Context(), "SELECT COUNT(*) AS n FROM core.`all`", 1)
	if err != nil || !slices.Equal(spelled(answer), []string{fmt.Sprint(perLoad)}) {
		t.Errorf("%+v %v", answer, err)
	}
	p.fake.On("tables.list", 1, bigqueryfake.Refuse(403, "accessDenied", "Permission bigquery.tables.list denied"))
	if _, _, err := p.w.Loaded(t.Context()); err == nil || !strings.Contains(err.Error(), hintGrant) {
		t.Errorf("a refusal must not look like a warehouse without tables: %v", err)
	}
}
