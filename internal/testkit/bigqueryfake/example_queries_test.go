package bigqueryfake_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery"

	"millrace/internal/testkit/bigqueryfake"
)

// The queries of the examples run as they are, and with their tables replaced as
// a deriver does it.
func TestQueriesOfTheExamples(t *testing.T) {
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core",
		"CREATE TABLE core.orders (id INT64, customer_id INT64, item_id INT64, quantity INT64, created_at TIMESTAMP)",
		"CREATE TABLE core.payments (id INT64, order_id INT64, amount NUMERIC(12, 2), paid_at TIMESTAMP)",
		"INSERT INTO core.orders VALUES (1, 7, 5, 2, TIMESTAMP '2024-03-01 10:00:00+00'), (2, 7, 5, 3, TIMESTAMP '2024-03-02 10:00:00+00'), (3, 8, 6, 1, NULL)",
		"INSERT INTO core.payments VALUES (1, 1, NUMERIC '10.25', TIMESTAMP '2024-03-01 23:59:59+00'), (2, 2, NUMERIC '1', TIMESTAMP '2024-03-02 00:00:00+00'), (3, 2, NUMERIC '2.5', TIMESTAMP '2024-03-01 12:00:00+00')")
	query := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "examples", "shop", "derived", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	b.want(query("customer_state.sql")+"\nORDER BY 1",
		"[7 2 3 55/4 2024-03-01 10:00:00 +0000 UTC 2024-03-02 10:00:00 +0000 UTC]", "[8 1 0 0/1 <nil> <nil>]")
	b.do("CREATE TABLE core.customers (id INT64, name STRING, country STRING)",
		"CREATE TABLE core.items (id INT64, name STRING, category STRING)",
		"CREATE TABLE core.refunds (id INT64, payment_id INT64, amount NUMERIC(12, 2))",
		"INSERT INTO core.customers VALUES (7, 'Ada', 'France'), (9, 'Bo', 'Ghana')",
		"INSERT INTO core.items VALUES (5, 'cup', 'kitchen'), (6, 'pot', 'kitchen')",
		"INSERT INTO core.refunds VALUES (1, 3, NUMERIC '0.5'), (2, 3, NUMERIC '0.25'), (3, 99, NUMERIC '7')")
	b.want(query("customer_value.sql")+"\nORDER BY 1", "[7 Ada France 2 3 55/4 3/4]", "[9 Bo Ghana 0 0 0/1 0/1]")
	b.want(query("top_items.sql")+"\nORDER BY 1", "[1 5 cup kitchen 3 3/4 13/1]")
	revenue := query("item_revenue_daily.sql")
	b.want(revenue+"\nORDER BY 1", "[2024-03-01 5 2 5 51/4]", "[2024-03-02 5 1 3 1/1]")

	spanned := strings.Replace(revenue, "core.payments AS p",
		"(SELECT * FROM core.payments WHERE paid_at >= CAST(@window_start AS TIMESTAMP) AND paid_at < CAST(@window_end AS TIMESTAMP)) AS p", 1)
	if spanned == revenue {
		t.Fatal("the query does not read core.payments AS p")
	}
	day := time.Date(2024, 3, 2, 0, 0, 0, 0, time.UTC)
	rows, err := b.try(spanned, bigquery.QueryParameter{Name: "window_start", Value: day}, bigquery.QueryParameter{Name: "window_end", Value: day.Add(24 * time.Hour)})
	if err != nil || len(rows) != 1 || rows[0][3] != int64(3) {
		t.Errorf("got %v, %v", rows, err)
	}
}
