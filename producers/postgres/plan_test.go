package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"millrace/schemas"
)

// A chunk that is a large part of a table of which the server has no statistics is
// read by the key's index; sorted, every chunk would read the whole table.
func TestLargeChunksAreReadByIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it fills a table")
	}
	c := newCapture(t, "wide", `CREATE TABLE wide (a bigint, b text, filler text, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = off)`,
		`INSERT INTO wide SELECT i % 1000, md5(i::text), repeat('x', 200) FROM generate_series(1, 20000) i`).open()
	c.sync()
	table := c.table("wide")
	rest, err := chunkSQL(table, []schemas.Cell{schemas.IntCell(10), schemas.BytesCell([]byte("m"))}, 16_000)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.src.snapshots.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.src.snapshots.put(r, nil)
	plan := func() string {
		rows, err := r.sql.Query(t.Context(), "EXPLAIN "+selectSQL(table, true)+rest)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	if p := plan(); !strings.Contains(p, "Index Scan using wide_pkey") || strings.Contains(p, "Sort") || strings.Contains(p, "JIT") {
		t.Errorf("the plan is\n%s", p)
	}
	if _, err := r.sql.Exec(t.Context(), "SET enable_sort = on"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := r.sql.Exec(t.Context(), "RESET enable_sort"); err != nil {
			t.Error(err)
		}
	}()
	if p := plan(); !strings.Contains(p, "Sort") {
		t.Errorf("the test shows nothing, this server does not sort:\n%s", p)
	}
}
