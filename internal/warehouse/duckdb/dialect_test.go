package duckdb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"millrace/internal/warehouse"
	"millrace/schemas"
)

func newDialect(t testing.TB) *Dialect {
	t.Helper()
	d, err := OpenDialect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestColumns(t *testing.T) {
	d := newDialect(t)
	over := []warehouse.Relation{{Name: "core.payments", Columns: []warehouse.ResultColumn{
		{Name: "paid_at", SQLType: "TIMESTAMPTZ"}, {Name: "amount", SQLType: "DECIMAL(18,2)"}, {Name: "odd name", SQLType: "JSON"},
	}}}
	got, err := d.Columns(t.Context(), `SELECT CAST(paid_at AS DATE) AS day, sum(amount) AS total, count(*) AS n, [1] AS list, "odd name" FROM core.payments GROUP BY ALL -- end`, over)
	if err != nil {
		t.Fatal(err)
	}
	want := []warehouse.ResultColumn{
		{Name: "day", SQLType: "DATE", Type: schemas.Type{Kind: schemas.Date}},
		{Name: "total", SQLType: "DECIMAL(38,2)", Type: schemas.Type{Kind: schemas.Decimal, Precision: 38, Scale: 2}},
		{Name: "n", SQLType: "BIGINT", Type: schemas.Type{Kind: schemas.Int}},
		{Name: "list", SQLType: "INTEGER[]"},
		{Name: "odd name", SQLType: "JSON", Type: schemas.Type{Kind: schemas.JSON}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var at sync.WaitGroup
	for range 4 {
		at.Go(func() {
			if _, err := d.Columns(t.Context(), "SELECT * FROM core.payments", over); err != nil {
				t.Error(err)
			}
		})
	}
	at.Wait()
	var refused *warehouse.QueryError
	if _, err = d.Columns(t.Context(), "SELECT nothing FROM core.payments", over); !errors.As(err, &refused) || !strings.Contains(refused.Message, "nothing") {
		t.Errorf("an unknown column: %v", err)
	}
	if _, err := d.Columns(t.Context(), "SELECT 1 FROM core.payments", nil); err == nil {
		t.Error("relations outlived their query")
	}
}
