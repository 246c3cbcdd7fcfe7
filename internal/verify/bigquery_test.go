package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"millrace/internal/page"
	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse/bigquery"
)

// standIn is a platform whose warehouse is the BigQuery fake.
type standIn struct {
	*bigquery.Warehouse
	fake *bigqueryfake.Fake
	t    *testing.T
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	fake, err := bigqueryfake.Start(t.Context(), bigqueryfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := bigquery.Open(t.Context(), bigquery.Options{
		Project: fake.Project(), Location: "US", Logger: slog.New(slog.DiscardHandler),
		Endpoints: bigquery.Endpoints{Jobs: fake.URL(), Writes: fake.GRPCAddr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return &standIn{w, fake, t}
}

func (p *standIn) Query(ctx context.Context, sql string) (*page.Table, error) {
	answer, err := p.Select(ctx, sql, 1000)
	if err != nil {
		return nil, err
	}
	return &page.Table{Columns: answer.Columns, Types: answer.Types, Rows: answer.Rows}, nil
}

func (*standIn) Status(context.Context) (*page.Status, error) { return &page.Status{}, nil }

// exec runs a statement as somebody else than millrace would.
func (p *standIn) exec(statements ...string) {
	p.t.Helper()
	for _, statement := range statements {
		body, err := json.Marshal(map[string]any{"query": statement, "useLegacySql": false})
		if err != nil {
			p.t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.fake.URL()+"projects/"+p.fake.Project()+"/queries", bytes.NewReader(body))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			p.t.Fatal(err)
		}
		var answer bytes.Buffer
		_, _ = answer.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			p.t.Fatalf("%s: %s", statement, answer.String())
		}
	}
}

// values are columns as DuckDB and BigQuery hold them, with a value that is the
// same in both, and another of BigQuery's.
var values = []struct{ duckType, duck, bigType, big, other string }{
	{"BIGINT", "-9223372036854775808", "INT64", "-9223372036854775808", "1"},
	{"HUGEINT", "12", "INT64", "12", "13"}, // what a sum of DuckDB is
	{"DECIMAL(12,2)", "10.50", "NUMERIC", "NUMERIC '10.5'", "NUMERIC '10.51'"},
	{"DECIMAL(12,2)", "-0.00", "NUMERIC", "NUMERIC '0'", "NUMERIC '1'"},
	{"DECIMAL(3,0)", "100", "NUMERIC", "NUMERIC '100'", "NUMERIC '1'"},
	{"DECIMAL(38,18)", "0.000000000000000001", "BIGNUMERIC", "BIGNUMERIC '0.000000000000000001'", "BIGNUMERIC '0.000000000000000002'"},
	{"VARCHAR", "'123456789012345678901234567890123456.25'", "BIGNUMERIC", "BIGNUMERIC '123456789012345678901234567890123456.25'", "BIGNUMERIC '1'"},
	{"DOUBLE", "0.1", "FLOAT64", "0.1", "0.2"},
	{"DOUBLE", "1e300", "FLOAT64", "1e300", "1e299"},
	{"BOOLEAN", "true", "BOOL", "TRUE", "FALSE"},
	{"VARCHAR", "'1.50'", "STRING", "'1.50'", "'1.5'"},
	{"BLOB", `from_hex('00ff5c78')`, "BYTES", `b'\x00\xff\\x'`, `b'\x00\xff\\'`},
	{"DATE", "'2024-02-29'", "DATE", "DATE '2024-02-29'", "DATE '2024-03-01'"},
	{"TIME", "'01:02:03.500'", "TIME", "TIME '01:02:03.5'", "TIME '01:02:03'"},
	{"TIMESTAMP", "'2024-02-29 01:02:03.120'", "DATETIME", "DATETIME '2024-02-29 01:02:03.12'", "DATETIME '2024-02-29 01:02:03'"},
	{
		"TIMESTAMP WITH TIME ZONE", "'1969-12-31 23:59:59.999999+00'", "TIMESTAMP", "TIMESTAMP '1969-12-31 23:59:59.999999+00'",
		"TIMESTAMP '1969-12-31 23:59:59+00'",
	},
	{"JSON", `'{"b": [1.50, null, "x"], "a": 12345678901234567890, "a": 2}'`, "JSON", `PARSE_JSON('{"a":12345678901234567890,"b":[1.5,null,"x"]}')`, `PARSE_JSON('{"a":1}')`},
}

// makeValues makes core.t of them.
func (p *standIn) makeValues() {
	p.t.Helper()
	columns, cells := "id INT64", "1"
	for i, v := range values {
		columns, cells = columns+fmt.Sprintf(", c%d %s", i, v.bigType), cells+", "+v.big
	}
	p.exec("CREATE SCHEMA core", "CREATE TABLE core.t ("+columns+")", "INSERT INTO core.t SELECT "+cells)
}

// Each type is told from no other spelling of the same value, and from each
// other value.
func TestValuesOfBigQuery(t *testing.T) {
	p, r := newStandIn(t), newReplica(t)
	on := On{Platform: p, BigQuery: true}
	duck := "CREATE SCHEMA core; CREATE TABLE core.t AS SELECT 1::BIGINT AS id"
	for i, v := range values {
		duck += fmt.Sprintf(", CAST(%s AS %s) AS c%d", v.duck, v.duckType, i)
	}
	if err := r.exec(t.Context(), duck); err != nil {
		t.Fatal(err)
	}
	p.makeValues()
	for i := range len(values) + 1 {
		spoilt := -1
		if i < len(values) {
			if spoilt = i; i > 0 {
				p.exec(fmt.Sprintf("UPDATE core.t SET c%d = %s WHERE TRUE", i-1, values[i-1].big))
			}
			p.exec(fmt.Sprintf("UPDATE core.t SET c%d = %s WHERE TRUE", i, values[i].other))
		} else {
			p.exec(fmt.Sprintf("UPDATE core.t SET c%d = %s WHERE TRUE", i-1, values[i-1].big))
		}
		want, err := r.Query(t.Context(), "SELECT * FROM core.t")
		if err != nil {
			t.Fatal(err)
		}
		got, err := on.rows(t.Context(), "core.t")
		if err != nil {
			t.Fatal(err)
		}
		report := on.compare("core.t", want, got, []string{"id"})
		switch {
		case spoilt < 0 && len(report.Differences) > 0:
			t.Errorf("equal values differ: %v", report.Differences)
		case spoilt >= 0 && (len(report.Differences) != 1 || report.Differences[0].Kind != Differs || strings.Count(report.Differences[0].Text, "should be") != 1):
			t.Errorf("%s: %v", values[spoilt].bigType, report.Differences)
		}
	}
}

// What is copied out of BigQuery is what is there.
func TestCopyFromBigQuery(t *testing.T) {
	p, r := newStandIn(t), newReplica(t)
	on := On{Platform: p, BigQuery: true}
	p.makeValues()
	p.exec("INSERT INTO core.t (id) VALUES (2)")
	if err := r.CopyTable(t.Context(), on, "core.t"); err != nil {
		t.Fatal(err)
	}
	want, err := r.Query(t.Context(), "SELECT * FROM core.t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := on.rows(t.Context(), "core.t")
	if err != nil {
		t.Fatal(err)
	}
	if report := on.compare("core.t", want, got, nil); len(report.Differences) > 0 || report.Rows != 2 {
		t.Errorf("%d rows: %v", report.Rows, report.Differences)
	}
	for answer, want := range map[*page.Table]string{
		table("n", "BIGNUMERIC", "12345678901234567890.1234567890123456789"): "more than 38 digits",
		table("n", "ARRAY", "[1]"): "of type ARRAY",
	} {
		if _, _, err := inDuckDB(answer); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer.Types, err)
		}
	}
}

// A query that DuckDB cannot compute as BigQuery does is computed anew by
// BigQuery, and the report says so; what is wrong is found there too.
func TestQueriesThatOnlyBigQueryComputes(t *testing.T) {
	p := newStandIn(t)
	p.exec("CREATE SCHEMA core", "CREATE SCHEMA analytics", "CREATE TABLE core.payments AS SELECT 1 AS id, NUMERIC '4.5' AS amount, DATE '2026-03-01' AS day",
		"CREATE TABLE analytics.t AS SELECT 1 AS id, 1 AS n", "CREATE TABLE analytics.w AS SELECT DATE '2026-03-01' AS day, 1 AS n UNION ALL SELECT DATE '2026-03-02', 7")
	shown := map[string]string{"2026-03-01T00:00": "2026-03-01 1", "2026-03-02T00:00": "2026-03-02 0"}
	on := On{Platform: p, BigQuery: true, Show: func(_ context.Context, name, window string) (*page.Table, error) {
		if name != "analytics.w" || shown[window] == "" {
			return nil, fmt.Errorf("window %q of %s is not to be computed", window, name)
		}
		return table("day n", "DATE INT64", shown[window]), nil
	}}
	for _, c := range []struct{ name, text, want, note string }{
		{
			"other words",
			"name: analytics.t\nstrategy: merge\nunique_key: id\ninputs: {core.payments: {key: [id]}}\nquery: SELECT id, COUNT(*) AS n FROM `core`.`payments` GROUP BY id\n",
			"", "in one statement, because DuckDB cannot compute it as BigQuery does: compute what should be:",
		},
		{
			"another type",
			"name: analytics.t\nunique_key: id\nquery: SELECT id, SUM(amount) / 4.5 AS n FROM core.payments GROUP BY id\n",
			"column: n: should be FLOAT64, is INT64\ndiffers: id=1: n should be 1.0, is 1", "in one statement, because DuckDB cannot compute it as BigQuery does: in DuckDB, column n should be FLOAT64, is INT64",
		},
		{
			"windows",
			"name: analytics.w\nunique_key: day\nwindow: day\ninputs: {core.payments: day}\nquery: SELECT @window_start AS day, COUNT(*) AS n FROM `core`.`payments`\n",
			"differs: day=2026-03-02: n should be 0, is 7", "in a statement for each window",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := readText(t, c.text)
			at := &moment{loads: map[string]int64{spec.Name: 1, "core.payments": 1}, calendar: Calendar{day(1), day(3)}}
			report, err := derivedOnce(t.Context(), on, newReplica(t), spec, EventTimes{"core.payments": "day"}, at)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range report.Differences {
				got = append(got, d.String())
			}
			if slices.Compare(got, strings.FieldsFunc(c.want, func(r rune) bool { return r == '\n' })) != 0 || !strings.Contains(report.Note, c.note) || strings.Contains(report.Note, "\n") {
				t.Errorf("%q, note %q", got, report.Note)
			}
		})
	}
	spec := readText(t, "name: analytics.t\nunique_key: id\nquery: SELECT nothing FROM `core`.`payments`\n")
	if _, err := derivedOnce(t.Context(), on, newReplica(t), spec, EventTimes{}, &moment{}); err == nil || !strings.Contains(err.Error(), "nor anew in it") {
		t.Errorf("a query that nothing computes: %v", err)
	}
}

func TestOneJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"b":1,"a":{"d":[],"c":{}}}`: `{"a":{"c":{},"d":[]},"b":1}`,
		` [1.0, 1e2, 0.10, -5] `:      `[1,100,0.1,-5]`,
		`18446744073709551615`:        `18446744073709551615`,
		`{"x":1,"x":2}`:               `{"x":1}`,
		`"é<"`:                        `"é\u003c"`,
		`null`:                        `null`,
	} {
		if got, ok := oneJSON(text); got != want || !ok {
			t.Errorf("%s became %s (%v), want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "{", "[1,]", `{"a"}`, "1 2", "nothing"} {
		if got, ok := oneJSON(text); ok {
			t.Errorf("%q became %q", text, got)
		}
	}
}
