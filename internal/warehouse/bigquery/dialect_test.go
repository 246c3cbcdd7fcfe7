package bigquery

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/internal/testkit/bigqueryfake"
	"millrace/internal/warehouse"
	"millrace/schemas"
)

func TestColumns(t *testing.T) {
	d := newProject(t).w.Dialect()
	over := []warehouse.Relation{{Name: "core.payments", Columns: []warehouse.ResultColumn{
		{Name: "paid_at", SQLType: "TIMESTAMP"}, {Name: "amount", SQLType: "NUMERIC(18, 2)"}, {Name: "odd name", SQLType: "JSON"}, {Name: "id", SQLType: "INT64"},
	}}}
	got, err := d.Columns(t.Context(), "SELECT CAST(paid_at AS DATE) AS day, SUM(id) AS total, COUNT(*) AS n, MAX(paid_at) AS latest\nFROM core.payments GROUP BY 1 -- end", over)
	if err != nil {
		t.Fatal(err)
	}
	want := []warehouse.ResultColumn{
		{Name: "day", SQLType: "DATE", Type: schemas.Type{Kind: schemas.Date}},
		{Name: "total", SQLType: "INT64", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "n", SQLType: "INT64", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "latest", SQLType: "TIMESTAMP", Type: schemas.Type{Kind: schemas.Timestamp}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for query, part := range map[string]string{
		"SELECT nothing FROM core.payments": "nothing",
		"SELECT 1 FROM core.orders":         "there is no table core.orders",
	} {
		var refused *warehouse.QueryError
		if _, err = d.Columns(t.Context(), query, over); !errors.As(err, &refused) || !strings.Contains(refused.Message, part) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// A service that has trouble is asked again, as far as the patience goes; none of
// its troubles is taken for a fault of the query.
func TestColumnsAreAskedForAgain(t *testing.T) {
	p := newProject(t)
	troubles := []bigqueryfake.Fault{
		bigqueryfake.Refuse(503, "backendError", "no"), bigqueryfake.Refuse(403, "rateLimitExceeded", "no"), bigqueryfake.Refuse(400, "quotaExceeded", "no"),
	}
	for n, trouble := range troubles {
		p.fake.On("jobs.insert", n+1, trouble)
	}
	d := p.w.Dialect()
	got, err := d.Columns(t.Context(), "SELECT 1 AS n", nil)
	if err != nil || len(got) != 1 || len(p.fake.Fired()) != len(troubles) {
		t.Fatalf("%v %v after %v", got, err, p.fake.Fired())
	}
	for n := range p.w.opts.Attempts {
		p.fake.On("jobs.insert", n+1, bigqueryfake.Refuse(400, "quotaExceeded", "no"))
	}
	var refused *warehouse.QueryError
	if _, err := d.Columns(t.Context(), "SELECT 1 AS n", nil); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	long := "SELECT 1 AS n --" + strings.Repeat("x", maxStatement)
	if _, err := d.Columns(t.Context(), long, nil); !errors.As(err, &refused) {
		t.Errorf("a query too long: got %v", err)
	}
}

func TestPlaceOfAMessage(t *testing.T) {
	query := "SELECT\n  a,\n  amout\nFROM t"
	err := refusedQuery(query, errors.New("Unrecognized name: amout; Did you mean amount? at [3:3]"))
	var refused *warehouse.QueryError
	if !errors.As(err, &refused) || refused.Offset != strings.Index(query, "  amout") || refused.Message != "Unrecognized name: amout; Did you mean amount?" {
		t.Errorf("%v", err)
	}
}

// What a stand-in does not know is the query's fault, and ends no reading of the
// other specs.
func TestColumnsOfWhatAStandInDoesNotKnow(t *testing.T) {
	p := newProject(t)
	var refused *warehouse.QueryError
	if _, err := p.w.Dialect().Columns(t.Context(), "SELECT CAST(1 AS VARCHAR) AS n", nil); !errors.As(err, &refused) || !strings.Contains(refused.Message, "not in its set") {
		t.Fatalf("got %v", err)
	}
}
